"""A primal-dual interior point that uses the structure of the dual.

Mehrotra's predictor-corrector method. The matrix of each Newton step is the kernel plus a
diagonal plus, for each slack, a matrix of rank one; where the kernel is the inner product of few
features, the matrix inversion lemma turns that into a system of the size of the features, so that
cost grows with the number of vectors only.
"""

from dataclasses import replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from milkit.svm._memory import refuse_too_large
from milkit.svm._primal import bounded, feasible, with_primal

__all__ = ["is_low_rank", "solve_interior"]

_MAX_STEPS = 100
_DENSE = 1000  # vectors up to which a dense matrix is a way out
_PATIENCE = 6  # steps without a better gap: only rounding is left


def solve_interior(problem, start, tol):
    """Solve by the interior point method, which does not gain from ``start``."""
    solution, failure = None, None
    for hessian in _hessians(problem):
        try:
            solution = bounded(
                problem, tol, lambda reach, h=hessian: _interior_point(problem, h, reach, tol)
            )
        except RuntimeError as error:
            failure = error
        if solution is not None and solution.status == "optimal":
            break
    if solution is None:
        raise failure
    return solution


def _hessians(problem):
    """The ways to solve for a Newton step, the cheapest first."""
    n = len(problem.signs)
    low_rank = is_low_rank(problem.kernel)
    if low_rank:
        yield _LowRankHessian(problem)
    if not low_rank or n <= _DENSE:
        yield _DenseHessian(problem)  # slower, and exact where C is beyond 10,000


def is_low_rank(kernel):
    """Whether the matrix inversion lemma is worth its constant."""
    return kernel.factor is not None and len(kernel) > max(1000, 6 * kernel.factor.shape[1])


class _DenseHessian:
    """Q plus a diagonal plus a constant for all pairs of each slack, by its Cholesky factor."""

    def __init__(self, problem):
        signs, slack = problem.signs, problem.slack
        refuse_too_large(len(signs), 3)
        self.Q = signs[:, None] * problem.kernel.rows(np.arange(len(signs))) * signs
        self.slack = slack
        self.same = slack[:, None] == slack if len(problem.caps) < len(slack) else None

    def multiply(self, unit, v):
        return unit * (self.Q @ v)

    def factorise(self, unit, diagonal, constants):
        H = unit * self.Q
        if self.same is None:
            diagonal = diagonal + constants
        else:
            H += self.same * constants[self.slack]
        H.flat[:: len(H) + 1] += diagonal
        for ridge in (0.0, 1e-13, 1e-11, 1e-9):
            # Equal vectors make it singular to rounding; Newton's steps forgive a small ridge.
            H.flat[:: len(H) + 1] += ridge * np.trace(H) / len(H)
            try:
                factor = cho_factor(H, lower=True, check_finite=False)
            except np.linalg.LinAlgError:
                continue
            return lambda v: cho_solve(factor, v, check_finite=False)
        raise np.linalg.LinAlgError


class _LowRankHessian:
    """The same where Q is F F', by the matrix inversion lemma.

    A slack's block is a diagonal d plus a constant c; its inverse takes from each value v of the
    block their mean l, weighted with 1 / d, before dividing by d. Near the solution one d of a
    full slack, the pivot's, is far smaller than the others. Then l is the pivot's value to
    rounding, and the difference is computed from the other vectors instead.
    """

    def __init__(self, problem):
        self.F = problem.signs[:, None] * problem.kernel.factor
        self.slack, self.starts = problem.slack, problem.starts

    def multiply(self, unit, v):
        return unit * (self.F @ (v @ self.F))

    def factorise(self, unit, diagonal, constants):
        F, slack, starts = self.F, self.slack, self.starts
        pivot = np.lexsort((diagonal, slack))[starts]
        others = 1.0 / diagonal
        others[pivot] = 0.0
        d_pivot = diagonal[pivot]
        size = 1.0 + d_pivot * (1.0 / constants + np.add.reduceat(others, starts))

        def block_solve(v):
            """The block inverse times v, v less its pivots' values, and the weighted means."""
            shape = (-1,) + (1,) * (v.ndim - 1)
            v_pivot = v[pivot]
            apart = v - v_pivot[slack]
            drawn = np.add.reduceat(apart * others.reshape(shape), starts)
            y_pivot = (v_pivot / constants.reshape(shape) - drawn) / size.reshape(shape)
            away = d_pivot.reshape(shape) * y_pivot
            y = (apart + away[slack]) * others.reshape(shape)
            y[pivot] = y_pivot
            return y, apart, v_pivot - away

        Y, apart, means = block_solve(F)
        inner = unit * (apart.T @ Y + F[pivot].T @ (means / constants[:, None]))
        del Y, apart
        inner.flat[:: len(inner) + 1] += 1.0
        factor = cho_factor(inner, lower=True, check_finite=False)

        def once(v):
            inside = cho_solve(factor, block_solve(v)[0] @ F, check_finite=False)
            return block_solve(v - F @ (unit * inside))[0]

        def solve(v):
            x = once(v)
            for _ in range(4):  # refinement gives back the digits lost where d is small
                error = v - diagonal * x - self.multiply(unit, x)
                error -= (constants * np.add.reduceat(x, starts))[slack]
                if np.abs(error).max() <= 1e-9 * np.abs(v).max():
                    break
                x = x + once(error)
            return x

        return solve


