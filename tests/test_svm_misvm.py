"""MISVM: against brute force, scikit-learn's SVC, and the known faults of public MI-SVM code."""

import itertools
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from milkit import MISVM, BagArray, InstanceTransformer
from milkit.kernels._instance_kernels import instance_kernel
from milkit.svm import _alternation, _misvm
from milkit.svm._alternation import BinaryBags, bag_margin, instance_margin
from milkit.svm._kernels import KernelFunction, LinearStore, MatrixKernel, RowStore
from milkit.svm._qp import QPProblem, solve


def make_bags(n_bags=20, n_features=3, seed=0, shift=2.0, max_size=5):
    """Every other bag positive, with one instance moved."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, max_size + 1, n_bags)
    bags = [rng.normal(size=(n, n_features)) for n in sizes]
    for bag in bags[1::2]:
        bag[rng.integers(len(bag))] += shift
    return bags, np.arange(n_bags) % 2


def binary(bags, y, *, C=1.0, gamma=0.4):
    flat, offsets = BagArray.from_list(bags).flat()
    means = np.array([bag.mean(axis=0) for bag in bags])
    store = RowStore(np.vstack([flat, means]), KernelFunction("rbf", gamma=gamma))
    return BinaryBags(store, offsets, y == 1, np.full(len(y), C), len(flat) + np.arange(len(bags)))


SHARED = {"max_iter": 100, "tol": 1e-6, "progress": lambda steps: steps}


# -- the outer loops -------------------------------------------------------------------------


@pytest.mark.parametrize("negative_slack", ["bag", "instance"])
@pytest.mark.parametrize("init", ["density", "mean", "random"])
@pytest.mark.parametrize("solver", ["cvxopt", "working_set", "interior"])
@pytest.mark.parametrize("seed", range(4))
def test_bag_margin_never_rises(negative_slack, init, seed, solver):
    bags, y = make_bags(seed=seed, shift=1.0)
    model = bag_margin(
        binary(bags, y, C=5.0),
        negative_slack=negative_slack,
        init=init,
        rng=np.random.default_rng(seed),
        solver=solver,
        **SHARED,
    )
    assert model.converged
    # Bag means are no instances: the first step from them is not part of the descent.
    descent = model.objectives[1:] if init == "mean" else model.objectives
    assert np.all(np.diff(descent) <= 1e-5 * np.array(descent[:-1]))


@pytest.mark.parametrize("solver", ["cvxopt", "working_set", "interior", "libsvm"])
@pytest.mark.parametrize("seed", range(4))
def test_instance_margin_never_rises(seed, solver):
    bags, y = make_bags(seed=seed, shift=1.0)
    model = instance_margin(binary(bags, y, C=5.0), solver=solver, **SHARED)
    assert model.converged
    assert len(model.objectives) > 1
    assert np.all(np.diff(model.objectives) <= 1e-5 * np.array(model.objectives[:-1]))


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_witness_is_the_highest_instance(margin, kernel):
    bags, y = make_bags()
    model = MISVM(margin=margin, kernel=kernel, C=3.0).fit(bags, y)
    scores = model.score_instances(bags)
    positive = [s for s, label in zip(scores, y, strict=True) if label == 1]
    assert model.witnesses_.tolist() == [s.argmax() for s in positive]


def fixed_witnesses(bags, y, chosen, *, C, gamma):
    """MI-SVM's quadratic programme for given witnesses."""
    positive = [bag for bag, label in zip(bags, y, strict=True) if label]
    P = [bag[witness] for bag, witness in zip(positive, chosen, strict=True)]
    negative = [bag for bag, label in zip(bags, y, strict=True) if not label]
    V = np.vstack([*P, *negative])
    signs = np.append(np.ones(len(P)), -np.ones(len(V) - len(P)))
    sizes = [len(bag) for bag in negative]
    slack = np.append(np.arange(len(P)), len(P) + np.repeat(np.arange(len(sizes)), sizes))
    K = rbf_kernel(V, V, gamma=gamma)
    caps = np.full(len(P) + len(sizes), C)
    solution = solve(QPProblem(MatrixKernel(K), signs, slack, caps))
    return solution, V, signs * solution.x


