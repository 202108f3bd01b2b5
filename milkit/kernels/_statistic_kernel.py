"""StatisticKernel: an ordinary kernel between statistics of bags, of Gärtner et al."""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin
from milkit.embedding import BagStatistics
from milkit.kernels._instance_kernels import KERNEL_CONSTRAINTS, instance_kernel, resolve_gamma
from milkit.utils.validation import validate_bags

__all__ = ["StatisticKernel", "statistic_kernel"]


def statistic_kernel(
    X, Z=None, *, statistics=("min", "max"), kernel="rbf", gamma="scale", degree=3, coef0=1.0
):
    """Kernel matrix between the statistics of two collections of bags.

    Parameters
    ----------
    X : container of n_X bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes.
    Z : container of n_Z bags, default=None
        None compares X with itself. For new bags against training bags, these are the training
        bags; :class:`sklearn.svm.SVC` calls a kernel function so.
    statistics : sequence of str or float, default=("min", "max")
        As in :class:`~milkit.embedding.BagStatistics`.
    kernel : {"linear", "rbf", "poly", "sigmoid"} or callable, default="rbf"
        Kernel between rows of statistics; a callable gets two matrices and returns theirs.
    gamma : {"scale", "auto"} or float, default="scale"
        As in :class:`sklearn.svm.SVC`, computed on the statistics of Z.
    degree : int, default=3
        Degree of "poly".
    coef0 : float, default=1.0
        Constant of "poly" and "sigmoid".

    Returns
    -------
    K : ndarray of shape (n_X, n_Z)

    Raises
    ------
    ValueError
        If the bags are not usable (the bag is named), a statistic is unknown, or X and Z have
        different features.

    References
    ----------
    .. [1] T. Gärtner, P. A. Flach, A. Kowalczyk, A. J. Smola, "Multi-instance kernels",
           ICML 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.kernels import statistic_kernel
    >>> statistic_kernel([np.eye(2), np.eye(2)[:1]], kernel="linear")
    array([[2., 1.],
           [1., 2.]])
    """
    model = StatisticKernel(statistics, kernel=kernel, gamma=gamma, degree=degree, coef0=coef0)
    if Z is None:
        return model.fit_transform(X)
    return model.fit(Z).transform(X)


class StatisticKernel(BagMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Statistic kernel between bags, for ``SVC(kernel="precomputed")``.

    An ordinary kernel between the statistics of two bags [1]_: with :math:`s(X)` the smallest
    and the largest value of each feature among the instances of X,

    .. math:: k_{stat}(X, Z) = k(s(X), s(Z)).

    ``fit`` keeps the statistics of the training bags, ``transform`` gives the kernel of new bags
    against them. The polynomial minimax kernel of the paper, :math:`(s(X) \cdot s(Z) + 1)^p`, is
    ``StatisticKernel(kernel="poly", degree=p, gamma=1.0)``.

    Parameters
    ----------
    statistics : sequence of str or float, default=("min", "max")
        As in :class:`~milkit.embedding.BagStatistics`: any of "mean", "std", "min", "max",
        "median", quantiles as numbers between 0 and 1, and "size".
    kernel : {"linear", "rbf", "poly", "sigmoid"} or callable, default="rbf"
        Kernel between rows of statistics. A callable gets two matrices of statistics, of
        shapes (n, n_statistics) and (m, n_statistics), and returns shape (n, m).
    gamma : {"scale", "auto"} or float, default="scale"
        As in :class:`sklearn.svm.SVC`: "scale" is 1 / (n_statistics · variance of the
        training statistics), "auto" is 1 / n_statistics.
    degree : int, default=3
        Degree of "poly".
    coef0 : float, default=1.0
        Constant of "poly" and "sigmoid".

    Attributes
    ----------
    statistics_ : ndarray of shape (n_bags, n_statistics)
        Statistics of the training bags; no instances are kept.
    gamma_ : float
        The number used for gamma.
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
    milkit.SetKernel : A kernel summed over all pairs of instances.
    milkit.BagStatistics : The statistics themselves, as a table.

    Notes
    -----
    The statistics are compared as they are, not standardised: with the same parameters this is
    ``make_pipeline(BagStatistics(statistics), SVC())``. ``gamma="scale"`` fits one width to all
    statistics together, so a feature of large numbers drowns the others; where features differ in
    unit, put ``InstanceTransformer(StandardScaler())`` in front. That does not reach "size", nor
    the spread of each statistic between bags; to standardise every statistic by itself, take
    ``make_pipeline(BagStatistics(statistics), StandardScaler(), SVC())`` instead.

    References
    ----------
    .. [1] T. Gärtner, P. A. Flach, A. Kowalczyk, A. J. Smola, "Multi-instance kernels",
           ICML 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from milkit.kernels import StatisticKernel
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(5, 2)) + 3 * (i % 2) for i in range(20)]
    >>> y = [i % 2 for i in range(20)]
    >>> model = make_pipeline(StatisticKernel(), SVC(kernel="precomputed")).fit(X, y)
    >>> model.score(X, y)
    1.0
    """

    _parameter_constraints: dict = {"statistics": ["array-like"], **KERNEL_CONSTRAINTS}

    def __init__(
        self, statistics=("min", "max"), *, kernel="rbf", gamma="scale", degree=3, coef0=1.0
    ):
        self.statistics = statistics
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0

    def fit(self, X, y=None):
        """Keep the statistics of the training bags.

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
            If a parameter, a statistic or the bags are not usable (the bag is named).
        """
        self._validate_params()
        self.statistics_ = self._describe(X, reset=True)
        self.gamma_ = resolve_gamma(self.gamma, self.statistics_)
        return self

    def fit_transform(self, X, y=None):
        """Keep the statistics of the training bags and give their kernel matrix.

        Parameters
        ----------
        X : container of n_bags bags
            Any form that :func:`milkit.utils.validation.as_bag_array` takes.
        y : Ignored
            Only for the call's form.

        Returns
        -------
        K : ndarray of shape (n_bags, n_bags)

        Raises
        ------
        ValueError
            If a parameter, a statistic or the bags are not usable (the bag is named).
        """
        self.fit(X)
        return self._compare(self.statistics_, self.statistics_)

    def transform(self, X):
        """Kernel of bags against the training bags.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        K : ndarray of shape (n_bags, n_training_bags)
        """
        check_is_fitted(self)
        return self._compare(self._describe(X, reset=False), self.statistics_)

    def _describe(self, X, *, reset):
        """The statistics of each bag, shape (n_bags, n_statistics)."""
        bags = validate_bags(
            self, X, reset=reset, dtype=[np.float64, np.float32], instance_data=False
        )
        # What SVC would make of a float32 table.
        return BagStatistics(self.statistics).fit_transform(bags).astype(np.float64, copy=False)

    def _compare(self, A, B):
        params = {"gamma": self.gamma_, "degree": self.degree, "coef0": self.coef0}
        return instance_kernel(A, B, self.kernel, **params)

    @property
    def _n_features_out(self):
        return len(self.statistics_)
