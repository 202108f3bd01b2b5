"""One prediction for each group from those of its bags."""

import numpy as np
from sklearn.utils import check_consistent_length

from milkit.model_selection._groups import encode_groups, show

__all__ = ["group_predictions"]

AVERAGES = ("mean", "median", "max")


def group_predictions(y_score, groups, *, average="mean"):
    """Average the bags' scores of each group.

    Parameters
    ----------
    y_score : array-like of shape (n_bags,) or (n_bags, n_classes)
        Scores of the bags, such as probabilities.
    groups : array-like of shape (n_bags,)
        Group of each bag, such as the patient.
    average : {"mean", "median", "max"}, default="mean"
        How the scores of one group's bags are put together, class by class.

    Returns
    -------
    names : ndarray of shape (n_groups,)
        The groups, in the order in which they first appear.
    scores : ndarray of shape (n_groups,) or (n_groups, n_classes)
        The score of each group.

    Raises
    ------
    ValueError
        If lengths differ, ``average`` is unknown or a group is missing.

    Examples
    --------
    >>> from milkit.metrics import group_predictions
    >>> group_predictions([0.2, 0.4, 0.9], ["ann", "ann", "bob"])
    (array(['ann', 'bob'], dtype='<U3'), array([0.3, 0.9]))
    """
    check_average(average)
    y_score = np.asarray(y_score, dtype=float)
    check_consistent_length(y_score, groups)
    codes, names = encode_groups(groups)
    return names, average_by_group(y_score, codes, average)


def check_average(average):
    """Refuse an unknown average."""
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {list(AVERAGES)}. Got {average!r} instead.")


def average_by_group(values, codes, average):
    """The average over the rows of each group, shape (n_groups, ...)."""
    order = np.argsort(codes, kind="stable")
    parts = np.split(values[order], np.cumsum(np.bincount(codes))[:-1])
    function = {"mean": np.mean, "median": np.median, "max": np.max}[average]
    return np.array([function(part, axis=0) for part in parts])


def label_by_group(y, codes, names):
    """The one label of each group; an error if there are several."""
    first = np.full(len(names), -1)
    first[codes[::-1]] = np.arange(len(y))[::-1]
    labels = y[first]
    differs = y != labels[codes]
    if np.any(differs):
        bag = int(np.argmax(differs))
        raise ValueError(
            f"Group {show(names[codes[bag]])} has bags with different labels, "
            f"{show(labels[codes[bag]])} and {show(y[bag])}; a score per group needs one label for "
            "each group. Score the bags instead, or take finer groups."
        )
    return labels
