"""How well instances are ranked, judged by instances whose labels are known."""

import warnings
from numbers import Integral

import numpy as np
from sklearn.exceptions import UndefinedMetricWarning

from milkit.metrics._instance_lists import read_instances
from milkit.metrics._tie_blocks import (
    average_precision,
    has_both_kinds,
    hit_probability,
    roc_auc,
    tie_blocks,
)

__all__ = ["instance_average_precision_score", "instance_roc_auc_score", "key_instance_hit_rate"]

AVERAGES = ("macro", "pooled", None)


def instance_roc_auc_score(y_true, y_score, *, pos_label=1, average="macro"):
    """Area under the ROC curve of the instances.

    In one bag it is the share of the pairs of a positive and a negative instance in which the
    positive one has the higher score; equal scores count half.

    Parameters
    ----------
    y_true : list of array-like, each of shape (n_i,)
        Labels of the instances, one array for each bag: numbers or strings. -1 marks an instance
        that is not annotated; it is ignored.
    y_score : list of array-like, each of shape (n_i,)
        Scores, higher for positive instances, as :func:`milkit.inspection.score_instances` gives
        them. NaN marks an instance that a filter dropped: it ranks below all others.
    pos_label : int, str or list of them, default=1
        The label, or the labels, that count as positive. All others are negative.
    average : {"macro", "pooled", None}, default="macro"
        "macro" is the mean over the bags that have annotated instances of both kinds. "pooled"
        ranks the instances of all bags together, which needs scores with one scale for all bags:
        evidence of ``MISVM`` and of voting has one, that of a network with attention only among
        bags of like size, and attention weights never. None gives the value of each bag.

    Returns
    -------
    score : float or ndarray of shape (n_bags,)
        An array for ``average=None``, with NaN for bags without both kinds.

    Raises
    ------
    TypeError
        If an argument is one flat array.
    ValueError
        If bags or their sizes differ (the bag is named), a label is missing, or ``pos_label`` or
        ``average`` is not possible.

    Warns
    -----
    UndefinedMetricWarning
        If no bag, or for "pooled" all of them together, has both kinds. The score is NaN.

    See Also
    --------
    instance_average_precision_score : Better where positive instances are few.
    key_instance_hit_rate : Looks at the first instances only.
    make_instance_scorer : The same as a scorer, for cross-validation and searches.

    Examples
    --------
    >>> from milkit.metrics import instance_roc_auc_score
    >>> y_true = [[0, 0, 1], [1, 0, -1, 1], [0, 0]]
    >>> y_score = [[0.1, 0.3, 0.7], [0.2, 0.6, 0.9, 0.8], [0.5, 0.4]]
    >>> instance_roc_auc_score(y_true, y_score)
    0.75
    >>> instance_roc_auc_score(y_true, y_score, average=None)
    array([1. , 0.5, nan])
    """
    return _score(roc_auc, "ROC AUC", y_true, y_score, pos_label, average)


def instance_average_precision_score(y_true, y_score, *, pos_label=1, average="macro"):
    """Average precision of the instances.

    In one bag it is the mean over the positive instances of the share of positives among the
    instances with at least their score.

    Parameters
    ----------
    y_true : list of array-like, each of shape (n_i,)
        Labels of the instances, one array for each bag: numbers or strings. -1 marks an instance
        that is not annotated; it is ignored.
    y_score : list of array-like, each of shape (n_i,)
        Scores, higher for positive instances, as :func:`milkit.inspection.score_instances` gives
        them. NaN marks an instance that a filter dropped: it ranks below all others.
    pos_label : int, str or list of them, default=1
        The label, or the labels, that count as positive. All others are negative.
    average : {"macro", "pooled", None}, default="macro"
        As in :func:`instance_roc_auc_score`: "pooled" needs one scale for all bags, which
        attention weights never have.

    Returns
    -------
    score : float or ndarray of shape (n_bags,)
        An array for ``average=None``, with NaN for bags without both kinds. At random it is about
        the share of positives, so that it tells bags with many from bags with few.

    Raises
    ------
    TypeError
        If an argument is one flat array.
    ValueError
        If bags or their sizes differ (the bag is named), a label is missing, or ``pos_label`` or
        ``average`` is not possible.

    Warns
    -----
    UndefinedMetricWarning
        If no bag, or for "pooled" all of them together, has both kinds. The score is NaN.

    See Also
    --------
    instance_roc_auc_score : 0.5 at random, whatever the share of positives.

    Examples
    --------
    >>> from milkit.metrics import instance_average_precision_score
    >>> y_true = [[0, 0, 1], [1, 0, 0, 1]]
    >>> y_score = [[0.1, 0.3, 0.7], [0.2, 0.6, 0.1, 0.8]]
    >>> instance_average_precision_score(y_true, y_score, average=None)
    array([1.   , 0.833...])
    """
    name = "Average precision"
    return _score(average_precision, name, y_true, y_score, pos_label, average)


