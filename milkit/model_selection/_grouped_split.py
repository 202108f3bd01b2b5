"""GroupedSplit: cross-validation that keeps patients whole."""

from copy import deepcopy
from numbers import Integral

import numpy as np
from sklearn.model_selection import (
    BaseCrossValidator,
    GroupKFold,
    GroupShuffleSplit,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    StratifiedGroupKFold,
)
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import get_routing_for_object

from milkit.model_selection._groups import encode_groups, find_groups, refuse_features, refuse_leak
from milkit.model_selection._strata import check_count, clinical_strata, is_quantity, label_codes

__all__ = ["GroupedSplit"]

_WITHOUT_STRATA = (GroupKFold, GroupShuffleSplit, LeaveOneGroupOut, LeavePGroupsOut)


class GroupedSplit(BaseCrossValidator):
    """Cross-validation that keeps groups whole and finds them inside X.

    Scikit-learn passes ``groups`` to a splitter only at the outermost level, and only if
    the user remembers them; an inner search, ``StackingClassifier(cv=...)`` or
    ``CalibratedClassifierCV(cv=...)`` splits patients in two. This splitter reads the
    groups that travel with the bags, at every level, and raises where there are none.

    Parameters
    ----------
    cv : int or cross-validator, default=5
        An int is the number of folds of
        :class:`~sklearn.model_selection.StratifiedGroupKFold`. Any splitter that keeps
        groups whole may be given; every split is checked.
    strata : list of str, default=None
        Covariates to stratify on besides y; see :func:`clinical_strata`. Strata with
        fewer groups than there are folds are merged into the nearest one of the same
        label. The splitter must be one that stratifies.
    n_bins : int, default=2
        Number of bins of numerical covariates and of a y that is a target of regression.
    group : str, default=None
        The column that holds the groups where X is a DataFrame with a column of arrays. In a
        DataFrame of numbers every column is a feature, the groups as well, so that is
        refused; so are ``strata`` of one.
    n_repeats : int, default=1
        How many times to split. If more than once, each time with another shuffle.
    random_state : int, RandomState instance or None, default=None
        Seed of the repetitions, used only if ``n_repeats`` is more than 1. Otherwise the
        folds are those of ``cv``; shuffle them with
        ``GroupedSplit(StratifiedGroupKFold(5, shuffle=True, random_state=0))``.

    Raises
    ------
    ValueError
        If ``cv`` ignores groups, or ``strata`` are given and ``cv`` does not stratify, or
        it cannot be repeated. While splitting: if ``group`` or ``strata`` name a column that
        would be a feature.
    GroupLeakageError
        While splitting: if no groups are found, ``groups=`` contradicts those inside X, or
        a splitter puts bags of one group on both sides.

    See Also
    --------
    grouped_train_test_split : One split.
    group_permutation_test : Whether the score is better than chance.

    Notes
    -----
    Under metadata routing ``groups`` is requested and may be passed; it is not needed
    where the groups are inside X. Without y an int stratifies on the covariates only, if
    there are any. A y that is a target of regression is quantised, which means floats with
    more than two values, and integers with more than ``max(20, n_bags / 5)`` values; see
    :func:`clinical_strata`.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.model_selection import GroupedSplit
    >>> X = BagArray.from_list([np.ones((2, 3))] * 6, groups=["a", "a", "b", "c", "d", "d"])
    >>> y = [0, 0, 1, 0, 1, 1]
    >>> for train, test in GroupedSplit(2).split(X, y):
    ...     print(X[train].groups, X[test].groups)
    ['c' 'd' 'd'] ['a' 'a' 'b']
    ['a' 'a' 'b'] ['c' 'd' 'd']
    """

    __metadata_request__split = {"groups": True}

    def __init__(self, cv=5, *, strata=None, n_bins=2, group=None, n_repeats=1, random_state=None):
        _check_splitter(cv)
        check_count(n_bins, "n_bins", 2)
        check_count(n_repeats, "n_repeats", 1)
        if strata is not None and isinstance(cv, _WITHOUT_STRATA):
            raise ValueError(
                f"strata={strata!r} are given, but {type(cv).__name__} does not stratify. Use an "
                "int or StratifiedGroupKFold as cv, or drop strata."
            )
        if isinstance(strata, str):
            raise TypeError(f"strata must be a list of covariate names. Got {strata!r} instead.")
        if n_repeats > 1 and not isinstance(cv, Integral) and not hasattr(cv, "random_state"):
            raise ValueError(
                f"n_repeats={n_repeats}, but {type(cv).__name__} has no random_state: every "
                "repetition would be the same."
            )
        self.cv = cv
        self.strata = strata
        self.n_bins = n_bins
        self.group = group
        self.n_repeats = n_repeats
        self.random_state = random_state

    @property
    def shuffle(self):
        """bool : Whether two calls of ``split`` may differ; scikit-learn's halving asks."""
        if self.n_repeats > 1:
            return not isinstance(self.random_state, Integral)
        if isinstance(self.cv, Integral) or not hasattr(self.cv, "random_state"):
            return False
        return getattr(self.cv, "shuffle", True) and not isinstance(self.cv.random_state, Integral)

    def split(self, X, y=None, groups=None):
        """Generate indices of training and test bags.

        Parameters
        ----------
        X : container of bags, n_bags long
            A BagArray with groups needs no ``groups=``.
        y : array-like of shape (n_bags,), default=None
            Bag labels.
        groups : array-like of shape (n_bags,), default=None
            Groups of the bags. They must agree with those inside X.

        Yields
        ------
        train : ndarray of int, shape (n_training_bags,)
            Training bags.
        test : ndarray of int, shape (n_test_bags,)
            Test bags; none of their groups is among the training bags.

        Raises
        ------
        GroupLeakageError
            If no groups are found, ``groups=`` contradicts those inside X, or the splitter
            puts bags of one group on both sides.
        ValueError
            If a group is missing, or there are fewer groups than folds.
        """
        groups = find_groups(X, groups, group=self.group, required=True)
        codes, names = encode_groups(groups)
        target = self._target(X, y, groups)
        for splitter in self._splitters():
            for train, test in splitter.split(X, target, groups):
                refuse_leak(train, test, codes, names, splitter)
                yield train, test

    def get_n_splits(self, X=None, y=None, groups=None):
        """Number of splits.

        Parameters
        ----------
        X : container of bags, default=None
            Needed where the number depends on the groups, as in LeaveOneGroupOut.
        y : array-like of shape (n_bags,), default=None
            Bag labels.
        groups : array-like of shape (n_bags,), default=None
            Groups of the bags.

        Returns
        -------
        n_splits : int
            Over all repetitions.
        """
        splitter = self._splitter()
        if X is not None:
            depends = not hasattr(splitter, "n_splits")
            groups = find_groups(X, groups, group=self.group, required=depends)
        return splitter.get_n_splits(X, y, groups) * self.n_repeats

    def _splitter(self):
        return StratifiedGroupKFold(self.cv) if isinstance(self.cv, Integral) else self.cv

    def _splitters(self):
        if self.n_repeats == 1:
            yield self._splitter()
            return
        rng = check_random_state(self.random_state)
        for _ in range(self.n_repeats):
            splitter = deepcopy(self._splitter())
            splitter.random_state = rng.randint(np.iinfo(np.int32).max)
            if hasattr(splitter, "shuffle"):
                splitter.shuffle = True
            yield splitter

    def _target(self, X, y, groups):
        """What the wrapped splitter stratifies on."""
        splitter = self._splitter()
        if self.strata is not None:
            refuse_features(X, self.strata, "strata")
            return clinical_strata(
                X,
                y,
                self.strata,
                n_bins=self.n_bins,
                groups=groups,
                min_groups=splitter.get_n_splits(X, y, groups),
            )
        if isinstance(splitter, StratifiedGroupKFold):
            if y is None:
                return np.zeros(len(groups), dtype=int)
            if is_quantity(y):
                return label_codes(y, self.n_bins)
        return y


def _check_splitter(cv):
    if isinstance(cv, Integral) and not isinstance(cv, bool):
        check_count(cv, "cv", 2)
        return
    if not hasattr(cv, "split") or isinstance(cv, str):
        raise ValueError(
            "cv must be an integer of at least 2 or a splitter that keeps groups whole, such as "
            f"StratifiedGroupKFold. Got {cv!r} instead."
        )
    # Splitters from elsewhere are trusted here, because few declare what they request; each of
    # their splits is checked.
    if type(cv).__module__.startswith("sklearn."):
        requests = get_routing_for_object(cv).split.requests
        if requests.get("groups") is not True:
            name = type(cv).__name__
            instead = (
                "GroupShuffleSplit"
                if "ShuffleSplit" in name
                else "LeaveOneGroupOut"
                if name.startswith("Leave")
                else "StratifiedGroupKFold"
                if "Stratified" in name
                else "GroupKFold or StratifiedGroupKFold"
            )
            repeat = " with GroupedSplit(n_repeats=...)" if "Repeated" in name else ""
            raise ValueError(
                f"{name} ignores groups and would split a patient's bags. Use {instead}{repeat} "
                "instead."
            )
