"""BagStatistics: a bag as the statistics of its instances."""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin
from milkit.utils._segments import (
    segment_max,
    segment_min,
    segment_quantile,
    segment_sort,
    segment_sum,
)
from milkit.utils.validation import validate_bags

__all__ = ["BagStatistics"]

_STATISTICS = ("mean", "std", "min", "max", "median", "size")
# Rows × columns that are worked on at a time, so that what lies between stays small (8 MB).
_BLOCK = 1_000_000


class BagStatistics(BagMixin, TransformerMixin, BaseEstimator):
    """Describe each bag by statistics of its instances, feature by feature.

    The plain baseline in front of any scikit-learn estimator. With "mean", "min", "max" and "std"
    in front of ``ExtraTreesClassifier`` it is hard to beat on the classical data sets.

    Parameters
    ----------
    statistics : sequence of str or float, default=("mean", "std")
        Any of "mean", "std" (divided by n_i, 0 for one instance), "min", "max", "median",
        quantiles as numbers between 0 and 1, and "size" (number of instances: one column).
        Beware of "size" where the way of measuring decides how many instances there are.

    Attributes
    ----------
    n_features_in_ : int
        Number of features of an instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the bags have feature names that are strings.
    instance_shape_ : tuple
        Shape of one instance.
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, read as one instance per bag.

    See Also
    --------
    milkit.SetKernel : Bags compared with bags.
    milkit.kernels.StatisticKernel : Bags compared by such statistics.

    References
    ----------
    .. [1] T. Gärtner, P. A. Flach, A. Kowalczyk, A. J. Smola, "Multi-instance kernels",
           ICML 2002, section 4.2 (the statistic kernel uses min and max).

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagStatistics
    >>> X = [np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([[5.0, 5.0]])]
    >>> BagStatistics(["mean", "max", "size"]).fit_transform(X)
    array([[2., 2., 3., 2., 2.],
           [5., 5., 5., 5., 1.]])
    """

    _parameter_constraints: dict = {"statistics": ["array-like"]}

    def __init__(self, statistics=("mean", "std")):
        self.statistics = statistics

    def fit(self, X, y=None):
        """Check the bags; there is nothing to learn.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : Ignored
            Only for the call's form.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If a statistic is unknown, or there are none.
        """
        self._validate_params()
        if len(self.statistics) == 0:
            raise ValueError("statistics is empty; name at least one, such as 'mean'.")
        for statistic in self.statistics:
            known = isinstance(statistic, str) and statistic in _STATISTICS
            if not known and not (_is_quantile(statistic) and 0 <= statistic <= 1):
                raise ValueError(
                    f"Unknown statistic {statistic!r}; expected any of {list(_STATISTICS)} or a "
                    "quantile between 0 and 1."
                )
        validate_bags(self, X, dtype=[np.float64, np.float32], instance_data=False)
        return self

    def transform(self, X):
        """One row of statistics for each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        table : ndarray of shape (n_bags, n_features_out)
            Statistic by statistic in the order of ``statistics``, feature by feature.
        """
        check_is_fitted(self)
        bags = validate_bags(
            self, X, reset=False, dtype=[np.float64, np.float32], instance_data=False
        )
        flat, offsets = bags.flat()
        n_bags, n_features = len(bags), bags.n_features
        columns = {
            statistic: np.empty((n_bags, n_features), dtype=flat.dtype)
            for statistic in self.statistics
            if statistic != "size"
        }
        width = max(1, _BLOCK // len(flat))
        for start in range(0, n_features, width):
            block = slice(start, start + width)
            for statistic, values in self._describe(flat[:, block], offsets).items():
                columns[statistic][:, block] = values
        columns["size"] = bags.sizes[:, None].astype(flat.dtype)
        return np.hstack([columns[statistic] for statistic in self.statistics])

    def _describe(self, values, offsets):
        """Each statistic of each bag, for some of the features."""
        asked, sizes, found = set(self.statistics), np.diff(offsets), {}
        if "min" in asked:
            found["min"] = segment_min(values, offsets)
        if "max" in asked:
            found["max"] = segment_max(values, offsets)
        if asked & {"mean", "std"}:
            mean = segment_sum(values, offsets) / sizes[:, None]
            if "mean" in asked:
                found["mean"] = mean
            if "std" in asked:
                squares = values - np.repeat(mean, sizes, axis=0)
                squares *= squares
                found["std"] = np.sqrt(segment_sum(squares, offsets) / sizes[:, None])
        if quantiles := {s: _as_quantile(s) for s in asked if _as_quantile(s) is not None}:
            ordered = segment_sort(values, offsets)
            for statistic, q in quantiles.items():
                found[statistic] = segment_quantile(ordered, offsets, q)
        return found

    def get_feature_names_out(self, input_features=None):
        """Names of the columns, such as ``mean_area``.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features_in_,), default=None
            Names of the instance features; None takes those seen in ``fit``, else
            ``x0``, ``x1``, ...

        Returns
        -------
        names : ndarray of str objects, shape (n_features_out,)
        """
        check_is_fitted(self)
        from sklearn.utils.validation import _check_feature_names_in

        features = _check_feature_names_in(self, input_features)
        names = []
        for statistic in self.statistics:
            if statistic == "size":
                names.append("size")
            else:
                prefix = (
                    statistic if isinstance(statistic, str) else f"quantile{float(statistic)!r}"
                )
                names.extend(f"{prefix}_{feature}" for feature in features)
        return np.asarray(names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _is_quantile(statistic):
    return isinstance(statistic, Real) and not isinstance(statistic, bool)


def _as_quantile(statistic):
    if statistic == "median":
        return 0.5
    return float(statistic) if _is_quantile(statistic) else None
