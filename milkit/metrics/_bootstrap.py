"""Percentile bootstrap intervals in which a patient's bags stay together."""

import warnings
from dataclasses import dataclass
from inspect import signature
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import type_of_target

from milkit.metrics._weighted import LABEL_METRICS, RANKING_METRICS, metric_name
from milkit.model_selection._groups import encode_groups

__all__ = ["BootstrapInterval", "bootstrap_interval"]

_CHUNK = 4_000_000  # entries of the weights in memory at a time, 32 MB
_MUCH_UNDEFINED = 0.05


@dataclass(frozen=True)
class BootstrapInterval:
    """A value and its bootstrap interval.

    Parameters
    ----------
    value : float
        The metric of the data as they are.
    low, high : float
        Ends of the interval.
    n_undefined : int
        Resamples in which the metric was undefined; they are left out.
    n_resamples : int
        Resamples drawn.
    confidence_level : float
        Nominal coverage.

    Examples
    --------
    >>> from milkit.metrics import BootstrapInterval
    >>> print(BootstrapInterval(0.812, 0.7, 0.9))
    0.812 [0.700, 0.900]
    """

    value: float
    low: float
    high: float
    n_undefined: int = 0
    n_resamples: int = 0
    confidence_level: float = 0.95

    def __str__(self):
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(
    metric,
    y_true,
    y_score,
    *,
    groups=None,
    folds=None,
    n_resamples=2000,
    confidence_level=0.95,
    random_state=None,
):
    """Bootstrap interval of a metric, groups resampled whole.

    Parameters
    ----------
    metric : {"accuracy", "balanced_accuracy", "roc_auc", "average_precision"} or callable
        A callable gets ``(y_true, y_score)``, and ``sample_weight`` if it takes it. The
        names are computed for all resamples at once and are much quicker.
    y_true : array-like of shape (n_bags,)
        Bag labels, or targets for a callable.
    y_score : array-like of shape (n_bags,) or (n_bags, n_classes)
        Predicted labels for the first two names. For the other two, scores of the greater
        label or, with more than two classes, of each class in sorted order (one against
        the rest, macro average).
    groups : array-like of shape (n_bags,), default=None
        Groups are drawn with replacement, and all bags of a group come along as often as
        it is drawn. None draws bags, which is right only if bags are independent.
    folds : array-like of shape (n_bags,), default=None
        Test fold of each bag; the metric is then computed in each fold and averaged. In a
        resample each fold has the weight (groups drawn in it) / (groups it holds), so that
        with one group in each fold this is the bootstrap of groups; folds without a defined
        value have weight 0.
    n_resamples : int, default=2000
        Number of resamples.
    confidence_level : float, default=0.95
        Nominal coverage of the interval, between 0 and 1.
    random_state : int, RandomState instance or None, default=None
        Seed of the resamples.

    Returns
    -------
    interval : BootstrapInterval
        With ``value``, ``low``, ``high`` and ``n_undefined``. ``value`` is NaN where the
        metric is undefined for the data, or in one of the folds.

    Raises
    ------
    ValueError
        If lengths differ, the metric is unknown or there are fewer than two groups.

    Warns
    -----
    UndefinedMetricWarning
        If the metric is undefined for the data, or in more than 5 % of the resamples.

    See Also
    --------
    cross_val_interval : The same for the result of a cross-validation.

    Notes
    -----
    The predictions are fixed: the interval says how much the score depends on the patients
    that were tested, not on those that were trained on. It is a percentile interval and
    tends to be short with fewer than about 30 groups.

    References
    ----------
    .. [1] Efron, Tibshirani (1993). An introduction to the bootstrap, chapter 13.
    .. [2] Field, Welsh (2007). Bootstrapping clustered data. JRSS B 69, 369-390.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.metrics import bootstrap_interval
    >>> rng = np.random.default_rng(0)
    >>> patient = np.repeat(np.arange(40), 3)
    >>> y = patient % 2
    >>> score = y + rng.normal(size=120)
    >>> print(bootstrap_interval("roc_auc", y, score, groups=patient, random_state=0))
    0.7... [0.6..., 0.8...]
    """
    y_true = column_or_1d(y_true)
    y_score = np.asarray(y_score)
    check_consistent_length(y_true, y_score, groups, folds)
    check_resampling(n_resamples, confidence_level)
    codes = np.arange(len(y_true)) if groups is None else encode_groups(groups)[0]
    if folds is None:
        blocks = [np.arange(len(y_true))]
    else:
        fold = np.unique(folds, return_inverse=True)[1]
        blocks = [np.flatnonzero(fold == k) for k in range(fold.max() + 1)]
    prepared = prepare_metric(metric, y_true, y_score)
    return resample(prepared, codes, blocks, n_resamples, confidence_level, random_state)


def check_resampling(n_resamples, confidence_level):
    """Check the two numbers that say how to resample."""
    if not isinstance(n_resamples, Integral) or isinstance(n_resamples, bool) or n_resamples < 1:
        raise ValueError(f"n_resamples must be an integer of at least 1. Got {n_resamples!r}.")
    if not isinstance(confidence_level, Real) or not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must be between 0 and 1. Got {confidence_level!r}.")


