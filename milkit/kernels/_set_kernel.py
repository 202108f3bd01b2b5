"""SetKernel: the (normalised) set kernel of Gärtner et al."""

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from milkit.bags import BagArray
from milkit.base import BagMixin
from milkit.exceptions import describe_bag
from milkit.kernels._instance_kernels import KERNEL_CONSTRAINTS, instance_kernel, resolve_gamma
from milkit.utils._segments import segment_sum
from milkit.utils.validation import validate_bags

__all__ = ["SetKernel", "set_kernel"]

# Rows and columns of the instance kernel held at a time: 32 MB in float64.
_BLOCK_ROWS = 2000


def _bag_blocks(offsets, rows):
    """Ranges of bags of that many rows together, at least one bag each."""
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _row_blocks(offsets, rows):
    """Blocks of rows, cutting through large bags: rows, the bags they touch, their offsets."""
    for start in range(0, offsets[-1], rows):
        stop = min(start + rows, offsets[-1])
        first = int(np.searchsorted(offsets, start, side="right")) - 1
        last = int(np.searchsorted(offsets, stop, side="left"))
        inside = np.clip(offsets[first : last + 1], start, stop) - start
        yield slice(start, stop), slice(first, last), inside


def _raw(X, Z, kernel, params):
    """Sums of the instance kernel over all pairs of instances, shape (n_X, n_Z)."""
    flat_x, offsets_x = X.flat()
    flat_z, offsets_z = Z.flat()
    if kernel == "linear":  # the sum of inner products is the inner product of sums
        return segment_sum(flat_x, offsets_x) @ segment_sum(flat_z, offsets_z).T
    result = np.zeros((len(X), len(Z)))
    for columns, z_bags, z_offsets in _row_blocks(offsets_z, _BLOCK_ROWS):
        for rows, x_bags, x_offsets in _row_blocks(offsets_x, _BLOCK_ROWS):
            K = instance_kernel(flat_x[rows], flat_z[columns], kernel, **params)
            sums = segment_sum(segment_sum(K, x_offsets).T, z_offsets)
            result[x_bags, z_bags] += sums.T
    return result


def _raw_self(X, kernel, params):
    """The set kernel of each bag with itself, shape (n_X,)."""
    flat, offsets = X.flat()
    if kernel == "linear":
        sums = segment_sum(flat, offsets)
        return np.einsum("ij,ij->i", sums, sums)
    result = np.empty(len(X))
    # Blocks of few rows: the pairs between different bags of a block are computed in vain.
    for i0, i1 in _bag_blocks(offsets, 128):
        block = X[i0:i1]
        result[i0:i1] = np.diag(_raw(block, block, kernel, params))
    return result


def _not_negative(self_kernel, bags):
    # What is below 0 by rounding only, where instances cancel, is 0.
    if np.any(self_kernel < -1e-9 * np.abs(self_kernel).max()):
        i = int(np.argmin(self_kernel))
        raise ValueError(
            f"{describe_bag(i, bags.names)} has k(X, X) = {self_kernel[i]:g}, but "
            "normalize='cosine' needs k(X, X) >= 0: the kernel is not positive semi-definite. Use "
            "normalize='mean' or another kernel."
        )
    return np.maximum(self_kernel, 0.0)


def _normalize(K, X, Z, self_x, self_z, how):
    if how == "mean":
        return K / np.outer(X.sizes, Z.sizes)
    if how == "cosine":
        # A bag of zeros under the linear kernel has norm 0: its similarity to all is 0.
        norm = np.sqrt(np.outer(self_x, self_z))
        return np.divide(K, norm, out=np.zeros_like(K), where=norm > 0)
    return K


def set_kernel(X, Z=None, *, kernel="rbf", gamma="scale", degree=3, coef0=1.0, normalize="cosine"):
    """Kernel matrix between two collections of bags.

    Parameters
    ----------
    X : container of n_X bags
        Any form that :func:`milkit.utils.validation.as_bag_array` takes.
    Z : container of n_Z bags, default=None
        None compares X with itself. For new bags against training bags, these are the training
        bags; :class:`sklearn.svm.SVC` calls a kernel function so.
    kernel : {"linear", "rbf", "poly", "sigmoid"} or callable, default="rbf"
        Kernel between instances; a callable gets two matrices and returns theirs.
    gamma : {"scale", "auto"} or float, default="scale"
        As in :class:`sklearn.svm.SVC`, computed on the instances of Z.
    degree : int, default=3
        Degree of "poly".
    coef0 : float, default=1.0
        Constant of "poly" and "sigmoid".
    normalize : {"cosine", "mean"} or None, default="cosine"
        See :class:`SetKernel`.

    Returns
    -------
    K : ndarray of shape (n_X, n_Z)

    Raises
    ------
    ValueError
        If the bags are not usable (the bag is named), X and Z have different features, or
        k(X, X) < 0 with ``normalize="cosine"``.

    References
    ----------
    .. [1] T. Gärtner, P. A. Flach, A. Kowalczyk, A. J. Smola, "Multi-instance kernels",
           ICML 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.kernels import set_kernel
    >>> set_kernel([np.eye(2), np.eye(2)[:1]], kernel="linear", normalize=None)
    array([[2., 1.],
           [1., 1.]])
    """
    model = SetKernel(kernel, gamma=gamma, degree=degree, coef0=coef0, normalize=normalize)
    if Z is None:
        return model.fit_transform(X)
    return model.fit(Z).transform(X)


