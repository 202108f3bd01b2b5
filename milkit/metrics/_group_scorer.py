"""Scorers that score patients instead of bags."""

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    roc_auc_score,
)
from sklearn.preprocessing import label_binarize
from sklearn.utils import column_or_1d

from milkit.metrics._bootstrap import encode_labels
from milkit.metrics._group_predictions import average_by_group, check_average, label_by_group
from milkit.metrics._weighted import LABEL_METRICS, metric_name
from milkit.model_selection._groups import encode_groups, find_groups

__all__ = ["make_group_scorer"]

_FUNCTIONS = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "roc_auc": roc_auc_score,
    "average_precision": average_precision_score,
}
_METHODS = ("predict_proba", "decision_function", "predict")


def make_group_scorer(
    score_func,
    *,
    response_method="predict_proba",
    average="mean",
    group=None,
    greater_is_better=True,
    **kwargs,
):
    """Make a scorer that averages a patient's bags and scores patients.

    Parameters
    ----------
    score_func : str or callable
        "accuracy", "balanced_accuracy", "roc_auc" or "average_precision", or
        ``score_func(y_true, y_score, **kwargs)``. The names of labels get the class with
        the greatest averaged score; those of ranking compare, with more than two classes,
        each against the rest (macro average). A callable gets, for each group, its label and the
        averaged score of ``classes_[1]``, of shape (n_groups,), or with more than two
        classes the scores of all, (n_groups, n_classes).
    response_method : {"predict_proba", "decision_function", "predict"} or tuple of them, \
default="predict_proba"
        What is asked of the estimator; of a tuple the first that it has. With "predict" a
        classifier's bags vote, by ``average="mean"``, and a callable gets labels; what a
        regressor predicts is averaged.
    average : {"mean", "median", "max"}, default="mean"
        How the scores of one group's bags are put together, class by class.
    group : str, default=None
        The column that holds the groups where X is a DataFrame with a column of arrays. A
        BagArray has its own; in a DataFrame of numbers the column would be a feature, so that
        is refused.
    greater_is_better : bool, default=True
        False turns the sign, for losses.
    **kwargs
        Passed on to ``score_func``.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y)`` → float, for ``scoring=`` of cross-validation and
        searches. Groups must be inside X, because scikit-learn passes scorers no groups.

    Raises
    ------
    ValueError
        If an argument is unknown. When scoring: if the labels of a group's bags differ
        (the group is named).
    GroupLeakageError
        When scoring: if X has no groups.

    See Also
    --------
    group_predictions : The averaged scores themselves.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from milkit import BagArray, BagStatistics
    >>> from milkit.metrics import make_group_scorer
    >>> from milkit.model_selection import GroupedSplit
    >>> rng = np.random.default_rng(0)
    >>> y = np.repeat(np.arange(20) % 2, 3)
    >>> bags = [rng.normal(label, 2, size=(5, 3)) for label in y]
    >>> X = BagArray.from_list(bags, groups=np.repeat(np.arange(20), 3))
    >>> model = make_pipeline(BagStatistics(), LogisticRegression())
    >>> by_patient = make_group_scorer("roc_auc")
    >>> by_patient
    make_group_scorer('roc_auc', response_method='predict_proba')
    >>> cross_val_score(model, X, y, cv=GroupedSplit(2), scoring=by_patient).shape
    (2,)
    """
    return _GroupScorer(score_func, response_method, average, group, greater_is_better, kwargs)


class _GroupScorer:
    def __init__(self, score_func, response_method, average, group, greater_is_better, kwargs):
        self._name = metric_name(score_func)
        methods = (response_method,) if isinstance(response_method, str) else response_method
        if not methods or any(method not in _METHODS for method in methods):
            raise ValueError(
                f"response_method must be among {list(_METHODS)}. Got {response_method!r} instead."
            )
        check_average(average)
        self._metric = score_func
        self._methods = tuple(methods)
        self._average = average
        self._group = group
        self._greater_is_better = greater_is_better
        self._kwargs = kwargs

    def __call__(self, estimator, X, y):
        groups = find_groups(X, group=self._group, required=True)
        codes, names = encode_groups(groups)
        y = label_by_group(column_or_1d(y), codes, names)
        method = next((m for m in self._methods if hasattr(estimator, m)), None)
        if method is None:
            raise AttributeError(
                f"{type(estimator).__name__} has none of {list(self._methods)}. Pass another "
                "response_method."
            )
        response = np.asarray(getattr(estimator, method)(X))
        if not is_classifier(estimator):
            score = self._score(y, average_by_group(response, codes, self._average))
        else:
            score = self._score_classes(y, response, codes, method, estimator.classes_)
        return score if self._greater_is_better else -score

    def _score_classes(self, y, response, codes, method, classes):
        classes = np.asarray(classes)
        if method == "predict":
            response = np.eye(len(classes))[encode_labels(response, classes)]
        elif response.ndim == 1:
            response = np.column_stack([-response, response])
        scores = average_by_group(response, codes, self._average)
        predicted = classes[scores.argmax(axis=1)]
        if self._name in LABEL_METRICS or (self._name is None and method == "predict"):
            return self._score(y, predicted)
        if self._name is None:
            return self._score(y, scores if len(classes) > 2 else scores[:, 1])
        # Known metrics of ranking: in numbers, so that any label goes.
        if not np.all(np.isin(y, classes)):
            raise ValueError(
                f"y has labels that the estimator has not seen: "
                f"{np.setdiff1d(y, classes).tolist()}. It knows {classes.tolist()}."
            )
        y = np.searchsorted(classes, y)
        if len(classes) <= 2:
            return self._score(y, scores[:, 1])
        if "multi_class" not in self._kwargs:  # one against the rest
            return self._score(label_binarize(y, classes=np.arange(len(classes))), scores)
        scores = scores / scores.sum(axis=1, keepdims=True)
        return roc_auc_score(y, scores, **{"labels": np.arange(len(classes)), **self._kwargs})

    def _score(self, y, prediction):
        function = _FUNCTIONS[self._name] if self._name else self._metric
        return function(y, prediction, **self._kwargs)

    def _accept_sample_weight(self):
        # Asked by scikit-learn's searches when they are fitted with weights.
        return False

    def __repr__(self):
        name = self._metric
        name = repr(name) if isinstance(name, str) else getattr(name, "__name__", repr(name))
        method = self._methods[0] if len(self._methods) == 1 else self._methods
        parts = [name, f"response_method={method!r}"]
        if self._average != "mean":
            parts.append(f"average={self._average!r}")
        if self._group is not None:
            parts.append(f"group={self._group!r}")
        if not self._greater_is_better:
            parts.append("greater_is_better=False")
        parts += [f"{key}={value!r}" for key, value in self._kwargs.items()]
        return f"make_group_scorer({', '.join(parts)})"
