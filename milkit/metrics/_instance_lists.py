"""Labels and scores of instances, given as one array for each bag, checked and packed."""

from typing import NamedTuple

import numpy as np

from milkit.bags import BagArray
from milkit.exceptions import BagShapeError, describe_bag
from milkit.utils._columns import first_missing, read_column
from milkit.utils._packing import numbers, offsets_of, refuse_masked, to_array

NOT_ANNOTATED = -1


class AnnotatedInstances(NamedTuple):
    """The instances with a label, flat: their bag, whether they are positive, their score."""

    bag: np.ndarray
    positive: np.ndarray
    scores: np.ndarray
    n_bags: int


def read_instances(y_true, y_score, pos_label):
    """The annotated instances of two lists with one array for each bag."""
    wanted = check_pos_label(pos_label)
    labels, sizes = pack_labels(y_true)
    scores = _pack_scores(y_score, sizes)
    if len(labels) and (labels.dtype.kind == "U") != (wanted.dtype.kind == "U"):
        raise ValueError(
            f"pos_label is {pos_label!r}, but the labels in y_true are of another type, such as "
            f"{labels[0].item()!r}. Name a label as y_true spells it."
        )
    bag = np.repeat(np.arange(len(sizes)), sizes)
    positive = np.isin(labels, wanted)
    if labels.dtype.kind != "U":
        annotated = labels != NOT_ANNOTATED
        bag, positive, scores = bag[annotated], positive[annotated], scores[annotated]
    return AnnotatedInstances(bag, positive, scores, len(sizes))


def check_pos_label(pos_label):
    """The labels that count as positive as an array of shape (n_positive_labels,)."""
    several = isinstance(pos_label, (list, tuple, set, frozenset, range, np.ndarray))
    wanted = read_column(list(pos_label) if several and np.ndim(pos_label) else [pos_label])
    if wanted.ndim != 1 or len(wanted) == 0 or wanted.dtype.kind not in "biufU":
        raise ValueError(
            "pos_label must be one label or a list of labels of one type, numbers or strings. Got "
            f"{pos_label!r} instead."
        )
    if first_missing(wanted) is not None:
        raise ValueError(f"pos_label holds a missing value, {pos_label!r}; name a label instead.")
    if wanted.dtype.kind != "U" and np.any(wanted == NOT_ANNOTATED):
        raise ValueError(
            f"pos_label is {pos_label!r}, but -1 marks instances that are not annotated, which are "
            "ignored. Name another label, or give this one another number in y_true."
        )
    return wanted


def pack_labels(y_true, names=None):
    """The labels of all bags behind each other, and the sizes of the bags."""
    parts = [
        _labels_of(part, describe_bag(i, names))
        for i, part in enumerate(_parts(y_true, "y_true", "labels"))
    ]
    sizes = np.array([len(part) for part in parts])
    filled = np.flatnonzero(sizes)
    for i in filled:
        if (parts[i].dtype.kind == "U") != (parts[filled[0]].dtype.kind == "U"):
            raise ValueError(
                f"{describe_bag(i, names)} has labels such as {parts[i][0].item()!r}, but bag "
                f"{filled[0]} such as {parts[filled[0]][0].item()!r}; all must be numbers, or all "
                "strings."
            )
    labels = np.concatenate([parts[i] for i in filled]) if len(filled) else np.empty(0, int)
    if labels.dtype.kind == "f":
        with np.errstate(invalid="ignore"):  # inf % 1
            broken = labels % 1 != 0
        if np.any(broken):
            instance = int(np.argmax(broken))
            raise ValueError(
                f"{describe_bag(_bag_of(instance, sizes), names)} has the label "
                f"{labels[instance]}, but labels are whole numbers or strings. Pass labels first "
                "and scores second."
            )
    return labels, sizes


def _labels_of(part, what):
    refuse_masked(part, f"y_true of {what}")
    labels = to_array(part, f"y_true of {what}")
    if labels.ndim != 1:
        raise BagShapeError(
            f"{what} has labels of shape {labels.shape}; give one label for each instance, of "
            "shape (n_instances,)."
        )
    if labels.dtype.kind in "OU":
        labels = read_column(part)
    if labels.dtype.kind in "Of" and (i := first_missing(labels)) is not None:
        raise ValueError(
            f"{what} has a missing label, {labels[i]}, at instance {i}. Write -1 for an instance "
            "that is not annotated."
        )
    if labels.dtype.kind == "O":
        labels = read_column(labels.tolist())  # as numpy reads what the objects are
    if labels.dtype.kind not in "biufU":
        raise ValueError(
            f"{what} has labels of dtype {labels.dtype}; all must be numbers, or all strings."
        )
    return labels


def _pack_scores(y_score, sizes):
    given = _parts(y_score, "y_score", "scores")
    if len(given) != len(sizes):
        raise ValueError(
            f"y_true has {len(sizes)} bags and y_score has {len(given)}; both must be of the same "
            "bags, in the same order."
        )
    parts = []
    for i, (part, size) in enumerate(zip(given, sizes, strict=True)):
        refuse_masked(part, f"y_score of {describe_bag(i)}")
        scores = numbers(to_array(part, f"y_score of {describe_bag(i)}"), describe_bag(i))
        if scores.ndim != 1:
            raise BagShapeError(
                f"{describe_bag(i)} has scores of shape {scores.shape}; an instance needs one "
                "score. Take the column of one class, [s[:, k] for s in y_score], or the mean over "
                "heads, [s.mean(axis=1) for s in y_score]."
            )
        if len(scores) != size:
            raise BagShapeError(
                f"{describe_bag(i)} has {size} labels in y_true and {len(scores)} scores in "
                "y_score; there must be one of each for every instance. Take "
                "milkit.inspection.score_instances, which is aligned with the bags that it is "
                "given, whatever a filter drops."
            )
        parts.append(scores)
    scores = np.concatenate(parts)
    missing = np.bincount(np.repeat(np.arange(len(sizes)), sizes), np.isnan(scores), len(sizes))
    if np.any(broken := (missing == sizes) & (sizes > 0)):
        raise ValueError(
            f"{describe_bag(int(np.argmax(broken)))} has NaN for all scores. NaN marks an instance "
            "that a filter dropped, and filters leave at least one in a bag; look why the "
            "estimator gave NaN."
        )
    return scores


def _parts(values, name, what):
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        values = list(values)
    hint = f"cut them with milkit.base.split_by_bag({what}, X), where X holds the bags."
    if not isinstance(values, (list, tuple)):
        shape = f" of shape {values.shape}" if isinstance(values, np.ndarray) else ""
        if isinstance(values, BagArray):
            hint = (
                "labels travel in X.instance_data; cut them with "
                "milkit.base.split_by_bag(X.instance_data['label'], X)."
            )
        raise TypeError(
            f"{name} must be a list with one 1-D array of {what} for each bag. Got "
            f"{type(values).__name__}{shape} instead; {hint}"
        )
    if len(values) == 0:
        raise ValueError(f"{name} has no bags; pass one 1-D array of {what} for each bag.")
    if all(isinstance(value, str) or np.ndim(value) == 0 for value in values):
        raise TypeError(
            f"{name} must be a list with one 1-D array of {what} for each bag. Got one flat list "
            f"instead; {hint}"
        )
    return values


def _bag_of(instance, sizes):
    """The bag that an instance of the packed arrays lies in."""
    return int(np.searchsorted(offsets_of(sizes), instance, side="right")) - 1