def _interior_point(problem, hessian, reach, tol):
    best, waited = None, 0
    point = _Point(problem, hessian, reach)
    for step in range(1, _MAX_STEPS + 1):
        if point.complementarity <= 10 * tol * max(point.x.sum(), 1e-300):
            x = feasible(problem, reach, point.unit * point.x)
            solution = with_primal(problem, x, step, 0.3 * tol)
            waited = 0 if best is None or abs(solution.gap) < abs(best.gap) else waited + 1
            best = solution if waited == 0 else best
            if best.status == "optimal" or waited >= _PATIENCE:
                break
        try:
            point.step()
        except np.linalg.LinAlgError:
            if best is None:
                raise RuntimeError(
                    "The interior point could not solve the quadratic programme of "
                    f"{len(problem.signs)} variables: its matrix is not positive definite. "
                    "The kernel may not be positive semi-definite (sigmoid, a function of your "
                    "own), or the features are far from scale 1: put "
                    "InstanceTransformer(StandardScaler()) in front, or use kernel='rbf'."
                ) from None
            break
    if best is None:
        x = feasible(problem, reach, point.unit * point.x)
        best = with_primal(problem, x, _MAX_STEPS, tol)
    return _sparse(problem, reach, best, tol)


class _Point:
    """Multipliers x, what is left of the caps t, their duals z and u, and the intercept b."""

    def __init__(self, problem, hessian, reach):
        self.signs, self.slack, self.starts = problem.signs, problem.slack, problem.starts
        self.hessian = hessian
        # In units of what a multiplier can reach all numbers are near 1, whatever C is.
        self.unit = float(reach.mean())
        self.caps = reach / self.unit
        n = len(self.signs)
        sizes = np.diff(self.starts, append=n)
        self.x = (0.5 * self.caps / sizes)[self.slack]  # the middle of the feasible set
        self.t, self.b = 0.5 * self.caps, 0.0
        # Duals near 1 take the fewest steps, unless C times the kernel is far beyond them.
        slope = float(np.abs(hessian.multiply(self.unit, self.x)).mean())
        size = slope if slope > 1e8 else 1.0
        self.z, self.u = np.full(n, size), np.full(len(reach), size)

    @property
    def complementarity(self):
        return float(self.x @ self.z + self.t @ self.u)

    def step(self):
        """One predictor and corrector."""
        x, t, z, u = self.x, self.t, self.z, self.u
        product = self.hessian.multiply(self.unit, x)
        self.r_dual = product - 1.0 + self.b * self.signs - z + u[self.slack]
        self.r_equal = float(self.signs @ x)
        self.r_caps = np.add.reduceat(x, self.starts) + t - self.caps
        self.solve = self.hessian.factorise(self.unit, z / x, u / t)
        self.along = self.solve(self.signs)

        now = self.complementarity
        dx, dt, dz, du, _ = self._direction(x * z, t * u)
        length = _length((x, dx), (t, dt), (z, dz), (u, du))
        after = (x + length * dx) @ (z + length * dz) + (t + length * dt) @ (u + length * du)
        target = now / (len(x) + len(t)) * (after / now) ** 3
        dx, dt, dz, du, db = self._direction(x * z + dx * dz - target, t * u + dt * du - target)
        length = min(1.0, 0.995 * _length((x, dx), (t, dt), (z, dz), (u, du)))
        self.x, self.t = x + length * dx, t + length * dt
        self.z, self.u, self.b = z + length * dz, u + length * du, self.b + length * db

    def _direction(self, r_xz, r_tu):
        """Newton's step for the residuals of x z and t u."""
        x, t, z, u = self.x, self.t, self.z, self.u
        free = self.solve(-self.r_dual - r_xz / x - ((u * self.r_caps - r_tu) / t)[self.slack])
        db = (self.signs @ free + self.r_equal) / (self.signs @ self.along)
        dx = free - db * self.along
        dt = -self.r_caps - np.add.reduceat(dx, self.starts)
        return dx, dt, (-r_xz - z * dx) / x, (-r_tu - u * dt) / t, db


def _length(*pairs):
    """The longest step that keeps all values above 0, at most 1."""
    longest = 1.0
    for value, change in pairs:
        longest = min(longest, 1.0 / max(float(np.max(-change / value)), 1.0))
    return longest


def _sparse(problem, reach, solution, tol):
    """The solution with as many zeros as the gap allows; an interior point leaves none."""
    size = solution.x / np.minimum(reach[problem.slack], solution.x.max())
    for share in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
        x = feasible(problem, reach, np.where(size > share, solution.x, 0.0))
        sparse = with_primal(problem, x, solution.n_iter, tol)
        if sparse.status == "optimal":
            return sparse
    return replace(
        solution, status="optimal" if abs(solution.relative_gap) <= tol else "inaccurate"
    )