@pytest.mark.parametrize("seed", range(3))
def test_all_choices_of_witnesses(seed):
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(3, 2)) for _ in range(6)]
    y = np.array([1, 1, 1, 0, 0, 0])
    C, gamma = 2.0, 0.5
    objectives, fixed_points = {}, []
    for chosen in itertools.product(range(3), repeat=3):
        solution, V, coef = fixed_witnesses(bags, y, chosen, C=C, gamma=gamma)
        objectives[chosen] = solution.objective
        best = tuple(int((rbf_kernel(bag, V, gamma=gamma) @ coef).argmax()) for bag in bags[:3])
        if best == chosen:
            fixed_points.append(chosen)
    model = MISVM(C=C, gamma=gamma, class_weight=None, tol=1e-8).fit(bags, y)
    found = tuple(model.witnesses_.tolist())
    assert found in fixed_points
    assert model.objective_[0] == pytest.approx(objectives[found], rel=1e-5)
    # The best choice is a fixed point, and enough random beginnings find it.
    best = min(objectives, key=objectives.get)
    assert best in fixed_points
    many = MISVM(
        C=C, gamma=gamma, class_weight=None, tol=1e-8, init="random", n_init=40, random_state=0
    ).fit(bags, y)
    assert many.objective_[0] == pytest.approx(objectives[best], rel=1e-5)


def test_labels_of_instance_margin_are_a_fixed_point():
    bags, y = make_bags(seed=2, shift=1.5)
    model = MISVM(margin="instance", C=2.0, gamma=0.4, class_weight=None).fit(bags, y)
    labels = model.predict_instances(bags)
    # The positive bags' instances by sign, the highest of a bag that has none forced to 1.
    rows, signs = [], []
    for bag, label, found, scores in zip(bags, y, labels, model.score_instances(bags), strict=True):
        signs_of_bag = np.where(found == 1, 1, -1) if label else np.full(len(bag), -1)
        if label:
            signs_of_bag[scores.argmax()] = 1
            assert (signs_of_bag == 1).any()
        rows.append(bag)
        signs.append(signs_of_bag)
    rows, signs = np.vstack(rows), np.concatenate(signs)
    svc = SVC(C=2.0, gamma=0.4, tol=1e-8).fit(rows, signs)
    ours = np.concatenate(model.score_instances(bags))
    np.testing.assert_allclose(ours, svc.decision_function(rows), atol=1e-3)


def test_a_bag_without_positive_instance_keeps_one():
    # One positive bag amid negative ones: all its instances score below 0, one stays positive.
    bags = [np.array([[0.0], [0.1]]), *[np.array([[-0.1], [0.05], [0.2]]) for _ in range(8)]]
    y = np.array([1] + [0] * 8)
    model = MISVM(margin="instance", kernel="linear", class_weight=None, C=0.1).fit(bags, y)
    assert model.decision_function(bags)[0] < 0
    assert model.dual_coef_.max() > 0


def test_restarts_keep_the_smallest_objective(monkeypatch):
    seen = []
    original = _misvm.bag_margin

    def spy(*args, **kwargs):
        model = original(*args, **kwargs)
        seen.append(model.objectives[-1])
        return model

    monkeypatch.setattr(_misvm, "bag_margin", spy)
    bags, y = make_bags(shift=0.5, seed=3)
    model = MISVM(C=10.0, init="random", n_init=8, random_state=1).fit(bags, y)
    assert len(seen) == 8
    assert min(seen) < max(seen)
    assert model.objective_[0] == min(seen)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_density_begins_at_the_difference_of_mean_kernels(kernel):
    bags, y = make_bags(shift=3.0)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2.0, len(y))
    flat, offsets = BagArray.from_list(bags).flat()
    function = KernelFunction(kernel, gamma=0.4)
    store = LinearStore(flat) if kernel == "linear" else RowStore(flat, function)
    density = _alternation._density(BinaryBags(store, offsets, y == 1, weight))
    expected = []
    for bag in bags[1::2]:
        sides = [
            np.average(
                [function(bag, other).mean(axis=1) for other in bags[side::2]],
                axis=0,
                weights=weight[side::2],
            )
            for side in (0, 1)
        ]
        expected.append(sides[1] - sides[0])
    np.testing.assert_allclose(density, np.concatenate(expected), atol=1e-12)


