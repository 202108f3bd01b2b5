"""Class weights that count bags."""

import numpy as np


def class_weight_per_bag(class_weight, classes, encoded, sides=None, sample_weight=None):
    """What each bag is multiplied by, shape (n_bags,).

    Parameters
    ----------
    class_weight : dict of label to float, "balanced" or None
    classes : ndarray of shape (n_classes,)
        The labels.
    encoded : ndarray of int, shape (n_bags,)
        Index of each bag's label.
    sides : ndarray of int or bool, shape (n_bags,), default=None
        What "balanced" balances; None is ``encoded``, for one-vs-rest it is the two sides.
    sample_weight : ndarray of shape (n_bags,), default=None
        How often each bag counts.
    """
    if class_weight is None:
        return np.ones(len(encoded))
    if isinstance(class_weight, str):
        sides = np.asarray(encoded if sides is None else sides, dtype=int)
        counts = np.bincount(sides, weights=sample_weight)
        present = counts > 0
        balanced = np.zeros(len(counts))
        balanced[present] = counts.sum() / (present.sum() * counts[present])
        return balanced[sides]
    known = classes.tolist()
    unknown = [label for label in class_weight if label not in known]
    missing = [label for label in known if label not in class_weight]
    if unknown and missing:  # a misspelt label; a class that this fold lacks is none
        raise ValueError(
            f"class_weight names {unknown}, which are no labels, and not {missing}; the labels are "
            f"{known}."
        )
    weights = np.array([float(class_weight.get(label, 1.0)) for label in known])
    if not np.all(np.isfinite(weights)) or np.any(weights < 0) or not np.any(weights > 0):
        raise ValueError(
            f"class_weight must be finite and not negative, nor all zero. Got {class_weight}."
        )
    return weights[encoded]
