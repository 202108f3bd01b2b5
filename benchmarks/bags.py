"""What the container costs: packing, slicing, reading a table, the door.

Each figure is the median of several runs, beside a plain reference in the same run; read the
ratios, the machine changes the rest. Run: python benchmarks/bags.py
"""

import time

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from milkit import BagArray, BagStatistics
from milkit.utils.validation import validate_bags

N_BAGS, N_FEATURES = 20_000, 50


def median_time(function, repeats=7):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def table_by_groupby(df):
    return [bag.to_numpy() for _, bag in df.drop(columns="y").groupby("bag", sort=False)]


def main():
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(n, N_FEATURES)) for n in rng.integers(1, 40, size=N_BAGS)]
    X = BagArray.from_list(bags)
    order = rng.permutation(N_BAGS)
    flat, _ = X.flat()
    df = pd.DataFrame(flat[:100_000], columns=[f"f{j}" for j in range(N_FEATURES)])
    df["bag"] = np.repeat(np.arange(N_BAGS), X.sizes)[:100_000]
    df["y"] = df["bag"] % 2
    small = X[: int(df["bag"].max())]

    print(X, "\n")
    rows = [
        (
            "pack a list",
            lambda: BagArray.from_list(bags),
            "numpy.concatenate",
            lambda: np.concatenate(bags),
        ),
        (
            "slice at random",
            lambda: X[order],
            "list of the same bags",
            lambda: [bags[i] for i in order],
        ),
        (
            "slice and gather",
            lambda: X[order].flat(),
            "numpy.concatenate",
            lambda: np.concatenate([bags[i] for i in order]),
        ),
        (
            "validate, contiguous",
            lambda: validate_bags(BaseEstimator(), X),
            "numpy.isfinite(...).all()",
            lambda: np.isfinite(flat).all(),
        ),
        (
            "long table, 100,000 rows",
            lambda: BagArray.from_dataframe(df, "bag", label="y"),
            "pandas groupby",
            lambda: table_by_groupby(df),
        ),
        (
            "BagStatistics mean, std",
            lambda: BagStatistics().fit_transform(small),
            "loop over bags",
            lambda: [np.r_[bag.mean(axis=0), bag.std(axis=0)] for bag in small],
        ),
    ]
    print(f"{'milkit':<28}{'ms':>9}   {'reference':<28}{'ms':>9}{'ratio':>9}")
    for name, ours, reference, plain in rows:
        a, b = median_time(ours), median_time(plain)
        print(f"{name:<28}{1e3 * a:>9.2f}   {reference:<28}{1e3 * b:>9.2f}{b / a:>8.1f}x")


if __name__ == "__main__":
    main()
