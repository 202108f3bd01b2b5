"""Kernels between instances, shared by set kernels and support vector machines."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

# Of the parameters that a kernel between rows has, for ``_parameter_constraints``.
KERNEL_CONSTRAINTS = {
    "kernel": [StrOptions({"linear", "rbf", "poly", "sigmoid"}), callable],
    "gamma": [StrOptions({"scale", "auto"}), Interval(Real, 0.0, None, closed="left")],
    "degree": [Interval(Integral, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
}


def resolve_gamma(gamma, flat, weight=None):
    """The number behind "scale" (1 / (n_features · variance)) and "auto" (1 / n_features).

    ``weight`` of shape (n_instances,) makes the variance that of instances repeated so often.
    """
    if gamma == "scale":
        center = np.average(flat, axis=0, weights=weight).mean()
        spread = np.average(((flat - center) ** 2).mean(axis=1), weights=weight)
        return 1.0 / (flat.shape[1] * spread) if spread > 0 else 1.0
    if gamma == "auto":
        return 1.0 / flat.shape[1]
    return float(gamma)


def instance_kernel(A, B, kernel, *, gamma=1.0, degree=3, coef0=1.0):
    """Kernel matrix of shape (n_A, n_B) between the rows of two matrices of float64.

    The formulas are scikit-learn's; its functions check their input anew at each call, which took
    half the time of a fit on small bags.
    """
    if callable(kernel):
        K = np.asarray(kernel(A, B), dtype=np.float64)
        if K.shape != (len(A), len(B)):
            raise ValueError(
                f"The kernel function returned shape {K.shape} for {len(A)} × {len(B)} rows; "
                f"it must return shape {(len(A), len(B))}."
            )
        if not np.isfinite(K).all():
            raise ValueError(
                "The kernel function returned NaN or infinite values; it must give a finite "
                "number for each pair of instances."
            )
        return K
    K = A @ B.T
    if kernel == "rbf":
        K *= 2.0 * gamma
        K -= gamma * np.einsum("ij,ij->i", A, A)[:, None]
        K -= gamma * np.einsum("ij,ij->i", B, B)
        np.minimum(K, 0.0, out=K)  # above it by rounding only
        return np.exp(K, out=K)
    if kernel in ("poly", "sigmoid"):
        K *= gamma
        K += coef0
        return np.power(K, degree, out=K) if kernel == "poly" else np.tanh(K, out=K)
    return K
