"""clinical_strata."""

import numpy as np
import pandas as pd
import pytest

from milkit import BagArray
from milkit.model_selection import clinical_strata


def n_strata(*args, **kwargs):
    return len(np.unique(clinical_strata(*args, **kwargs)))


def test_two_bins_are_cut_at_the_median():
    age = np.random.default_rng(0).normal(70, 10, size=101)
    strata = clinical_strata({"age": age})
    low = strata == strata[np.argmin(age)]
    np.testing.assert_array_equal(low, age <= np.median(age))


@pytest.mark.parametrize("n_bins", [2, 3, 5])
def test_bins_have_equal_shares(n_bins):
    strata = clinical_strata({"count": np.random.default_rng(0).normal(size=300)}, n_bins=n_bins)
    np.testing.assert_array_equal(np.bincount(strata), 300 // n_bins)


@pytest.mark.parametrize("values", [[0] * 3 + [1] * 7, [0] * 7 + [1] * 3, [0, 1, 2] + [5] * 9])
def test_ties_never_join_everything_in_one_bin(values):
    assert n_strata({"sex": values}) == 2


def test_a_constant_covariate_changes_nothing():
    assert n_strata({"unit": np.ones(6), "age": [1.0, 2, 3, 4, 5, 6]}) == 2


def test_missing_values_are_a_bin_of_their_own():
    strata = clinical_strata({"age": [50.0, np.nan, 70.0, np.nan, 50.0]})
    assert strata[1] == strata[3]
    assert strata[1] not in strata[[0, 2, 4]]
    assert strata[0] == strata[4] != strata[2]
    as_objects = clinical_strata({"age": np.array([50, None, 70, None, 50], dtype=object)})
    np.testing.assert_array_equal(as_objects, strata)


@pytest.mark.parametrize(
    "column",
    [
        ["f", "m", "d", None],
        pd.Categorical([1, 2, 3, None]),
        pd.array([True, False, None, True], dtype="boolean"),
        np.array([True, False, False, True]),
        pd.to_datetime(["2020-01-01", "2021-01-01", None, "2020-01-01"]),
        pd.array([1, 2, None, 1], dtype="Int64"),
    ],
    ids=["str", "category", "boolean", "bool", "datetime", "Int64"],
)
def test_kinds_of_columns(column):
    table = pd.DataFrame({"c": column})
    strata = clinical_strata(table)
    for i in range(4):
        for j in range(4):
            a, b = table["c"].iloc[i], table["c"].iloc[j]
            same = (pd.isna(a) and pd.isna(b)) or (not pd.isna(a) and not pd.isna(b) and a == b)
            assert (strata[i] == strata[j]) == same


def test_the_label_is_crossed_with_the_covariates():
    y = np.array(["sick", "well"] * 4)
    sex = np.repeat(["f", "m"], 4)
    strata = clinical_strata({"sex": sex}, y)
    pairs = pd.Series(zip(y, sex, strata, strict=True))
    assert len(set(strata)) == len(set(pairs)) == 4


def test_a_real_valued_label_is_quantised():
    y = np.linspace(0, 1, 10) ** 2
    assert n_strata({"unit": np.ones(10)}, y) == 2


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (np.arange(60.0) // 4, 2),  # a clinical scale, whole numbers kept as floats
        (np.arange(60), 2),  # days until relapse
        (np.arange(60) % 21, 2),
        (np.arange(200) % 40, 40),  # 40 values are one for every five bags: classes
        (np.arange(200) % 41, 2),
        (np.arange(60) % 20, 20),
        (np.arange(60.0) % 2, 2),
        ((np.arange(60) % 30).astype(str), 30),
    ],
)
def test_whole_numbers_may_be_classes_or_a_target_of_regression(y, expected):
    strata = clinical_strata({"unit": np.ones(len(y))}, y)
    assert len(np.unique(strata)) == expected
    if expected == 2:
        assert np.bincount(strata).min() >= 0.4 * len(y)


def test_bagarray_and_dataframe_agree():
    table = pd.DataFrame({"age": [1.0, 2, 3, 4], "sex": list("fmfm"), "other": [1, 2, 3, 4]})
    X = BagArray.from_list([np.ones((2, 1))] * 4, covariates=table)
    columns = ["age", "sex"]
    expected = clinical_strata(table[columns])
    np.testing.assert_array_equal(clinical_strata(X, columns=columns), expected)
    np.testing.assert_array_equal(clinical_strata(table, columns=columns), expected)


def test_small_strata_join_the_nearest_of_the_same_label():
    # Ages 0..39 in four bins of ten, one missing; the label of the second half differs.
    age = np.tile(np.arange(40.0), 2)
    age[0] = np.nan
    y = np.repeat([0, 1], 40)
    free = clinical_strata({"age": age}, y, n_bins=4)
    merged = clinical_strata({"age": age}, y, n_bins=4, min_groups=3)
    assert np.bincount(free).min() == 1
    assert np.bincount(merged).min() >= 3
    assert len(np.unique(merged)) == len(np.unique(free)) - 1
    for stratum in np.unique(merged):
        assert len(np.unique(y[merged == stratum])) == 1


def test_numbers_merge_into_the_bin_next_to_them():
    # Groups, not bags, count: the second bin has ten bags of one patient.
    age = np.repeat([1.0, 2.0, 3.0, 4.0], 10)
    groups = np.arange(40)
    groups[10:20] = 10
    strata = clinical_strata({"age": age}, n_bins=4, groups=groups, min_groups=5)
    first = strata[::10]
    assert len(set(first)) == 3
    assert first[1] in (first[0], first[2])


def test_labels_are_never_merged():
    y = np.array([0] * 20 + [1] * 2)
    strata = clinical_strata({"sex": np.tile(["f", "m"], 11)}, y, min_groups=5)
    assert len(np.unique(strata)) == 3
    assert len(np.unique(strata[y == 1])) == 1
    assert not set(strata[y == 0]) & set(strata[y == 1])


@pytest.mark.parametrize(
    ("covariates", "params", "message"),
    [
        ({"age": [1, 2]}, {"columns": ["sex"]}, r"Unknown covariates \['sex'\]"),
        ({"age": [1, 2]}, {"columns": []}, "At least one"),
        ({"age": [1, 2]}, {"n_bins": 1}, "n_bins must be an integer of at least 2"),
        ({"age": [1, 2]}, {"y": [1, 2, 3]}, "inconsistent numbers"),
        (BagArray.from_list([np.ones((1, 1))] * 2), {}, "Attach them"),
        ({"age": [[1], [2]]}, {}, "one number or category"),
        ("age", {}, "must be a BagArray with covariates or a table"),
    ],
)
def test_errors(covariates, params, message):
    with pytest.raises(ValueError, match=message):
        clinical_strata(covariates, **params)


def test_columns_are_a_list():
    with pytest.raises(TypeError, match="in a list"):
        clinical_strata({"age": [1, 2]}, columns="age")
