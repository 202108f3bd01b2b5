"""Metrics of one set of predictions under many weightings at once.

Each function gets classes ``y`` as integers, of shape (n,), predictions, and ``weights`` of
shape (n_weightings, n), and returns shape (n_weightings,), NaN where undefined. With the
weights of one row they equal scikit-learn's metric with that ``sample_weight``.
"""

import numpy as np
from sklearn import metrics


def accuracy(y, predicted, weights):
    """Share of the weight on rightly predicted bags."""
    return _divide(weights @ (y == predicted), weights.sum(axis=1))


def balanced_accuracy(y, predicted, weights):
    """Mean recall over the classes in y."""
    recalls = [
        _divide(weights[:, y == c] @ (predicted[y == c] == c), weights[:, y == c].sum(axis=1))
        for c in np.unique(y)
    ]
    return np.mean(recalls, axis=0)


def roc_auc(y, scores, weights):
    """Share of the pairs of a positive and a negative bag that are ordered rightly."""
    return _over_classes(_binary_roc_auc, y, scores, weights)


def average_precision(y, scores, weights):
    """Mean precision over the positive bags in falling order of their scores."""
    return _over_classes(_binary_average_precision, y, scores, weights)


def _over_classes(function, y, scores, weights):
    if scores.ndim == 1:
        return function(y == 1, scores, weights)
    # One against the rest, macro average.
    columns = range(scores.shape[1])
    return np.mean([function(y == c, scores[:, c], weights) for c in columns], axis=0)


def _weight_per_score(positive, scores, weights):
    """Positive and negative weight at each distinct score, rising."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    ordered, positive = weights[:, order], positive[order]
    of_positives = np.add.reduceat(ordered * positive, starts, axis=1)
    of_negatives = np.add.reduceat(ordered * ~positive, starts, axis=1)
    return of_positives, of_negatives


def _binary_roc_auc(positive, scores, weights):
    p, n = _weight_per_score(positive, scores, weights)
    below = np.cumsum(n, axis=1) - n
    return _divide((p * (below + n / 2)).sum(axis=1), p.sum(axis=1) * n.sum(axis=1))


def _binary_average_precision(positive, scores, weights):
    p, n = (side[:, ::-1] for side in _weight_per_score(positive, scores, weights))
    true = np.cumsum(p, axis=1)
    precision = _divide(true, true + np.cumsum(n, axis=1))
    return _divide((p * np.where(p > 0, precision, 0)).sum(axis=1), p.sum(axis=1))


def _divide(numerator, denominator):
    numerator = np.asarray(numerator, dtype=float)
    out = np.full(numerator.shape, np.nan)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


LABEL_METRICS = {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}
RANKING_METRICS = {"roc_auc": roc_auc, "average_precision": average_precision}
NAMES = {
    metrics.accuracy_score: "accuracy",
    metrics.balanced_accuracy_score: "balanced_accuracy",
    metrics.roc_auc_score: "roc_auc",
    metrics.average_precision_score: "average_precision",
}


def metric_name(metric):
    """The name of a metric known here, None for any other callable; refuses the rest."""
    if isinstance(metric, str):
        known = [*LABEL_METRICS, *RANKING_METRICS]
        if metric not in known:
            raise ValueError(
                f"Unknown metric {metric!r}; known by name are {known}. Pass a callable "
                "metric(y_true, y_score) for any other."
            )
        return metric
    if not callable(metric):
        raise TypeError(f"A metric must be a name or a callable. Got {metric!r} instead.")
    return NAMES.get(metric)