def prepare_metric(metric, y_true, y_score):
    """A function (rows, weights of shape (n_weightings, n_rows)) → (n_weightings,)."""
    name = metric_name(metric)
    if name is None:
        return _CallableMetric(metric, y_true, y_score)
    classes, y = np.unique(y_true, return_inverse=True)
    if name in LABEL_METRICS:
        function = LABEL_METRICS[name]
        if y_score.ndim != 1:
            raise ValueError(
                f"{name!r} needs predicted labels of shape (n_bags,). Got shape {y_score.shape} "
                "instead."
            )
        if y_score.dtype.kind == "f" and not np.all(np.isin(y_score, classes)):
            raise ValueError(
                f"{name!r} needs predicted labels, but y_score holds numbers that are no label, "
                f"such as {y_score[~np.isin(y_score, classes)][0]}. Pass estimator.predict(X)."
            )
        y_score = encode_labels(y_score, classes)
    else:
        function = RANKING_METRICS[name]
        expected = (len(y),) if len(classes) <= 2 else (len(y), len(classes))
        if y_score.shape != expected:
            raise ValueError(
                f"{name!r} with {len(classes)} classes needs scores of shape {expected}. Got shape "
                f"{y_score.shape} instead."
            )
        y_score = y_score.astype(float)
        if np.isnan(y_score).any():
            raise ValueError("y_score has NaN; every bag needs a score.")
    return lambda rows, weights: function(y[rows], y_score[rows], weights)


def encode_labels(labels, classes):
    """Position of each label in the sorted classes, -1 for a label that is none of them."""
    position = np.clip(np.searchsorted(classes, labels), 0, len(classes) - 1)
    return np.where(classes[position] == labels, position, -1)


class _CallableMetric:
    """Any metric, one weighting after the other."""

    def __init__(self, metric, y_true, y_score):
        self.metric = metric
        self.y_true = y_true
        self.y_score = y_score
        try:
            self.takes_weights = "sample_weight" in signature(metric).parameters
        except ValueError:  # a builtin without a signature
            self.takes_weights = False
        self.has_classes = not type_of_target(y_true).startswith("continuous")

    def __call__(self, rows, weights):
        return np.array([self._one(rows, w) for w in weights])

    def _one(self, rows, weight):
        if self.takes_weights:
            drawn = rows[weight > 0]
            params = {"sample_weight": weight[weight > 0]}
        else:
            drawn, params = np.repeat(rows, weight.astype(int)), {}
        if len(drawn) == 0:
            return np.nan
        y = self.y_true[drawn]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UndefinedMetricWarning)
                return float(self.metric(y, self.y_score[drawn], **params))
        except UndefinedMetricWarning:
            return np.nan
        except ValueError:
            # Some metrics raise where a class was not drawn; anything else is a real error.
            if self.has_classes and len(np.unique(y)) < len(np.unique(self.y_true)):
                return np.nan
            raise


def resample(metric, codes, blocks, n_resamples, confidence_level, random_state):
    """The interval of a metric averaged over blocks of rows, groups drawn with replacement."""
    n_groups = codes.max() + 1
    if n_groups < 2:
        raise ValueError("A bootstrap needs at least two groups. Got one.")
    rng = check_random_state(random_state)
    value = float(np.mean([metric(rows, np.ones((1, len(rows))))[0] for rows in blocks]))
    if np.isnan(value):
        where = "" if len(blocks) == 1 else f" in at least one of {len(blocks)} folds"
        warnings.warn(
            f"The metric is undefined{where}: a class has no bags there. Its value and interval "
            "are NaN.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
        return BootstrapInterval(np.nan, np.nan, np.nan, n_resamples, n_resamples, confidence_level)
    held_groups = [np.unique(codes[rows]) for rows in blocks]
    values = []
    step = max(1, _CHUNK // len(codes))
    for start in range(0, n_resamples, step):
        n = min(step, n_resamples - start)
        drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n)
        weights = drawn.astype(float)[:, codes]
        of_blocks = np.array([metric(rows, weights[:, rows]) for rows in blocks])
        share_drawn = np.array([drawn[:, held].mean(axis=1) for held in held_groups])
        values.append(_mean_of_defined(of_blocks, share_drawn))
    values = np.concatenate(values)
    defined = values[~np.isnan(values)]
    n_undefined = len(values) - len(defined)
    if n_undefined > _MUCH_UNDEFINED * n_resamples:
        warnings.warn(
            f"The metric was undefined in {n_undefined} of {n_resamples} resamples, which were "
            "left out: a class has too few groups for this interval.",
            UndefinedMetricWarning,
            stacklevel=3,
        )
    tail = (1 - confidence_level) / 2
    low, high = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
    return BootstrapInterval(
        value, float(low), float(high), n_undefined, n_resamples, confidence_level
    )


def _mean_of_defined(values, weights):
    known = ~np.isnan(values)
    weight = np.where(known, weights, 0).sum(axis=0)
    total = np.where(known, values * weights, 0).sum(axis=0)
    return np.divide(total, weight, out=np.full(len(total), np.nan), where=weight > 0)
