"""libsvm, by way of scikit-learn's SVC, where every vector has a slack of its own."""

import numpy as np
from sklearn.svm import SVC

from milkit.svm._primal import feasible, with_primal

__all__ = ["solve_libsvm"]


def solve_libsvm(problem, start, tol):
    """Solve with SVC; it cannot begin at ``start``."""
    if len(problem.caps) < len(problem.signs):
        raise ValueError(
            "solver='libsvm' solves problems in which every vector has a slack of its own: "
            "margin='instance', negative_slack='instance', or negative bags of one instance. Use "
            "solver='auto' here."
        )
    params, data = problem.kernel.svc()
    best, n_iter = None, 0
    # SVC stops at a violation of its conditions, not at a duality gap.
    for violation in (1e-3, 1e-5, 1e-7, 1e-9):
        svc = SVC(C=1.0, tol=violation, cache_size=500, **params)
        svc.fit(data, problem.signs, sample_weight=problem.caps)
        n_iter += int(svc.n_iter_.sum())
        x = np.zeros(len(problem.signs))
        x[svc.support_] = np.abs(svc.dual_coef_[0])
        x = feasible(problem, problem.reach, x)
        solution = with_primal(problem, x, n_iter, tol)
        if best is None or abs(solution.gap) < abs(best.gap):
            best = solution
        if best.status == "optimal":
            break
    return best
