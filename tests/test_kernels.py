"""Set kernels against a naive double loop, and the numbers behind gamma."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import (
    linear_kernel,
    pairwise_kernels,
    polynomial_kernel,
    rbf_kernel,
    sigmoid_kernel,
)
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from milkit import BagArray, SetKernel
from milkit.kernels import _set_kernel, set_kernel
from milkit.kernels._instance_kernels import instance_kernel, resolve_gamma

GAMMA, DEGREE, COEF0 = 0.3, 2, 0.7
NAIVE = {
    "linear": linear_kernel,
    "rbf": lambda A, B: rbf_kernel(A, B, gamma=GAMMA),
    "poly": lambda A, B: polynomial_kernel(A, B, degree=DEGREE, gamma=GAMMA, coef0=COEF0),
    "sigmoid": lambda A, B: sigmoid_kernel(A, B, gamma=GAMMA, coef0=COEF0),
}
PARAMS = {"gamma": GAMMA, "degree": DEGREE, "coef0": COEF0}


def make_bags(sizes=(1, 4, 2, 7, 1, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 3)) + 1.0 for n in sizes]


def naive(X, Z, kernel, normalize):
    result = np.empty((len(X), len(Z)))
    for i, x in enumerate(X):
        for j, z in enumerate(Z):
            value = kernel(x, z).sum()
            if normalize == "mean":
                value /= len(x) * len(z)
            elif normalize == "cosine":
                value /= np.sqrt(kernel(x, x).sum() * kernel(z, z).sum())
            result[i, j] = value
    return result


@pytest.mark.parametrize("normalize", ["cosine", "mean", None])
@pytest.mark.parametrize("kernel", NAIVE)
@pytest.mark.parametrize("block", [1, 2, 5, 2000])
def test_double_loop(monkeypatch, kernel, normalize, block):
    # Blocks of few rows cut through the bags.
    monkeypatch.setattr(_set_kernel, "_BLOCK_ROWS", block)
    X, Z = make_bags(), make_bags(sizes=(2, 1, 9), seed=1)
    model = SetKernel(kernel, normalize=normalize, **PARAMS).fit(X)
    np.testing.assert_allclose(
        model.transform(Z), naive(Z, X, NAIVE[kernel], normalize), rtol=1e-10
    )
    np.testing.assert_allclose(
        model.fit_transform(X), naive(X, X, NAIVE[kernel], normalize), rtol=1e-10
    )
    for given in (kernel, NAIVE[kernel]):
        K = set_kernel(X, Z, kernel=given, normalize=normalize, **PARAMS)
        np.testing.assert_allclose(K, naive(X, Z, NAIVE[kernel], normalize), rtol=1e-10)


@pytest.mark.parametrize("normalize", ["cosine", "mean", None])
@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_symmetric_and_positive_semi_definite(kernel, normalize):
    rng = np.random.default_rng(0)
    X = make_bags(sizes=rng.integers(1, 6, 30))
    K = set_kernel(X, kernel=kernel, normalize=normalize)
    np.testing.assert_allclose(K, K.T, rtol=1e-12)
    values = np.linalg.eigvalsh((K + K.T) / 2)
    assert values.min() >= -1e-10 * values.max()
    if normalize == "cosine":
        np.testing.assert_allclose(np.diag(K), 1.0)
        assert np.abs(K).max() <= 1 + 1e-12


def test_a_repeated_bag_is_the_same_to_cosine_and_mean():
    X = make_bags()
    doubled = [np.vstack([bag, bag]) for bag in X]
    for normalize in ("cosine", "mean"):
        once = set_kernel(X, gamma=GAMMA, normalize=normalize)
        np.testing.assert_allclose(
            set_kernel(doubled, X, gamma=GAMMA, normalize=normalize), once, rtol=1e-10
        )


@pytest.mark.parametrize("kernel", NAIVE)
def test_bags_of_one_instance(kernel):
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(8, 3)), rng.normal(size=(5, 3))
    params = {"gamma": GAMMA} if kernel != "linear" else {}
    params |= {"coef0": COEF0} if kernel in ("poly", "sigmoid") else {}
    params |= {"degree": DEGREE} if kernel == "poly" else {}
    K = set_kernel(A[:, None], B[:, None], kernel=kernel, normalize="mean", **PARAMS)
    np.testing.assert_allclose(K, pairwise_kernels(A, B, metric=kernel, **params), rtol=1e-10)


@pytest.mark.parametrize("form", [BagArray.from_list, list])
def test_svc_on_the_gram_matrix_is_svc_on_the_callable(form):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = form([rng.normal(size=(rng.integers(1, 6), 2)) + 0.7 * t for t in y])
    model = make_pipeline(SetKernel(), SVC(kernel="precomputed")).fit(X[:30], y[:30])
    svc = SVC(kernel=set_kernel).fit(X[:30], y[:30])
    decision = svc.decision_function(X[30:])
    np.testing.assert_allclose(model.decision_function(X[30:]), decision, atol=1e-6)
    np.testing.assert_allclose(svc.decision_function(X[30:32]), decision[:2], atol=1e-6)
    with pytest.raises(ValueError, match=r"Pass \[bag\] to predict one bag"):
        svc.predict(X[0])
    assert cross_val_score(model, X, y, cv=5).mean() > 0.6


def test_training_bags_are_kept_apart():
    store = BagArray.from_list(make_bags(sizes=[3] * 50))
    model = SetKernel().fit(store[:4])
    assert len(model.bags_.instances) == 12
    assert not np.shares_memory(model.bags_.instances, store.instances)
    assert model.get_feature_names_out().tolist() == [f"setkernel{i}" for i in range(4)]


def test_gamma_of_two_collections_belongs_to_the_second():
    # So that it does not change with the batch that is predicted.
    X, Z = [5 * bag for bag in make_bags(seed=1)], make_bags()
    gamma = resolve_gamma("scale", np.vstack(Z))
    np.testing.assert_allclose(set_kernel(X, Z), set_kernel(X, Z, gamma=gamma))
    np.testing.assert_allclose(set_kernel(X[:1], Z), set_kernel(X, Z)[:1])
    np.testing.assert_allclose(set_kernel(X, X), set_kernel(X))


def test_a_self_kernel_below_zero():
    def odd(A, B):
        return -linear_kernel(A, B)

    X = BagArray.from_list([np.zeros((1, 2)), np.ones((2, 2))], names=["Nil", "Eins"])
    with pytest.raises(ValueError, match=r"Bag 1 \('Eins'\) has k\(X, X\) = -8, but"):
        SetKernel(odd).fit(X)
    model = SetKernel(odd).fit(X[:1])
    with pytest.raises(ValueError, match=r"Bag 0 \('Eins'\) .* not positive semi-definite"):
        model.transform(X[1:])  # never a silent 0
    np.testing.assert_allclose(SetKernel(odd, normalize="mean").fit_transform(X), [[0, 0], [0, -2]])


def test_bags_that_cancel():
    # The self-kernel is 0 up to rounding of either sign: no error, and no similarity.
    rng = np.random.default_rng(0)
    half = rng.normal(size=(5, 3))
    K = set_kernel([np.zeros((2, 3)), half], kernel="linear")
    np.testing.assert_allclose(K, [[0, 0], [0, 1]])
    for seed in range(10):
        half = np.random.default_rng(seed).normal(size=(5, 3))
        bags = [np.vstack([half, -half]), half]
        K = set_kernel(bags, kernel="poly", coef0=0.0)
        assert np.isfinite(K).all()
        assert K[1, 1] == pytest.approx(1)


# -- kernels between instances ---------------------------------------------------------------


def test_gamma_is_that_of_svc():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 4)) * [1, 2, 3, 4] + 5
    y = np.arange(30) % 2
    for gamma in ("scale", "auto", 0.7):
        assert resolve_gamma(gamma, X) == pytest.approx(SVC(gamma=gamma).fit(X, y)._gamma)
    assert (
        resolve_gamma("scale", np.ones((5, 3))) == SVC().fit(np.ones((4, 3)), [0, 1, 0, 1])._gamma
    )


def test_gamma_with_weights_is_that_of_repeated_rows():
    rng = np.random.default_rng(0)
    X, times = rng.normal(size=(20, 3)) + 100.0, rng.integers(0, 4, 20)
    repeated = np.repeat(X, times, axis=0)
    weighted = resolve_gamma("scale", X, times.astype(float))
    assert weighted == pytest.approx(resolve_gamma("scale", repeated), rel=1e-9)
    assert weighted == pytest.approx(1 / (3 * repeated.var()), rel=1e-9)


def test_shape_of_a_callable():
    with pytest.raises(ValueError, match=r"returned shape \(3, 2\) for 2 × 3 rows"):
        instance_kernel(np.ones((2, 1)), np.ones((3, 1)), lambda A, B: np.ones((3, 2)))
    with pytest.raises(ValueError, match="it must return shape"):
        SetKernel(lambda A, B: np.ones(3)).fit(make_bags())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"kernel": "cosine"}, "The 'kernel' parameter of SetKernel"),
        ({"gamma": -1.0}, "The 'gamma' parameter of SetKernel"),
        ({"normalize": "max"}, "The 'normalize' parameter of SetKernel"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        SetKernel(**params).fit(make_bags())
