# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Sequential minimal optimisation for margins with shared slacks.

Solves the dual of ``milkit.svm._qp`` on a dense kernel matrix. Two kinds of pairs of multipliers
can move and keep all constraints: a pair as in an ordinary SVM, where a slack that is full can
only give; and two vectors of one full slack, whose sum stays. Every feasible direction is a sum of
such pairs, so a point that none of them improves is the optimum. Each step takes the vector of
the largest violation and, of its possible partners, the one that gains most (second-order working
set selection of Fan, Chen and Lin, JMLR 2005).
"""

import numpy as np

from libc.math cimport fabs

cdef double TINY = 1e-12


def smo(
    const double[:, ::1] K,
    const double[::1] signs,
    const Py_ssize_t[::1] slack,
    const Py_ssize_t[::1] starts,
    const double[::1] caps,
    double[::1] x,
    double[::1] left,
    double tol,
    long max_iter,
):
    """Improve feasible multipliers in place.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Kernel matrix.
    signs : ndarray of shape (n,)
        +1 or -1, one of them for all vectors of a slack.
    slack : ndarray of intp, shape (n,)
        Slack of each vector, rising from 0.
    starts : ndarray of intp, shape (n_slacks + 1,)
        First vector of each slack, and n.
    caps : ndarray of shape (n_slacks,)
        What the multipliers of a slack sum to at most.
    x : ndarray of shape (n,)
        Feasible multipliers to start from, and the result.
    left : ndarray of shape (n,)
        Sign of each vector minus the function's value there without intercept; kept up to date.
    tol : float
        Relative duality gap to stop at.
    max_iter : int
        Most steps.

    Returns
    -------
    n_iter : int
    solved : bool
        Whether the gap was reached.
    convex : bool
        Whether the kernel showed no negative curvature on the way.
    """
    cdef Py_ssize_t n = x.shape[0], n_slacks = caps.shape[0]
    cdef Py_ssize_t i, j, k, u, up, inside, first, last
    cdef long step = 0, check = 0
    cdef double most, least, violation, best, worst, value, gain, top, curvature, t, sign
    cdef double limit_i, limit_j
    cdef double norm, total, primal, b, shortfall, eps = 0.1 * tol
    cdef bint grows, shrinks, solved = False, convex = True
    used_array, diagonal_array = np.add.reduceat(x, starts[:-1]), np.diagonal(K).copy()
    cdef double[::1] used = used_array, diagonal = diagonal_array

    with nogil:
        while True:
            # The largest violation: between any two vectors, and inside one full slack.
            most, least, violation = -1e300, 1e300, 0.0
            up = inside = -1
            for u in range(n_slacks):
                first, last = starts[u], starts[u + 1]
                sign, grows = signs[first], used[u] < caps[u] * (1 - TINY)
                best, worst, k = -1e300, 1e300, first
                for i in range(first, last):
                    value, shrinks = left[i], x[i] > 0
                    if (grows if sign > 0 else shrinks) and value > most:
                        most, up = value, i
                    if (shrinks if sign > 0 else grows) and value < least:
                        least = value
                    if sign * value > best:
                        best, k = sign * value, i
                    if shrinks and sign * value < worst:
                        worst = sign * value
                if not grows and best - worst > violation:
                    violation, inside = best - worst, k

            if step >= check or max(most - least, violation) <= eps:
                norm = total = primal = 0.0
                for i in range(n):
                    norm += signs[i] * x[i] * (signs[i] - left[i])
                    total += x[i]
                b = 0.5 * (most + least)
                if most < -1e299:
                    b = least
                elif least > 1e299:
                    b = most
                for u in range(n_slacks):
                    shortfall = 0.0
                    for i in range(starts[u], starts[u + 1]):
                        shortfall = max(shortfall, signs[i] * (left[i] - b))
                    primal += caps[u] * shortfall
                primal += 0.5 * norm
                solved = primal + 0.5 * norm - total <= tol * max(primal, TINY)
                if solved:
                    break
                check = step + max(n, 100)
                if max(most - least, violation) <= eps:
                    eps *= 0.1
            if step >= max_iter:
                break

            # The partner that gains most, and the step to the optimum of the two.
            top, j = 0.0, -1
            if most - least >= violation:
                i = up
                for k in range(n):
                    value = most - left[k]
                    if value <= 0:
                        continue
                    if signs[k] > 0:
                        if x[k] <= 0:
                            continue
                    elif used[slack[k]] >= caps[slack[k]] * (1 - TINY):
                        continue
                    gain = value * value / max(
                        diagonal[i] + diagonal[k] - 2 * K[i, k], TINY * diagonal[i]
                    )
                    if gain > top:
                        top, j = gain, k
            else:
                i, u = inside, slack[inside]
                for k in range(starts[u], starts[u + 1]):
                    value = signs[i] * (left[i] - left[k])
                    if value <= 0 or x[k] <= 0:
                        continue
                    gain = value * value / max(
                        diagonal[i] + diagonal[k] - 2 * K[i, k], TINY * diagonal[i]
                    )
                    if gain > top:
                        top, j = gain, k
            if j < 0:
                break
            if left[i] < left[j]:
                i, j = j, i
            # x[i] moves by signs[i] t and x[j] by -signs[j] t, as far as 0 and the caps allow.
            curvature = diagonal[i] + diagonal[j] - 2 * K[i, j]
            if curvature < -1e-8 * (fabs(diagonal[i]) + fabs(diagonal[j])):
                convex = False
            t = (left[i] - left[j]) / max(curvature, TINY * fabs(diagonal[i]))
            limit_i, limit_j = x[i], x[j]
            if signs[i] > 0:
                limit_i = 1e300 if slack[i] == slack[j] else caps[slack[i]] - used[slack[i]]
            if signs[j] < 0:
                limit_j = 1e300 if slack[i] == slack[j] else caps[slack[j]] - used[slack[j]]
            t = min(t, min(limit_i, limit_j))
            x[i] += signs[i] * t
            x[j] -= signs[j] * t
            if slack[i] != slack[j]:
                used[slack[i]] += signs[i] * t
                used[slack[j]] -= signs[j] * t
            if t == limit_i:  # exactly at the bound
                if signs[i] > 0:
                    used[slack[i]] = caps[slack[i]]
                else:
                    x[i] = 0
            if t == limit_j:
                if signs[j] < 0:
                    used[slack[j]] = caps[slack[j]]
                else:
                    x[j] = 0
            for k in range(n):
                left[k] -= t * (K[i, k] - K[j, k])
            step += 1
    return step, solved, convex