def test_density_looks_at_some_instances_of_each_bag(monkeypatch):
    monkeypatch.setattr(_alternation, "_SAMPLE", 25)
    offsets = np.array([0, 1, 40, 43, 90, 92, 100])
    caps = np.array([1.0, 2.0, 3.0, 1.0, 1.0, 1.0])
    some, weight = _alternation._some_of_each(offsets, caps)
    assert len(np.unique(some)) == 25
    bag = np.searchsorted(offsets, some, side="right") - 1
    np.testing.assert_allclose(np.bincount(bag, weight), caps / caps.sum())
    assert np.bincount(bag).tolist()[:1] == [1]
    assert np.bincount(bag)[[1, 3]].min() >= 6
    # More bags than that: one instance of some of them.
    some, weight = _alternation._some_of_each(np.arange(0, 301, 3), np.ones(100))
    assert len(np.unique(some // 3)) == 25
    np.testing.assert_allclose(weight, 1 / 25)


@pytest.mark.parametrize("seed", range(3))
def test_rare_witnesses_are_found(seed):
    # One instance of a positive bag is another; the bag's mean hardly shows it. A large C, which
    # separates the means by chance, must not matter.
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(8, 10)) for _ in range(60)]
    y = np.arange(60) % 2
    for bag in bags[1::2]:
        bag[3] += 2.0
    for C in (1.0, 100.0):
        model = MISVM(C=C).fit(bags, y)
        assert np.mean(model.witnesses_ == 3) > 0.9


# -- special cases that are SVC --------------------------------------------------------------


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 3.0}])
@pytest.mark.parametrize(
    "params", [{"kernel": "linear"}, {"kernel": "rbf"}, {"kernel": "poly", "coef0": 1.0}]
)
def test_one_instance_bags_are_svc(margin, class_weight, params):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3 % 2
    X = rng.normal(size=(40, 3)) + y[:, None]
    bags = [row[None] for row in X]
    model = MISVM(C=2.0, margin=margin, class_weight=class_weight, tol=1e-8, **params).fit(bags, y)
    svc = SVC(C=2.0, class_weight=class_weight, tol=1e-9, **params).fit(X, y)
    assert model.gamma_ == pytest.approx(svc._gamma)
    np.testing.assert_allclose(
        model.decision_function(bags), svc.decision_function(X), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(model.intercept_, svc.intercept_, atol=1e-4)
    np.testing.assert_array_equal(model.predict(bags), svc.predict(X))
    if params["kernel"] == "linear":
        np.testing.assert_allclose(model.coef_, svc.coef_, atol=1e-5)


def test_negative_slack():
    bags, y = make_bags(shift=1.0)
    shared = MISVM(C=5.0).fit(bags, y)
    each = MISVM(C=5.0, negative_slack="instance").fit(bags, y)
    assert not np.allclose(shared.decision_function(bags), each.decision_function(bags), atol=1e-3)
    # More slacks to pay for: with the same witnesses the primal is not smaller.
    if shared.witnesses_.tolist() == each.witnesses_.tolist():
        assert each.objective_ >= shared.objective_
    single = [bag if label else bag[:1] for bag, label in zip(bags, y, strict=True)]
    shared = MISVM(C=5.0).fit(single, y)
    each = MISVM(C=5.0, negative_slack="instance").fit(single, y)
    np.testing.assert_allclose(
        shared.decision_function(bags), each.decision_function(bags), atol=1e-6
    )


# -- faults of the common public implementation ----------------------------------------------


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("names", [[1, 2], ["no", "yes"], [False, True], [-1, 1], [0.0, 1.0]])
def test_any_two_labels(margin, names):
    bags, y = make_bags(shift=6.0)
    expected = MISVM(C=1.0, margin=margin).fit(bags, y)
    model = MISVM(C=1.0, margin=margin).fit(bags, np.array(names)[y])
    assert model.classes_.tolist() == names
    np.testing.assert_array_equal(model.decision_function(bags), expected.decision_function(bags))
    np.testing.assert_array_equal(model.predict(bags), np.array(names)[expected.predict(bags)])
    assert {*np.concatenate(model.predict_instances(bags)).tolist()} == {*names}
    assert model.score(bags, np.array(names)[y]) == 1.0


def test_cost_is_not_divided_by_the_number_of_rows():
    # All bags twice with half the cost are the same problem.
    bags, y = make_bags()
    once = MISVM(C=2.0, gamma=0.3).fit(bags, y)
    twice = MISVM(C=1.0, gamma=0.3).fit(bags + bags, np.tile(y, 2))
    np.testing.assert_allclose(
        once.decision_function(bags), twice.decision_function(bags), atol=1e-4
    )
    np.testing.assert_allclose(once.objective_, twice.objective_, rtol=1e-5)


def test_class_weights_move_the_decision():
    bags, y = make_bags(shift=0.3, n_bags=30)
    params = {"gamma": 0.3, "C": 0.5}
    up = MISVM(class_weight={1: 10.0}, **params).fit(bags, y).predict(bags).sum()
    plain = MISVM(class_weight=None, **params).fit(bags, y).predict(bags).sum()
    down = MISVM(class_weight={0: 10.0}, **params).fit(bags, y).predict(bags).sum()
    assert down < plain < up


def test_intercept_is_not_averaged_over_bounded_vectors():
    # Overlapping bags: most support vectors are at their cap or in a capped bag, off the margin.
    bags, y = make_bags(shift=0.8, n_bags=30, seed=4)
    model = MISVM(C=2.0, init="mean", class_weight=None, gamma=0.4, tol=1e-8).fit(bags, y)
    scores = model.score_instances(bags)
    caps_left, margins = [], []
    coef_of = dict(zip(map(tuple, model.support_vectors_), model.dual_coef_[0], strict=True))
    for bag, label, s in zip(bags, y, scores, strict=True):
        coef = np.array([coef_of.get(tuple(row), 0.0) for row in bag])
        if 1e-4 < abs(coef.sum()) < 2.0 - 1e-4:
            caps_left.append(coef.sum())
            margins.extend((s if label else -s)[coef != 0])
    assert caps_left  # free vectors exist
    np.testing.assert_allclose(margins, 1, atol=1e-4)
    # Over all support vectors the mean would be another.
    own = np.concatenate(scores)
    signs = np.concatenate([np.full(len(bag), 2 * t - 1) for bag, t in zip(bags, y, strict=True)])
    is_sv = np.array([tuple(row) in coef_of for row in np.vstack(bags)])
    assert abs(np.mean((signs - own)[is_sv])) > 1e-2


@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_failing_solver_is_not_swallowed(monkeypatch, margin):
    from cvxopt import solvers

    def broken(*args, **kwargs):
        raise ArithmeticError("singular")

    monkeypatch.setattr(solvers, "qp", broken)
    bags, y = make_bags()
    model = MISVM(margin=margin, solver="cvxopt")
    with pytest.raises(RuntimeError, match=r"cvxopt could not solve .* variables"):
        model.fit(bags, y)
    assert not hasattr(model, "dual_coef_")


@pytest.mark.parametrize("status", ["unknown", "optimal"])
def test_poor_solution_warns(monkeypatch, status):
    from cvxopt import solvers

    solver = solvers.qp

    def poor(*args, options, **kwargs):
        return {**solver(*args, options={**options, "maxiters": 2}, **kwargs), "status": status}

    monkeypatch.setattr(solvers, "qp", poor)
    bags, y = make_bags(n_bags=60, shift=1.0)
    message = r"relative duality gap of .*e-?\d+ only, more than tol=1e-12"
    with pytest.warns(ConvergenceWarning, match=message):
        model = MISVM(tol=1e-12, C=3.0, solver="cvxopt").fit(bags, y)
    assert model.relative_gap_[0] > 1e-12


def test_kernel_with_nan_is_not_swallowed():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="returned NaN or infinite values"):
        MISVM(kernel=lambda A, B: np.full((len(A), len(B)), np.nan), max_iter=2).fit(bags, y)


