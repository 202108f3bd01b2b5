"""A permutation test of a cross-validated score that respects groups."""

import warnings
from copy import deepcopy

import numpy as np
from scipy.special import gammaln
from sklearn.base import clone, is_classifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import cross_val_score
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.parallel import Parallel, delayed

from milkit.bags import BagArray
from milkit.model_selection._grouped_split import GroupedSplit
from milkit.model_selection._groups import encode_groups, find_groups, show
from milkit.model_selection._strata import check_count

__all__ = ["group_permutation_test"]

_PREVALENCE_DEPENDENT = (
    "accuracy",
    "top_k_accuracy",
    "average_precision",
    "neg_log_loss",
    "neg_brier_score",
    *(
        f"{name}{average}"
        for name in ("f1", "precision", "jaccard")
        for average in ("", "_macro", "_micro", "_weighted")
    ),
    "recall_micro",
    "recall_weighted",
)


def group_permutation_test(
    estimator,
    X,
    y,
    *,
    groups=None,
    cv=None,
    scoring=None,
    n_permutations=100,
    n_jobs=None,
    random_state=None,
    verbose=0,
):
    """Test whether a cross-validated score is better than chance, patients whole.

    Like :func:`~sklearn.model_selection.permutation_test_score`, but labels are permuted
    *between groups*. Bags of one patient resemble each other and share a label; shuffling
    the bags' labels one by one destroys that, makes every permuted score look too much like
    chance and rejects far too often. Scikit-learn's function given ``groups=`` permutes labels
    *within* groups: with one label for each patient it changes nothing and never rejects.

    The null hypothesis is that labels are independent of the features *and of the number of
    bags* of a group. If the diseased have more samples, a score that depends on the share of
    the classes, such as accuracy, is better than chance for a model that always says
    "diseased". Balanced accuracy, AUC and scores of patients
    (:func:`~milkit.metrics.make_group_scorer`) hardly depend on it.

    Parameters
    ----------
    estimator : estimator on bags
        Cloned for every fit.
    X : container of bags, n_bags long
        A BagArray with groups needs no ``groups=``.
    y : array-like of shape (n_bags,)
        Bag labels. If the label is constant inside each group, the labels of the groups
        are permuted over all groups. If it varies inside a group, whole label vectors are
        exchanged between groups with the same number of bags.
    groups : array-like of shape (n_bags,), default=None
        Groups of the bags. They must agree with those inside X.
    cv : int, splitter or None, default=None
        A :class:`GroupedSplit`, or what it wraps; None is ``GroupedSplit(5)``.
    scoring : str, callable or None, default=None
        As in :func:`~sklearn.model_selection.cross_val_score`; greater is better. None is
        "balanced_accuracy" for classifiers, *not* their own score, which is the accuracy; for
        other estimators it is their own score.
    n_permutations : int, default=100
        Number of permutations. The smallest p-value is ``1 / (n_permutations + 1)``.
    n_jobs : int, default=None
        Number of permutations that run in parallel. The result does not depend on it, if
        estimator and ``cv`` are seeded.
    random_state : int, RandomState instance or None, default=None
        Seed of the permutations.
    verbose : int, default=0
        Verbosity of joblib.

    Returns
    -------
    score : float
        Mean score over the folds.
    permutation_scores : ndarray of shape (n_permutations,)
        The same with permuted labels.
    pvalue : float
        ``(C + 1) / (n_permutations + 1)`` with C permutations that score at least as well
        as the labels given. A permutation whose score is undefined counts as one of them.

    Raises
    ------
    GroupLeakageError
        If no groups are found.
    ValueError
        If the labels cannot be permuted between the groups, or the score is undefined.

    Warns
    -----
    UserWarning
        If the groups allow so few arrangements of the labels that the test can never
        reach 5 %; if the score depends on the share of the classes, and groups of one class
        have so many more bags that this share differs from its mean over the permutations by
        more than 1.5 standard deviations; or if permuted scores are undefined.

    References
    ----------
    .. [1] Ojala, Garriga (2010). Permutation tests for studying classifier performance.
       JMLR 11, 1833-1863. Test 1.
    .. [2] Winkler, Webster, Vidaurre, Nichols, Smith (2015). Multi-level block permutation.
       NeuroImage 123, 253-268.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from milkit.model_selection import group_permutation_test
    >>> rng = np.random.default_rng(0)
    >>> patient = np.repeat(np.arange(20), 3)
    >>> y = patient % 2
    >>> X = rng.normal(size=(60, 2)) + 2 * y[:, None]
    >>> score, permuted, pvalue = group_permutation_test(
    ...     LogisticRegression(), X, y, groups=patient, n_permutations=19, random_state=0)
    >>> print(f"{score:.2f} {permuted.mean():.1f} {pvalue:.2f}")
    0.93 0.5 0.05
    """
    check_count(n_permutations, "n_permutations", 1)
    cv = cv if isinstance(cv, GroupedSplit) else GroupedSplit(5 if cv is None else cv)
    y = column_or_1d(y)
    check_consistent_length(X, y)
    groups = find_groups(X, groups, group=cv.group, required=True)
    if isinstance(X, BagArray) and X.groups is None:
        X = X.with_columns(groups=groups)  # so that inner splits of the estimator see them
    shuffle, log_arrangements = _label_shuffler(y, encode_groups(groups)[0])
    if log_arrangements > np.log(1.5) and 1 / np.exp(log_arrangements) > 0.05:
        warnings.warn(
            f"The groups allow only {round(np.exp(log_arrangements))} arrangements of the labels; "
            "no p-value of 5 % or less means anything. Use more groups.",
            stacklevel=2,
        )
    if is_classifier(estimator):
        scoring = "balanced_accuracy" if scoring is None else scoring
        _warn_of_sizes(scoring, y, encode_groups(groups)[0])
    rng = check_random_state(random_state)
    score = _mean_score(clone(estimator), X, y, groups, cv, scoring)
    if np.isnan(score):
        raise ValueError(
            "The score is undefined (NaN): probably a fold has bags of one class only. Use fewer "
            "folds, a cv that stratifies, or a scoring that needs no second class."
        )
    permutation_scores = np.array(
        Parallel(n_jobs=n_jobs, verbose=verbose)(
            delayed(_mean_score)(clone(estimator), X, shuffle(rng), groups, cv, scoring)
            for _ in range(n_permutations)
        )
    )
    undefined = np.isnan(permutation_scores)
    if undefined.any():
        warnings.warn(
            f"The score is undefined (NaN) in {undefined.sum()} of {n_permutations} permutations; "
            "they count as better than the labels given. Use fewer folds.",
            stacklevel=2,
        )
    as_good = (permutation_scores >= score) | undefined
    return score, permutation_scores, (as_good.sum() + 1) / (n_permutations + 1)