def key_instance_hit_rate(y_true, y_score, *, k=1, pos_label=1):
    """Share of the bags whose k highest-scored instances contain a positive one.

    Parameters
    ----------
    y_true : list of array-like, each of shape (n_i,)
        Labels of the instances, one array for each bag: numbers or strings. -1 marks an instance
        that is not annotated; it is ignored, also among the first k.
    y_score : list of array-like, each of shape (n_i,)
        Scores, higher for positive instances: evidence or attention weights. NaN marks an
        instance that a filter dropped: it ranks below all others.
    k : int, default=1
        How many instances of each bag are looked at. Of a smaller bag it is all.
    pos_label : int, str or list of them, default=1
        The label, or the labels, that count as positive. All others are negative.

    Returns
    -------
    rate : float
        Over the bags with at least one positive instance. Where equal scores leave open which
        instances are the first k, the bag counts with the probability of a hit if they are
        ordered at random.

    Raises
    ------
    TypeError
        If ``y_true`` or ``y_score`` is one flat array.
    ValueError
        If bags or their sizes differ (the bag is named), a label is missing, or ``pos_label`` or
        ``k`` is not possible.

    Warns
    -----
    UndefinedMetricWarning
        If no bag has a positive instance. The rate is NaN.

    See Also
    --------
    instance_roc_auc_score : Judges the whole order of the instances.

    Examples
    --------
    >>> from milkit.metrics import key_instance_hit_rate
    >>> y_true = [[0, 0, 1], [1, 0, 0, 1]]
    >>> y_score = [[0.1, 0.3, 0.7], [0.2, 0.8, 0.1, 0.6]]
    >>> key_instance_hit_rate(y_true, y_score)
    0.5
    >>> key_instance_hit_rate(y_true, y_score, k=2)
    1.0
    """
    check_k(k)
    blocks = tie_blocks(*read_instances(y_true, y_score, pos_label))
    if not np.any(blocks.n_positive):
        _warn("The hit rate is undefined: no bag has a positive instance.", pos_label)
        return float("nan")
    return float(hit_probability(blocks, k).mean())


def check_k(k):
    """Refuse a k that is no number of instances."""
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be an integer of at least 1. Got {k!r} instead.")


def check_average(average):
    """Refuse an unknown average."""
    if average not in AVERAGES:
        raise ValueError(f"average must be one of {list(AVERAGES)}. Got {average!r} instead.")


def _score(of_bags, name, y_true, y_score, pos_label, average):
    check_average(average)
    instances = read_instances(y_true, y_score, pos_label)
    if average == "pooled":
        instances = instances._replace(bag=np.zeros_like(instances.bag), n_bags=1)
    blocks = tie_blocks(*instances)
    defined = has_both_kinds(blocks)
    values = np.where(defined, of_bags(blocks), np.nan)
    if not np.any(defined):
        which = "the bags together do not have" if average == "pooled" else "no bag has"
        message = f"{name} is undefined: {which} annotated instances of both kinds."
        _warn(message, pos_label, stacklevel=4)
    if average is None:
        return values
    return float(values[defined].mean()) if np.any(defined) else float("nan")


def _warn(message, pos_label, stacklevel=3):
    text = f"{message} Positive is pos_label={pos_label!r}; -1 is not annotated."
    warnings.warn(text, UndefinedMetricWarning, stacklevel=stacklevel)
