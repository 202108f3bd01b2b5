"""Scorers that judge instances by labels that travel with the bags."""

from inspect import signature

import numpy as np

from milkit.bags import BagArray
from milkit.base import split_by_bag
from milkit.exceptions import describe_bag
from milkit.metrics._instance_lists import check_pos_label, pack_labels
from milkit.metrics._instance_scores import (
    check_average,
    check_k,
    instance_average_precision_score,
    instance_roc_auc_score,
    key_instance_hit_rate,
)

__all__ = ["make_instance_scorer"]

_FUNCTIONS = {
    "roc_auc": instance_roc_auc_score,
    "average_precision": instance_average_precision_score,
    "hit_rate": key_instance_hit_rate,
}
_METHODS = ("score_instances", "attention_weights")
_CHECKS = {"average": check_average, "k": check_k}


def make_instance_scorer(
    score_func,
    *,
    labels="label",
    pos_label=1,
    class_label=None,
    response_method="score_instances",
    **kwargs,
):
    """Make a scorer that judges which instances an estimator points at.

    The labels of the instances travel inside X and are only used to judge: when the estimator is
    scored, it gets X without them.

    Parameters
    ----------
    score_func : str or callable
        "roc_auc", "average_precision" or "hit_rate", or ``score_func(y_true, y_score, **kwargs)``
        on two lists with one array of shape (n_i,) for each bag.
    labels : str, default="label"
        Name of the labels in ``X.instance_data``; -1 marks an instance that is not annotated.
    pos_label : int, str or list of them, default=1
        The label, or the labels, that count as positive. A callable gets it if it has a parameter
        of that name.
    class_label : int, str or bool, default=None
        The class of bags that positive instances speak for, one of ``classes_``. None is
        ``classes_[1]`` for two classes; with more it is required for evidence.
    response_method : {"score_instances", "attention_weights"}, default="score_instances"
        What instances are ranked by. Of several heads of attention it is the mean. Attention has
        no class and is never compared across bags.
    **kwargs
        Passed on to ``score_func``, such as ``average="pooled"`` or ``k=5``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` → float, for ``scoring=`` of cross-validation and
        searches. It walks through pipelines, searches and wrappers.

    Raises
    ------
    ValueError
        If an argument is unknown or attention would be pooled. When scoring: if X does not have
        the labels, one is missing (its bag is named), or ``class_label`` is no class or needed.
    TypeError
        If ``score_func`` does not take a parameter. When scoring: if X is no BagArray.

    See Also
    --------
    instance_roc_auc_score : The score named "roc_auc", on lists.
    instance_average_precision_score : The score named "average_precision".
    key_instance_hit_rate : The score named "hit_rate".
    make_group_scorer : Judges the predictions for patients.

    Examples
    --------
    >>> from sklearn.model_selection import cross_val_score
    >>> from milkit import MISVM
    >>> from milkit.datasets import make_mil_classification
    >>> from milkit.metrics import make_instance_scorer
    >>> X, y = make_mil_classification(40, random_state=0)
    >>> sorted(X.instance_data)
    ['concept', 'label']
    >>> find_witnesses = make_instance_scorer("hit_rate", k=2)
    >>> find_witnesses
    make_instance_scorer('hit_rate', response_method='score_instances', k=2)
    >>> cross_val_score(MISVM(), X, y, cv=2, scoring=find_witnesses).shape
    (2,)
    """
    return _InstanceScorer(score_func, labels, pos_label, class_label, response_method, kwargs)


