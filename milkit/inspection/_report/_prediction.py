"""What a report says of bags as wholes: predictions, and how far the members of a model agree."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin

__all__ = ["Prediction", "check_estimator", "members_of", "predict_bags"]

# Wrappers that hold one fitted estimator, and where.
_SINGLE = ("best_estimator_", "estimator_")


@dataclass
class Prediction:
    """What a model says of several bags.

    ``kind`` is "probability", "decision", "votes" (shares of them), "label" (a vote of one) or
    "number". ``values`` has shape (n_bags, n_outputs): one output for each class, or a single one
    for numbers and for the decision between two classes. ``members`` is None or of shape
    (n_members, n_bags, n_outputs).
    """

    kind: str
    labels: np.ndarray
    values: np.ndarray
    classes: np.ndarray | None = None
    members: np.ndarray | None = None
    source: str = "members of the ensemble"


def check_estimator(estimator):
    """Refuse what is no fitted estimator, or no list of ones that know the same classes."""
    if isinstance(estimator, dict) and "estimator" in estimator:
        raise TypeError(
            "estimator is what cross_validate returned. Pass the list of fitted estimators in it, "
            "result['estimator']."
        )
    several = isinstance(estimator, (list, tuple))
    if several and not len(estimator):
        raise ValueError("estimator is an empty list; at least one fitted estimator is needed.")
    for i, one in enumerate(estimator if several else [estimator]):
        where = f"estimator[{i}]" if several else "estimator"
        if isinstance(one, type) or not (hasattr(one, "predict") and hasattr(one, "fit")):
            raise TypeError(
                f"{where} must be a fitted estimator that predicts, such as MISVM().fit(X, y), or "
                f"a list of such. Got {one!r} instead."
            )
        check_is_fitted(one)
    if several:
        _refuse_mixtures(estimator)


def _refuse_mixtures(estimators):
    if len({is_regressor(one) for one in estimators}) > 1:
        raise ValueError("The list of estimators holds classifiers and regressors.")
    if not is_regressor(estimators[0]):
        known = [np.asarray(one.classes_).tolist() for one in estimators]
        if any(classes != known[0] for classes in known):
            raise ValueError(
                "The estimators of the list must know the same classes. Got "
                f"{known[0]} and {next(c for c in known if c != known[0])}."
            )


def members_of(estimator):
    """The estimators that a report averages itself, with their weights; or None.

    Lists of estimators, and the members of VotingClassifier and VotingRegressor.
    """
    if isinstance(estimator, (list, tuple)):
        return list(estimator), None
    if not {"VotingClassifier", "VotingRegressor"} & {c.__name__ for c in type(estimator).__mro__}:
        return None
    weights = estimator.weights
    if weights is not None:
        named = zip(estimator.estimators, weights, strict=True)
        weights = [weight for (_, one), weight in named if one != "drop"]
    return list(estimator.estimators_), weights


def predict_bags(estimator, X):
    """Predictions for bags, and those of the members where there are several.

    Parameters
    ----------
    estimator : fitted estimator or list of such
    X : container of n_bags bags

    Returns
    -------
    prediction : Prediction
    """
    if isinstance(estimator, (list, tuple)):
        return _of_list(list(estimator), X)
    if is_regressor(estimator):
        values = np.asarray(estimator.predict(X), dtype=float)
        values = values.reshape(len(values), -1)
        members, source = _members(estimator, X, "number")
        return Prediction("number", values[:, 0], values, None, members, source)
    classes = np.asarray(estimator.classes_)
    kind, values = _outputs(estimator, X, classes)
    members, source = _members(estimator, X, kind)
    if members is not None and members.shape[1:] != values.shape:
        members = None
    return Prediction(kind, np.asarray(estimator.predict(X)), values, classes, members, source)


def _of_list(estimators, X):
    if is_regressor(estimators[0]):
        members = np.stack([np.asarray(one.predict(X), dtype=float) for one in estimators])
        members = members.reshape(*members.shape[:2], -1)
        values = members.mean(axis=0)
        labels, kind, classes = values[:, 0], "number", None
    else:
        classes = np.asarray(estimators[0].classes_)
        outputs = [_outputs(one, X, classes) for one in estimators]
        kind = outputs[0][0]
        if kind == "label" or len({kind for kind, _ in outputs}) > 1:
            kind, members = "votes", _labels(estimators, X, classes)
        else:
            members = np.stack([values for _, values in outputs])
        values = members.mean(axis=0)
        chosen = (values[:, 0] > 0).astype(int) if values.shape[1] == 1 else values.argmax(axis=1)
        labels = classes[chosen]
    if len(estimators) == 1:
        members = None
    return Prediction(kind, labels, values, classes, members, "models of the list")


def _outputs(estimator, X, classes):
    """Probabilities where there are any, else decision values, else the label itself."""
    for kind, method in [("probability", "predict_proba"), ("decision", "decision_function")]:
        if hasattr(estimator, method):
            values = np.asarray(getattr(estimator, method)(X), dtype=float)
            values = values if values.ndim == 2 else values[:, None]
            if values.shape[1] in (1, len(classes)):  # not one for each pair of classes
                return kind, values
    return _votes(estimator, X, classes)


def _votes(estimator, X, classes):
    if getattr(estimator, "voting", None) == "hard":
        estimators, weights = members_of(estimator)
        votes = _labels(estimators, X, np.arange(len(classes)))
        return "votes", np.average(votes, axis=0, weights=weights)
    return "label", _labels([estimator], X, classes)[0]


def _labels(estimators, X, classes):
    """1 for the label that each estimator gives, (n_estimators, n_bags, n_classes)."""
    labels = np.stack([np.asarray(one.predict(X)) for one in estimators])
    return (labels[:, :, None] == classes).astype(float)


def _members(estimator, X, kind):
    """Outputs of each member, (n_members, n_bags, n_outputs), and what the members are."""
    nothing = None, ""
    if hasattr(estimator, "steps"):
        for _, step in estimator.steps[:-1]:
            X = X if step is None or step == "passthrough" else step.transform(X)
        return _members(estimator.steps[-1][1], X, kind)
    for name in _SINGLE:
        # What is inside one of milkit's own sees other bags.
        if hasattr(estimator, name) and not isinstance(estimator, BagMixin):
            return _members(getattr(estimator, name), X, kind)
    if type(estimator).__name__ == "FrozenEstimator":
        return _members(estimator.estimator, X, kind)
    members, source = nothing
    if kind == "number" and hasattr(estimator, "_member_outputs"):
        members, source = estimator._member_outputs(X), "networks of the ensemble"
    elif kind == "probability" and hasattr(estimator, "predict_proba_members"):
        members, source = estimator.predict_proba_members(X), "networks of the ensemble"
    elif kind == "probability" and hasattr(estimator, "calibrated_classifiers_"):
        each = [member.predict_proba(X) for member in estimator.calibrated_classifiers_]
        members, source = np.stack(each), "calibrated members"
    elif (inside := members_of(estimator)) and kind in ("probability", "number"):
        method = "predict_proba" if kind == "probability" else "predict"
        each = [np.asarray(getattr(one, method)(X), dtype=float) for one in inside[0]]
        members, source = np.stack(each), "voters"
    elif inside and kind == "votes":
        known = np.arange(len(estimator.classes_))
        members, source = _labels(inside[0], X, known), "voters"
    if members is None or len(members) < 2:
        return nothing
    members = np.asarray(members, dtype=float)
    return members if members.ndim == 3 else members[:, :, None], source
