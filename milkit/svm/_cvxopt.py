"""cvxopt's interior point on the dense dual: the reference."""

import numpy as np
from scipy.linalg import lstsq

from milkit.svm._memory import refuse_too_large
from milkit.svm._primal import bounded, feasible, with_primal

__all__ = ["solve_cvxopt"]


def solve_cvxopt(problem, start, tol):
    """Solve with cvxopt; ``start`` is of no use to it."""
    refuse_too_large(len(problem.signs), 4)
    K = problem.kernel.rows(np.arange(len(problem.signs)))

    def run(reach):
        x, n_iter = _interior_point(problem, K, reach, tol)
        solution = with_primal(problem, x, n_iter, tol)
        if solution.status == "inaccurate":
            polished = with_primal(problem, _polish(problem, solution), n_iter, tol)
            solution = min(solution, polished, key=lambda candidate: abs(candidate.gap))
        return solution

    return bounded(problem, tol, run)


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
        Q = unit * signs[loose][:, None] * problem.kernel.rows(loose) * signs
        A = np.block([[Q[:, loose], border], [border.T, np.zeros((border.shape[1],) * 2)]])
        b = np.concatenate([1 - Q[:, fixed] @ x[fixed], [-(signs[fixed] @ x[fixed])], caps[sums]])
        now = np.concatenate([x[loose], [solution.intercept], solution.duals[sums]])
        step = lstsq(A, b - A @ now, lapack_driver="gelsy", cond=1e-13)[0]
        x[loose] = np.maximum(x[loose] + step[: len(loose)], 0.0)
        used = np.add.reduceat(x, problem.starts)
        x *= (caps / np.maximum(used, caps))[slack]
    return feasible(problem, problem.reach, unit * x)


def _interior_point(problem, K, reach, tol):
    from cvxopt import matrix, solvers, spmatrix

    n, n_slacks = len(problem.signs), len(problem.caps)
    signs = problem.signs.astype(np.float64)
    # In units of what a multiplier can reach all numbers are near 1, whatever C and weights are.
    unit = float(reach.mean())
    Q = unit * (signs[:, None] * K * signs)
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
    return feasible(problem, reach, x), int(result["iterations"])