def _mean_score(estimator, X, y, groups, cv, scoring):
    # The splits are made here, so that groups= need not be routed; by a copy, so that every
    # score has the same folds and workers agree where cv holds a RandomState.
    splits = list(deepcopy(cv).split(X, y, groups))
    with warnings.catch_warnings():
        # Balanced accuracy in a fold without one of the classes.
        warnings.filterwarnings("ignore", message="y_pred contains classes not in y_true")
        scores = cross_val_score(estimator, X, y, cv=splits, scoring=scoring, error_score="raise")
    return scores.mean()


def _warn_of_sizes(scoring, y, codes):
    """Tell if the score depends on the share of the classes and that on the sizes of groups."""
    if not _depends_on_prevalence(scoring):
        return
    classes, labels = np.unique(y, return_inverse=True)
    sizes = np.bincount(codes)
    first = np.unique(codes, return_index=True)[1]
    if np.any(labels != labels[first][codes]) or np.ptp(sizes) == 0:
        return  # only groups of equal size are exchanged: the share is the same in all
    n_groups, spread = len(sizes), sizes.std(ddof=1)
    for c, name in enumerate(classes):
        own = labels[first] == c
        n = own.sum()
        # Sum of the sizes of n groups drawn without replacement.
        deviation = spread * np.sqrt(n * (1 - n / n_groups))
        if abs(sizes[own].sum() - n * sizes.mean()) > 1.5 * deviation > 0:
            warnings.warn(
                f"Groups of class {show(name)} have {sizes[own].mean():.1f} bags on average, the "
                f"others {sizes[~own].mean():.1f}, and the score depends on the share of the "
                "classes, which the permutations change: a small p-value may mean no more than "
                "that. Use scoring='balanced_accuracy' or 'roc_auc', or score groups with "
                "make_group_scorer.",
                stacklevel=3,
            )
            return


def _depends_on_prevalence(scoring):
    """True for scorers known to; a callable of unknown kind is trusted."""
    if isinstance(scoring, str):
        return scoring in _PREVALENCE_DEPENDENT
    function = getattr(scoring, "_score_func", None)
    return any(function is get_scorer(name)._score_func for name in _PREVALENCE_DEPENDENT)


def _label_shuffler(y, codes):
    """A function rng → permuted y, and the log of the number of distinct arrangements."""
    labels = np.unique(y, return_inverse=True)[1]
    order = np.argsort(codes, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    if all(np.ptp(labels[m]) == 0 for m in members):
        first = np.array([m[0] for m in members])
        log_arrangements = _log_arrangements(labels[first])

        def shuffle(rng):
            return y[first[rng.permutation(len(first))][codes]]
    else:
        sizes = np.array([len(m) for m in members])
        blocks = [
            np.array([members[g] for g in np.flatnonzero(sizes == size)])
            for size in np.unique(sizes)
        ]
        log_arrangements = sum(_log_arrangements(labels[block]) for block in blocks)

        def shuffle(rng):
            permuted = y.copy()
            for block in blocks:
                permuted[block] = y[block[rng.permutation(len(block))]]
            return permuted

    if log_arrangements < np.log(1.5):
        if len(np.unique(labels)) < 2:
            raise ValueError(f"y has only one value, {y[0]!r}; there is nothing to permute.")
        raise ValueError(
            "The labels cannot be permuted between the groups. The label varies inside a group, so "
            "only whole label vectors of groups with the same number of bags may be exchanged, "
            f"and no two of the {len(members)} groups have as many bags and different labels. "
            "Use one label per group, or groups of equal size."
        )
    return shuffle, log_arrangements


def _log_arrangements(values):
    """Log of the number of distinct orders of the rows."""
    counts = np.unique(values, axis=0, return_counts=True)[1]
    return gammaln(counts.sum() + 1) - gammaln(counts + 1).sum()
