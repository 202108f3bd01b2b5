"""The QP door against independent optimisers, SVC and the optimality conditions."""

import copy

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, linprog, minimize
from sklearn.metrics.pairwise import linear_kernel, polynomial_kernel, rbf_kernel
from sklearn.svm import SVC

from milkit.svm._qp import QPProblem, intercept_bracket, solve

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
    return QPProblem(K.__getitem__, signs, slack, caps), K


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
    support = (x > 1e-4 * caps[problem.slack]) & (x > 1e-6 * x.max())
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
def test_optimum_of_general_purpose_optimiser(kernel, shared, seed):
    problem, K = make_problem(seed, shared=shared, kernel=kernel)
    solution = solve(problem)
    assert solution.status == "optimal"
    assert 0 <= solution.relative_gap + 1e-12 <= 1e-6
    dual = brute_force_dual(problem, K)
    assert solution.objective == pytest.approx(dual, rel=1e-6)
    assert_kkt(problem, K, solution)


@pytest.mark.parametrize("shared", [False, True])
def test_optimum_of_the_primal(shared):
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
    solution = solve(QPProblem((X @ X.T).__getitem__, signs, slack, caps))
    assert solution.objective == pytest.approx(reference.fun, rel=1e-6)
    np.testing.assert_allclose((signs * solution.x) @ X, reference.x[:d], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("C", [1e-3, 1.0, 30.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_vector_per_slack_is_svc(kernel, C):
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(60) % 2, 1.0, -1.0)
    X = rng.normal(size=(60, 3)) + 0.6 * signs[:, None]
    K = KERNELS[kernel](X, X)
    solution = solve(QPProblem(K.__getitem__, signs, np.arange(60), np.full(60, C)), tol=1e-8)
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
def test_any_cost(shared, kernel, shift, C):
    problem, K = make_problem(1, shared=shared, kernel=kernel, cap=C, shift=shift, n_slacks=30)
    solution = solve(problem)
    assert solution.status == "optimal"
    assert_kkt(problem, K, solution, tol=1e-4)


def test_huge_cost_is_the_hard_margin():
    # Two vectors at distance 2: the margin is known.
    X = np.array([[1.0, 0.0], [5.0, 1.0], [-1.0, 0.0], [-7.0, 2.0]])
    for scale in (1e-3, 1.0, 1e3):
        K = (scale * X) @ (scale * X).T
        problem = QPProblem(
            K.__getitem__, np.array([1.0, 1, -1, -1]), np.arange(4), np.full(4, 1e8)
        )
        solution = solve(problem)
        assert solution.status == "optimal"
        np.testing.assert_allclose(solution.x * scale**2, [0.5, 0, 0.5, 0], atol=1e-7)
        assert solution.intercept == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("ratio", [1e3, 1e6])
@pytest.mark.parametrize("many_small", [False, True])
def test_caps_of_very_different_size(ratio, many_small):
    problem, K = make_problem(2, shared=True, kernel="rbf", n_slacks=30)
    chosen = np.isin(np.arange(30), [0, 3, 7, 16, 20, 29])
    caps = np.where(chosen != many_small, 1.0, 1 / ratio)
    problem = QPProblem(problem.kernel_rows, problem.signs, problem.slack, caps)
    solution = solve(problem)
    assert solution.status == "optimal"
    assert_kkt(problem, K, solution, tol=1e-4)


def test_duplicates():
    # Each vector three times with a third of the cap is each vector once.
    problem, K = make_problem(3, shared=False, kernel="linear")
    once = solve(problem)
    index = np.repeat(np.arange(len(K)), 3)
    big = K[np.ix_(index, index)]
    thrice = QPProblem(
        big.__getitem__,
        problem.signs[index],
        np.arange(len(index)),
        problem.caps[index] / 3,
    )
    solution = solve(thrice)
    assert solution.objective == pytest.approx(once.objective, rel=1e-6)
    assert solution.intercept == pytest.approx(once.intercept, abs=1e-5)
    assert_kkt(thrice, big, solution)
    # In one slack they are one vector.
    shared = QPProblem(big.__getitem__, problem.signs[index], index, problem.caps)
    solution = solve(shared)
    assert solution.objective == pytest.approx(once.objective, rel=1e-6)
    assert_kkt(shared, big, solution)


def test_rescaling_features_and_cost():
    # K and C scale against each other: multipliers as C does, decision values stay.
    problem, K = make_problem(4, shared=True)
    first = solve(problem)
    for scale in (1e-6, 1e6):
        other = solve(
            QPProblem((K * scale).__getitem__, problem.signs, problem.slack, problem.caps / scale)
        )
        np.testing.assert_allclose(other.x * scale, first.x, atol=1e-6 * first.x.max())
        assert other.intercept == pytest.approx(first.intercept, abs=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6])
def test_constant_kernel(value):
    problem, _ = make_problem(0, shared=True)
    K = np.full((len(problem.signs),) * 2, value)
    solution = solve(QPProblem(K.__getitem__, problem.signs, problem.slack, problem.caps))
    assert solution.status == "optimal"
    # w is 0, so the better constant costs 2 a unit on the side that weighs less.
    sides = problem.caps[:5].sum(), problem.caps[5:].sum()
    assert solution.objective == pytest.approx(2 * min(sides), rel=1e-6)


def test_only_rows_of_the_kernel_are_asked_for():
    problem, K = make_problem(0, shared=True)
    asked = []

    def rows(index):
        asked.append(index)
        assert isinstance(index, np.ndarray)
        assert index.dtype.kind == "i"
        block = K[index]
        block.flags.writeable = False
        return block

    solution = solve(QPProblem(rows, problem.signs, problem.slack, problem.caps))
    assert asked
    assert solution.objective == solve(problem).objective


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


def test_no_free_vector():
    # C so small that all multipliers are at their caps: every intercept of the bracket is right,
    # and the middle of it is taken, as libsvm does.
    X = np.array([[1.0], [2.0], [-1.0], [-2.0]]) + 10.0
    signs, caps = np.array([1.0, 1, -1, -1]), np.full(4, 1e-3)
    K = X @ X.T
    solution = solve(QPProblem(K.__getitem__, signs, np.arange(4), caps))
    np.testing.assert_allclose(solution.x, caps, rtol=1e-5)
    scores = K @ (signs * solution.x)
    low, high = intercept_bracket(signs, -signs * scores, caps)
    assert high - low > 1
    assert solution.intercept == pytest.approx((low + high) / 2)
    svc = SVC(kernel="linear", C=1e-3, tol=1e-8).fit(X, signs)
    assert solution.intercept == pytest.approx(svc.intercept_[0], abs=1e-5)


def test_vectors_of_a_full_slack_are_not_free():
    # Two vectors share the cap of one negative bag: both multipliers are below the cap, but their
    # sum is not, and they lie inside the margin. An intercept from them would be wrong.
    X = np.array([[2.0, 0.0], [-0.5, 1.0], [-0.5, -1.0], [-3.0, 0.0], [3.0, 1.0]])
    signs, slack = np.array([1.0, -1, -1, -1, 1]), np.array([0, 1, 1, 2, 3])
    caps = np.array([10.0, 0.05, 10.0, 10.0])
    K = X @ X.T
    problem = QPProblem(K.__getitem__, signs, slack, caps)
    solution = solve(problem)
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
        solve(problem)
    assert len(calls) == 2  # once more with a ridge


def test_poor_solution_says_so(monkeypatch):
    from cvxopt import solvers

    solver = solvers.qp

    def poor(*args, options, **kwargs):
        return solver(*args, options={**options, "maxiters": 1}, **kwargs)

    monkeypatch.setattr(solvers, "qp", poor)
    problem, _ = make_problem(0, shared=True, n_slacks=40)
    solution = solve(problem, tol=1e-12)
    assert solution.status == "inaccurate"
    assert solution.relative_gap > 1e-12
    # A bound all the same, because the multipliers are feasible.
    used = np.add.reduceat(solution.x, problem.starts)
    assert np.all(used <= problem.caps * (1 + 1e-12))
    assert abs(problem.signs @ solution.x) <= 1e-9 * solution.x.sum()
    monkeypatch.undo()
    best = solve(problem)
    assert solution.objective - solution.gap <= best.objective <= solution.objective * (1 + 1e-9)


def test_cvxopts_global_options_are_untouched():
    from cvxopt import solvers

    before = copy.deepcopy(solvers.options)
    problem, _ = make_problem(0, shared=True)
    solve(problem)
    assert solvers.options == before


def test_global_options_have_no_effect(monkeypatch):
    from cvxopt import solvers

    problem, _ = make_problem(0, shared=True)
    expected = solve(problem)
    monkeypatch.setitem(solvers.options, "maxiters", 1)
    np.testing.assert_array_equal(solve(problem).x, expected.x)
