"""What a fitted estimator says of each bag, as columns for a second classifier."""

import numpy as np
from sklearn.pipeline import Pipeline

from milkit.base import BagMixin
from milkit.inspection import predict_instances, score_instances
from milkit.utils._packing import offsets_of
from milkit.utils._segments import segment_quantile, segment_sort, segment_sum

BAG_FEATURES = ("probability", "decision", "rate", "count", "quantiles", "spread")
# Shares of the instances of a bag below the quantiles of their evidence.
QUANTILES = (0.5, 0.9, 1.0)
# Bags that a scale is read from at most: its mean and deviation are then known to some percent.
_SCALE_BAGS = 2000
_EVIDENCE = ("evidence_q50", "evidence_q90", "evidence_largest")


class BagFeatures:
    """The columns that one fitted estimator gives for bags.

    Decision values and evidence have another scale in each model, so they are put on that of the
    bags that the model was fitted on (of many, an even share): mean 0 and deviation 1.

    Parameters
    ----------
    estimator : fitted estimator
    X : BagArray of shape (n_bags,)
        The bags it was fitted on.
    kinds : sequence of str
        Some of ``BAG_FEATURES``; see :func:`chosen`.
    """

    def __init__(self, estimator, X, kinds):
        self.estimator, self.kinds = estimator, tuple(kinds)
        self.classes = estimator.classes_
        self.scales = {}
        X = X[:: -(-len(X) // _SCALE_BAGS)]
        if "decision" in kinds:
            self.scales["decision"] = _mean_and_deviation(_decisions(estimator, X))
        if "quantiles" in kinds:
            self.scales["quantiles"] = _mean_and_deviation(_evidence(estimator, X)[0])

    def names(self):
        """Names of the columns."""
        columns = [c for kind in self.kinds for c in (_EVIDENCE if kind == "quantiles" else [kind])]
        return [f"{column}_{label}" for column in columns for label in self._labels()]

    def __call__(self, X):
        """Columns for bags, shape (n_bags, n_columns)."""
        columns, X = {}, X.with_columns()  # gathered once for all of them
        if {"rate", "count"} & {*self.kinds}:  # instances are predicted once for both
            columns["count"] = self._count(X)
            columns["rate"] = columns["count"] / X.sizes[:, None]
        for kind in self.kinds:
            if kind not in columns:
                columns[kind] = getattr(self, f"_{kind}")(X)
        return np.hstack([columns[kind] for kind in self.kinds])

    def _labels(self):
        """Of two classes the second says all."""
        return self.classes[1:] if len(self.classes) == 2 else self.classes

    def _probability(self, X):
        return np.asarray(self.estimator.predict_proba(X))[:, -len(self._labels()) :]

    def _decision(self, X):
        mean, deviation = self.scales["decision"]
        return (_decisions(self.estimator, X) - mean) / deviation

    def _count(self, X):
        # An instance that a filter dropped has NaN, which is no label.
        labels = np.concatenate(predict_instances(self.estimator, X))
        votes = labels[:, None] == self._labels()
        return segment_sum(votes, offsets_of(X.sizes))

    def _quantiles(self, X):
        mean, deviation = self.scales["quantiles"]
        values, offsets = _evidence(self.estimator, X)
        ordered = segment_sort((values - mean) / deviation, offsets)
        return np.hstack([segment_quantile(ordered, offsets, q) for q in QUANTILES])

    def _spread(self, X):
        last, X = _last_step(self.estimator, X)
        _, spread = last.predict_proba_members(X, return_std=True)
        return spread[:, -len(self._labels()) :]


def offered(estimator, X):
    """Kinds of features that a fitted estimator gives.

    Parameters
    ----------
    estimator : fitted estimator
    X : BagArray of shape (n_bags,)
        Bags to try it on; the first is looked at.
    """
    one = X[:1]
    kinds = []
    if hasattr(estimator, "predict_proba"):
        kinds.append("probability")
    if hasattr(estimator, "decision_function"):
        kinds.append("decision")
    if _has_instances(predict_instances, estimator, one):
        kinds += ["rate", "count"]
    if _has_instances(score_instances, estimator, one):
        kinds.append("quantiles")
    last, _ = _last_step(estimator, one)
    if hasattr(last, "predict_proba_members") and getattr(last, "n_estimators", 1) > 1:
        kinds.append("spread")
    return kinds


def chosen(estimator, X, kinds):
    """The kinds to compute: those asked for, which must be given, or what "auto" is."""
    given = offered(estimator, X)
    if kinds == "auto":
        # A probability and a decision value say the same.
        return [k for k in given if k != "decision" or "probability" not in given]
    if absent := [kind for kind in kinds if kind not in given]:
        raise ValueError(
            f"bag_features={list(kinds)}, but {type(estimator).__name__} does not give {absent}. "
            f"It gives {given}."
        )
    return kinds


def _has_instances(function, estimator, X):
    try:
        function(estimator, X)
    except TypeError:  # what the walk raises where there are none
        return False
    return True


def _last_step(estimator, X):
    """The last step of a pipeline, also inside a search, and the bags as they come to it."""
    while not isinstance(estimator, BagMixin):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            break
    return estimator, X


def _decisions(estimator, X):
    values = np.asarray(estimator.decision_function(X), dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values


def _evidence(estimator, X):
    """Evidence of all instances that were not dropped, (n, n_columns), and its offsets."""
    values = np.concatenate(score_instances(estimator, X)).astype(np.float64, copy=False)
    values = values[:, None] if values.ndim == 1 else values
    kept = ~np.isnan(values).any(axis=1)
    sizes = segment_sum(kept, offsets_of(X.sizes)).astype(np.int64)
    return values[kept], offsets_of(sizes)


def _mean_and_deviation(values):
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    # What differs by rounding alone is constant.
    varies = deviation > 10 * np.finfo(np.float64).eps * np.abs(mean)
    return mean, np.where(varies, deviation, 1.0)
