"""From multipliers to the primal: intercept, slacks, duality gap."""

from dataclasses import dataclass, field, replace

import numpy as np

__all__ = ["QPSolution", "bounded", "feasible", "intercept_bracket", "with_primal"]


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
    scores : ndarray of shape (n_variables,)
        The function's value at each vector, without the intercept.
    convex : bool
        False where the solver met negative curvature: the kernel is not positive semi-definite
        and the solution a stationary point.
    """

    x: np.ndarray
    intercept: float
    duals: np.ndarray
    objective: float
    gap: float
    n_iter: int
    status: str
    scores: np.ndarray = field(repr=False)
    convex: bool = True

    @property
    def relative_gap(self):
        """float : Gap divided by the primal objective."""
        return self.gap / max(abs(self.objective), 1e-12)


def with_primal(problem, x, n_iter, tol, convex=True):
    """Intercept, slacks and objectives from the multipliers, whatever solver found them."""
    signs, caps, starts = problem.signs, problem.caps, problem.starts
    support = np.flatnonzero(x)
    weight = signs[support] * x[support]
    scores = problem.kernel.scores(support, weight) if len(support) else np.zeros(len(x))
    norm = float(weight @ scores[support])
    loss = np.maximum.reduceat(-signs * scores, starts)
    # The optimal intercepts, given the function, are one point where any support vector is free
    # (its multiplier positive *and* the sum over its slack below the cap): all of these lie on
    # the margin then. Where none is, they are an interval, and its middle is taken.
    intercept = 0.5 * sum(intercept_bracket(signs[starts], loss, caps))
    slacks = np.maximum(1.0 + loss - signs[starts] * intercept, 0.0)
    primal = 0.5 * norm + float(caps @ slacks)
    gap = primal - (float(x.sum()) - 0.5 * norm)
    status = "optimal" if abs(gap) <= tol * max(abs(primal), 1e-12) else "inaccurate"
    return QPSolution(x, intercept, slacks, primal, gap, n_iter, status, scores, convex)


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


def feasible(problem, reach, x):
    """The nearest multipliers that meet all constraints exactly.

    Only feasible multipliers make the duality gap a bound.
    """
    used = np.add.reduceat(x, problem.starts)
    x = x * (reach / np.maximum(used, reach))[problem.slack]
    positive = problem.signs > 0
    sums = x[positive].sum(), x[~positive].sum()
    smaller = min(sums)
    if smaller > 0:
        x *= np.where(positive, smaller / sums[0], smaller / sums[1])
    else:
        x[:] = 0.0
    return x


def bounded(problem, tol, run):
    """Call an interior point again with smaller bounds where C is out of all reach.

    Each side's multipliers sum to at most the smallest primal objective: both together are
    ||w||^2 plus the cost of the slacks. Where C is so large that most caps are never met, an
    inaccurate first solution gives such a bound, and with it numbers of one size.

    Parameters
    ----------
    problem : QPProblem
    tol : float
        Relative duality gap to reach.
    run : callable
        Takes the bounds of the slacks, shape (n_slacks,), and gives a QPSolution.

    Returns
    -------
    solution : QPSolution
    """
    best, n_iter, reach = None, 0, problem.reach
    while True:
        try:
            solution = run(reach)
        except RuntimeError:
            if best is None:
                raise
            break  # the best so far, whose gap says how good it is
        n_iter += solution.n_iter
        if best is None or abs(solution.gap) < abs(best.gap):
            best = solution
        if best.status == "optimal" or not 0 < best.objective < 0.5 * reach.max():
            break
        reach = np.minimum(problem.reach, best.objective)
    return replace(best, n_iter=n_iter)
