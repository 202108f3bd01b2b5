"""Bags of real handwritten digits that need no download."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from milkit.bags import BagArray
from milkit.datasets._base import (
    as_result,
    check_range,
    draw_counts,
    shuffled_within_bags,
)
from milkit.utils._packing import offsets_of

__all__ = ["load_digit_bags"]

_DESCR = """Bags of handwritten digits
==========================

Each instance is one of the 1,797 digits of 8 x 8 pixels that come with scikit-learn
(intensities 0 to 16), and no digit is used twice. A bag is positive if it shows the target
digit; the label of every instance is known. Bags of one group were taken with the same
simulated scanner, which changes the gain and the offset of all its intensities.

The digits are the test set of the "Optical Recognition of Handwritten Digits" data of
E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, doi 10.24432/C50P49 (CC BY 4.0).
The bags, groups and shifts are made by milkit.
"""


@validate_params(
    {
        "n_bags": [Interval(Integral, 2, None, closed="left")],
        "bag_size": [Integral, tuple, list],
        "target": [Interval(Integral, 0, 9, closed="both")],
        "n_witnesses": [Integral, tuple, list],
        "n_groups": [Interval(Integral, 1, None, closed="left"), None],
        "shift": [Interval(Real, 0, None, closed="left")],
        "return_X_y": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def load_digit_bags(
    *,
    n_bags=120,
    bag_size=(10, 14),
    target=9,
    n_witnesses=(1, 3),
    n_groups=12,
    shift=1.0,
    return_X_y=False,
    random_state=None,
):
    """Deal scikit-learn's handwritten digits into bags.

    A bag is positive if it contains the target digit. Half of the bags are positive, over
    all and inside each group, and each of the 1,797 digits is used at most once, so that no
    image can be met again in another fold. Nothing is downloaded.

    Parameters
    ----------
    n_bags : int, default=120
        Number of bags.
    bag_size : int or (int, int), default=(10, 14)
        Number of digits in a bag, or the smallest and largest number (inclusive). It is
        drawn without regard to the label.
    target : int, default=9
        The digit, 0 to 9, that makes a bag positive. Nine is among the harder ones, because
        it looks like 3, 4 and 7.
    n_witnesses : int or (int, int), default=(1, 3)
        Number of target digits in a positive bag, or the smallest and largest number
        (inclusive). About 180 examples of each digit exist.
    n_groups : int or None, default=12
        Number of simulated scanners, each with several bags; every group holds both
        classes. None makes no groups, and then no shift either.
    shift : float, default=1.0
        How much scanners differ: intensities become ``gain * x + offset``, where per group
        the logarithm of the gain has a deviation of ``0.1 * shift`` and the offset one of
        ``0.5 * shift`` intensity steps (of 16). 0 leaves the digits as they are.
    return_X_y : bool, default=False
        Return ``(X, y)`` instead of a Bunch.
    random_state : int, RandomState instance or None, default=None
        Decides which digit goes where, and the shifts.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        data : BagArray of shape (n_bags,)
            Vectors of 64 intensities, ``names``, ``groups`` and ``instance_data`` with
            ``"digit"``, ``"label"`` (1 where the digit is the target) and ``"index"`` (the
            row in :func:`sklearn.datasets.load_digits`).
        target : ndarray of int, shape (n_bags,)
            1 for bags that contain the target digit, else 0.
        target_names : ndarray of str, shape (2,)
            Names of the two labels.
        images : ndarray of shape (n_instances, 8, 8)
            The same intensities as pictures.
        image_shape : tuple
            ``(8, 8)``.
        feature_names : list of str
            Name of each pixel.
        gain, offset : ndarray of shape (n_groups,)
            What each scanner does; only if there are groups.
        DESCR : str
            What the data are.
    (X, y) : tuple of BagArray and ndarray
        Only if ``return_X_y`` is True.

    Raises
    ------
    ValueError
        If more digits are asked for than there are, or a group cannot hold both classes.

    Notes
    -----
    Bags of digits stem from [1]_. Because every group is balanced, a model in random folds
    that knows the scanner guesses the rarer class of its remaining bags: random folds are
    not too hopeful here, but tell nothing of a new scanner. For folds that promise too much
    see :func:`make_blood_smear_cohort`.

    References
    ----------
    .. [1] M. Ilse, J. M. Tomczak and M. Welling, "Attention-based Deep Multiple Instance
       Learning", ICML 2018, arXiv:1802.04712.

    Examples
    --------
    >>> from milkit.datasets import load_digit_bags
    >>> digits = load_digit_bags(random_state=0)
    >>> digits.data.shape, digits.data.n_features
    ((120,), 64)
    >>> digits.target_names
    array(['without 9', 'with 9'], dtype='<U9')
    """
    from sklearn.datasets import load_digits

    low, high = check_range(bag_size, "bag_size")
    least, most = check_range(n_witnesses, "n_witnesses")
    if most > low:
        raise ValueError(
            f"n_witnesses must not exceed the smallest bag. Got n_witnesses={n_witnesses!r} and "
            f"bag_size={bag_size!r}; take fewer witnesses or larger bags."
        )
    if n_groups is not None and n_bags < 2 * n_groups:
        raise ValueError(
            f"Each group needs a bag of both classes, so n_groups={n_groups} needs at least "
            f"{2 * n_groups} bags. Got n_bags={n_bags}; take fewer groups."
        )
    rng = check_random_state(random_state)
    raw = load_digits()

    number = np.arange(n_bags)
    n_sets = n_groups or 1
    group_of, turn = number % n_sets, number // n_sets
    # Labels take turns inside a group; that the first of them takes turns as well keeps the
    # whole balanced where a group has an odd number of bags.
    y = (turn + group_of) % 2
    order = rng.permutation(n_bags)
    group_of, y = group_of[order], y[order]

    sizes = draw_counts(rng, low, high, n_bags)
    witnesses = np.where(y == 1, draw_counts(rng, least, most, n_bags), 0)
    index = _deal(rng, raw.target == target, sizes, witnesses, target)

    instances = raw.data[index]
    entries = {}
    if n_groups is not None:
        gain = np.exp(0.1 * shift * rng.standard_normal(n_groups))
        offset = 0.5 * shift * rng.standard_normal(n_groups)
        scanner = np.repeat(group_of, sizes)
        instances = gain[scanner, None] * instances + offset[scanner, None]
        entries = {"gain": gain, "offset": offset}

    digit = raw.target[index]
    X = BagArray(
        instances,
        offsets_of(sizes),
        names=np.array([f"bag-{i:03d}" for i in range(n_bags)]),
        groups=None if n_groups is None else np.array([f"scanner-{g:02d}" for g in group_of]),
        instance_data={"digit": digit, "label": (digit == target).astype(np.int64), "index": index},
        feature_names=raw.feature_names,
    )
    return as_result(
        X,
        y,
        return_X_y,
        target_names=np.array([f"without {target}", f"with {target}"]),
        images=instances.reshape(-1, 8, 8),
        image_shape=(8, 8),
        feature_names=list(raw.feature_names),
        DESCR=_DESCR,
        **entries,
    )


def _deal(rng, is_target, sizes, witnesses, target):
    """Rows of the digits in bag order, each used once, witnesses at random places."""
    n_instances, n_witnesses = int(sizes.sum()), int(witnesses.sum())
    targets, others = np.flatnonzero(is_target), np.flatnonzero(~is_target)
    if n_witnesses > len(targets) or n_instances - n_witnesses > len(others):
        raise ValueError(
            f"The bags need {n_witnesses} examples of the digit {target} and "
            f"{n_instances - n_witnesses} of the others, but there are only {len(targets)} and "
            f"{len(others)}, and no digit is used twice. Take fewer or smaller bags."
        )
    bag_of = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(n_instances) - np.repeat(offsets_of(sizes)[:-1], sizes)
    is_witness = place < witnesses[bag_of]
    index = np.empty(n_instances, dtype=np.int64)
    index[is_witness] = rng.permutation(targets)[:n_witnesses]
    index[~is_witness] = rng.permutation(others)[: n_instances - n_witnesses]
    return index[shuffled_within_bags(rng, bag_of)]
