"""Intervals for the result of any cross-validation."""

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state, column_or_1d

from milkit.metrics._bootstrap import check_resampling, prepare_metric, resample
from milkit.metrics._weighted import RANKING_METRICS, metric_name
from milkit.model_selection._groups import encode_groups, find_groups

__all__ = ["cross_val_interval"]

_LABELS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "roc_auc": "AUC",
    "average_precision": "average precision",
}


def cross_val_interval(
    cv_results,
    X,
    y,
    *,
    scoring=("accuracy", "roc_auc"),
    groups=None,
    group=None,
    n_resamples=2000,
    confidence_level=0.95,
    random_state=None,
):
    """Scores of a cross-validation with bootstrap intervals over patients.

    The fitted estimators predict their test folds again. For metrics of ranking two numbers
    are reported, because they answer different questions: the *mean per-fold* value
    compares only bags that were scored by the same model, the *pooled* value compares all
    bags, and so suffers where models of different folds score on different scales.

    Parameters
    ----------
    cv_results : dict
        What ``cross_validate(..., return_estimator=True, return_indices=True)`` returned,
        repeated or not.
    X : container of bags, n_bags long
        The bags of the cross-validation.
    y : array-like of shape (n_bags,)
        Their labels.
    scoring : sequence of str or callable, or one of them, default=("accuracy", "roc_auc")
        Any of "accuracy", "balanced_accuracy", "roc_auc", "average_precision", and
        callables ``metric(y_true, y_pred)`` that get predicted labels or values.
    groups : array-like of shape (n_bags,), default=None
        Groups of the bags, drawn whole. They must agree with those inside X. **If there are
        none at all, bags are drawn**, and where a patient has several the intervals are far
        too narrow: look at ``n_units`` of the table.
    group : str, default=None
        The column that holds the groups where X is a DataFrame with a column of arrays. In a
        DataFrame of numbers the column would be a feature, so that is refused.
    n_resamples : int, default=2000
        Number of resamples, the same for every metric.
    confidence_level : float, default=0.95
        Nominal coverage of the intervals.
    random_state : int, RandomState instance or None, default=None
        Seed of the resamples.

    Returns
    -------
    table : DataFrame of shape (n_rows, 5)
        Columns ``value``, ``low``, ``high``, ``n_undefined`` (resamples left out) and
        ``n_units``, the number of independent units that were resampled: groups, or bags if
        no groups were found. A row for every metric, averaged over folds, as scikit-learn
        does it: "accuracy". Two rows for metrics of ranking: "mean per-fold AUC" and "pooled
        AUC". Under repeated
        cross-validation pooled values are computed in each repetition and averaged, and a
        group that is drawn comes with all its appearances. Folds that do not test every bag
        once in each repetition, as those of shuffle splits, are no repetition: pooled values
        are then computed in each split and averaged, like the mean per-fold ones.

    Raises
    ------
    ValueError
        If ``cv_results`` has no estimators or indices, or a metric is unknown.

    Warns
    -----
    UndefinedMetricWarning
        If a metric is undefined in a fold, as the AUC of one patient is, or in more than
        5 % of the resamples.

    See Also
    --------
    bootstrap_interval : The same for given predictions; it says what the interval covers.

    References
    ----------
    .. [1] Efron, Tibshirani (1993). An introduction to the bootstrap, chapter 13.
    .. [2] Field, Welsh (2007). Bootstrapping clustered data. JRSS B 69, 369-390.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_validate
    >>> from sklearn.pipeline import make_pipeline
    >>> from milkit import BagArray, BagStatistics
    >>> from milkit.metrics import cross_val_interval
    >>> from milkit.model_selection import GroupedSplit
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(np.arange(20) % 2, 2)
    >>> bags = [rng.normal(label, 2, size=(5, 3)) for label in y]
    >>> X = BagArray.from_list(bags, groups=np.repeat(np.arange(20), 2))
    >>> results = cross_validate(
    ...     make_pipeline(BagStatistics(), LogisticRegression()), X, y, cv=GroupedSplit(4),
    ...     return_estimator=True, return_indices=True)
    >>> table = cross_val_interval(results, X, y, random_state=0)
    >>> list(table.index)
    ['accuracy', 'mean per-fold AUC', 'pooled AUC']
    >>> bool((table["low"] <= table["value"]).all())
    True
    """
    import pandas as pd

    check_resampling(n_resamples, confidence_level)
    scoring = [scoring] if isinstance(scoring, str) or callable(scoring) else list(scoring)
    names = [metric_name(metric) for metric in scoring]
    y = column_or_1d(y)
    estimators, tests = _folds(cv_results, len(y))
    groups = find_groups(X, groups, group=group)
    codes = np.arange(len(y)) if groups is None else encode_groups(groups)[0]
    rows = np.concatenate(tests)
    units = np.unique(codes[rows], return_inverse=True)[1]
    folds = np.split(np.arange(len(rows)), np.cumsum([len(test) for test in tests])[:-1])
    repetitions = _repetitions(tests, folds, len(y))
    bags = [_safe_indexing(X, test) for test in tests]
    labels = scores = None
    seed = check_random_state(random_state).randint(np.iinfo(np.int32).max)

    table = {}
    for metric, name in zip(scoring, names, strict=True):
        if name in RANKING_METRICS:
            if scores is None:
                classes = np.unique(y)
                pairs = zip(estimators, bags, strict=True)
                scores = np.concatenate([class_scores(e, X_test, classes) for e, X_test in pairs])
            prepared = prepare_metric(name, y[rows], scores)
            label = _LABELS[name]
            blocks = {f"mean per-fold {label}": folds, f"pooled {label}": repetitions}
        else:
            if labels is None:
                pairs = zip(estimators, bags, strict=True)
                labels = np.concatenate([e.predict(X_test) for e, X_test in pairs])
            prepared = prepare_metric(name or metric, y[rows], labels)
            blocks = {_LABELS.get(name) or getattr(metric, "__name__", repr(metric)): folds}
        for label, block in blocks.items():
            interval = resample(prepared, units, block, n_resamples, confidence_level, seed)
            table[label] = [interval.value, interval.low, interval.high, interval.n_undefined]
    frame = pd.DataFrame.from_dict(
        table, orient="index", columns=["value", "low", "high", "n_undefined"]
    )
    return frame.astype({"n_undefined": int}).assign(n_units=units.max() + 1)


