"""Statistic kernels against a plain loop over bags, and against SVC on the statistics."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics.pairwise import (
    laplacian_kernel,
    linear_kernel,
    polynomial_kernel,
    rbf_kernel,
    sigmoid_kernel,
)
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR

from milkit import BagArray, BagStatistics, InstanceTransformer
from milkit.datasets import make_mil_classification
from milkit.kernels import StatisticKernel, statistic_kernel

GAMMA, DEGREE, COEF0 = 0.3, 2, 0.7
PARAMS = {"gamma": GAMMA, "degree": DEGREE, "coef0": COEF0}
NAIVE = {
    "linear": linear_kernel,
    "rbf": lambda A, B: rbf_kernel(A, B, gamma=GAMMA),
    "poly": lambda A, B: polynomial_kernel(A, B, degree=DEGREE, gamma=GAMMA, coef0=COEF0),
    "sigmoid": lambda A, B: sigmoid_kernel(A, B, gamma=GAMMA, coef0=COEF0),
}
DESCRIBE = {
    ("min", "max"): lambda x: [*x.min(axis=0), *x.max(axis=0)],
    ("size", "mean", 0.9): lambda x: [len(x), *x.mean(axis=0), *np.quantile(x, 0.9, axis=0)],
}


def make_bags(sizes=(1, 4, 2, 7, 1, 3), seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 3)) + 1.0 for n in sizes]


def labelled_bags(n_bags=40):
    return make_mil_classification(n_bags=n_bags, bag_size=(1, 6), random_state=0)


@pytest.mark.parametrize("statistics", DESCRIBE)
@pytest.mark.parametrize("kernel", NAIVE)
def test_plain_loop(kernel, statistics):
    X, Z = make_bags(), make_bags(sizes=(2, 1, 9), seed=1)
    rows_x, rows_z = ([DESCRIBE[statistics](bag) for bag in bags] for bags in (X, Z))

    def loop(A, B):
        return [[NAIVE[kernel]([a], [b])[0, 0] for b in B] for a in A]

    model = StatisticKernel(statistics, kernel=kernel, **PARAMS).fit(X)
    np.testing.assert_allclose(model.transform(Z), loop(rows_z, rows_x), rtol=1e-10)
    np.testing.assert_allclose(model.fit_transform(X), loop(rows_x, rows_x), rtol=1e-10)
    for given in (kernel, NAIVE[kernel]):
        params = {"statistics": statistics, "kernel": given, **PARAMS}
        np.testing.assert_allclose(
            statistic_kernel(X, Z, **params), loop(rows_x, rows_z), rtol=1e-10
        )
        np.testing.assert_allclose(statistic_kernel(X, **params), loop(rows_x, rows_x), rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("gamma", ["scale", "auto", 0.2])
@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly", "sigmoid"])
def test_svc_on_the_gram_matrix_is_svc_on_the_statistics(kernel, gamma, dtype):
    X, y = labelled_bags()
    X = X.with_instances(X.instances.astype(dtype))
    train, test = np.arange(30), np.arange(30, 40)
    params = {"kernel": kernel, "gamma": gamma, "degree": 2, "coef0": 1.0}
    gram = make_pipeline(StatisticKernel(["min", "mean"], **params), SVC(kernel="precomputed"))
    table = make_pipeline(BagStatistics(["min", "mean"]), SVC(**params))
    gram.fit(X[train], y[train])
    table.fit(X[train], y[train])
    if kernel != "linear":
        assert gram[0].gamma_ == pytest.approx(table[-1]._gamma)
    # libsvm stops within its tolerance, from kernels that are equal up to rounding.
    np.testing.assert_allclose(
        gram.decision_function(X[test]), table.decision_function(X[test]), atol=0.01
    )
    np.testing.assert_array_equal(gram.predict(X[test]), table.predict(X[test]))


@pytest.mark.parametrize("form", [BagArray.from_list, list])
def test_svc_on_the_gram_matrix_is_svc_on_the_callable(form):
    X, y = labelled_bags()
    X = form(X.to_list())
    model = make_pipeline(StatisticKernel(), SVC(kernel="precomputed")).fit(X[:30], y[:30])
    svc = SVC(kernel=statistic_kernel).fit(X[:30], y[:30])
    expected = model.decision_function(X[30:])
    np.testing.assert_allclose(svc.decision_function(X[30:]), expected, atol=1e-6)
    np.testing.assert_allclose(svc.decision_function(X[30:32]), expected[:2], atol=1e-6)
    with pytest.raises(ValueError, match=r"Pass \[bag\] to predict one bag"):
        svc.predict(X[0])


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly"])
def test_symmetric_and_positive_semi_definite(kernel):
    X = make_bags(sizes=np.random.default_rng(0).integers(1, 6, 30))
    K = statistic_kernel(X, kernel=kernel)
    np.testing.assert_allclose(K, K.T, rtol=1e-12)
    values = np.linalg.eigvalsh(K)
    assert values.min() >= -1e-10 * values.max()
    if kernel == "rbf":
        np.testing.assert_allclose(np.diag(K), 1.0, rtol=1e-12)


def test_order_and_repetition_of_instances_do_not_matter():
    X, Z = make_bags(), make_bags(seed=1)
    model = StatisticKernel().fit(X)
    once = model.transform(Z)
    np.testing.assert_array_equal(model.transform([bag[::-1] for bag in Z]), once)
    np.testing.assert_array_equal(model.transform([np.vstack([bag, bag]) for bag in Z]), once)
    np.testing.assert_array_equal(clone(model).fit([bag[::-1] for bag in X]).transform(Z), once)


def test_minimax_kernel_of_the_paper():
    X = make_bags()
    s = np.array([DESCRIBE["min", "max"](bag) for bag in X])
    K = StatisticKernel(kernel="poly", degree=3, gamma=1.0).fit_transform(X)
    np.testing.assert_allclose(K, (s @ s.T + 1) ** 3, rtol=1e-10)


def test_gamma_of_two_collections_belongs_to_the_second():
    # So that it does not change with the batch that is predicted.
    X, Z = [5 * bag for bag in make_bags(seed=1)], make_bags()
    s = BagStatistics(["min", "max"]).fit_transform(Z)
    gamma = 1 / (s.shape[1] * s.var())
    np.testing.assert_allclose(statistic_kernel(X, Z), statistic_kernel(X, Z, gamma=gamma))
    np.testing.assert_allclose(statistic_kernel(X[:1], Z), statistic_kernel(X, Z)[:1])
    np.testing.assert_allclose(statistic_kernel(X, X), statistic_kernel(X))


def test_sides_of_a_callable_that_is_not_symmetric():
    X, Z = make_bags(), make_bags(sizes=(2, 1), seed=1)

    def left(A, B):
        return np.repeat(A[:, :1], len(B), axis=1)

    np.testing.assert_array_equal(
        statistic_kernel(X, Z, kernel=left), left(np.array([b.min(axis=0) for b in X]), Z)
    )


def test_only_the_statistics_are_kept():
    store = BagArray.from_list(make_bags(sizes=[3] * 50), groups=np.arange(50))
    model = StatisticKernel().fit(store[:4])
    assert model.statistics_.shape == (4, 6)
    assert not any(isinstance(value, BagArray) for value in vars(model).values())
    assert model.get_feature_names_out().tolist() == [f"statistickernel{i}" for i in range(4)]


def test_pipelines_and_searches():
    X, y = labelled_bags(60)
    scaled = InstanceTransformer(StandardScaler())
    model = make_pipeline(scaled, StatisticKernel(), SVC(kernel="precomputed"))
    grid = {
        "statistickernel__statistics": [["min", "max"], ["mean", "std"]],
        "statistickernel__kernel": ["rbf", laplacian_kernel],
        "svc__C": [0.1, 1.0, 10.0],
    }
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.75
    np.testing.assert_array_equal(search.predict(X[:5]), search.predict(X)[:5])
    table = make_pipeline(scaled, BagStatistics(["min", "max"]), SVC())
    np.testing.assert_allclose(
        cross_val_score(model, X, y, cv=5), cross_val_score(table, X, y, cv=5)
    )
    regression = make_pipeline(scaled, StatisticKernel(), SVR(kernel="precomputed", C=10.0))
    assert regression.fit(X, X.sizes.astype(float)).score(X, X.sizes) > 0.5


# -- errors ------------------------------------------------------------------------------------


def test_errors_name_the_bag():
    X = BagArray.from_list(make_bags(), names=list("abcdef"))
    instances = X.instances.copy()
    instances[sum(X.sizes[:3]) + 2, 0] = np.nan
    dirty = X.with_instances(instances)
    with pytest.raises(ValueError, match=r"Bag 3 \('d'\) has NaN in instance 2"):
        StatisticKernel().fit(dirty)
    model = StatisticKernel().fit(X)
    with pytest.raises(ValueError, match=r"Bag 0 \('d'\) has NaN in instance 2"):
        model.transform(dirty[3:])
    with pytest.raises(ValueError, match="Bag 1 is empty"):
        statistic_kernel([np.ones((2, 3)), np.ones((0, 3))])
    with pytest.raises(ValueError, match=r"Pass \[bag\] to predict one bag"):
        model.transform(X[0])


def test_two_collections_with_other_features():
    with pytest.raises(ValueError, match="X has 2 features, but StatisticKernel is expecting 3"):
        statistic_kernel([np.ones((4, 2))], make_bags())


def test_shape_of_a_callable():
    with pytest.raises(ValueError, match=r"returned shape \(3,\) for 6 × 6 rows; it must return"):
        statistic_kernel(make_bags(), kernel=lambda A, B: np.ones(3))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"statistics": "min"}, "The 'statistics' parameter of StatisticKernel"),
        ({"statistics": []}, "statistics is empty; name at least one"),
        ({"statistics": ["maximum"]}, "Unknown statistic 'maximum'; expected any of"),
        ({"kernel": "cosine"}, "The 'kernel' parameter of StatisticKernel"),
        ({"gamma": -1.0}, "The 'gamma' parameter of StatisticKernel"),
        ({"degree": -1}, "The 'degree' parameter of StatisticKernel"),
        ({"coef0": np.inf}, "The 'coef0' parameter of StatisticKernel"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        StatisticKernel(**params).fit(make_bags())
    with pytest.raises(ValueError, match=message):
        statistic_kernel(make_bags(), **params)
