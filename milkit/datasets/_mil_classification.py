"""Synthetic bags whose witnesses are known."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_params

from milkit.bags import BagArray
from milkit.datasets._base import (
    as_result,
    check_range,
    draw_counts,
    shuffled_within_bags,
)
from milkit.utils._packing import offsets_of

__all__ = ["make_mil_classification"]


@validate_params(
    {
        "n_bags": [Interval(Integral, 1, None, closed="left")],
        "n_features": [Interval(Integral, 1, None, closed="left")],
        "bag_size": [Integral, tuple, list, callable],
        "size_distribution": [StrOptions({"uniform", "lognormal"})],
        "witness_rate": [Interval(Real, 0, 1, closed="both")],
        "n_informative": [Interval(Integral, 1, None, closed="left")],
        "class_sep": [Interval(Real, 0, None, closed="left")],
        "n_classes": [Interval(Integral, 2, None, closed="left")],
        "weights": ["array-like", None],
        "assumption": [StrOptions({"standard", "threshold", "presence"})],
        "threshold": [Interval(Integral, 1, None, closed="left")],
        "n_concepts": [Interval(Integral, 1, None, closed="left"), None],
        "n_groups": [Interval(Integral, 1, None, closed="left"), None],
        "group_shift": [Interval(Real, 0, None, closed="left")],
        "n_covariates": [Interval(Integral, 0, None, closed="left")],
        "covariate_signal": [Real],
        "return_X_y": ["boolean"],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_mil_classification(
    n_bags=100,
    n_features=20,
    *,
    bag_size=(5, 15),
    size_distribution="uniform",
    witness_rate=0.2,
    n_informative=5,
    class_sep=2.0,
    n_classes=2,
    weights=None,
    assumption="standard",
    threshold=3,
    n_concepts=None,
    n_groups=None,
    group_shift=1.0,
    n_covariates=0,
    covariate_signal=0.0,
    return_X_y=True,
    random_state=None,
):
    """Make bags whose label follows exactly from the labels of their instances.

    Background instances are standard normal. Positive instances belong to a concept, a
    normal cloud of unit variance around a corner of a hypercube in the first
    ``n_informative`` features. Which concepts a bag must hold to be positive is the
    assumption [1]_ [2]_. The size of a bag says nothing of its label.

    Parameters
    ----------
    n_bags : int, default=100
        Number of bags.
    n_features : int, default=20
        Number of features of an instance.
    bag_size : int, (int, int) or callable, default=(5, 15)
        Number of instances in a bag, or its smallest and largest value (inclusive). A
        callable gets ``(random_state, n_bags)`` and returns that many positive integers.
    size_distribution : {"uniform", "lognormal"}, default="uniform"
        How sizes are spread over a pair ``bag_size``; "lognormal" gives many small bags and
        a few large ones.
    witness_rate : float, default=0.2
        Rate at which instances are drawn to be positive, in [0, 1], *before* the assumption
        is enforced: a positive bag with fewer than it asks for gets as many (so that in small
        bags the share is higher than this), and under "threshold" and "presence" negative
        bags are drawn with the same rate and cut down to what leaves them negative.
    n_informative : int, default=5
        Number of features, the first ones, in which concepts differ from the background.
    class_sep : float, default=2.0
        Distance between the background and a concept in each informative feature, in
        standard deviations.
    n_classes : int, default=2
        Number of bag classes. More than two need the standard assumption: class 0 has no
        positive instance, and class ``c`` has only positive instances of class ``c``.
    weights : array-like of shape (n_classes,) or (n_classes - 1,), default=None
        Share of the bags of each class; the last may be left out. None makes classes equal.
    assumption : {"standard", "threshold", "presence"}, default="standard"
        What makes a bag positive: at least one positive instance; at least ``threshold``
        positive instances (negative bags have fewer, not always none); or at least one
        instance of *every* concept (negative bags lack at least one of them).
    threshold : int, default=3
        Number of positive instances that make a bag positive under "threshold".
    n_concepts : int or None, default=None
        Number of concepts of each positive class. None means 2 for "presence", else 1.
    n_groups : int or None, default=None
        Number of groups of bags, such as patients; classes are spread evenly over them.
    group_shift : float, default=1.0
        Standard deviation of the shift that all instances of a group share. Without groups
        it has no effect.
    n_covariates : int, default=0
        Number of covariates of a bag, called ``covariate0``, ``covariate1``, ...
    covariate_signal : float, default=0.0
        Distance between the covariate means of consecutive classes, in standard deviations.
    return_X_y : bool, default=True
        Return ``(X, y)``; False returns a Bunch.
    random_state : int, RandomState instance or None, default=None
        Decides everything that is drawn.

    Returns
    -------
    X : BagArray of shape (n_bags,)
        ``instance_data`` holds ``"label"`` (0 for the background, else the class of the
        positive instance, 1 for two classes) and ``"concept"`` (0 for the background, else
        1, 2, ...).
    y : ndarray of int, shape (n_bags,)
        Class of each bag, 0 to ``n_classes - 1``.
    data : :class:`~sklearn.utils.Bunch`
        Instead of ``(X, y)`` if ``return_X_y`` is False: ``data``, ``target``,
        ``target_names``, ``concept_centers`` of shape (n_concepts in all, n_features),
        ``DESCR``.

    Raises
    ------
    ValueError
        If the assumption cannot be met, such as a threshold above the smallest bag.

    References
    ----------
    .. [1] J. Foulds and E. Frank, "A review of multi-instance learning assumptions",
       The Knowledge Engineering Review 25(1), 2010, doi:10.1017/S026988890999035X.
    .. [2] M.-A. Carbonneau, V. Cheplygina, E. Granger and G. Gagnon, "Multiple instance
       learning: A survey of problem characteristics and applications", Pattern Recognition
       77, 2018, doi:10.1016/j.patcog.2017.10.009.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.datasets import make_mil_classification
    >>> X, y = make_mil_classification(n_bags=6, bag_size=4, random_state=0)
    >>> X
    BagArray(6 bags, 24 instances, sizes 4/4/4 (min/median/max), 20 features, float64)
    >>> witnesses = np.add.reduceat(X.instance_data["label"], X.offsets[:-1])
    >>> np.array_equal(y, witnesses >= 1)
    True
    """
    if n_concepts is None:
        n_concepts = 2 if assumption == "presence" else 1
    if n_classes > 2 and assumption != "standard":
        raise ValueError(
            f"n_classes={n_classes} needs assumption='standard'. Got assumption={assumption!r}, "
            "which is defined for two classes."
        )
    if n_informative > n_features:
        raise ValueError(
            f"n_informative must not exceed n_features. Got n_informative={n_informative} and "
            f"n_features={n_features}."
        )
    n_centers = n_concepts * (n_classes - 1)
    if n_informative < 31 and n_centers > 2**n_informative:
        raise ValueError(
            f"{n_centers} concepts need as many corners, but n_informative={n_informative} "
            f"features have {2**n_informative}. Take more informative features."
        )
    rng = check_random_state(random_state)
    y = _bag_labels(rng, n_bags, n_classes, weights)
    sizes = _bag_sizes(rng, n_bags, bag_size, size_distribution)
    needed = {"standard": 1, "threshold": threshold, "presence": n_concepts}[assumption]
    if sizes.min() < needed:
        raise ValueError(
            f"Every bag needs room for {needed} positive instances under assumption="
            f"{assumption!r}. Got a bag of {sizes.min()}; larger bags for the positive class only "
            "would give the label away, so raise bag_size."
        )
    concept = _concepts(rng, y, sizes, witness_rate, assumption, needed, n_concepts)
    bag_of = np.repeat(np.arange(n_bags), sizes)
    concept = concept[shuffled_within_bags(rng, bag_of)]

    centers = np.zeros((n_centers, n_features))
    centers[:, :n_informative] = class_sep * _corners(rng, n_centers, n_informative)
    instances = rng.standard_normal((len(concept), n_features))
    positive = concept > 0
    instances[positive] += centers[concept[positive] - 1]
    groups = None
    if n_groups is not None:
        # Dealing the bags class by class gives all groups the same share of each class.
        groups = np.empty(n_bags, dtype=np.int64)
        by_class = np.lexsort((rng.random_sample(n_bags), y))
        groups[by_class] = np.arange(n_bags) % n_groups
        shifts = group_shift * rng.standard_normal((n_groups, n_features))
        instances += shifts[groups[bag_of]]
    covariates = None
    if n_covariates:
        covariates = rng.standard_normal((n_bags, n_covariates)) + covariate_signal * y[:, None]

    X = BagArray(
        instances,
        offsets_of(sizes),
        groups=groups,
        covariates=covariates,
        instance_data={"label": (concept + n_concepts - 1) // n_concepts, "concept": concept},
    )
    return as_result(
        X,
        y,
        return_X_y,
        target_names=np.array([str(c) for c in range(n_classes)]),
        concept_centers=centers,
        DESCR=f"Synthetic bags under the {assumption} assumption; see make_mil_classification.",
    )


def _bag_labels(rng, n_bags, n_classes, weights):
    if weights is None:
        weights = np.full(n_classes, 1.0 / n_classes)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape == (n_classes - 1,):
        weights = np.append(weights, 1.0 - weights.sum())
    if weights.shape != (n_classes,) or np.any(weights < 0) or not np.isclose(weights.sum(), 1.0):
        raise ValueError(
            f"weights must be {n_classes} shares of at least 0 that add up to 1 (the last may be "
            f"left out). Got {weights!r}."
        )
    # Rounding the cumulated shares, not each share, makes the counts add up to n_bags.
    ends = np.rint(np.cumsum(weights) * n_bags).astype(np.int64)
    return rng.permutation(np.repeat(np.arange(n_classes), np.diff(ends, prepend=0)))


def _bag_sizes(rng, n_bags, bag_size, size_distribution):
    if not callable(bag_size):
        low, high = check_range(bag_size, "bag_size")
        return draw_counts(rng, low, high, n_bags, size_distribution)
    sizes = np.asarray(bag_size(rng, n_bags))
    if sizes.shape != (n_bags,) or sizes.dtype.kind not in "iu" or sizes.min() < 1:
        raise ValueError(
            f"The callable bag_size must return {n_bags} integers of at least 1. Got dtype "
            f"{sizes.dtype} and shape {sizes.shape}."
        )
    return sizes.astype(np.int64)


def _concepts(rng, y, sizes, rate, assumption, needed, n_concepts):
    """Concept of each instance, 0 for the background; positive instances come first in a bag."""
    count = rng.binomial(sizes, rate)
    if assumption == "standard":
        count = np.where(y > 0, np.maximum(count, 1), 0)
    elif assumption == "threshold":
        count = np.where(y > 0, np.maximum(count, needed), np.minimum(count, needed - 1))
    else:
        # A negative bag of one concept cannot have any without being positive.
        count = np.where(y > 0, np.maximum(count, needed), count if n_concepts > 1 else 0)
    bag_of = np.repeat(np.arange(len(y)), sizes)
    place = np.arange(len(bag_of)) - np.repeat(offsets_of(sizes)[:-1], sizes)
    which = rng.randint(n_concepts, size=len(bag_of))
    if assumption == "presence":
        which = np.where(place < n_concepts, place, which)
        negative = y[bag_of] == 0
        if n_concepts > 1:
            # Jumping over the bag's missing concept leaves the others equally likely.
            missing = rng.randint(n_concepts, size=len(y))[bag_of[negative]]
            other = rng.randint(n_concepts - 1, size=int(negative.sum()))
            which[negative] = other + (other >= missing)
    concept = which + 1 + n_concepts * np.maximum(y[bag_of] - 1, 0)
    return np.where(place < count[bag_of], concept, 0)


def _corners(rng, n_corners, n_dims):
    """Distinct corners of the hypercube [-1, 1]^n_dims."""
    seen = set()
    while len(seen) < n_corners:
        seen.add(tuple(rng.choice([-1, 1], size=n_dims).tolist()))
    # A set of tuples of integers has no order to rely on; sorting makes it repeatable.
    return rng.permutation(np.array(sorted(seen), dtype=np.float64).reshape(n_corners, n_dims))