@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_indefinite_kernel_warns(margin):
    bags, y = make_bags(n_bags=60, shift=1.0)
    with pytest.warns(ConvergenceWarning) as caught:
        model = MISVM(kernel="sigmoid", margin=margin, C=0.1, coef0=-1.0).fit(bags, y)
    assert any("not positive semi-definite" in str(warning.message) for warning in caught)
    assert np.isfinite(model.decision_function(bags)).all()


# -- the solvers -----------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize(
    ("solver", "params"),
    [
        ("working_set", {}),
        ("interior", {}),
        ("working_set", {"negative_slack": "instance"}),
        ("interior", {"negative_slack": "instance"}),
        ("libsvm", {"negative_slack": "instance"}),
        ("working_set", {"margin": "instance"}),
        ("interior", {"margin": "instance"}),
        ("libsvm", {"margin": "instance"}),
    ],
)
def test_whole_fits_agree_with_cvxopt(solver, params, kernel):
    # Solutions within tol can lead to other witnesses now and then, so the median counts.
    differences = []
    for seed in range(9):
        bags, y = make_bags(seed=seed, shift=1.0, n_bags=30)
        shared = {"C": 3.0, "kernel": kernel, **params}
        model = MISVM(solver=solver, **shared).fit(bags, y)
        reference = MISVM(solver="cvxopt", **shared).fit(bags, y)
        assert model.solver_ == solver
        differences.append(abs(model.objective_[0] / reference.objective_[0] - 1))
    assert np.median(differences) <= 1e-3


