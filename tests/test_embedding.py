"""BagStatistics against numpy, bag by bag."""

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from milkit import BagArray, BagStatistics
from milkit.embedding import _statistics

ONE_BAG = {
    "mean": lambda bag: bag.mean(axis=0),
    "std": lambda bag: bag.std(axis=0),
    "min": lambda bag: bag.min(axis=0),
    "max": lambda bag: bag.max(axis=0),
    "median": lambda bag: np.median(bag, axis=0),
    "size": lambda bag: np.array([float(len(bag))]),
    0.0: lambda bag: np.quantile(bag, 0.0, axis=0),
    0.1: lambda bag: np.quantile(bag, 0.1, axis=0),
    0.37: lambda bag: np.quantile(bag, 0.37, axis=0),
    0.9: lambda bag: np.quantile(bag, 0.9, axis=0),
    1: lambda bag: np.quantile(bag, 1, axis=0),
}


def make_bags(sizes=(1, 2, 7, 1, 40, 3), dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(n, 4)) * [1, 10, 0.1, 1] + 3).astype(dtype) for n in sizes]


@pytest.mark.parametrize("statistic", ONE_BAG)
def test_one_statistic(statistic):
    bags = make_bags()
    table = BagStatistics([statistic]).fit_transform(bags)
    np.testing.assert_allclose(
        table, [ONE_BAG[statistic](bag) for bag in bags], rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("width", [1, 4_000_000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_at_once_in_order(monkeypatch, width, dtype):
    monkeypatch.setattr(_statistics, "_BLOCK", width)
    bags = make_bags(dtype=dtype)
    statistics = list(ONE_BAG)[::-1]
    table = BagStatistics(statistics).fit_transform(bags)
    assert table.dtype == dtype
    expected = [np.concatenate([ONE_BAG[s](bag) for s in statistics]) for bag in bags]
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(table, expected, rtol=tolerance, atol=tolerance)


def test_views_and_ties():
    rng = np.random.default_rng(0)
    X = BagArray.from_list([rng.integers(0, 3, size=(n, 2)) for n in (5, 1, 8, 2)])
    model = BagStatistics(["median", 0.25, "max"]).fit(X)
    whole = model.transform(X)
    assert whole.dtype == np.float64
    np.testing.assert_array_equal(model.transform(X[[3, 0]]), whole[[3, 0]])
    np.testing.assert_array_equal(model.transform([rng.permutation(bag) for bag in X]), whole)


def test_bags_of_one_instance_are_themselves():
    X = np.random.default_rng(0).normal(size=(6, 3))
    for bags in (X, X[:, None]):
        table = BagStatistics(["mean", "min", "max", "median", 0.3, "std"]).fit_transform(bags)
        np.testing.assert_allclose(table, np.hstack([np.tile(X, 5), np.zeros_like(X)]))


@pytest.mark.parametrize(("offset", "spread"), [(1e6, 1e-3), (-1e8, 1.0), (1e-9, 1e-12)])
def test_std_far_from_zero(offset, spread):
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(n, 2)) * spread + offset for n in (5, 100, 2000)]
    table = BagStatistics(["std"]).fit_transform(bags)
    np.testing.assert_allclose(table, [bag.std(axis=0) for bag in bags], rtol=1e-6)
    np.testing.assert_allclose(table[2], spread, rtol=0.1)


def test_sums_of_float32_are_exact_enough():
    rng = np.random.default_rng(0)
    bag = (rng.normal(size=(200_000, 1)) + 1000).astype(np.float32)
    mean, std = BagStatistics().fit_transform([bag, bag[:3]])[0]
    assert mean == pytest.approx(bag.mean(dtype=np.float64), rel=1e-7)
    assert std == pytest.approx(bag.std(dtype=np.float64), rel=1e-6)


def test_names():
    bags = [pd.DataFrame(bag[:, :2], columns=["area", "red"]) for bag in make_bags()]
    model = BagStatistics(["mean", 0.25, "size", "max"]).set_output(transform="pandas")
    table = model.fit_transform(bags)
    assert isinstance(table, pd.DataFrame)
    names = ["mean_area", "mean_red", "quantile0.25_area", "quantile0.25_red", "size"]
    assert table.columns.tolist() == [*names, "max_area", "max_red"]
    np.testing.assert_allclose(table["max_red"], [bag["red"].max() for bag in bags])
    unnamed = BagStatistics().fit(make_bags())
    assert unnamed.get_feature_names_out().tolist()[:2] == ["mean_x0", "mean_x1"]
    assert unnamed.get_feature_names_out(list("abcd")).tolist()[-1] == "std_d"
    assert len(unnamed.get_feature_names_out()) == unnamed.transform(make_bags()).shape[1]


@pytest.mark.parametrize(
    ("statistics", "message"),
    [
        ([], "statistics is empty"),
        (["mean", "variance"], "Unknown statistic 'variance'; expected any of"),
        ([1.5], "Unknown statistic 1.5"),
        ([-0.1], "Unknown statistic -0.1"),
        ([np.nan], "Unknown statistic nan"),
        ([True], "Unknown statistic True"),
        ([None], "Unknown statistic None"),
        ([["mean"]], r"Unknown statistic \['mean'\]"),
        ("mean", "The 'statistics' parameter of BagStatistics must be an array-like"),
    ],
)
def test_wrong_statistics(statistics, message):
    with pytest.raises(ValueError, match=message):
        BagStatistics(statistics).fit(make_bags())


def test_in_front_of_a_classifier():
    y = np.arange(20) % 2
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(5, 2)) + 3 * t for t in y]
    model = make_pipeline(BagStatistics(["mean"]), SVC()).fit(bags, y)
    means = np.array([bag.mean(axis=0) for bag in bags])
    np.testing.assert_allclose(
        model.decision_function(bags), SVC().fit(means, y).decision_function(means)
    )
