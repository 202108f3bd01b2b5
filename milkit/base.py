"""Thin mixins: what all estimators on bags share."""

import warnings

import numpy as np
from sklearn.base import ClassifierMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets

from milkit import __version__
from milkit.exceptions import InconsistentMilkitVersionWarning
from milkit.utils.validation import reads_as_table

__all__ = ["BagClassifierMixin", "BagMixin", "BagsToBagsMixin", "split_by_bag"]

DOC_URL = "https://milkit.readthedocs.io/en/stable/api/generated/"


class BagMixin:
    """Documentation link and version check of every estimator on bags."""

    _doc_link_module = "milkit"
    _doc_link_template = DOC_URL + "{estimator_module}.{estimator_name}.html"

    def __getstate__(self):
        return {**super().__getstate__(), "_milkit_version": __version__}

    def __setstate__(self, state):
        state = dict(state)
        saved = state.pop("_milkit_version", "unknown")
        if saved != __version__:
            warnings.warn(
                f"{type(self).__name__} was saved with milkit {saved} and is loaded with milkit "
                f"{__version__}. It may not work, or give other results; fit it again.",
                InconsistentMilkitVersionWarning,
                stacklevel=2,
            )
        super().__setstate__(state)


def encode_labels(y):
    """Sorted labels, and the index of each label of y among them, shape (n_bags,)."""
    try:
        check_classification_targets(y)
        return np.unique(y, return_inverse=True)
    except TypeError as error:  # None among strings
        raise ValueError(
            f"y holds labels of several kinds, or missing ones ({error}); give every bag a label "
            "of one type."
        ) from error


class BagClassifierMixin(ClassifierMixin):
    """Labels of bags for classifiers that work on the indices of classes."""

    def _encode_labels(self, y):
        """Set ``classes_`` and return the index of each label, shape (n_bags,)."""
        self.classes_, encoded = encode_labels(y)
        if len(self.classes_) < 2:
            label = self.classes_.tolist()[0]
            raise ValueError(
                f"y has only one class, {label!r}; {type(self).__name__} needs bags of at least "
                "two classes."
            )
        return encoded

    def _decode_scores(self, scores):
        """Labels from decision values, (n,) for two classes, else (n, n_classes)."""
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[chosen]


class BagsToBagsMixin(TransformerMixin, auto_wrap_output_keys=None):
    """Transformers whose output is bags again."""

    def __init_subclass__(cls, **kwargs):
        # Otherwise scikit-learn would wrap the transform of every subclass again.
        super().__init_subclass__(**{"auto_wrap_output_keys": None, **kwargs})

    def set_output(self, *, transform=None):
        """Accepted so that ``Pipeline.set_output`` works; bags stay bags.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None
            Has no effect here: only the steps that give a table follow it.

        Returns
        -------
        self : object
        """
        return self

    @staticmethod
    def _like_input(X, bags):
        """What was read as a 2-D table goes back as a 2-D array."""
        return bags.flat()[0] if reads_as_table(X) else bags


def split_by_bag(values, X):
    """One array per bag from one flat array.

    Parameters
    ----------
    values : ndarray of shape (n_instances, ...)
        In the order of ``X.flat()``.
    X : BagArray of shape (n_bags,)

    Returns
    -------
    parts : list of ndarray, each of shape (n_i, ...)
        Views of ``values``.
    """
    stops = np.cumsum(X.sizes)
    return [values[stop - size : stop] for stop, size in zip(stops, X.sizes, strict=True)]