def test_auto_says_which_solver():
    bags, y = make_bags()
    model = MISVM().fit(bags, y)
    named = MISVM(solver=model.solver_).fit(bags, y)
    assert model.solver_ in {"working_set", "interior", "libsvm", "cvxopt"}
    np.testing.assert_array_equal(model.dual_coef_, named.dual_coef_)


def test_libsvm_refuses_shared_slacks():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="every vector has a slack of its own"):
        MISVM(solver="libsvm").fit(bags, y)


@pytest.mark.parametrize(
    "params",
    [
        {"init": "mean"},
        {"margin": "instance"},
        {"init": "random", "n_init": 3},
        {"init": "mean", "classes": 3},
    ],
)
def test_each_row_of_the_kernel_is_computed_once(params):
    # Over outer steps, restarts and classes.
    bags, _ = make_bags(n_bags=120, shift=1.0)
    bags = [bag for bag in bags if len(bag) > 1][:60]  # one instance is its bag's mean
    y = np.arange(60) % params.pop("classes", 2)
    asked = []

    def kernel(A, B):
        asked.append(A)
        return rbf_kernel(A, B, gamma=0.4)

    model = MISVM(kernel=kernel, C=3.0, random_state=0, **params).fit(bags, y)
    rows = np.vstack(asked)
    assert model.n_iter_ > 1
    assert len(np.unique(rows, axis=0)) == len(rows)


# -- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_class_weight_is_a_weight_of_bags(margin):
    bags, y = make_bags()
    params = {"margin": margin, "gamma": 0.3}
    by_class = MISVM(class_weight={0: 0.5, 1: 4.0}, **params).fit(bags, y)
    by_bag = MISVM(class_weight=None, **params).fit(
        bags, y, sample_weight=np.where(y == 1, 4.0, 0.5)
    )
    np.testing.assert_allclose(
        by_class.decision_function(bags), by_bag.decision_function(bags), atol=1e-6
    )


def test_balanced():
    bags, y = make_bags(n_bags=24)
    y = np.where(np.arange(24) % 4 == 1, 1, 0)  # 6 of 24
    params = {"gamma": 0.3}
    balanced = MISVM(class_weight="balanced", **params).fit(bags, y)
    by_hand = MISVM(class_weight={0: 24 / (2 * 18), 1: 24 / (2 * 6)}, **params).fit(bags, y)
    np.testing.assert_array_equal(balanced.decision_function(bags), by_hand.decision_function(bags))


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_weights_scale_the_cost(margin, class_weight):
    bags, y = make_bags()
    params = {"margin": margin, "class_weight": class_weight}
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 2, len(y))
    first = MISVM(C=6.0, **params).fit(bags, y, sample_weight=weight)
    second = MISVM(C=2.0, **params).fit(bags, y, sample_weight=3 * weight)
    np.testing.assert_allclose(
        first.decision_function(bags), second.decision_function(bags), atol=1e-4
    )


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_weights_are_repetitions(margin, class_weight):
    bags, y = make_bags(n_bags=14)
    times = np.array([1, 2, 3, 1, 2, 1, 1] * 2)
    index = np.repeat(np.arange(14), times)
    params = {"margin": margin, "class_weight": class_weight, "tol": 1e-8}
    weighted = MISVM(**params).fit(bags, y, sample_weight=times)
    repeated = MISVM(**params).fit([bags[i] for i in index], y[index])
    assert weighted.gamma_ == pytest.approx(repeated.gamma_, rel=1e-9)
    np.testing.assert_allclose(weighted.objective_, repeated.objective_, rtol=1e-5)
    np.testing.assert_allclose(
        weighted.decision_function(bags), repeated.decision_function(bags), atol=1e-4
    )


def test_bags_of_weight_zero_are_left_out():
    bags, y = make_bags()
    weight = np.ones(len(y))
    weight[[0, 3, 8]] = 0
    kept = np.flatnonzero(weight)
    model = MISVM(tol=1e-9).fit(bags, y, sample_weight=weight)
    expected = MISVM(tol=1e-9).fit([bags[i] for i in kept], y[kept])
    np.testing.assert_allclose(
        model.decision_function(bags), expected.decision_function(bags), atol=1e-5
    )
    assert len(model.witnesses_) == y[kept].sum()


def test_a_class_without_weight_is_an_error():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="No positive bag is left"):
        MISVM().fit(bags, y, sample_weight=1 - y)
    with pytest.raises(ValueError, match="No negative bag is left"):
        MISVM(class_weight={0: 0.0}).fit(bags, y)
    with pytest.raises(ValueError, match=r"class_weight names \['typo'\]"):
        MISVM(class_weight={"typo": 2.0}).fit(bags, y)