class _InstanceScorer:
    def __init__(self, score_func, labels, pos_label, class_label, response_method, kwargs):
        if response_method not in _METHODS:
            raise ValueError(
                f"response_method must be one of {list(_METHODS)}. Got {response_method!r} instead."
            )
        wanted = check_pos_label(pos_label)
        if response_method == "attention_weights":
            _refuse_for_attention(score_func, class_label, kwargs)
        self._function = _find_function(score_func, kwargs)
        self._takes_pos_label = _takes(self._function, "pos_label")
        if not self._takes_pos_label and wanted.tolist() != [1]:
            raise TypeError(
                f"score_func={score_func!r} does not take pos_label. Give it a parameter of that "
                f"name, or leave out pos_label={pos_label!r}; it gets the labels as they are."
            )
        self._score_func = score_func
        self._labels = labels
        self._pos_label = pos_label
        self._class_label = class_label
        self._method = response_method
        self._kwargs = kwargs

    def __call__(self, estimator, X, y=None):
        y_true = self._true_labels(X)
        y_score = self._evidence(estimator, X)
        kwargs = self._kwargs
        if self._takes_pos_label:
            kwargs = {**kwargs, "pos_label": self._pos_label}
        return float(self._function(y_true, y_score, **kwargs))

    def _true_labels(self, X):
        attach = f"X.with_columns(instance_data={{**X.instance_data, {self._labels!r}: labels}})"
        if not isinstance(X, BagArray):
            raise TypeError(
                "A scorer of instances needs their labels inside X, a BagArray. Got "
                f"{type(X).__name__} instead. Build one with milkit.BagArray.from_list(bags, "
                f"instance_data={{{self._labels!r}: labels}}), one array of labels for each bag."
            )
        data = X.instance_data
        if self._labels not in data:
            raise ValueError(
                f"X.instance_data has no {self._labels!r}; it has {sorted(data)}. Name the labels "
                f"of the instances with labels=, or attach them with {attach}."
            )
        y_true = split_by_bag(data[self._labels], X)
        pack_labels(y_true, X.names)  # here bags still have names
        return y_true

    def _evidence(self, estimator, X):
        # Imported here, so that what imports milkit.metrics early does not load it.
        from milkit import inspection

        others = {key: value for key, value in X.instance_data.items() if key != self._labels}
        X = X.with_columns(instance_data=others)
        evidence = getattr(inspection, self._method)(estimator, X)
        if self._method == "attention_weights":
            return [weights if weights.ndim == 1 else weights.mean(axis=1) for weights in evidence]
        return self._of_class(evidence, estimator)

    def _of_class(self, evidence, estimator):
        classes = getattr(estimator, "classes_", None)
        known = [] if classes is None else np.asarray(classes).tolist()
        wanted = self._class_label
        if wanted is not None and wanted not in known:
            raise ValueError(
                f"class_label={wanted!r} is not among the classes of the estimator, {known}."
            )
        shape = evidence[0].shape
        if len(shape) == 1:
            if wanted is None:
                return evidence
            if len(known) != 2:
                raise ValueError(
                    f"The estimator has one value for each instance, but the classes {known}: it "
                    "is not known which of them it is for. Leave out class_label."
                )
            return evidence if wanted == known[1] else [-values for values in evidence]
        if len(shape) != 2 or shape[1] != len(known):
            raise ValueError(
                f"The evidence of {describe_bag(0)} has shape {shape}, but the estimator has the "
                f"classes {known}; expected (n_instances,) or one column for each class."
            )
        if wanted is None and len(known) > 2:
            raise ValueError(
                f"Each of the classes {known} has its own evidence. Name the class that positive "
                "instances speak for with class_label=."
            )
        column = len(known) - 1 if wanted is None else known.index(wanted)
        return [values[:, column] for values in evidence]

    def _accept_sample_weight(self):
        # Asked by scikit-learn's searches when they are fitted with weights.
        return False

    def __repr__(self):
        name = self._score_func
        name = repr(name) if isinstance(name, str) else getattr(name, "__name__", repr(name))
        parts = [name, f"response_method={self._method!r}"]
        if self._labels != "label":
            parts.append(f"labels={self._labels!r}")
        if check_pos_label(self._pos_label).tolist() != [1]:
            parts.append(f"pos_label={self._pos_label!r}")
        if self._class_label is not None:
            parts.append(f"class_label={self._class_label!r}")
        parts += [f"{key}={value!r}" for key, value in self._kwargs.items()]
        return f"make_instance_scorer({', '.join(parts)})"


def _find_function(score_func, kwargs):
    """The function of a name or callable, with its parameters checked as far as they are known."""
    if isinstance(score_func, str):
        if score_func not in _FUNCTIONS:
            raise ValueError(
                f"Unknown metric {score_func!r}; known by name are {list(_FUNCTIONS)}. Pass a "
                "callable score_func(y_true, y_score) for any other."
            )
        function = _FUNCTIONS[score_func]
    elif callable(score_func):
        function = score_func
    else:
        raise TypeError(f"A metric must be a name or a callable. Got {score_func!r} instead.")
    if function not in _FUNCTIONS.values():
        return function
    for key, value in kwargs.items():
        if not _takes(function, key):
            raise TypeError(f"{function.__name__} has no parameter {key!r}.")
        _CHECKS[key](value)
    if "average" in kwargs and kwargs["average"] is None:
        raise ValueError(
            "A scorer gives one number, so average must be 'macro' or 'pooled'. Got None instead."
        )
    return function


def _takes(function, name):
    """Does a function take this keyword, and has nobody given it already (functools.partial)?"""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions do not say
        return False
    return name in parameters and name not in getattr(function, "keywords", {})


def _refuse_for_attention(score_func, class_label, kwargs):
    if {**getattr(score_func, "keywords", {}), **kwargs}.get("average") == "pooled":
        raise ValueError(
            "average='pooled' ranks the instances of all bags together, and attention is never "
            "compared across bags. Use average='macro', or response_method='score_instances'."
        )
    if class_label is not None:
        raise ValueError(
            f"Attention weights are not those of a class. Leave out class_label={class_label!r}, "
            "or use response_method='score_instances'."
        )
