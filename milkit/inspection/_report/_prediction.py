"""What a report says of bags as wholes: predictions, and how far the members of a model agree."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_regressor
from sklearn.utils.validation import check_is_fitted

from milkit.inspection._classes import decides_pairs, refuse_multilabel
from milkit.utils._inside import is_a, voters_of, wrapped

__all__ = ["Prediction", "check_estimator", "largest", "predict_bags"]


@dataclass
class Prediction:
    """What a model says of several bags.

    ``kind`` is "probability", "decision", "votes" (shares of them), "label" (a vote of one) or
    "number". ``values`` has shape (n_bags, n_outputs): one output for each class, or a single one
    for numbers and for the decision between two classes. ``members`` is None or of shape
    (n_members, n_bags, n_outputs). ``says`` is the number of the class that each member says,
    (n_members, n_bags), or None where members say numbers, or nobody knows because the model has a
    threshold of its own. ``is_list`` is True for several models with a prediction each,
    ``threshold`` where one of scikit-learn's threshold classifiers makes labels of the outputs.
    """

    kind: str
    labels: np.ndarray
    values: np.ndarray
    classes: np.ndarray | None = None
    members: np.ndarray | None = None
    says: np.ndarray | None = None
    source: str = ""
    is_list: bool = False
    threshold: bool = False


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
        classes = getattr(one, "classes_", None)
        if isinstance(classes, list) and any(np.ndim(c) for c in classes):  # several labels
            refuse_multilabel(one, (1, len(classes)))
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
        if len(estimator) > 1:
            return _of_list(list(estimator), X)
        (estimator,) = estimator
    labels = _predicted(estimator, X)
    if is_regressor(estimator):
        members, _, source = _members(estimator, X, "number")
        return Prediction("number", labels, labels[:, None], None, members, None, source)
    classes = np.asarray(estimator.classes_)
    kind, values = _outputs(estimator, X, labels)
    members, says, source = _members(estimator, X, kind)
    if members is not None and members.shape[1:] != values.shape:
        members, says = None, None
    threshold = _has_threshold(estimator)
    return Prediction(kind, labels, values, classes, members, says, source, threshold=threshold)


def _of_list(estimators, X):
    predicted = np.stack([_predicted(one, X) for one in estimators])
    source = "models of the list"
    if is_regressor(estimators[0]):
        labels, members = predicted.mean(axis=0), predicted[:, :, None]
        kind, values, classes, says = "number", labels[:, None], None, None
    else:
        classes = np.asarray(estimators[0].classes_)
        votes = _votes(predicted, classes)
        outputs = [
            _outputs(one, X, labels) for one, labels in zip(estimators, predicted, strict=True)
        ]
        kind = outputs[0][0]
        if kind == "label" or len({kind for kind, _ in outputs}) > 1:
            kind, members = "votes", votes
        else:
            members = np.stack([values for _, values in outputs])
        values, says = members.mean(axis=0), votes.argmax(axis=2)
        labels = classes[_most(votes.sum(axis=0), values)]
    threshold = any(_has_threshold(one) for one in estimators)
    return Prediction(kind, labels, values, classes, members, says, source, True, threshold)


def _most(counts, values):
    """The class with most votes in each bag; of equal ones that with the larger number."""
    numbers = np.column_stack([-values, values]) if values.shape[1] == 1 else values
    return np.where(counts == counts.max(axis=1, keepdims=True), numbers, -np.inf).argmax(axis=1)


def largest(values):
    """The class that the outputs for one bag speak for."""
    return int(values[0] > 0) if len(values) == 1 else int(np.argmax(values))


def _predicted(estimator, X):
    """One label or number for each bag, (n_bags,)."""
    predicted = np.asarray(estimator.predict(X))
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if not is_regressor(estimator):
        refuse_multilabel(estimator, predicted.shape)
        return predicted
    if predicted.ndim > 1:
        raise TypeError(
            f"{type(estimator).__name__} was fitted on y of two dimensions and predicts "
            f"{predicted.shape[1]} numbers for each bag, but a report is on one. Pass a regressor "
            "that was fitted on one column of y."
        )
    return predicted.astype(float)


def _outputs(estimator, X, labels):
    """Probabilities where there are any, else decision values, else votes."""
    classes = np.asarray(estimator.classes_)
    for kind, method in [("probability", "predict_proba"), ("decision", "decision_function")]:
        if hasattr(estimator, method):
            values = np.asarray(getattr(estimator, method)(X), dtype=float)
            values = values if values.ndim == 2 else values[:, None]
            pairs = kind == "decision" and decides_pairs(estimator, values, labels)
            if values.shape[1] in (1, len(classes)) and not pairs:
                return kind, values
    inner, X = _innermost(estimator, X)
    if inside := voters_of(inner):
        votes = _votes(_voters_say(inside[0], X), np.arange(len(classes)))
        return "votes", np.average(votes, axis=0, weights=inside[1])
    return "label", _votes(labels, classes)


def _innermost(estimator, X):
    """The estimator behind wrappers and steps of pipelines, and the bags as it gets them."""
    while True:
        if (one := wrapped(estimator)) is not None:
            estimator = one
        elif hasattr(estimator, "steps"):
            for _, step in estimator.steps[:-1]:
                X = X if step is None or step == "passthrough" else step.transform(X)
            estimator = estimator.steps[-1][1]
        else:
            return estimator, X


def _has_threshold(estimator):
    """Does a threshold classifier, alone or inside, make the labels?"""
    if is_a(estimator, "FixedThresholdClassifier", "TunedThresholdClassifierCV"):
        return True
    one = estimator.steps[-1][1] if hasattr(estimator, "steps") else wrapped(estimator)
    return one is not None and _has_threshold(one)


def _votes(labels, classes):
    """1 for the class that a label names, along a last axis of length n_classes."""
    return (labels[..., None] == classes).astype(float)


def _voters_say(voters, X):
    """Numbers of classes, (n_voters, n_bags): voters are fitted on those."""
    return np.stack([_predicted(one, X) for one in voters])


def _members(estimator, X, kind):
    """What the members of an estimator say.

    Parameters
    ----------
    estimator : fitted estimator
    X : container of n_bags bags
    kind : str
        Of the estimator's own outputs.

    Returns
    -------
    members : ndarray of shape (n_members, n_bags, n_outputs) or None
    says : ndarray of shape (n_members, n_bags) or None
        See :class:`Prediction`.
    source : str
        What the members are.
    """
    threshold = _has_threshold(estimator)
    estimator, X = _innermost(estimator, X)
    members, says, source = None, None, ""
    inside = voters_of(estimator)
    if kind == "number" and hasattr(estimator, "_member_outputs"):
        members, source = estimator._member_outputs(X), "networks of the ensemble"
    elif kind == "probability" and hasattr(estimator, "predict_proba_members"):
        members, source = estimator.predict_proba_members(X), "networks of the ensemble"
    elif kind == "probability" and hasattr(estimator, "calibrated_classifiers_"):
        each = [member.predict_proba(X) for member in estimator.calibrated_classifiers_]
        members, source = np.stack(each), "calibrated members"
    elif inside and kind == "number":
        members, source = np.stack([_predicted(one, X) for one in inside[0]]), "voters"
    elif inside and kind in ("probability", "votes"):
        says, source = _voters_say(inside[0], X), "voters"
        if kind == "votes":
            members = _votes(says, np.arange(len(estimator.classes_)))
        else:
            members = np.stack([one.predict_proba(X) for one in inside[0]])
    if members is None or len(members) < 2:
        return None, None, ""
    members = np.asarray(members, dtype=float)
    members = members if members.ndim == 3 else members[:, :, None]
    if says is None and kind == "probability":
        says = members.argmax(axis=2)
    return members, None if threshold else says, source