# -- several classes -------------------------------------------------------------------------


@pytest.mark.parametrize("class_weight", [None, "balanced", {"b": 2.0}])
@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_one_against_the_rest(margin, class_weight):
    rng = np.random.default_rng(0)
    y = np.array(list("abc") * 8)
    shifts = {"a": [0, 0], "b": [3, 0], "c": [0, 3]}
    bags = [rng.normal(size=(3, 2)) + shifts[label] for label in y]
    model = MISVM(margin=margin, class_weight=class_weight).fit(bags, y)
    scores = model.decision_function(bags)
    assert scores.shape == (24, 3)
    assert len(model.witnesses_) == 3
    assert model.dual_coef_.shape == (3, len(model.support_vectors_))
    weights = np.where(y == "b", 2.0, 1.0) if isinstance(class_weight, dict) else None
    for k, label in enumerate("abc"):
        single = MISVM(
            margin=margin,
            gamma=model.gamma_,
            class_weight="balanced" if class_weight == "balanced" else None,
        ).fit(bags, y == label, sample_weight=weights)
        np.testing.assert_allclose(scores[:, k], single.decision_function(bags), atol=1e-4)
        assert model.witnesses_[k].tolist() == single.witnesses_.tolist()
        assert model.objective_[k] == pytest.approx(single.objective_[0])
    np.testing.assert_array_equal(model.predict(bags), np.array(list("abc"))[scores.argmax(1)])
    assert model.score(bags, y) > 0.9
    assert model.score_instances(bags)[0].shape == (3, 3)
    assert set(np.concatenate(model.predict_instances(bags))) <= set("abc")


def test_linear_coefficients_of_several_classes():
    bags, _ = make_bags(n_bags=21)
    y = np.arange(21) % 3
    model = MISVM(kernel="linear").fit(bags, y)
    for scores, bag in zip(model.score_instances(bags), bags, strict=True):
        np.testing.assert_allclose(scores, bag @ model.coef_.T + model.intercept_)


# -- outputs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{"kernel": "linear"}, {"kernel": "rbf"}, {"kernel": "poly"}])
@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_instance_outputs(margin, params):
    bags, y = make_bags()
    model = MISVM(margin=margin, **params).fit(bags, y)
    new, _ = make_bags(seed=9, n_bags=7)
    scores = model.score_instances(new)
    assert [s.shape for s in scores] == [(len(bag),) for bag in new]
    np.testing.assert_allclose(model.decision_function(new), [s.max() for s in scores])
    for labels, s in zip(model.predict_instances(new), scores, strict=True):
        np.testing.assert_array_equal(labels, s > 0)
    # From the public attributes alone.
    kernel = {"gamma": model.gamma_, "degree": 3, "coef0": 0.0}
    for s, bag in zip(scores, new, strict=True):
        K = instance_kernel(bag, model.support_vectors_, params["kernel"], **kernel)
        np.testing.assert_allclose(s, K @ model.dual_coef_[0] + model.intercept_, atol=1e-10)
    assert hasattr(model, "coef_") == (params["kernel"] == "linear")
    if params["kernel"] == "linear":
        np.testing.assert_allclose(scores[0], new[0] @ model.coef_[0] + model.intercept_)


def test_blocks_of_rows(monkeypatch):
    bags, y = make_bags()
    model = MISVM().fit(bags, y)
    whole = model.decision_function(bags)
    monkeypatch.setattr(_misvm, "_BLOCK_ENTRIES", 1)
    np.testing.assert_allclose(model.decision_function(bags), whole, rtol=1e-12)


def test_callable_kernel():
    bags, y = make_bags()
    named = MISVM(gamma=0.3).fit(bags, y)
    model = MISVM(kernel=lambda A, B: rbf_kernel(A, B, gamma=0.3)).fit(bags, y)
    np.testing.assert_allclose(model.decision_function(bags), named.decision_function(bags))
    with pytest.raises(ValueError, match=r"returned shape \(\d+,\) .*must return shape"):
        MISVM(kernel=lambda A, B: np.ones(len(A))).fit(bags, y)


def test_refit_with_another_kernel_drops_the_weights():
    bags, y = make_bags()
    model = MISVM(kernel="linear").fit(bags, y)
    assert model.coef_.shape == (1, 3)
    assert not hasattr(model.set_params(kernel="rbf").fit(bags, y), "coef_")


