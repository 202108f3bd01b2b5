"""Fit a classifier on single instances without dividing bags or patients."""

import numpy as np
from sklearn.pipeline import Pipeline

from milkit.bags import BagArray
from milkit.base import BagMixin
from milkit.exceptions import BagShapeError
from milkit.utils._blocks import in_blocks
from milkit.utils._inner_fit import fit_inside, split_by_group, steps_of
from milkit.utils._inside import decision_source

_WITHOUT_WEIGHTS = (
    "Use a classifier that takes it, or no weights (InstanceVotingClassifier: weight='instance' "
    "without class_weight and sample_weight)."
)


def as_samples(classifier, instances):
    """Vectors as they are; tensors as bags of one instance each for an estimator on bags."""
    if instances.ndim == 2 or not _takes_bags(classifier):
        return instances
    return BagArray(instances, np.arange(len(instances) + 1))


def _takes_bags(estimator):
    """Is it, the first step of it, or what it wraps, an estimator on bags?"""
    if isinstance(estimator, Pipeline):
        _, estimator = next(steps_of(estimator))
    if isinstance(estimator, BagMixin):
        return True
    inside = [getattr(estimator, "estimator", None)]  # of CalibratedClassifierCV and its like
    inside += [member for _, member in getattr(estimator, "estimators", None) or []]
    return any(_takes_bags(member) for member in inside if member is not None)


def fit_on_instances(classifier, instances, y, *, groups, weight=None):
    """Fit the classifier in place, its own inner splits by group.

    Parameters
    ----------
    classifier : classifier
        A clone of the user's: it may be changed. Of a pipeline every step whose ``fit`` takes
        them gets weights and groups.
    instances : ndarray of shape (n_instances, ...)
    y : ndarray of int, shape (n_instances,)
        Numbers of the classes, which every classifier takes; all occur.
    groups : ndarray of shape (n_instances,)
        What an inner split must not divide; see :func:`milkit.utils._inner_fit.split_by_group`.
    weight : ndarray of shape (n_instances,), default=None
    """
    fit_params = split_by_group(classifier, y, groups)
    try:
        samples = as_samples(classifier, instances)
        return fit_inside(
            classifier, samples, y, weight=weight, instead=_WITHOUT_WEIGHTS, **fit_params
        )
    except ValueError as error:
        if "Found array with dim" not in str(error):
            raise
        raise BagShapeError(
            f"The instances have shape {instances.shape[1:]}, and {type(classifier).__name__} "
            "takes vectors. Use a classifier of milkit for images, such as "
            "AttentionMILClassifier, or InstanceTransformer(..., flatten=True) in front."
        ) from error


def instance_outputs(classifier, method, instances, rows=None):
    """What ``predict`` or another method gives for instances, or for some rows of them."""
    call = getattr(classifier, method)
    if instances.ndim == 2:
        return in_blocks(call, instances, rows)
    # A network cuts its batches itself.
    return np.asarray(call(as_samples(classifier, instances if rows is None else instances[rows])))


def instance_probabilities(classifier, instances, rows=None):
    """Probability of each class, shape (n_instances, n_classes)."""
    return instance_outputs(classifier, "predict_proba", instances, rows).astype(np.float64)


def instance_votes(classifier, instances, rows=None):
    """1 for the predicted class, shape (n_instances, n_classes)."""
    predicted = instance_outputs(classifier, "predict", instances, rows)
    return (predicted[:, None] == classifier.classes_).astype(np.float64)


def instance_evidence(classifier, instances, rows=None):
    """What the classifier says of each instance: probability, else decision, else its vote.

    Shape (n_instances,) for two classes, the evidence for the second, else (n_instances,
    n_classes).
    """
    if hasattr(classifier, "predict_proba"):
        evidence = instance_probabilities(classifier, instances, rows)
    elif hasattr(classifier, "decision_function") and not _is_pairwise(classifier):
        evidence = instance_outputs(classifier, "decision_function", instances, rows)
        evidence = evidence.astype(np.float64)
    else:
        evidence = instance_votes(classifier, instances, rows)
    return evidence[:, 1] if evidence.ndim == 2 and evidence.shape[1] == 2 else evidence


def _is_pairwise(classifier):
    """Is there a decision for each pair of classes, as of SVC(decision_function_shape="ovo")?"""
    pairwise = getattr(decision_source(classifier), "decision_function_shape", "ovr") == "ovo"
    return pairwise and len(classifier.classes_) > 2
