"""Classifiers that give more, or other, than one label for a bag and a decision for each class."""

import numpy as np

from milkit.utils._inside import decision_source

__all__ = ["decides_pairs", "refuse_multilabel"]


def decides_pairs(estimator, decisions, labels):
    """Is there a decision for each pair of classes, and not for each class?

    SVC(decision_function_shape="ovo") decides so, and three classes make three pairs: it is looked
    for inside pipelines, searches and wrappers. Where none is found, it is pairs if the label of
    every bag wins the most of them, and that of some bag has not the greatest decision; where all
    labels have both, these bags do not tell, and it is taken for one for each class.

    Parameters
    ----------
    estimator : fitted classifier
    decisions : ndarray of shape (n_bags,) or (n_bags, n_columns)
        What its ``decision_function`` gives.
    labels : ndarray of shape (n_bags,) or None
        What it predicts for the same bags; looked at only for three columns of three classes.

    Returns
    -------
    pairs : bool
    """
    classes = np.asarray(estimator.classes_)
    first, second = np.triu_indices(len(classes), k=1)
    if len(classes) < 3 or np.shape(decisions)[1:] != first.shape:
        return False
    if len(first) != len(classes):
        return True
    shape = getattr(decision_source(estimator), "decision_function_shape", None)
    if shape is not None:
        return shape == "ovo"
    decisions, labels = np.asarray(decisions), np.ravel(labels)
    winners = np.where(decisions > 0, first, second)
    wins = (winners[:, :, None] == np.arange(len(classes))).sum(axis=1)
    by_wins = _are_greatest(wins, labels, classes).all()
    return bool(by_wins and not _are_greatest(decisions, labels, classes).all())


def _are_greatest(values, labels, classes):
    """Has the column of the label the greatest value, shape (n_bags,)?"""
    greatest = values == values.max(axis=1, keepdims=True)
    return (greatest & (labels[:, None] == classes)).any(axis=1)


def refuse_multilabel(estimator, shape):
    """Refuse a classifier that gives several labels to each bag.

    Parameters
    ----------
    estimator : fitted classifier
    shape : tuple of int
        Shape of what it predicts: (n_bags,), or (n_bags, n_labels) if y had two dimensions.
    """
    if len(shape) > 1 and shape[1] != 1:
        raise TypeError(
            f"{type(estimator).__name__} was fitted on y of two dimensions and gives {shape[1]} "
            "labels to each bag, but milkit.inspection explains one. Pass a classifier that was "
            "fitted on y of shape (n_bags,), with the labels of one column."
        )
