"""The one door to QP solvers: the dual of a support vector machine with shared slacks.

The variables are the vectors that carry the margin; several of them may share one slack, and
then the sum of their multipliers is capped:

    minimise    1/2 a' Q a - 1' a        with Q_ij = s_i s_j k(x_i, x_j)
    subject to  s' a = 0,  a >= 0,  sum of a over slack u <= cap_u

An ordinary SVM has one slack per vector; then the cap is its box. A solver asks the problem for
rows of the kernel and gives a ``QPSolution``; nothing else of it is known outside.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.linalg import lstsq

__all__ = ["QPProblem", "QPSolution", "solve"]


@dataclass(frozen=True)
class QPProblem:
    """A dual problem.

    Parameters
    ----------
    kernel_rows : callable
        Takes an integer array ``index`` and gives the rows of the kernel matrix, shape
        (len(index), n_variables).
    signs : ndarray of shape (n_variables,)
        +1 or -1, the same for all vectors of one slack.
    slack : ndarray of int, shape (n_variables,)
        Which slack a vector belongs to; contiguous and rising from 0.
    caps : ndarray of shape (n_slacks,)
        What a unit of each slack costs, positive.
    """

    kernel_rows: callable
    signs: np.ndarray
    slack: np.ndarray
    caps: np.ndarray

    @property
    def starts(self):
        """ndarray of shape (n_slacks,) : First vector of each slack."""
        return np.flatnonzero(np.diff(self.slack, prepend=-1))

    @property
    def reach(self):
        """ndarray of shape (n_slacks,) : What a slack's multipliers can sum to at most.

        The cap, or all caps of the other side together, because both sides sum to the same.
        """
        positive = self.signs[self.starts] > 0
        other = np.where(positive, self.caps[~positive].sum(), self.caps[positive].sum())
        return np.minimum(self.caps, other)


@dataclass(frozen=True)
class QPSolution:
    """A solution with the primal that belongs to it.

    Attributes
    ----------
    x : ndarray of shape (n_variables,)
        The multipliers a.
    intercept : float
    duals : ndarray of shape (n_slacks,)
        The slacks of the primal, which are the duals of the caps.
    objective : float
        Primal objective 1/2 ||w||^2 + sum of cap_u times slack_u.
    gap : float
        Primal minus dual objective.
    n_iter : int
    status : {"optimal", "inaccurate"}
    """

    x: np.ndarray
    intercept: float
    duals: np.ndarray
    objective: float
    gap: float
    n_iter: int
    status: str = field(default="optimal")

    @property
    def relative_gap(self):
        """float : Gap divided by the primal objective."""
        return self.gap / max(abs(self.objective), 1e-12)


def solve(problem, start=None, *, solver="cvxopt", tol=1e-6):
    """Solve the dual of a support vector machine.

    Parameters
    ----------
    problem : QPProblem
    start : QPSolution, default=None
        Solution of a similar problem to start from. cvxopt's interior point gains nothing
        from it and does not use it.
    solver : {"cvxopt"}, default="cvxopt"
    tol : float, default=1e-6
        Relative duality gap up to which a solution counts as optimal.

    Returns
    -------
    solution : QPSolution

    Raises
    ------
    RuntimeError
        If the solver fails; nothing is swallowed.
    """
    return _SOLVERS[solver](problem, start, tol)


def _with_primal(problem, x, n_iter, tol):
    """Intercept, slacks and objectives from the multipliers, whatever solver found them."""
    signs, caps, starts = problem.signs, problem.caps, problem.starts
    support = np.flatnonzero(x)
    weight = signs[support] * x[support]
    scores = weight @ problem.kernel_rows(support) if len(support) else np.zeros(len(x))
    norm = float(weight @ scores[support])
    intercept = _intercept(problem, x, scores)
    shortfall = 1.0 - signs * (scores + intercept)
    slacks = np.maximum(np.maximum.reduceat(shortfall, starts), 0.0)
    primal = 0.5 * norm + float(caps @ slacks)
    gap = primal - (float(x.sum()) - 0.5 * norm)
    status = "optimal" if abs(gap) <= tol * max(abs(primal), 1e-12) else "inaccurate"
    return QPSolution(x, intercept, slacks, primal, gap, n_iter, status)


def _intercept(problem, x, scores):
    """The intercept that the free support vectors agree on, else the middle of what is optimal.

    A support vector is free if its multiplier is positive *and* the sum over its slack is below
    the cap; only then does it lie on the margin. Their mean is kept inside the bracket of
    intercepts that minimise the primal, which is a point to rounding where any is free.
    """
    signs, caps, starts = problem.signs, problem.caps, problem.starts
    low, high = intercept_bracket(signs[starts], np.maximum.reduceat(-signs * scores, starts), caps)
    room = caps - np.add.reduceat(x, starts) > 1e-5 * caps
    free = (x > 0) & room[problem.slack]
    if free.any():
        return float(np.clip(np.mean(signs[free] - scores[free]), low, high))
    return 0.5 * (low + high)


def intercept_bracket(signs, loss, caps):
    """The interval of b that minimises sum of cap_u max(0, 1 + loss_u - sign_u b).

    The sum is convex and piecewise linear in b; its slope rises by cap_u at the point where a
    slack begins or ceases to be positive.
    """
    points = signs * (1.0 + loss)
    order = np.argsort(points)
    points, steps = points[order], caps[order]
    slope = np.cumsum(steps) - caps[signs > 0].sum()
    tolerance = 1e-9 * caps.sum()
    first = int(np.argmax(slope >= -tolerance))
    flat = slope[first] <= tolerance and first + 1 < len(points)
    return float(points[first]), float(points[first + 1 if flat else first])


def _solve_cvxopt(problem, start, tol):
    """Interior point on the dense dual; the reference.

    Each side's multipliers sum to at most the smallest primal objective: both together are
    ||w||^2 plus the cost of the slacks. Where C is so large that most caps are far out of reach,
    an inaccurate first solution gives such a bound, and with it numbers of one size.
    """
    best, bound, n_iter = None, np.inf, 0
    while True:
        reach = np.minimum(problem.reach, bound)
        try:
            x, n_steps = _interior_point(problem, reach, tol)
        except RuntimeError:
            if best is None:
                raise
            return best  # its gap says how good it is
        n_iter += n_steps
        solution = _with_primal(problem, x, n_iter, tol)
        candidates = [solution] if best is None else [best, solution]
        if solution.status == "inaccurate":
            candidates.append(_with_primal(problem, _polish(problem, solution), n_iter, tol))
        best = min(candidates, key=lambda candidate: abs(candidate.gap))
        if best.status == "optimal" or not 0 < best.objective < 0.5 * reach.max():
            return replace(best, n_iter=n_iter)
        bound = best.objective


def _polish(problem, solution):
    """The multipliers for which all vectors that seem free lie on the margin exactly."""
    unit = max(solution.x.max(), 1e-300)  # all numbers near 1
    signs, slack, caps, x = problem.signs, problem.slack, problem.caps / unit, solution.x / unit
    for _ in range(3):
        full = np.add.reduceat(x, problem.starts) > (1 - 1e-5) * caps
        support = np.flatnonzero(x)
        alone = full[slack[support]] & (np.bincount(slack[support])[slack[support]] == 1)
        fixed, loose = support[alone], support[~alone]
        x[fixed] = caps[slack[fixed]]
        # Unknown: the loose multipliers, the intercept, and the slack of each full sum.
        sums = np.unique(slack[loose][full[slack[loose]]])
        border = np.column_stack([signs[loose], slack[loose][:, None] == sums])
        Q = unit * signs[loose][:, None] * problem.kernel_rows(loose) * signs
        A = np.block([[Q[:, loose], border], [border.T, np.zeros((border.shape[1],) * 2)]])
        b = np.concatenate([1 - Q[:, fixed] @ x[fixed], [-(signs[fixed] @ x[fixed])], caps[sums]])
        now = np.concatenate([x[loose], [solution.intercept], solution.duals[sums]])
        step = lstsq(A, b - A @ now, lapack_driver="gelsy", cond=1e-13)[0]
        x[loose] = np.maximum(x[loose] + step[: len(loose)], 0.0)
        used = np.add.reduceat(x, problem.starts)
        x *= (caps / np.maximum(used, caps))[slack]
    return _feasible(problem, problem.reach, unit * x)


def _interior_point(problem, reach, tol):
    from cvxopt import matrix, solvers, spmatrix

    n, n_slacks = len(problem.signs), len(problem.caps)
    signs = problem.signs.astype(np.float64)
    # In units of what a multiplier can reach all numbers are near 1, whatever C and weights are.
    unit = float(reach.mean())
    Q = unit * (signs[:, None] * problem.kernel_rows(np.arange(n)) * signs)
    G = spmatrix(
        np.concatenate([-np.ones(n), np.ones(n)]).tolist(),
        np.concatenate([np.arange(n), n + problem.slack]).tolist(),
        np.tile(np.arange(n), 2).tolist(),
        (n + n_slacks, n),
    )
    h = matrix(np.concatenate([np.zeros(n), reach / unit]))
    options = {
        "show_progress": False,
        "abstol": 1e-9,
        "reltol": min(1e-8, 0.01 * tol),
        "feastol": 1e-9,
        "maxiters": 200,
    }
    ridge = 0.0
    while True:
        try:
            result = solvers.qp(
                matrix(Q + ridge * np.eye(n) if ridge else Q),
                matrix(-np.ones(n)),
                G,
                h,
                matrix(signs[None, :]),
                matrix(0.0),
                options=options,
            )
            break
        except (ArithmeticError, ValueError) as error:
            # Equal instances can make the system singular to working precision; a ridge far
            # below the tolerance cures that, and the duality gap is measured without it.
            if ridge:
                raise RuntimeError(
                    f"cvxopt could not solve the quadratic programme of {n} variables ({error}). "
                    "The kernel may not be positive semi-definite (sigmoid, a function of your "
                    "own), or the features are far from scale 1: put "
                    "InstanceTransformer(StandardScaler()) in front, or use kernel='rbf'."
                ) from error
            ridge = 1e-9 * max(float(np.trace(Q)) / n, 1e-12)
    x = unit * np.clip(np.array(result["x"]).ravel(), 0.0, None)
    # An interior point leaves those that should be 0 just above it. A vector far out counts more.
    length = np.sqrt(np.maximum(np.diag(Q) / max(np.diag(Q).mean(), 1e-300), 1.0))
    x[x * length <= 1e-6 * np.minimum(reach[problem.slack], x.max())] = 0.0
    return _feasible(problem, reach, x), int(result["iterations"])


def _feasible(problem, reach, x):
    """The nearest multipliers that meet all constraints exactly.

    Only feasible multipliers make the duality gap a bound.
    """
    used = np.add.reduceat(x, problem.starts)
    x *= (reach / np.maximum(used, reach))[problem.slack]
    positive = problem.signs > 0
    sums = x[positive].sum(), x[~positive].sum()
    smaller = min(sums)
    if smaller > 0:
        x *= np.where(positive, smaller / sums[0], smaller / sums[1])
    return x


_SOLVERS = {"cvxopt": _solve_cvxopt}
