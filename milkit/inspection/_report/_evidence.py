"""What a report says of instances: evidence, attention, order, unusual features."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_regressor

from milkit.inspection._occlusion import instance_occlusion
from milkit.inspection._reach import attention_weights, mean_of_members, score_instances
from milkit.inspection._report._units import OCCLUSION, Unit, kinds_of, unit_of_evidence
from milkit.utils._inside import inside, is_a, walk

__all__ = ["InstanceEvidence", "evidence_of_bags", "unusual_features"]

# Occlusion predicts each bag as often as it has instances: numbers that this may read, and bags.
_OCCLUDED_NUMBERS, _OCCLUDED_INSTANCES = 1e8, 1000
# Numbers that are converted at once for means and deviations.
_BLOCK = 2_000_000


@dataclass
class InstanceEvidence:
    """Evidence of the instances of one bag.

    ``columns`` has shape (n_i, n_outputs), a column for each class or one for a number, or is
    None; then ``reason`` says why. ``how`` is "model", "members", "first level" (of a fusion) or
    "occlusion".
    """

    columns: np.ndarray | None
    attention: np.ndarray | None
    how: str
    unit: Unit | None
    reason: str = ""

    def of(self, column):
        """Evidence for one output, (n_i,)."""
        return self.columns[:, column]

    def ranking(self, column):
        """Positions of the instances with finite evidence, the largest first; ties as they lie."""
        values = self.of(column)
        known = np.flatnonzero(np.isfinite(values))
        return known[np.argsort(-values[known], kind="stable")]


def evidence_of_bags(estimator, X, bags, n_classes):
    """Evidence for each bag, from the model, or from occlusion where the model gives none.

    Parameters
    ----------
    estimator : fitted estimator or list of such
    X : container of n_bags bags
        The bags as the user has them.
    bags : BagArray of shape (n_bags,)
        The same bags.
    n_classes : int or None
        None for regressors.

    Returns
    -------
    evidence : list of InstanceEvidence
    """
    attention = _attention(estimator, X) or [None] * len(bags)
    try:
        values = _over_list(estimator, lambda one: score_instances(one, X), n_classes)
    except TypeError as error:
        return [
            _occluded(estimator, X, bags, bag, n_classes, attention[bag], str(error))
            for bag in range(len(bags))
        ]
    how = "members" if any(_is_averaged(one) for one in walk(estimator)) else "model"
    if any(is_a(one, "ClinicalFusion") for one in walk(estimator)):
        how = "first level"
    unit = unit_of_evidence(estimator)
    return [InstanceEvidence(v, a, how, unit) for v, a in zip(values, attention, strict=True)]


def _is_averaged(estimator):
    """Is its evidence the mean over what is directly inside?"""
    averages = isinstance(estimator, (list, tuple)) or is_a(
        estimator, "CalibratedClassifierCV", "VotingClassifier", "VotingRegressor"
    )
    return averages and len(inside(estimator)) > 1


def _over_list(estimator, give, n_classes, shares=False):
    """Columns of numbers for each bag, the mean over the models of a list.

    Parameters
    ----------
    estimator : fitted estimator or list of such
    give : callable
        From an estimator to an array for each bag.
    n_classes : int or None
    shares : bool, default=False
        See ``mean_of_members``.

    Returns
    -------
    columns : list of ndarray of shape (n_i, n_columns)
    """
    models = estimator if isinstance(estimator, (list, tuple)) else [estimator]
    parts = [[_columns(values, n_classes) for values in give(one)] for one in models]
    return [mean_of_members(of_bag, shares=shares) for of_bag in zip(*parts, strict=True)]


def _columns(values, n_classes):
    values = np.asarray(values, dtype=float)
    if values.ndim == 2:
        return values
    return np.column_stack([-values, values]) if n_classes == 2 else values[:, None]


def _attention(estimator, X):
    """Attention of each instance, the mean over heads and members; None where there is none."""
    try:
        columns = _over_list(
            estimator, lambda one: _over_heads(attention_weights(one, X)), None, shares=True
        )
    except TypeError:
        return None
    return [of_bag[:, 0] for of_bag in columns]


def _over_heads(weights):
    return [of_bag if of_bag.ndim == 1 else of_bag.mean(axis=1) for of_bag in weights]


def _occluded(estimator, X, bags, bag, n_classes, attention, why):
    size = bags.sizes[bag]
    if size > _OCCLUDED_INSTANCES or float(size) ** 2 * bags.n_features > _OCCLUDED_NUMBERS:
        reason = f"{why} The bag is too large to be predicted again without each of its instances."
        return InstanceEvidence(None, attention, "occlusion", None, reason)
    one_bag = take(X, [bag])
    try:
        method = _decision_of(estimator)
        (columns,) = _over_list(
            estimator,
            lambda one: instance_occlusion(one, one_bag, response_method=method),
            n_classes,
        )
    except (TypeError, ValueError) as error:
        return InstanceEvidence(None, attention, "occlusion", None, f"{why} {error}")
    return InstanceEvidence(columns, attention, "occlusion", OCCLUSION[method])


def _decision_of(estimator):
    """The method whose fall is shown: one in which all models count in the same unit."""
    estimators = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
    if is_regressor(estimators[0]):
        return "predict"
    decides = [hasattr(one, "decision_function") for one in estimators]
    proba = [hasattr(one, "predict_proba") for one in estimators]
    if all(decides) and len({kinds_of(one) for one in estimators}) == 1:
        return "decision_function"
    if all(proba):
        return "predict_proba"
    if len(estimators) == 1:
        return "auto"  # whose message says what is missing
    if not all(np.logical_or(decides, proba)):
        raise TypeError(
            "Models of the list have no decision that could fall without an instance: each needs "
            "predict_proba, which a vote has with voting='soft', or decision_function."
        )
    raise TypeError(
        "The models of the list decide in different units, so that there is no mean of what "
        "their decisions lose: each needs predict_proba, or all have to be of one kind. Report on "
        "one of them at a time."
    )


def take(X, rows):
    """Some bags of a container, in a container of the same kind."""
    if hasattr(X, "iloc"):
        return X.iloc[rows]
    if isinstance(X, (list, tuple)):
        return [X[row] for row in rows]
    return X[np.asarray(rows, dtype=int)]


def unusual_features(bag, rows, n_features=3):
    """The features in which instances differ most from their bag.

    Parameters
    ----------
    bag : ndarray of shape (n, d)
    rows : ndarray of int, shape (k,)
    n_features : int

    Returns
    -------
    found : list of list of tuple
        For each row (feature, value, deviation), the largest deviation first. Deviations are from
        the mean of the bag, in standard deviations; None in a bag of one instance, where the first
        features are given.
    """
    if len(bag) < 2:
        return [
            [(j, float(bag[i, j]), None) for j in range(bag.shape[1])[:n_features]] for i in rows
        ]
    mean, deviation = _moments(bag)
    values = np.asarray(bag[rows], dtype=float)
    usable = np.isfinite(values) & (deviation > 0)
    z = np.divide(values - mean, deviation, out=np.zeros(values.shape), where=usable)
    chosen = np.argsort(-np.abs(z), axis=1, kind="stable")[:, :n_features]
    return [
        [(int(j), float(values[i, j]), float(z[i, j])) for j in chosen[i] if z[i, j] != 0]
        for i in range(len(rows))
    ]


def _moments(bag):
    """Mean and standard deviation of each feature, of what is finite."""
    mean, deviation = np.zeros(bag.shape[1]), np.zeros(bag.shape[1])
    step = max(1, _BLOCK // len(bag))
    for start in range(0, bag.shape[1], step):
        part = slice(start, start + step)
        values = np.asarray(bag[:, part], dtype=float)
        finite = np.isfinite(values)
        count = np.maximum(finite.sum(axis=0), 1)
        mean[part] = np.where(finite, values, 0).sum(axis=0) / count
        centred = np.where(finite, values - mean[part], 0)
        deviation[part] = np.sqrt((centred**2).sum(axis=0) / count)
    # What is constant but for rounding differs in nothing.
    return mean, np.where(deviation > 1e-12 * np.abs(mean), deviation, 0)
