"""Decisions of a fitted estimator on bags from which instances were taken away."""

from functools import cached_property

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from milkit.exceptions import BagShapeError
from milkit.inspection._classes import decides_pairs, refuse_multilabel
from milkit.inspection._values import as_bags
from milkit.utils._containers import array_columns, is_frame
from milkit.utils._packing import offsets_of
from milkit.utils.validation import reads_as_table

RESPONSES = ("auto", "decision_function", "predict_proba", "predict")

# What one call of the estimator gets at most: bags of so many bytes, and never less than one.
_BATCH_BYTES = 2**24


class Decisions:
    """The decision of one estimator on the bags of X, whole or in part.

    The estimator gets what it would get from its user: parts of a DataFrame are DataFrames with
    all their columns, everything else is a BagArray with the names, groups, covariates and
    instance data of the bags.

    Parameters
    ----------
    estimator : fitted estimator
    X : container of n_bags bags
    response_method : {"auto", "decision_function", "predict_proba", "predict"}
    caller : str
        The function that the user called, for messages.

    Attributes
    ----------
    bags : BagArray of shape (n_bags,)
    classes : ndarray of shape (n_classes,) or None
        None where the decision is a number without classes.
    labels : ndarray of shape (n_bags,) or None
        What a classifier predicts for the bags, asked for when it is first looked at.
    whole : ndarray of shape (n_bags,) or (n_bags, n_columns)
        The decision on each bag.
    """

    def __init__(self, estimator, X, response_method, caller):
        if estimator is None or isinstance(estimator, type):
            raise TypeError(
                f"estimator must be a fitted estimator, such as MISVM().fit(X, y). Got "
                f"{estimator!r} instead."
            )
        check_is_fitted(estimator)
        self._estimator = estimator
        self._name = type(estimator).__name__
        self._method = _choose(estimator, response_method)
        self._respond = getattr(estimator, self._method)
        self.classes = getattr(estimator, "classes_", None) if is_classifier(estimator) else None
        self.bags = as_bags(X)
        if reads_as_table(X):
            raise BagShapeError(
                f"{caller} needs bags, but got one 2-D table, which may be a single bag. Pass "
                "[bag] for one bag, or a list of bags."
            )
        if len(self.bags) == 0:
            raise BagShapeError(f"Got no bags; {caller} needs at least one.")
        self._frame = X if is_frame(X) else None
        self._column = array_columns(X)[0] if is_frame(X) else None
        raw = self._respond(self.container())
        self.whole = self._read(raw, self.classes is not None and self._has_pairs(raw))

    @cached_property
    def labels(self):
        return None if self.classes is None else self._predict(self.container())

    def container(self):
        """The bags as the estimator gets them."""
        return self.bags if self._frame is None else self._frame

    def of_parts(self, rows, keep, verbose=0, title=None):
        """The decision on parts of bags.

        Parameters
        ----------
        rows : ndarray of int, shape (n_parts,)
            The bag that each part is of.
        keep : callable
            ``keep(part, instance)`` gets the number of a part and of an instance, counted through
            all bags, as two arrays of shape (n,), and says which pairs stay.
        verbose : int, default=0
        title : str
            Of the progress bar.

        Returns
        -------
        decisions : ndarray of shape (n_parts,) or (n_parts, n_columns)
        """
        sizes = self.bags.sizes
        starts = offsets_of(sizes)[:-1]
        read = []
        with _progress_bar(verbose, len(rows), title) as bar:
            for first, last in _batches(sizes[rows], self._instances_at_once()):
                chosen = rows[first:last]
                n = sizes[chosen]
                part = np.repeat(np.arange(first, last), n)
                shift = starts[chosen] - (np.cumsum(n) - n)
                stays = keep(part, np.arange(n.sum()) + np.repeat(shift, n))
                read.append(self._read(self._respond(self._part(chosen, stays))))
                bar.update(last - first)
        return np.concatenate(read) if read else np.empty(0)

    def for_class(self, decisions, index):
        """The decision for one class in each row.

        Parameters
        ----------
        decisions : ndarray of shape (n,) or (n, n_classes)
            For two classes the decision for the second.
        index : ndarray of int, shape (n,)
            Which class.

        Returns
        -------
        decisions : ndarray of shape (n,)
        """
        if decisions.ndim == 2:
            return decisions[np.arange(len(decisions)), index]
        other = 1 - decisions if self._method == "predict_proba" else -decisions
        return np.where(index == 1, decisions, other)

    def _predict(self, X):
        labels = self._estimator.predict(X)
        refuse_multilabel(self._estimator, np.shape(labels))
        return labels

    def _has_pairs(self, raw):
        """Are the decisions of a classifier on pairs of classes? Several labels are refused.

        What has one column needs no labels for it, and mostly those of the smallest bag do.
        """
        shape = np.shape(raw)[1:] if not isinstance(raw, list) else None
        if shape in ((), (1,)):
            return False
        decides, labels = self._method == "decision_function", None
        if len(self.bags) == 1 or (decides and shape == (len(self.classes),) == (3,)):
            labels = self.labels
        else:
            smallest = [int(self.bags.sizes.argmin())]
            self._predict((self.bags if self._frame is None else self._frame.iloc)[smallest])
        return decides and shape is not None and decides_pairs(self._estimator, raw, labels)

    def _instances_at_once(self):
        bytes_of_one = self.bags.n_features * max(8, self.bags.dtype.itemsize)
        return max(1, _BATCH_BYTES // max(1, bytes_of_one))

    def _part(self, rows, stays):
        bags = self.bags[rows].select_instances(stays)
        if self._frame is None:
            return bags
        frame = self._frame.iloc[rows]
        if bags.names is None:  # else the rows would be named after those they were taken from
            frame = frame.reset_index(drop=True)
        column = np.empty(len(bags), dtype=object)
        for i, bag in enumerate(bags):
            column[i] = bag if bags.feature_names is None else _named(bag, bags.feature_names)
        frame = frame.copy()
        frame[self._column] = column
        return frame

    def _read(self, raw, pairs=False):
        """Numbers of shape (n_bags,) or (n_bags, n_columns) from what the estimator gives."""
        if isinstance(raw, list):
            raise TypeError(
                f"{self._name}.{self._method} gives a list of {len(raw)} arrays, one for each of "
                "several targets. Ask an estimator with one target."
            )
        values = np.asarray(raw)
        if values.dtype.kind not in "buif" or values.ndim not in (1, 2):
            raise TypeError(
                f"{self._name}.{self._method} must give numbers of shape (n_bags,) or (n_bags, "
                f"n_classes). Got dtype {values.dtype} and shape {values.shape} instead."
            )
        values = values.astype(np.float64, copy=False)
        if values.ndim == 1:
            return values
        if values.shape[1] == 1:
            return values[:, 0]
        if self.classes is None:
            return values
        n_classes = len(self.classes)
        if pairs or values.shape[1] != n_classes:
            raise ValueError(
                f"{self._name}.{self._method} gives {values.shape[1]} columns for {n_classes} "
                f"classes{', one for each pair of them' * pairs}; one for each class is needed. "
                "An SVC gives them with decision_function_shape='ovr'."
            )
        return values[:, 1] if n_classes == 2 else values


def _choose(estimator, response_method):
    """The name of the method that gives the decision."""
    possible = ["decision_function", "predict_proba"]
    if is_regressor(estimator):
        possible = ["predict"]
    elif not is_classifier(estimator):
        possible = ["decision_function"]
    there = [name for name in possible if hasattr(estimator, name)]
    name = type(estimator).__name__
    if response_method == "auto":
        if not there:
            raise TypeError(
                f"{name} has no decision to look at: a classifier needs decision_function or "
                "predict_proba, a regressor predict. A search needs refit=True, and SVC has "
                "probabilities only with probability=True."
            )
        return there[0]
    if response_method not in there:
        why = "has none"
        if response_method == "predict" and hasattr(estimator, "predict"):
            why = "gives labels with it and not numbers"
        raise TypeError(
            f"response_method is {response_method!r}, but {name} {why}. "
            + (f"Take one of {there}, or 'auto'." if there else "It has no decision at all.")
        )
    return response_method


def _batches(sizes, at_once):
    """Ranges of parts with at most so many instances together, or a single part."""
    stops = np.cumsum(sizes)
    first = 0
    while first < len(sizes):
        before = stops[first] - sizes[first]
        last = max(first + 1, int(np.searchsorted(stops, before + at_once, side="right")))
        yield first, last
        first = last


def _named(bag, feature_names):
    import pandas as pd

    return pd.DataFrame(bag, columns=feature_names)


def _progress_bar(verbose, total, title):
    from tqdm import tqdm

    return tqdm(total=total, desc=title, leave=False, disable=not verbose)