class SetKernel(BagMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Set kernel between bags, for ``SVC(kernel="precomputed")``.

    The sum of an instance kernel over all pairs of instances of two bags [1]_, eq. 4,

    .. math:: k_{set}(X, Z) = \sum_{x \in X} \sum_{z \in Z} k(x, z),

    normalised so that large bags do not win by their size. ``fit`` keeps the training bags,
    ``transform`` gives the kernel of new bags against them.

    Parameters
    ----------
    kernel : {"linear", "rbf", "poly", "sigmoid"} or callable, default="rbf"
        Kernel between instances. A callable gets two matrices of instances, of shapes
        (n, n_features) and (m, n_features), and returns shape (n, m).
    gamma : {"scale", "auto"} or float, default="scale"
        As in :class:`sklearn.svm.SVC`: "scale" is 1 / (n_features · variance of the
        training instances), "auto" is 1 / n_features.
    degree : int, default=3
        Degree of "poly".
    coef0 : float, default=1.0
        Constant of "poly" and "sigmoid".
    normalize : {"cosine", "mean"} or None, default="cosine"
        "cosine" divides by :math:`\sqrt{k(X, X) k(Z, Z)}`, "mean" by the numbers of
        instances :math:`n_X n_Z`.

    Attributes
    ----------
    bags_ : BagArray of shape (n_bags,)
        Own copy of the instances of the training bags, without names or other columns.
    self_kernel_ : ndarray of shape (n_bags,)
        Kernel of each training bag with itself, before it is normalised.
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
    milkit.kernels.StatisticKernel : An ordinary kernel between statistics of bags.

    References
    ----------
    .. [1] T. Gärtner, P. A. Flach, A. Kowalczyk, A. J. Smola, "Multi-instance kernels",
           ICML 2002.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.svm import SVC
    >>> from milkit import SetKernel
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(5, 2)) + 3 * (i % 2) for i in range(20)]
    >>> y = [i % 2 for i in range(20)]
    >>> model = make_pipeline(SetKernel(), SVC(kernel="precomputed")).fit(X, y)
    >>> model.score(X, y)
    1.0
    """

    _parameter_constraints: dict = {
        **KERNEL_CONSTRAINTS,
        "normalize": [StrOptions({"cosine", "mean"}), None],
    }

    def __init__(self, kernel="rbf", gamma="scale", degree=3, coef0=1.0, normalize="cosine"):
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.normalize = normalize

    def fit(self, X, y=None):
        """Keep the training bags.

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
            If a parameter or the bags are not usable (the bag is named), or k(X, X) < 0 with
            ``normalize="cosine"``.
        """
        self._validate_params()
        bags = validate_bags(self, X, dtype=np.float64, instance_data=False)
        self._keep(bags)
        self.self_kernel_ = _raw_self(bags, self.kernel, self._params())
        if self.normalize == "cosine":
            self.self_kernel_ = _not_negative(self.self_kernel_, bags)
        return self

    def fit_transform(self, X, y=None):
        """Keep the training bags and give their kernel matrix.

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
            If the kernel is not positive semi-definite and ``normalize="cosine"``.
        """
        self._validate_params()
        bags = validate_bags(self, X, dtype=np.float64, instance_data=False)
        self._keep(bags)
        K = _raw(bags, bags, self.kernel, self._params())
        self.self_kernel_ = np.diag(K).copy()
        if self.normalize == "cosine":
            self.self_kernel_ = _not_negative(self.self_kernel_, bags)
        return _normalize(K, bags, bags, self.self_kernel_, self.self_kernel_, self.normalize)

    def _keep(self, bags):
        flat, offsets = bags.flat()
        # An own copy of the instances alone: a pickle carries no names and no clinical data.
        self.bags_ = BagArray(flat.copy(), offsets)
        self.gamma_ = resolve_gamma(self.gamma, flat)

    def _params(self):
        return {"gamma": self.gamma_, "degree": self.degree, "coef0": self.coef0}

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
        bags = validate_bags(self, X, reset=False, dtype=np.float64, instance_data=False)
        K = _raw(bags, self.bags_, self.kernel, self._params())
        own = None
        if self.normalize == "cosine":
            own = _not_negative(_raw_self(bags, self.kernel, self._params()), bags)
        return _normalize(K, bags, self.bags_, own, self.self_kernel_, self.normalize)

    @property
    def _n_features_out(self):
        return len(self.bags_)
