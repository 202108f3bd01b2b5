"""Constraint generation: a quadratic programme over the few vectors that matter.

Most instances of a negative bag lie far behind the margin, and the programme does not change
without them. The solver begins with some vectors, solves, adds of each slack those that lie
deepest inside the margin, and goes on until the duality gap *over all vectors* is small enough.
It begins with the vectors and multipliers of the last solution, if there is one.
"""

from dataclasses import replace

import numpy as np

from milkit.svm._interior import is_low_rank, solve_interior
from milkit.svm._memory import refuse_too_large
from milkit.svm._primal import feasible, intercept_bracket, with_primal

try:
    from milkit.svm._smo import smo
except ImportError:  # installed without a compiler
    smo = None

__all__ = ["solve_working_set"]

# Sizes found by timing fits of the classical sets; all of them are flat near these values.
_ALL = 400  # so few vectors are taken at once
_COLD = 300  # else the fit begins with so many, of each slack at most ...
_FIRST = 1
_JOIN = 4  # vectors of one slack that join in a round
_BURST = 1000  # steps on pairs before a face is tried
_ROUNDS = 30  # of pairs and faces before the interior point takes over
_FACES = 30  # steps towards the optimum of a face, fewer where each costs much:
_FACE_COST = 3e8  # they cost the cube of the multipliers above 0


def solve_working_set(problem, start, tol):
    """Solve over a growing set of vectors, from ``start`` where there is one."""
    n = len(problem.signs)
    x = np.zeros(n)
    if start is not None:
        x = feasible(problem, problem.reach, start.x)
    active = _first(problem, x)
    finest = 0.4 * tol  # the rest is for vectors outside
    inner_tol, n_iter, convex = (finest if active.all() else 0.02), 0, True
    best, failures = None, 0
    while True:
        index = np.flatnonzero(active)
        part = problem.subset(index)
        x_part, n_steps, solved, inner_convex = _solve_part(part, x[index], inner_tol)
        x = np.zeros(n)
        x[index] = x_part
        n_iter, convex = n_iter + n_steps, convex and inner_convex
        solution = with_primal(problem, x, n_iter, tol, convex)
        if best is None or abs(solution.gap) < abs(best.gap):
            best = solution
        if solution.status == "optimal":
            return solution
        failures += not solved
        if failures > 1:  # beyond what double precision can tell; the gap says so
            return replace(best, n_iter=n_iter)
        joining = _violators(problem, solution, active, part)
        active[joining] = True
        if len(joining):
            inner_tol = max(finest, min(inner_tol, 0.2 * abs(solution.relative_gap)))
        elif inner_tol > 1e-3 * tol:
            inner_tol = min(finest, 0.1 * inner_tol)
        else:
            return replace(best, n_iter=n_iter)


def _first(problem, x):
    """The vectors to begin with."""
    n = len(x)
    active = x > 0
    if not active.any():
        if n <= _ALL:
            return np.ones(n, dtype=bool)
        # Those that lie deepest on the other side of a line between the two means.
        rng = np.random.default_rng(0)
        scores = np.zeros(n)
        for sign in (1.0, -1.0):
            side = np.flatnonzero(problem.signs == sign)
            some = np.sort(rng.permutation(side)[:200])
            scores += problem.kernel.scores(some, np.full(len(some), sign / len(some)))
        depth = -problem.signs * scores
        active[_deepest(problem.slack, depth, np.ones(n, dtype=bool), _COLD, _FIRST)] = True
        for sign in (1.0, -1.0):  # both sides, however they lie
            side = np.flatnonzero(problem.signs == sign)
            active[side[np.argsort(-depth[side], kind="stable")[:100]]] = True
    return active


def _violators(problem, solution, active, part):
    """Vectors outside the working set that lie deeper than those of their slack inside it."""
    # The intercept that suits all vectors may hide what the working set's own would show.
    inside = np.maximum.reduceat(-part.signs * solution.scores[active], part.starts)
    low, high = intercept_bracket(part.signs[part.starts], inside, part.caps)
    joining = np.zeros(len(active), dtype=bool)
    for intercept in {solution.intercept, min(max(solution.intercept, low), high)}:
        shortfall = 1.0 - problem.signs * (solution.scores + intercept)
        inside = np.maximum.reduceat(np.where(active, shortfall, 0.0), problem.starts)
        depth = shortfall - np.maximum(inside, 0.0)[problem.slack]
        most = max(500, int(active.sum()))
        joining[_deepest(problem.slack, depth, ~active & (depth > 0), most, _JOIN)] = True
    return np.flatnonzero(joining)


