"""Kernels between instances, shared by set kernels and support vector machines."""

import numpy as np
from sklearn.metrics.pairwise import linear_kernel, polynomial_kernel, rbf_kernel, sigmoid_kernel


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
    """Kernel matrix of shape (n_A, n_B) between the rows of two matrices."""
    if callable(kernel):
        K = np.asarray(kernel(A, B))
        if K.shape != (len(A), len(B)):
            raise ValueError(
                f"The kernel function returned shape {K.shape} for {len(A)} × {len(B)} instances; "
                f"it must return shape {(len(A), len(B))}."
            )
        return K
    if kernel == "linear":
        return linear_kernel(A, B)
    if kernel == "rbf":
        return rbf_kernel(A, B, gamma=gamma)
    if kernel == "poly":
        return polynomial_kernel(A, B, degree=degree, gamma=gamma, coef0=coef0)
    return sigmoid_kernel(A, B, gamma=gamma, coef0=coef0)
