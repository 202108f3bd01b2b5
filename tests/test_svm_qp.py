"""The QP door against independent optimisers, SVC and the optimality conditions."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, linprog, minimize
from sklearn.metrics.pairwise import linear_kernel, polynomial_kernel, rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from milkit.svm import _interior, _qp, _working_set
from milkit.svm._kernels import KernelFunction, LinearStore, MatrixKernel, RowStore
from milkit.svm._primal import intercept_bracket
from milkit.svm._qp import QPProblem

# Each solver at the gap that it reaches with ease; cvxopt's own limits end near 1e-8.
TOL = {"working_set": 1e-9, "interior": 1e-9, "libsvm": 1e-7, "cvxopt": 1e-6}


@pytest.fixture(params=["working_set", "interior", "cvxopt"])
def solver(request):
    return request.param


def solve(problem, start=None, *, solver, tol=None):
    return _qp.solve(problem, start, solver=solver, tol=TOL[solver] if tol is None else tol)


KERNELS = {
    "linear": linear_kernel,
    "rbf": lambda A, B: rbf_kernel(A, B, gamma=0.5),
    "poly": lambda A, B: polynomial_kernel(A, B, degree=3, gamma=0.3, coef0=1.0),
}


def make_problem(seed, *, shared, kernel="rbf", cap=1.0, shift=0.4, n_slacks=10, n_features=3):
    """Random slacks, the first half of them positive; with ``shared`` of 1 to 3 vectors each."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 4, n_slacks) if shared else np.ones(n_slacks, dtype=int)
    slack = np.repeat(np.arange(n_slacks), sizes)
    signs = np.where(slack < n_slacks // 2, 1.0, -1.0)
    X = rng.normal(size=(len(slack), n_features)) + shift * signs[:, None]
    caps = np.broadcast_to(cap, n_slacks) * rng.uniform(0.5, 2.0, n_slacks)
    K = KERNELS[kernel](X, X)
    return QPProblem(MatrixKernel(K), signs, slack, caps), K


def brute_force_dual(problem, K):
    """The largest dual objective that a general-purpose optimiser finds."""
    n, Q = len(problem.signs), problem.signs[:, None] * K * problem.signs
    member = (problem.slack == np.arange(len(problem.caps))[:, None]).astype(float)
    unit = problem.caps.mean()
    x0 = np.zeros(n)
    slsqp = minimize(
        lambda x: 0.5 * x @ Q @ x * unit - x.sum(),
        x0,
        jac=lambda x: unit * (Q @ x) - 1,
        bounds=[(0, None)] * n,
        constraints=[
            {"type": "eq", "fun": lambda x: problem.signs @ x, "jac": lambda x: problem.signs},
            {
                "type": "ineq",
                "fun": lambda x: problem.caps / unit - member @ x,
                "jac": lambda x: -member,
            },
        ],
        method="SLSQP",
        options={"maxiter": 1000, "ftol": 1e-14},
    )
    assert slsqp.success or "directional derivative" in slsqp.message  # no step is better
    return -slsqp.fun * unit


def assert_kkt(problem, K, solution, tol=1e-6):
    """Feasible, complementary, and every vector on its side of the margin."""
    x, signs, starts, caps = solution.x, problem.signs, problem.starts, problem.caps
    used = np.add.reduceat(x, starts)
    assert np.all(x >= 0)
    assert np.all(used <= caps * (1 + 1e-12))
    assert abs(signs @ x) <= 1e-9 * x.sum()
    margins = signs * (K @ (signs * x) + solution.intercept)
    scale = tol * max(1.0, np.abs(margins).max())
    slacks = np.maximum(np.maximum.reduceat(1 - margins, starts), 0)
    np.testing.assert_allclose(solution.duals, slacks, atol=scale)
    # No slack without a full sum; a support vector is on the margin minus the slack of its bag.
    assert np.all(slacks * (caps - used) <= tol * solution.objective)
    assert np.all(slacks[used < 0.99 * caps] <= scale)
    off = margins - (1 - slacks[problem.slack])
    assert np.all(x * np.abs(off) <= tol * solution.objective)
    support = (x > max(1e-4, tol) * caps[problem.slack]) & (x > 1e-6 * x.max())
    np.testing.assert_allclose(margins[support], (1 - slacks[problem.slack])[support], atol=scale)
    unused = x == 0
    assert np.all(margins[unused] >= (1 - slacks[problem.slack])[unused] - scale)
    assert -1e-9 * abs(solution.objective) <= solution.gap
    norm = (signs * x) @ K @ (signs * x)
    assert solution.objective == pytest.approx(0.5 * norm + caps @ slacks, rel=1e-9, abs=1e-12)
    assert solution.gap == pytest.approx(norm + caps @ slacks - x.sum(), abs=1e-8 * x.sum())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_optimum_of_general_purpose_optimiser(kernel, shared, seed, solver):
    problem, K = make_problem(seed, shared=shared, kernel=kernel)
    solution = solve(problem, solver=solver)
    assert solution.status == "optimal"
    assert 0 <= solution.relative_gap + 1e-12 <= 1e-6
    dual = brute_force_dual(problem, K)
    assert solution.objective == pytest.approx(dual, rel=1e-6)
    assert_kkt(problem, K, solution)


@pytest.mark.parametrize("shared", [False, True])
def test_optimum_of_the_primal(shared, solver):
    # w, b and slacks themselves, by a method that knows no dual.
    rng = np.random.default_rng(5)
    slack = np.repeat(np.arange(6), 2) if shared else np.arange(12)
    signs = np.where(np.arange(12) < 6, 1.0, -1.0)
    X = rng.normal(size=(12, 2)) + 0.5 * signs[:, None]
    caps = np.full(slack.max() + 1, 0.7)
    d, m = 2, len(caps)
    rows = np.hstack([signs[:, None] * X, signs[:, None], slack[:, None] == np.arange(m)])
    reference = minimize(
        lambda v: 0.5 * v[:d] @ v[:d] + caps @ v[d + 1 :],
        np.concatenate([np.zeros(d + 1), np.ones(m)]),
        jac=lambda v: np.concatenate([v[:d], [0.0], caps]),
        bounds=[(None, None)] * (d + 1) + [(0, None)] * m,
        constraints=[LinearConstraint(rows, 1.0, np.inf)],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    solution = solve(QPProblem(MatrixKernel(X @ X.T), signs, slack, caps), solver=solver)
    assert solution.objective == pytest.approx(reference.fun, rel=1e-6)
    np.testing.assert_allclose((signs * solution.x) @ X, reference.x[:d], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("C", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_vector_per_slack_is_svc(kernel, C, solver):
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(60) % 2, 1.0, -1.0)
    X = rng.normal(size=(60, 3)) + 0.6 * signs[:, None]
    K = KERNELS[kernel](X, X)
    solution = solve(
        QPProblem(MatrixKernel(K), signs, np.arange(60), np.full(60, C)), solver=solver
    )
    svc = SVC(kernel="precomputed", C=C, tol=1e-9).fit(K, signs)
    ours = K @ (signs * solution.x) + solution.intercept
    np.testing.assert_allclose(ours - solution.intercept, K @ _dense(svc, 60), rtol=1e-4, atol=1e-5)
    # Where no vector is free any intercept of the bracket is right, and SVC's is one of them.
    free = (svc.dual_coef_ != 0) & (np.abs(svc.dual_coef_) < C * (1 - 1e-6))
    if free.any():
        assert solution.intercept == pytest.approx(svc.intercept_[0], abs=1e-4)
        np.testing.assert_allclose(ours, svc.decision_function(K), atol=1e-4, rtol=1e-4)
    hinge = np.maximum(0, 1 - signs * svc.decision_function(K)).sum()
    coef = _dense(svc, 60)
    assert solution.objective == pytest.approx(0.5 * coef @ K @ coef + C * hinge, rel=1e-5)


def _dense(svc, n):
    coef = np.zeros(n)
    coef[svc.support_] = svc.dual_coef_[0]
    return coef


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("shift", [0.3, 3.0])
@pytest.mark.parametrize("C", [1e-3, 1e-1, 1e1, 1e3, 1e5])
def test_any_cost(shared, kernel, shift, C, solver):
    problem, K = make_problem(1, shared=shared, kernel=kernel, cap=C, shift=shift, n_slacks=30)
    solution = solve(problem, solver=solver)
    assert solution.status == "optimal"
    assert_kkt(problem, K, solution, tol=1e-4)


def test_huge_cost_is_the_hard_margin(solver):
    # Two vectors at distance 2: the margin is known.
    X = np.array([[1.0, 0.0], [5.0, 1.0], [-1.0, 0.0], [-7.0, 2.0]])
    for scale in (1e-3, 1.0, 1e3):
        K = (scale * X) @ (scale * X).T
        problem = QPProblem(
            MatrixKernel(K), np.array([1.0, 1, -1, -1]), np.arange(4), np.full(4, 1e8)
        )
        solution = solve(problem, solver=solver)
        assert solution.status == "optimal"
        np.testing.assert_allclose(solution.x * scale**2, [0.5, 0, 0.5, 0], atol=1e-7)
        assert solution.intercept == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ratio", [1e3, 1e6])
@pytest.mark.parametrize("many_small", [False, True])
def test_caps_of_very_different_size(ratio, many_small, solver):
    problem, K = make_problem(2, shared=True, kernel="rbf", n_slacks=30)
    chosen = np.isin(np.arange(30), [0, 3, 7, 16, 20, 29])
    caps = np.where(chosen != many_small, 1.0, 1 / ratio)
    problem = QPProblem(problem.kernel, problem.signs, problem.slack, caps)
    solution = solve(problem, solver=solver)
    assert solution.status == "optimal"
    assert_kkt(problem, K, solution, tol=1e-4)


def test_duplicates(solver):
    # Each vector three times with a third of the cap is each vector once.
    problem, K = make_problem(3, shared=False, kernel="linear")
    once = solve(problem, solver=solver)
    index = np.repeat(np.arange(len(K)), 3)
    big = K[np.ix_(index, index)]
    thrice = QPProblem(
        MatrixKernel(big),
        problem.signs[index],
        np.arange(len(index)),
        problem.caps[index] / 3,
    )
    solution = solve(thrice, solver=solver)
    assert solution.objective == pytest.approx(once.objective, rel=1e-6)
    assert solution.intercept == pytest.approx(once.intercept, abs=1e-5)
    assert_kkt(thrice, big, solution)
    # In one slack they are one vector.
    shared = QPProblem(MatrixKernel(big), problem.signs[index], index, problem.caps)
    solution = solve(shared, solver=solver)
    assert solution.objective == pytest.approx(once.objective, rel=1e-6)
    assert_kkt(shared, big, solution)


def test_rescaling_features_and_cost(solver):
    # K and C scale against each other: multipliers as C does, decision values stay.
    problem, K = make_problem(4, shared=True)
    first = solve(problem, solver=solver)
    for scale in (1e-6, 1e6):
        other = solve(
            QPProblem(MatrixKernel(K * scale), problem.signs, problem.slack, problem.caps / scale),
            solver=solver,
        )
        np.testing.assert_allclose(other.x * scale, first.x, atol=1e-6 * first.x.max())
        assert other.intercept == pytest.approx(first.intercept, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_constant_kernel(value, solver):
    problem, _ = make_problem(0, shared=True)
    K = np.full((len(problem.signs),) * 2, value)
    solution = solve(
        QPProblem(MatrixKernel(K), problem.signs, problem.slack, problem.caps), solver=solver
    )
    assert solution.status == "optimal"
    # w is 0, so the better constant costs 2 a unit on the side that weighs less.
    sides = problem.caps[:5].sum(), problem.caps[5:].sum()
    assert solution.objective == pytest.approx(2 * min(sides), rel=1e-6)


# -- the solvers beside each other ------------------------------------------------------------


def make_large(seed, *, kernel, shared, cap, n_slacks=160, n_features=6):
    """More vectors than the working set begins with, most of them far behind the margin."""
    rng = np.random.default_rng(seed)
    sizes = np.where(np.arange(n_slacks) < n_slacks // 2, 1, rng.integers(1, 12, n_slacks))
    sizes = sizes if shared else np.full(n_slacks, 1)
    slack = np.repeat(np.arange(n_slacks), sizes)
    signs = np.where(slack < n_slacks // 2, 1.0, -1.0)
    X = rng.normal(size=(len(slack), n_features)) + 0.7 * signs[:, None]
    function = KernelFunction(kernel, gamma=0.2, degree=2, coef0=1.0)
    store = LinearStore(X) if kernel == "linear" else RowStore(X, function)
    caps = cap * rng.uniform(0.5, 2.0, n_slacks)
    problem = QPProblem(store.kernel(np.arange(len(X))), signs, slack, caps)
    return problem, function(X, X)


@pytest.mark.parametrize("cap", [1e-4, 1e-2, 1.0, 1e2])
@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
@pytest.mark.parametrize("shared", [False, True])
def test_same_optimum_as_cvxopt(kernel, shared, cap):
    problem, K = make_large(0, kernel=kernel, shared=shared, cap=cap)
    reference = solve(problem, solver="cvxopt", tol=1e-8)
    names = ["working_set", "interior"] + ([] if shared else ["libsvm"])
    for name in names:
        tol = 1e-4 if name == "libsvm" else 1e-6
        solution = solve(problem, solver=name, tol=tol)
        assert solution.status == "optimal"
        assert solution.objective == pytest.approx(reference.objective, rel=2 * tol)
        assert_kkt(problem, K, solution, tol=3 * tol**0.5)
        scores = (problem.signs * solution.x) @ K
        np.testing.assert_allclose(solution.scores, scores, atol=1e-9 * np.abs(K).max() * cap)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_without_the_compiled_part(monkeypatch, kernel, shared):
    problem, K = make_large(1, kernel=kernel, shared=shared, cap=1.0)
    expected = solve(problem, solver="working_set")
    monkeypatch.setattr(_working_set, "smo", None)
    solution = solve(problem, solver="working_set")
    assert solution.status == "optimal"
    assert solution.objective == pytest.approx(expected.objective, rel=1e-6)
    assert_kkt(problem, K, solution, tol=1e-4)


def test_the_compiled_part_is_there():
    # Else the suite would run without it and nobody would know.
    assert _working_set.smo is not None


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("cap", [1.0, 1e2])
def test_start_from_another_solution(kernel, cap):
    problem, _ = make_large(2, kernel=kernel, shared=True, cap=cap)
    cold = solve(problem, solver="working_set", tol=1e-7)
    again = solve(problem, cold, solver="working_set", tol=1e-6)
    assert again.n_iter < 0.05 * cold.n_iter
    assert again.objective == pytest.approx(cold.objective, rel=1e-6)
    # Other caps: what was feasible is not any more.
    other = QPProblem(problem.kernel, problem.signs, problem.slack, 0.3 * problem.caps)
    warm = solve(other, cold, solver="working_set", tol=1e-7)
    assert warm.objective == pytest.approx(
        solve(other, solver="working_set", tol=1e-7).objective, rel=1e-6
    )


def test_rows_are_computed_where_the_working_set_looks():
    rng = np.random.default_rng(0)
    n = 3000
    X = np.append(rng.normal(size=(10, 2)) + 6, rng.normal(size=(n, 2)), axis=0)
    signs = np.append(np.ones(10), -np.ones(n))
    slack = np.append(np.arange(10), 10 + np.repeat(np.arange(n // 20), 20))
    seen = []

    def kernel(A, B):
        seen.append(A.shape[0] * B.shape[0])
        return np.exp(-0.1 * ((A[:, None] - B) ** 2).sum(-1))

    store = RowStore(X, KernelFunction(kernel))
    problem = QPProblem(store.kernel(np.arange(n + 10)), signs, slack, np.ones(slack[-1] + 1))
    solution = solve(problem, solver="working_set")
    assert solution.status == "optimal"
    assert sum(seen) < 0.2 * len(X) ** 2


@pytest.mark.parametrize("max_entries", [1, 2000, 40_000])
def test_a_store_that_is_too_small_computes_anew(max_entries):
    problem, K = make_large(3, kernel="rbf", shared=True, cap=1.0)
    expected = solve(problem, solver="working_set")
    store = problem.kernel.store
    small = RowStore(store.vectors, store.function, max_entries=max_entries)
    ids = np.arange(len(K))
    solution = solve(
        QPProblem(small.kernel(ids), problem.signs, problem.slack, problem.caps),
        solver="working_set",
    )
    assert small.kept.size <= max(max_entries, len(K))
    assert solution.objective == pytest.approx(expected.objective, rel=1e-8)
    rows = np.array([5, 0, 17])
    np.testing.assert_allclose(small.kernel(ids).rows(rows), K[rows], atol=1e-12)


@pytest.mark.parametrize("kind", ["matrix", "linear", "rows"])
def test_kernels_of_parts(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 3))
    ids = rng.permutation(12)[:9]
    if kind == "rows":
        function = KernelFunction("rbf", gamma=0.3)
        kernel, K = RowStore(X, function).kernel(ids), rbf_kernel(X[ids], gamma=0.3)
    elif kind == "linear":
        kernel, K = LinearStore(X).kernel(ids), X[ids] @ X[ids].T
    else:
        K = X[ids] @ X[ids].T
        kernel = MatrixKernel(K)
    assert len(kernel) == 9
    index, others, weight = np.array([4, 1, 8]), np.array([0, 2]), np.array([0.5, -2.0, 1.0])
    np.testing.assert_allclose(kernel.rows(index), K[index])
    np.testing.assert_allclose(kernel.block(index, others), K[np.ix_(index, others)])
    np.testing.assert_allclose(kernel.scores(index, weight), weight @ K[index])
    part = kernel.subset(index)
    np.testing.assert_allclose(part.rows(np.arange(3)), K[np.ix_(index, index)])
    params, data = kernel.svc()
    signs = np.where(np.arange(9) % 2, 1.0, -1.0)
    svc = SVC(**params).fit(data, signs)
    direct = SVC(kernel="precomputed").fit(K, signs)
    np.testing.assert_allclose(svc.decision_function(data), direct.decision_function(K), atol=1e-6)


def test_subset_of_a_problem():
    problem, K = make_problem(0, shared=True)
    index = np.array([0, 3, 4, 8, 9, len(K) - 1])
    part = problem.subset(index)
    np.testing.assert_array_equal(part.signs, problem.signs[index])
    np.testing.assert_array_equal(part.caps[part.slack], problem.caps[problem.slack[index]])
    same = problem.slack[index][:, None] == problem.slack[index]
    np.testing.assert_array_equal(part.slack[:, None] == part.slack, same)


def test_libsvm_refuses_shared_slacks():
    problem, _ = make_problem(0, shared=True)
    with pytest.raises(ValueError, match="every vector has a slack of its own"):
        solve(problem, solver="libsvm")


def test_low_rank_is_the_same_as_dense(monkeypatch):
    # More vectors than the matrix inversion lemma asks for, with and without shared slacks.
    for shared in (False, True):
        problem, _ = make_large(
            4, kernel="linear", shared=shared, cap=1.0, n_slacks=1300, n_features=3
        )
        assert _interior.is_low_rank(problem.kernel)
        low = solve(problem, solver="interior", tol=1e-7)
        monkeypatch.setattr(_interior, "is_low_rank", lambda kernel: False)
        if not shared:  # the dense way takes its time
            dense = solve(problem, solver="interior", tol=1e-7)
            assert low.objective == pytest.approx(dense.objective, rel=1e-6)
        monkeypatch.undo()
        sets = solve(problem, solver="working_set", tol=1e-7)
        assert low.objective == pytest.approx(sets.objective, rel=1e-6)
        assert low.status == sets.status == "optimal"


def test_low_rank_newton_step_solves_its_system():
    rng = np.random.default_rng(0)
    slack = np.repeat(np.arange(30), rng.integers(1, 5, 30))
    n = len(slack)
    F = rng.normal(size=(n, 4))
    signs = np.where(slack < 15, 1.0, -1.0)
    problem = QPProblem(LinearStore(F).kernel(np.arange(n)), signs, slack, np.ones(30))
    for spread in (0, 6):  # near the solution the diagonal spans many orders
        diagonal = 10.0 ** rng.uniform(-spread, spread, n)
        constants = 10.0 ** rng.uniform(-spread, spread, 30)
        v = rng.normal(size=n)
        low = _interior._LowRankHessian(problem).factorise(0.7, diagonal, constants)(v)
        dense = _interior._DenseHessian(problem).factorise(0.7, diagonal, constants)(v)
        np.testing.assert_allclose(low, dense, rtol=1e-6, atol=1e-6 * np.abs(dense).max())


@pytest.mark.parametrize("solver", ["working_set", "interior", "cvxopt"])
def test_indefinite_kernel_is_an_error_or_known(solver):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(30, 30))
    problem = QPProblem(
        MatrixKernel(A + A.T), np.where(np.arange(30) < 15, 1.0, -1.0), np.arange(30), np.ones(30)
    )
    try:
        solution = solve(problem, solver=solver, tol=1e-4)
    except RuntimeError as error:
        assert "positive semi-definite" in str(error)  # noqa: PT017
        return
    assert not solution.convex or solution.status == "inaccurate"


# -- the intercept ---------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_bracket_against_a_linear_programme(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    signs = np.where(np.arange(n) < max(1, n // 2), 1.0, -1.0)
    loss = rng.normal(size=n).round(1)  # ties
    caps = rng.integers(1, 4, n).astype(float)
    low, high = intercept_bracket(signs, loss, caps)

    def cost(b):
        return caps @ np.maximum(0, 1 + loss - signs * b)

    # minimise caps·t with t >= 0, t >= 1 + loss - signs·b
    A = np.column_stack([-signs, -np.eye(n)])
    bounds = [(None, None)] + [(0, None)] * n
    best = linprog(np.append(0, caps), A_ub=A, b_ub=-(1 + loss), bounds=bounds).fun
    assert cost(low) == pytest.approx(best, abs=1e-9)
    assert cost(high) == pytest.approx(best, abs=1e-9)
    assert low <= high
    for outside in (low - 1e-3, high + 1e-3):
        assert cost(outside) > best + 1e-5


def test_no_free_vector(solver):
    # C so small that all multipliers are at their caps: every intercept of the bracket is right,
    # and the middle of it is taken, as libsvm does.
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]]) + 10.0
    signs, caps = np.array([1.0, 1, -1, -1]), np.full(4, 1e-3)
    K = X @ X.T
    solution = solve(QPProblem(MatrixKernel(K), signs, np.arange(4), caps), solver=solver)
    np.testing.assert_allclose(solution.x, caps, rtol=1e-5)
    scores = K @ (signs * solution.x)
    low, high = intercept_bracket(signs, -signs * scores, caps)
    assert high - low > 1
    assert solution.intercept == pytest.approx((low + high) / 2)
    svc = SVC(kernel="linear", C=1e-3, tol=1e-8).fit(X, signs)
    assert solution.intercept == pytest.approx(svc.intercept_[0], abs=1e-5)


def test_vectors_of_a_full_slack_are_not_free(solver):
    # Two vectors share the cap of one negative bag: both multipliers are below the cap, but their
    # sum is not, and they lie inside the margin. An intercept from them would be wrong.
    X = np.array([[2.0, 0.0], [-0.5, 1.0], [-0.5, -1.0], [-3.0, 0.0], [3.0, 1.0]])
    signs, slack = np.array([1.0, -1, -1, -1, 1]), np.array([0, 1, 1, 2, 3])
    caps = np.array([10.0, 0.05, 10.0, 10.0])
    K = X @ X.T
    problem = QPProblem(MatrixKernel(K), signs, slack, caps)
    solution = solve(problem, solver=solver)
    assert_kkt(problem, K, solution)
    x, margins = solution.x, signs * (K @ (signs * solution.x) + solution.intercept)
    inside = slack == 1
    assert np.all(x[inside] > 1e-3)
    assert np.all(x[inside] < caps[1] * 0.99)
    assert np.all(margins[inside] < 0.9)
    free = (x > 1e-6) & ~inside
    np.testing.assert_allclose(margins[free], 1, atol=1e-6)


# -- failures --------------------------------------------------------------------------------


def test_failing_solver_raises(monkeypatch):
    from cvxopt import solvers

    calls = []

    def broken(*args, **kwargs):
        calls.append(1)
        raise ArithmeticError("singular")

    monkeypatch.setattr(solvers, "qp", broken)
    problem, _ = make_problem(0, shared=True)
    message = r"cvxopt could not solve the quadratic programme of \d+ variables \(singular\)"
    with pytest.raises(RuntimeError, match=message):
        solve(problem, solver="cvxopt")
    assert len(calls) == 2  # once more with a ridge


def test_poor_solution_says_so(monkeypatch):
    from cvxopt import solvers

    solver = solvers.qp

    def poor(*args, options, **kwargs):
        return solver(*args, options={**options, "maxiters": 1}, **kwargs)

    monkeypatch.setattr(solvers, "qp", poor)
    problem, _ = make_problem(0, shared=True, n_slacks=40)
    solution = solve(problem, tol=1e-12, solver="cvxopt")
    assert solution.status == "inaccurate"
    assert solution.relative_gap > 1e-12
    # A bound all the same, because the multipliers are feasible.
    used = np.add.reduceat(solution.x, problem.starts)
    assert np.all(used <= problem.caps * (1 + 1e-12))
    assert abs(problem.signs @ solution.x) <= 1e-9 * solution.x.sum()
    monkeypatch.undo()
    best = solve(problem, solver="cvxopt")
    assert solution.objective - solution.gap <= best.objective <= solution.objective * (1 + 1e-9)


def test_cvxopts_global_options_are_untouched():
    from cvxopt import solvers

    before = copy.deepcopy(solvers.options)
    problem, _ = make_problem(0, shared=True)
    solve(problem, solver="cvxopt")
    assert solvers.options == before


def test_global_options_have_no_effect(monkeypatch):
    from cvxopt import solvers

    problem, _ = make_problem(0, shared=True)
    expected = solve(problem, solver="cvxopt")
    monkeypatch.setitem(solvers.options, "maxiters", 1)
    np.testing.assert_array_equal(solve(problem, solver="cvxopt").x, expected.x)


# -- the classical data ----------------------------------------------------------------------

DATA = os.environ.get("MILKIT_DATA")


@pytest.mark.skipif(not DATA, reason="MILKIT_DATA does not name the folder of the data sets")
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["musk1", "elephant"])
def test_same_optimum_on_classical_data(name, shared, kernel):
    from milkit.datasets import load_bags

    path = Path(DATA) / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder of the data sets")
    X, y = load_bags(path, return_X_y=True)
    flat, offsets = X.flat()
    flat = StandardScaler().fit_transform(flat.astype(np.float64))
    positive, sizes = y == 1, np.diff(offsets)
    witnesses = offsets[:-1] + np.random.default_rng(0).integers(sizes)
    ids = np.append(witnesses[positive], np.flatnonzero(~np.repeat(positive, sizes)))
    n_pos, n_neg = positive.sum(), len(ids) - positive.sum()
    signs = np.append(np.ones(n_pos), -np.ones(n_neg))
    bag = np.repeat(np.arange((~positive).sum()), sizes[~positive])
    slack = np.append(np.arange(n_pos), n_pos + (bag if shared else np.arange(n_neg)))
    function = KernelFunction(kernel, gamma=1 / flat.shape[1])
    store = LinearStore(flat) if kernel == "linear" else RowStore(flat, function)
    problem = QPProblem(store.kernel(ids), signs, slack, np.ones(slack[-1] + 1))
    K = function(flat[ids], flat[ids])
    reference = solve(problem, solver="cvxopt")
    for solver in ["working_set", "interior"] + ([] if shared else ["libsvm"]):
        solution = solve(problem, solver=solver, tol=1e-4)
        assert solution.status == "optimal"
        assert solution.objective == pytest.approx(reference.objective, rel=1e-4)
        assert_kkt(problem, K, solution, tol=3e-2)
        if solver != "libsvm":
            exact = solve(problem, solver=solver, tol=1e-8)
            assert exact.objective == pytest.approx(reference.objective, rel=1e-6)
            assert_kkt(problem, K, exact, tol=1e-3)