# -- invariance ------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_order_of_instances_and_bags(margin):
    bags, y = make_bags()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(bags))
    shuffled = [rng.permutation(bags[i]) for i in order]
    first = MISVM(margin=margin, tol=1e-6).fit(bags, y)
    second = MISVM(margin=margin, tol=1e-6).fit(shuffled, y[order])
    assert first.gamma_ == pytest.approx(second.gamma_)
    np.testing.assert_allclose(first.objective_, second.objective_, rtol=1e-6)
    np.testing.assert_allclose(
        first.decision_function(bags), second.decision_function(bags), rtol=1e-4, atol=1e-5
    )


def test_equal_instances_end_the_loop():
    # Every instance twice: the witness and its double tie in every step.
    bags, y = make_bags()
    doubled = [np.repeat(bag, 2, axis=0) for bag in bags]
    for init in ("mean", "random"):
        model = MISVM(init=init, random_state=0).fit(doubled, y)  # warnings are errors
        assert model.n_iter_ < 50


def test_random_state():
    bags, y = make_bags(shift=0.3, seed=3)
    runs = [
        MISVM(C=10.0, init="random", random_state=seed).fit(bags, y).objective_[0]
        for seed in (0, 0, 1, 2, 3, 4)
    ]
    assert runs[0] == runs[1]
    assert len(set(runs)) > 1
    default = MISVM(random_state=0).fit(bags, y), MISVM(random_state=1).fit(bags, y)
    np.testing.assert_array_equal(default[0].dual_coef_, default[1].dual_coef_)


def test_pickle():
    bags, y = make_bags()
    model = MISVM().fit(bags, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(bags), model.decision_function(bags))


# -- edges -----------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_iteration_limit_warns(margin):
    bags, y = make_bags(shift=0.5)
    with pytest.warns(ConvergenceWarning, match="still changed after max_iter=1 outer steps"):
        model = MISVM(margin=margin, init="mean", max_iter=1).fit(bags, y)
    assert model.n_iter_ == 1
    assert np.isfinite(model.decision_function(bags)).all()


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("n_positive", [1, 9])
def test_one_bag_on_a_side(margin, n_positive):
    bags, _ = make_bags(n_bags=10)
    y = (np.arange(10) < n_positive).astype(int)
    model = MISVM(margin=margin).fit(bags, y)
    assert len(model.witnesses_) == n_positive
    assert np.isfinite(model.decision_function(bags)).all()


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_one_feature(margin, kernel):
    bags, y = make_bags(n_features=1, shift=8.0)
    assert MISVM(margin=margin, kernel=kernel).fit(bags, y).score(bags, y) >= 0.9


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
@pytest.mark.parametrize("margin", ["bag", "instance"])
def test_constant_features(margin, kernel):
    bags = [np.ones((n, 2)) for n in (1, 2, 3, 2)]
    model = MISVM(margin=margin, kernel=kernel, class_weight=None).fit(bags, [0, 1, 0, 1])
    decision = model.decision_function(bags)
    np.testing.assert_allclose(decision, decision[0])


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("shift", [1.0, 8.0])
def test_scale_of_the_features(scale, shift):
    bags, y = make_bags(shift=shift)
    # rbf with gamma="scale" does not know the scale.
    plain = MISVM(tol=1e-8).fit(bags, y)
    scaled = MISVM(tol=1e-8).fit([bag * scale for bag in bags], y)
    np.testing.assert_allclose(
        scaled.decision_function([bag * scale for bag in bags]),
        plain.decision_function(bags),
        atol=1e-5,
    )
    # The linear kernel does, as C times its square.
    plain = MISVM(kernel="linear", C=0.1).fit(bags, y)
    scaled = MISVM(kernel="linear", C=0.1 / scale**2).fit([bag * scale for bag in bags], y)
    np.testing.assert_allclose(
        scaled.decision_function([bag * scale for bag in bags]),
        plain.decision_function(bags),
        atol=1e-4,
    )


def test_features_far_from_scale_are_not_passed_over():
    # Overlapping classes under a linear kernel of size 1e12: beyond double precision.
    bags, y = make_bags(shift=0.5)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            model = MISVM(kernel="linear").fit([bag * 1e6 for bag in bags], y)
        except RuntimeError as error:
            assert "far from scale 1" in str(error)  # noqa: PT017
            return
    assert abs(model.relative_gap_[0]) <= 1e-4 or any(
        "relative duality gap" in str(warning.message) for warning in seen
    )