def _deepest(slack, depth, candidates, most, of_each):
    """The deepest few candidates of each slack, and of these the deepest ``most``."""
    index = np.flatnonzero(candidates)
    order = index[np.lexsort((-depth[index], slack[index]))]
    begins = np.flatnonzero(np.diff(slack[order], prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    chosen = order[rank < of_each]
    return chosen[np.argsort(-depth[chosen], kind="stable")[:most]]


def _solve_part(problem, x, tol):
    """Multipliers over the working set, the steps taken, whether solved, whether all convex."""
    n = len(x)
    if smo is None or is_low_rank(problem.kernel):
        solution = solve_interior(problem, None, tol)
        return solution.x, solution.n_iter, solution.status == "optimal", True
    refuse_too_large(n, 2)
    K = np.ascontiguousarray(problem.kernel.rows(np.arange(n)))
    x, n_iter = x.copy(), 0
    for _ in range(_ROUNDS):
        n_steps, solved, convex = _pairs(problem, K, x, tol)
        n_iter += n_steps
        if solved or not convex:
            return x, n_iter, solved, convex
        # Many small steps, as at large C: the face they have reached has an optimum of its own.
        for _ in range(int(np.clip(_FACE_COST / max(1, np.count_nonzero(x)) ** 3, 1, _FACES))):
            n_iter += 1
            if _to_optimum_of_face(problem, K, x):
                break
    solution = solve_interior(problem, None, tol)
    return solution.x, n_iter + solution.n_iter, solution.status == "optimal", convex


def _pairs(problem, K, x, tol):
    n, support = len(x), np.flatnonzero(x)
    left = problem.signs - (problem.signs[support] * x[support]) @ K[support]
    ends = np.append(problem.starts, n)
    steps = max(_BURST, 3 * n)
    return smo(K, problem.signs, problem.slack, ends, problem.reach, x, left, tol, steps)


def _to_optimum_of_face(problem, K, x):
    """One step of an active-set method: solve with zeros and full slacks held, stop at a bound.

    Changes ``x`` and says whether the optimum of the face was reached.
    """
    signs, slack, reach = problem.signs, problem.slack, problem.reach
    used = np.add.reduceat(x, problem.starts)
    full = used >= reach * (1 - 1e-12)
    support = np.flatnonzero(x)
    count = np.bincount(slack[support], minlength=len(reach))
    loose = support[~full[slack[support]] | (count[slack[support]] > 1)]
    if not len(loose):
        return True
    held = np.unique(slack[loose][full[slack[loose]]])
    A = np.vstack([signs[loose], slack[loose] == held[:, None]])
    n, m = len(loose), len(A)
    system = np.zeros((n + m, n + m))
    system[:n, :n] = signs[loose][:, None] * K[np.ix_(loose, loose)] * signs[loose]
    system[:n, :n].flat[:: n + 1] += 1e-11 * np.trace(system[:n, :n]) / n
    system[:n, n:], system[n:, :n] = A.T, A
    slope = 1.0 - signs[loose] * ((signs[support] * x[support]) @ K[np.ix_(support, loose)])
    try:
        step = np.linalg.solve(system, np.append(slope, np.zeros(m)))[:n]
    except np.linalg.LinAlgError:
        return True
    # As far as the first multiplier at 0 or the first full slack.
    grows = np.bincount(slack[loose], step, minlength=len(reach))
    grows[held] = 0.0
    room = np.where(grows > 0, reach - used, np.inf) / np.where(grows > 0, grows, 1.0)
    down = np.where(step < 0, x[loose], np.inf) / np.where(step < 0, -step, 1.0)
    length = min(1.0, room.min(), down.min())
    x[loose] = np.maximum(x[loose] + length * step, 0.0)
    x[loose[down <= length]] = 0.0
    return length == 1.0
