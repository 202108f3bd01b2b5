"""How little instances look like those that a detector was fitted on."""

from functools import partial

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.svm import OneClassSVM

from milkit.kernels._instance_kernels import instance_kernel
from milkit.utils._blocks import in_blocks

# Kernel entries that are held at a time, so few that they stay in the cache; rows in any case.
_BLOCK_ENTRIES, _BLOCK_ROWS = 1 << 18, 64
_METHODS = ("score_samples", "decision_function", "kneighbors")


def check_detector(detector):
    """Refuse what cannot say how outlying new instances are."""
    while isinstance(detector, Pipeline):
        detector = detector[-1]
    name = type(detector).__name__
    if hasattr(detector, "novelty") and not detector.novelty:
        raise ValueError(f"{name}(novelty=False) cannot score new instances. Use novelty=True.")
    if is_classifier(detector) or not any(hasattr(detector, method) for method in _METHODS):
        raise TypeError(
            f"estimator must be an outlier detector with score_samples or decision_function (less "
            f"is more outlying), or NearestNeighbors. Got {name}, which "
            + ("is a classifier." if is_classifier(detector) else "has neither.")
        )


def outlyingness(detector, instances, rows=None):
    """Score of each instance, or of some rows of them, shape (n_rows,); more is more outlying.

    Minus ``score_samples`` or else ``decision_function``; of NearestNeighbors the distance to the
    last of its ``n_neighbors`` neighbours.
    """
    return in_blocks(partial(_scores, detector), instances, rows)


def _scores(detector, instances):
    while isinstance(detector, Pipeline):
        if len(detector) > 1:
            instances = detector[:-1].transform(instances)
        detector = detector[-1]
    if type(detector) is OneClassSVM and detector.kernel in ("linear", "poly", "rbf", "sigmoid"):
        return -_one_class_svm(detector, instances)
    if hasattr(detector, "score_samples"):
        return -np.asarray(detector.score_samples(instances), dtype=np.float64)
    if hasattr(detector, "decision_function"):
        return -np.asarray(detector.decision_function(instances), dtype=np.float64)
    return np.asarray(detector.kneighbors(instances)[0][:, -1], dtype=np.float64)


def in_units_of(reference, detector, scores):
    """Scores of a detector as comparable with those of one that was fitted on more instances."""
    (level, scale), (new_level, new_scale) = _units(detector), _units(reference)
    return (scores - level) / scale * new_scale + new_level


def _units(detector):
    """A score that means the same for all detectors, and the scale of the scores.

    Those of OneClassSVM are sums over its support vectors and grow with the number of instances.
    """
    while isinstance(detector, Pipeline):
        detector = detector[-1]
    if type(detector) is OneClassSVM and detector.kernel == "rbf":
        # 0 is like none of them, which no score exceeds; the offset is the border of the normal.
        return 0.0, detector.offset_[0]
    if type(detector) is OneClassSVM:
        return -detector.offset_[0], np.sum(detector.dual_coef_)
    return 0.0, 1.0


def _one_class_svm(detector, instances):
    """``score_samples`` by products of matrices, many times as fast as libsvm's row by row."""
    vectors, coef = detector.support_vectors_, detector.dual_coef_[0]
    params = {"gamma": detector._gamma, "degree": detector.degree, "coef0": detector.coef0}
    scores = np.empty(len(instances))
    rows = max(_BLOCK_ROWS, _BLOCK_ENTRIES // len(coef))
    for start in range(0, len(instances), rows):
        block = slice(start, start + rows)
        part = np.asarray(instances[block], dtype=np.float64)
        scores[block] = instance_kernel(part, vectors, detector.kernel, **params) @ coef
    return scores