def test_rounding_that_may_hide_the_gap_is_said():
    # Far from the origin the products of features are large, and what differs is in their last
    # digits.
    bags, y = make_bags(shift=0.5, n_bags=40)
    far = [bag + 1e7 for bag in bags]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        MISVM(kernel="linear", C=10.0).fit(far, y)
    assert any("rounding may hide" in str(warning.message) for warning in seen)


@pytest.mark.parametrize("C", [1e-3, 1e5])
@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_extreme_costs(C, margin, kernel):
    bags, y = make_bags(shift=12.0)
    model = MISVM(C=C, margin=margin, kernel=kernel).fit(bags, y)
    assert abs(model.relative_gap_[0]) <= 1e-4
    if C > 1 and margin == "bag":  # separable, so that no slack is paid for
        assert model.score(bags, y) == 1.0
        margins = np.abs(model.decision_function(bags))
        assert margins.min() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"C": 0}, "The 'C' parameter of MISVM must be"),
        ({"margin": "both"}, "The 'margin' parameter"),
        ({"kernel": "precomputed"}, "The 'kernel' parameter"),
        ({"solver": "quick"}, "The 'solver' parameter"),
        ({"n_init": 3}, "n_init=3 repeats the same run with init='density' and margin='bag'"),
        ({"n_init": 3, "init": "random", "margin": "instance"}, "n_init=3 repeats the same run"),
    ],
)
def test_wrong_parameters(params, message):
    bags, y = make_bags()
    with pytest.raises(ValueError, match=message):
        MISVM(**params).fit(bags, y)


def test_one_class_only():
    bags, _ = make_bags()
    with pytest.raises(ValueError, match="y has only one class, 1"):
        MISVM().fit(bags, np.ones(len(bags), dtype=int))


def test_in_a_pipeline():
    bags, y = make_bags(shift=8.0)
    model = make_pipeline(InstanceTransformer(StandardScaler()), MISVM(C=10.0))
    assert cross_val_score(model, BagArray.from_list(bags), y, cv=4).mean() > 0.8


# -- the classical data ----------------------------------------------------------------------

DATA = os.environ.get("MILKIT_DATA")


@pytest.mark.skipif(not DATA, reason="MILKIT_DATA does not name the folder of the data sets")
@pytest.mark.parametrize("params", [{}, {"kernel": "linear"}, {"negative_slack": "instance"}])
@pytest.mark.parametrize("name", ["musk1", "elephant"])
def test_classical_data(name, params):
    from milkit.datasets import load_bags

    path = Path(DATA) / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"{path.name} is not in the folder of the data sets")
    X, y = load_bags(path, return_X_y=True)
    X = InstanceTransformer(StandardScaler()).fit_transform(X)
    model = MISVM(class_weight=None, **params).fit(X, y)
    assert -1e-12 <= model.relative_gap_[0] <= 1e-4
    # The optimality conditions of the last quadratic programme, from public attributes.
    C, coef, V = model.C, model.dual_coef_[0], model.support_vectors_
    norm = coef @ instance_kernel(V, V, model.kernel, gamma=model.gamma_) @ coef
    scores = model.score_instances(X)
    slacks = []
    witness = iter(model.witnesses_)
    for bag, label, s in zip(X, y == model.classes_[1], scores, strict=True):
        bag = bag.astype(float)
        if label:
            slacks.append([max(0.0, 1 - s[next(witness)])])
        elif params.get("negative_slack") == "instance":
            slacks.append(np.maximum(0, 1 + s))
        else:
            slacks.append([max(0.0, 1 + s.max())])
    total = C * np.concatenate(slacks).sum()
    assert model.objective_[0] == pytest.approx(0.5 * norm + total, rel=1e-6)
    assert abs(coef.sum()) <= 1e-8 * np.abs(coef).sum()
    assert np.all(coef[coef > 0] <= C * (1 + 1e-9))
    dual = np.abs(coef).sum() - 0.5 * norm
    assert model.objective_[0] - dual == pytest.approx(
        model.relative_gap_[0] * model.objective_[0], abs=1e-6 * model.objective_[0]
    )


@pytest.mark.parametrize("margin", ["bag", "instance"])
@pytest.mark.parametrize("solver", ["cvxopt", "interior"])
def test_what_does_not_fit_into_memory_is_refused_before_it_is_tried(margin, solver):
    X = BagArray(np.zeros((400_000, 1)), [0, 100_000, 200_000, 300_000, 400_000])
    with pytest.raises(MemoryError, match=r"needs about \d+ GB, and this machine has \d+ GB"):
        MISVM(margin=margin, gamma=1.0, solver=solver).fit(X, [0, 1, 0, 1])
