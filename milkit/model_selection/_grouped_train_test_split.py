"""One split into training and test bags that keeps patients whole."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length, check_random_state, column_or_1d

from milkit.model_selection._groups import (
    encode_groups,
    find_groups,
    groups_per_level,
    refuse_features,
    show,
)
from milkit.model_selection._strata import clinical_strata, is_quantity, label_codes

__all__ = ["grouped_train_test_split"]

_N_DRAWS = 200


def grouped_train_test_split(
    X,
    y,
    *arrays,
    test_size=0.25,
    groups=None,
    group=None,
    strata=None,
    n_bins=2,
    random_state=None,
):
    """Split bags into training and test bags, patients whole and labels in proportion.

    Parameters
    ----------
    X : container of bags, n_bags long
        A BagArray with groups needs no ``groups=``.
    y : array-like of shape (n_bags,) or None
        Bag labels. A target of regression (floats with more than two values, or integers
        with more than ``max(20, n_bags / 5)``) is quantised into ``n_bins``.
    *arrays : sequences, each n_bags long
        More to split in the same way.
    test_size : float or int, default=0.25
        Share (or number) of bags in the test set, met to about half a group's bags.
    groups : array-like of shape (n_bags,), default=None
        Groups of the bags. They must agree with those inside X.
    group : str, default=None
        The column that holds the groups where X is a DataFrame with a column of arrays. In a
        DataFrame of numbers the column would be a feature, so that is refused.
    strata : list of str, default=None
        Covariates to balance besides y; see :func:`clinical_strata`.
    n_bins : int, default=2
        Number of bins of numerical covariates.
    random_state : int, RandomState instance or None, default=None
        Seed of the split.

    Returns
    -------
    splitting : list, length 2 * number of inputs
        ``X_train, X_test, y_train, y_test, ...``, each in its original order. Without y
        there are no parts of y.

    Raises
    ------
    GroupLeakageError
        If no groups are found, or ``groups=`` contradicts those inside X.
    ValueError
        If there is one group only, a class would be missing from a side, or ``group`` or
        ``strata`` name a column that would be a feature.

    See Also
    --------
    GroupedSplit : Cross-validation, which says how much one split's score is worth.

    Notes
    -----
    200 random orders of the groups are drawn. In each, the groups of a stratum are spread
    evenly (systematic sampling), so that every beginning of the order is nearly in
    proportion; it is cut where the numbers of test bags per stratum and in all are
    nearest to ``test_size`` and every class is on both sides. Of the cuts that miss the
    number of test bags by at most half a mean group, and that of each stratum by at most
    half its largest group, one is taken at random (if there are none, one of those that are
    nearest to it). Taking the best cut instead would always test the same patients of a rare
    class and never the others.

    One split tests few patients, and its score depends on which. For a score to report, use
    ``GroupedSplit(5, n_repeats=10, random_state=0)``.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.model_selection import grouped_train_test_split
    >>> X = BagArray.from_list([np.ones((2, 3))] * 12, groups=np.repeat(np.arange(6), 2))
    >>> y = np.repeat([0, 0, 0, 1, 1, 1], 2)
    >>> X_train, X_test, y_train, y_test = grouped_train_test_split(
    ...     X, y, test_size=1 / 3, random_state=0)
    >>> np.intersect1d(X_train.groups, X_test.groups)
    array([], dtype=int64)
    >>> y_train.mean(), y_test.mean()
    (np.float64(0.5), np.float64(0.5))
    """
    check_consistent_length(X, y, *arrays)
    groups = find_groups(X, groups, group=group, required=True)
    codes, names = encode_groups(groups)
    if len(names) < 2:
        raise ValueError(
            f"All bags belong to one group, {show(names[0])}; at least two groups are needed "
            "to split them."
        )
    share = _test_share(test_size, len(groups))
    classes, labels = _classes(y, codes, names)
    if strata is not None:
        refuse_features(X, strata, "strata")
        cells = clinical_strata(X, y, strata, n_bins=n_bins, groups=groups, min_groups=2)
    else:
        cells = np.zeros(len(groups), dtype=int) if y is None else label_codes(y, n_bins)
    in_test = _draw_groups(codes, cells, labels, share, check_random_state(random_state))
    if in_test is None:
        raise ValueError(
            f"No split was found that leaves each of the classes {classes.tolist()} on both sides "
            f"with test_size={test_size!r}. Take a larger test_size, or merge rare classes."
        )
    test = np.flatnonzero(in_test[codes])
    train = np.flatnonzero(~in_test[codes])
    inputs = [X, *([] if y is None else [y]), *arrays]
    return [_safe_indexing(a, side) for a in inputs for side in (train, test)]


def _test_share(test_size, n_bags):
    if isinstance(test_size, Integral) and not isinstance(test_size, bool):
        if 0 < test_size < n_bags:
            return test_size / n_bags
    elif isinstance(test_size, Real) and not isinstance(test_size, bool) and 0 < test_size < 1:
        return float(test_size)
    raise ValueError(
        "test_size must be a share between 0 and 1 or a number of bags between 1 and "
        f"{n_bags - 1}. Got {test_size!r} instead."
    )


def _classes(y, codes, names):
    """The classes that both sides need and their numbers; none without classes."""
    if y is None or is_quantity(y):
        return np.array([]), np.zeros(len(codes), dtype=int)
    classes, labels = np.unique(column_or_1d(y), return_inverse=True)
    spread = groups_per_level(labels, codes, len(classes))
    if len(classes) > 1 and np.any(spread == 1):
        rare = int(np.argmax(spread == 1))
        name = names[codes[labels == rare][0]]
        raise ValueError(
            f"Class {show(classes[rare])} occurs in one group only, {show(name)}, so it would be "
            "missing from the training or the test set. Drop or merge the class, or use more "
            "groups."
        )
    return classes, labels


def _table(codes, levels):
    """Number of bags of each group at each level, shape (n_groups, n_levels)."""
    table = np.zeros((codes.max() + 1, levels.max() + 1))
    np.add.at(table, (codes, levels), 1)
    return table


def _draw_groups(codes, cells, labels, share, rng):
    """Which groups are tested, or None if every draw loses a class."""
    by_cell, by_class = _table(codes, cells), _table(codes, labels)
    cell_total, class_total = by_cell.sum(axis=0), by_class.sum(axis=0)
    main_cell = by_cell.argmax(axis=1)
    # Whole groups cannot meet a number of bags better than this.
    cell_grain, grain = by_cell.max(axis=0) / 2, len(codes) / len(by_cell) / 2
    drawn, excesses = [], []
    for draw in range(_N_DRAWS):
        # Every second draw holds one group of each rare stratum for either side.
        order = _systematic_order(main_cell, share, rng, keep_rare=draw % 2 == 1)
        cells_tested = by_cell[order].cumsum(axis=0)[:-1]
        classes_tested = by_class[order].cumsum(axis=0)[:-1]
        cell_error = np.abs(cells_tested - share * cell_total)
        error = np.abs(cells_tested.sum(axis=1) - share * len(codes))
        cost = cell_error.sum(axis=1) + error
        lost = (classes_tested == 0) | (classes_tested == class_total)
        cost[lost.any(axis=1) & (len(class_total) > 1)] = np.inf
        cut = int(cost.argmin())
        if np.isfinite(cost[cut]):
            drawn.append(order[: cut + 1])
            excess = np.maximum(cell_error[cut] - cell_grain, 0).sum()
            excesses.append(excess + max(error[cut] - grain, 0))
    if not drawn:
        return None
    # The best draw alone would test some patients never; any that is about as good may be it.
    least = min(excesses)
    good = np.flatnonzero(np.array(excesses) <= (least + grain if least > 0 else 0))
    in_test = np.zeros(len(main_cell), dtype=bool)
    in_test[drawn[good[rng.randint(len(good))]]] = True
    return in_test


def _systematic_order(main_cell, share, rng, *, keep_rare):
    shuffled = rng.permutation(len(main_cell))
    position = np.empty(len(main_cell))
    for cell in np.unique(main_cell):
        members = shuffled[main_cell[shuffled] == cell]
        n = len(members)
        position[members] = (np.arange(n) + rng.uniform()) / n
        if keep_rare and n > 1:
            if n * share < 1:
                position[members[0]] = 0
            if n * (1 - share) < 1:
                position[members[-1]] = 1
    return np.argsort(position, kind="stable")
