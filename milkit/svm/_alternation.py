"""The outer loops of MI-SVM and mi-SVM: a quadratic programme, then new witnesses or labels."""

import os
from dataclasses import dataclass

import numpy as np

from milkit.svm._qp import QPProblem, solve
from milkit.utils._packing import offsets_of
from milkit.utils._segments import segment_argmax, segment_max, segment_sum

__all__ = ["BinaryBags", "BinaryModel", "bag_margin", "instance_margin"]


class BinaryBags:
    """One binary problem on packed bags, divided into positive and negative instances.

    Parameters
    ----------
    flat : ndarray of shape (n_instances, n_features)
    offsets : ndarray of shape (n_bags + 1,)
    positive : ndarray of bool, shape (n_bags,)
    caps : ndarray of shape (n_bags,)
        C times class weight times sample weight of each bag.
    kernel : callable
        Kernel matrix between the rows of two matrices.
    """

    def __init__(self, flat, offsets, positive, caps, kernel):
        sizes = np.diff(offsets)
        bag_of = np.repeat(np.arange(len(sizes)), sizes)
        in_positive = positive[bag_of]
        self.P, self.N = flat[in_positive], flat[~in_positive]
        self.p_offsets = offsets_of(sizes[positive])
        self.n_sizes = sizes[~positive]
        self.p_caps, self.n_caps = caps[positive], caps[~positive]
        self.kernel = kernel


@dataclass(frozen=True)
class BinaryModel:
    """f(x) = sum of coef times k(x, support vector), plus the intercept.

    ``objectives`` are the primal objectives of the outer steps, ``witnesses`` the position of
    each positive bag's witness inside its bag.
    """

    support_vectors: np.ndarray
    coef: np.ndarray
    intercept: float
    witnesses: np.ndarray
    objectives: list
    relative_gap: float
    converged: bool


def bag_margin(bags, *, negative_slack, init, max_iter, tol, solver, rng, progress):
    """MI-SVM: each positive bag's margin is that of its witness, the instance that scores highest.

    Each step minimises the primal over the function and then over the witnesses, so it never
    rises. With ``init="mean"`` the first step stands on bag means, which are no instances, and is
    not part of that descent.
    """
    P, N, p_offsets = bags.P, bags.N, bags.p_offsets
    n_pos, n_neg = len(bags.p_caps), len(N)
    signs = np.append(np.ones(n_pos), -np.ones(n_neg))
    if negative_slack == "bag":
        negative, n_caps = np.repeat(np.arange(len(bags.n_sizes)), bags.n_sizes), bags.n_caps
    else:
        negative, n_caps = np.arange(n_neg), np.repeat(bags.n_caps, bags.n_sizes)
    slack = np.append(np.arange(n_pos), n_pos + negative)
    caps = np.append(bags.p_caps, n_caps)

    _refuse_too_large(n_pos + n_neg)
    K = np.empty((n_pos + n_neg, n_pos + n_neg))
    K[n_pos:, n_pos:] = bags.kernel(N, N)  # once: only the witnesses' rows change below
    if init == "mean":
        witness, W = None, segment_sum(P, p_offsets) / np.diff(p_offsets)[:, None]
    else:
        witness = p_offsets[:-1] + rng.integers(np.diff(p_offsets))
        W = P[witness]

    solution, objectives, converged = None, [], False
    for _ in progress(range(max_iter)):
        K[:n_pos, :n_pos] = bags.kernel(W, W)
        K[:n_pos, n_pos:] = bags.kernel(W, N)
        K[n_pos:, :n_pos] = K[:n_pos, n_pos:].T
        problem = QPProblem(K.__getitem__, signs, slack, caps)
        solution = solve(problem, solution, solver=solver, tol=tol)
        objectives.append(solution.objective)
        support = np.flatnonzero(solution.x)
        vectors, coef = np.vstack([W, N])[support], (signs * solution.x)[support]
        scores = bags.kernel(P, vectors) @ coef
        best = segment_argmax(scores, p_offsets)
        if witness is not None:
            # Equal instances tie: staying with the witness is as good, and ends the loop.
            top = segment_max(scores, p_offsets)
            best = np.where(scores[witness] >= top - 1e-9 * (1 + np.abs(top)), witness, best)
            if np.array_equal(best, witness):
                converged = True
                break
        witness, W = best, P[best]
    return BinaryModel(
        vectors,
        coef,
        solution.intercept,
        best - p_offsets[:-1],
        objectives,
        solution.relative_gap,
        converged,
    )


def _refuse_too_large(n):
    """Raise before a machine that promises more memory than it has is brought down."""
    needed = 4 * 8 * n**2  # the kernel matrix, the solver's copy of it, and its factor
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return  # Windows does not say
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise MemoryError(
            f"The quadratic programme of {n} instances needs about {needed / 1e9:.0f} GB, and this "
            f"machine has {available / 1e9:.0f} GB. Take fewer instances of each bag, or "
            "AttentionMILClassifier, whose cost grows with the number of instances only."
        )


def instance_margin(bags, *, max_iter, tol, solver, progress):
    """mi-SVM: each instance of a positive bag has a label to find, at least one of them +1."""
    vectors = np.vstack([bags.P, bags.N])
    p_offsets, n_pos = bags.p_offsets, len(bags.P)
    caps = np.append(
        np.repeat(bags.p_caps, np.diff(p_offsets)), np.repeat(bags.n_caps, bags.n_sizes)
    )
    labels = np.append(np.ones(n_pos), -np.ones(len(bags.N)))
    _refuse_too_large(len(vectors))
    K = bags.kernel(vectors, vectors)

    solution, objectives, converged = None, [], False
    for _ in progress(range(max_iter)):
        problem = QPProblem(K.__getitem__, labels, np.arange(len(labels)), caps)
        solution = solve(problem, solution, solver=solver, tol=tol)
        objectives.append(solution.objective)
        support = np.flatnonzero(solution.x)
        coef = (labels * solution.x)[support]
        scores = coef @ K[support, :n_pos] + solution.intercept
        best = segment_argmax(scores, p_offsets)
        found = np.where(scores > 0, 1.0, -1.0)
        found[best] = 1.0
        if np.array_equal(found, labels[:n_pos]):
            converged = True
            break
        labels = np.append(found, labels[n_pos:])
    return BinaryModel(
        vectors[support],
        coef,
        solution.intercept,
        best - p_offsets[:-1],
        objectives,
        solution.relative_gap,
        converged,
    )