def _folds(cv_results, n_bags):
    if not {"estimator", "indices"} <= set(cv_results):
        raise ValueError(
            "cv_results must hold the fitted estimators and the indices of the folds. Call "
            "cross_validate(..., return_estimator=True, return_indices=True). Got "
            f"{sorted(cv_results)} instead."
        )
    tests = [np.asarray(test) for test in cv_results["indices"]["test"]]
    if max(test.max() for test in tests) >= n_bags:
        raise ValueError(
            f"cv_results tests bag {max(test.max() for test in tests)}, but y has {n_bags} bags. "
            "Pass the X and y of the cross-validation."
        )
    return cv_results["estimator"], tests


def _repetitions(tests, folds, n_bags):
    """Consecutive folds that together test every bag once; without such, each fold itself."""
    repetitions, parts, tested = [], [], np.zeros(n_bags, dtype=int)
    for test, fold in zip(tests, folds, strict=True):
        np.add.at(tested, test, 1)
        parts.append(fold)
        if np.all(tested == 1):
            repetitions.append(np.concatenate(parts))
            parts, tested = [], np.zeros(n_bags, dtype=int)
    return repetitions if not parts else folds


def class_scores(estimator, X, classes):
    """Scores of ``classes[1]``, shape (n,), or with more classes of each, (n, n_classes)."""
    if hasattr(estimator, "predict_proba"):
        scores = np.asarray(estimator.predict_proba(X), dtype=float)
        full = np.zeros((len(scores), len(classes)))
    elif hasattr(estimator, "decision_function"):
        scores = np.asarray(estimator.decision_function(X), dtype=float)
        if scores.ndim == 1:
            scores = np.column_stack([-scores, scores])
        full = np.full((len(scores), len(classes)), scores.min() - 1)
    else:
        raise ValueError(
            f"{type(estimator).__name__} has neither predict_proba nor decision_function; metrics "
            "of ranking need scores. Use 'accuracy' or 'balanced_accuracy'."
        )
    known = np.asarray(estimator.classes_)
    # A class that this fold's training bags did not have scores lowest.
    full[:, np.searchsorted(classes, known)] = scores
    return full if len(classes) > 2 else full[:, -1]
