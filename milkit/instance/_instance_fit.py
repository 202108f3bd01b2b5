"""Fit a classifier on single instances without dividing bags or patients."""

from numbers import Integral

import numpy as np
from sklearn import config_context
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from milkit.bags import BagArray
from milkit.base import BagMixin
from milkit.exceptions import BagShapeError


def as_samples(classifier, instances):
    """Vectors as they are; tensors as bags of one instance each for an estimator on bags."""
    if instances.ndim == 2 or not _takes_bags(classifier):
        return instances
    return BagArray(instances, np.arange(len(instances) + 1))


def _takes_bags(estimator):
    """Is it, the first step of it, or what it wraps, an estimator on bags?"""
    if isinstance(estimator, Pipeline):
        _, estimator = next(_steps(estimator))
    if isinstance(estimator, BagMixin):
        return True
    inside = [getattr(estimator, "estimator", None)]  # of CalibratedClassifierCV and its like
    inside += [member for _, member in getattr(estimator, "estimators", None) or []]
    return any(_takes_bags(member) for member in inside if member is not None)


def fit_on_instances(classifier, instances, y, *, weight=None, groups=None):
    """Fit the classifier in place, its own inner splits by group.

    Parameters
    ----------
    classifier : classifier
        A clone of the user's: it may be changed. Of a pipeline every step whose ``fit`` takes
        them gets weights and groups.
    instances : ndarray of shape (n_instances, ...)
    y : ndarray of shape (n_instances,)
        Labels.
    weight : ndarray of shape (n_instances,), default=None
    groups : ndarray of shape (n_instances,)
        What an inner split must not divide. Where ``cv`` of a step is None or a number, they
        decide the folds.
    """
    steps = dict(_steps(classifier))
    fit_params = {}
    if weight is not None:
        takers = [name for name, step in steps.items() if has_fit_parameter(step, "sample_weight")]
        last = list(steps)[-1]
        if last not in takers:
            raise ValueError(
                f"{type(steps[last]).__name__}.fit takes no sample_weight, so that instances "
                "cannot be weighted. Use a classifier that takes it, or no weights "
                "(InstanceVotingClassifier: weight='instance' without class_weight and "
                "sample_weight)."
            )
        fit_params |= {(name, "sample_weight"): weight for name in takers}
    for name, step in steps.items():
        if has_fit_parameter(step, "groups"):
            fit_params[name, "groups"] = groups
        elif hasattr(step, "cv") and isinstance(step.cv, (Integral, type(None))):
            n_folds = min(step.cv or 5, len(np.unique(groups)))
            if n_folds < 2:
                raise ValueError(
                    f"{type(step).__name__} needs instances of at least two groups for its folds, "
                    "and got one group. Pass bags of more groups, or a classifier without folds."
                )
            step.set_params(cv=list(StratifiedGroupKFold(n_folds).split(y, y, groups)))
    fit_params = {f"{name}{key}": value for (name, key), value in fit_params.items()}
    try:
        # Under routing each step, and what it wraps, would have to request the weights.
        with config_context(enable_metadata_routing=False):
            return classifier.fit(as_samples(classifier, instances), y, **fit_params)
    except ValueError as error:
        if "Found array with dim" not in str(error):
            raise
        raise BagShapeError(
            f"The instances have shape {instances.shape[1:]}, and {type(classifier).__name__} "
            "takes vectors. Use a classifier of milkit for images, such as "
            "AttentionMILClassifier, or InstanceTransformer(..., flatten=True) in front."
        ) from error


def _steps(classifier, prefix=""):
    """Pairs of the prefix of its parameters and step, for a pipeline and pipelines in it."""
    if not isinstance(classifier, Pipeline):
        yield prefix, classifier
        return
    for name, step in classifier.steps:
        if step is not None and step != "passthrough":
            yield from _steps(step, f"{prefix}{name}__")


def instance_probabilities(classifier, instances):
    """Probability of each class, shape (n_instances, n_classes)."""
    return np.asarray(classifier.predict_proba(as_samples(classifier, instances)), dtype=np.float64)


def instance_votes(classifier, instances):
    """1 for the predicted class, shape (n_instances, n_classes)."""
    predicted = classifier.predict(as_samples(classifier, instances))
    return (np.asarray(predicted)[:, None] == classifier.classes_).astype(np.float64)


def instance_evidence(classifier, instances):
    """What the classifier says of each instance: probability, else decision, else its vote.

    Shape (n_instances,) for two classes, the evidence for the second, else (n_instances,
    n_classes).
    """
    if hasattr(classifier, "predict_proba"):
        evidence = instance_probabilities(classifier, instances)
    elif hasattr(classifier, "decision_function"):
        evidence = classifier.decision_function(as_samples(classifier, instances))
        evidence = np.asarray(evidence, dtype=np.float64)
    else:
        evidence = instance_votes(classifier, instances)
    return evidence[:, 1] if evidence.ndim == 2 and evidence.shape[1] == 2 else evidence
