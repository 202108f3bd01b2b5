"""grouped_train_test_split."""

import numpy as np
import pandas as pd
import pytest

from milkit import BagArray
from milkit.datasets import make_blood_smear_cohort
from milkit.exceptions import GroupLeakageError
from milkit.model_selection import grouped_train_test_split


def make_patients(n_patients=60, seed=0):
    """Patients with 1 to 8 bags, 30 % positive."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 9, n_patients))
    y = (np.arange(n_patients) < 0.3 * n_patients).astype(int)[patient]
    X = BagArray(np.zeros((len(y), 1)), np.arange(len(y) + 1), groups=patient)
    return X, y


@pytest.mark.parametrize("test_size", [0.1, 0.25, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_patients_are_whole_and_proportions_kept(test_size, seed):
    X, y = make_patients(seed=seed)
    X_train, X_test, _, y_test = grouped_train_test_split(
        X, y, test_size=test_size, random_state=seed
    )
    assert not set(X_train.groups) & set(X_test.groups)
    assert len(X_train) + len(X_test) == len(X)
    assert len(X_test) == len(y_test)
    n_bags = np.bincount(X.groups)
    assert abs(len(X_test) - test_size * len(X)) <= n_bags.mean() / 2
    for label in (0, 1):
        error = np.sum(y_test == label) - test_size * np.sum(y == label)
        assert abs(error) <= np.bincount(X.groups[y == label]).max() / 2
        assert 0 < np.sum(y_test == label) < np.sum(y == label)


def test_number_of_test_bags():
    X, y = make_patients()
    n_test = [
        len(grouped_train_test_split(X, y, test_size=50, random_state=s)[1]) for s in range(3)
    ]
    half_a_group = len(y) / len(np.unique(X.groups)) / 2
    assert max(abs(np.array(n_test) - 50)) <= half_a_group


def test_every_patient_of_a_rare_class_is_tested_now_and_then():
    """Three patients with 6, 8 and 11 samples: the first alone would be nearest to a quarter."""
    X, y = make_blood_smear_cohort(bag_scale=0.05, random_state=0, return_X_y=True)
    rare = np.unique(X.groups[y == "thalassemia"])
    assert len(rare) == 3
    tested = np.zeros(3)
    for seed in range(60):
        X_test = grouped_train_test_split(X, y, random_state=seed)[1]
        tested += np.isin(rare, X_test.groups)
    assert np.all(tested >= 0.05 * 60)
    assert np.all(tested <= 0.8 * 60)


def test_a_table_of_numbers_would_use_the_groups_as_a_feature():
    X, y = make_patients()
    df = pd.DataFrame({"a": np.arange(len(y)), "patient": X.groups, "age": X.groups % 7})
    with pytest.raises(ValueError, match="'patient' would be a feature"):
        grouped_train_test_split(df, y, group="patient")
    with pytest.raises(ValueError, match="'age' would be a feature"):
        grouped_train_test_split(df, y, groups=X.groups, strata=["age"])
    train, test = grouped_train_test_split(df[["a"]], y, groups=X.groups, random_state=0)[:2]
    assert not set(X.groups[train["a"]]) & set(X.groups[test["a"]])


def test_the_seed_decides():
    X, y = make_patients()
    first = grouped_train_test_split(X, y, random_state=3)[1].groups
    np.testing.assert_array_equal(grouped_train_test_split(X, y, random_state=3)[1].groups, first)
    other = grouped_train_test_split(X, y, random_state=4)[1].groups
    assert set(other) != set(first)


def test_other_containers_and_more_arrays():
    X, y = make_patients()
    groups = X.groups
    df = pd.DataFrame({"cells": X.to_list(), "a": np.arange(len(y)), "patient": groups})
    df_train, df_test, y_train, _, index_train, _ = grouped_train_test_split(
        df, y, np.arange(len(y)), group="patient", random_state=0
    )
    assert not set(df_train["patient"]) & set(df_test["patient"])
    np.testing.assert_array_equal(df_train["a"], index_train)
    np.testing.assert_array_equal(y[index_train], y_train)
    parts = grouped_train_test_split(X.to_list(), y, groups=groups, random_state=0)
    assert [len(part) for part in parts] == [len(df_train), len(df_test)] * 2


def test_without_labels_or_with_real_ones():
    X, _ = make_patients()
    X_train, X_test = grouped_train_test_split(X, None, random_state=0)
    assert not set(X_train.groups) & set(X_test.groups)
    for target in (X.groups + 0.5, X.groups.astype(float), X.groups):
        _, _, _, t_test = grouped_train_test_split(X, target, random_state=0)
        assert np.mean(t_test > np.median(target)) == pytest.approx(0.5, abs=0.1)


def test_strata_balance_a_covariate():
    X, y = make_patients()
    rng = np.random.default_rng(0)
    age = rng.normal(70, 10, 60)[X.groups]
    X = X.with_columns(covariates={"age": age})
    old = age > np.median(age)

    def gap(**params):
        parts = [
            grouped_train_test_split(X, y, old, random_state=seed, **params)[4:]
            for seed in range(10)
        ]
        return np.mean([abs(train.mean() - test.mean()) for train, test in parts])

    assert gap(strata=["age"]) < gap() / 2


def test_rare_classes_are_on_both_sides():
    patient = np.arange(200)
    y = np.zeros(200, dtype=int)
    y[:20] = np.repeat(np.arange(1, 11), 2)  # ten classes with two patients each
    X = BagArray(np.zeros((200, 1)), np.arange(201), groups=patient)
    for seed in range(5):
        _, _, y_train, y_test = grouped_train_test_split(X, y, test_size=0.2, random_state=seed)
        assert set(y_train) == set(y_test) == set(y)


def test_errors():
    X, y = make_patients()
    with pytest.raises(ValueError, match=r"Class 2 occurs in one group only, 59"):
        grouped_train_test_split(X, np.where(X.groups == 59, 2, y))
    with pytest.raises(ValueError, match="No split was found"):
        # Whichever two patients lie on one side, the third lacks a class.
        grouped_train_test_split(
            np.zeros((6, 1)), [0, 1, 1, 2, 0, 2], groups=list("aabbcc"), test_size=0.5
        )
    with pytest.raises(ValueError, match="belong to one group"):
        grouped_train_test_split(np.zeros((3, 1)), [0, 1, 0], groups=["a"] * 3)
    with pytest.raises(GroupLeakageError, match="No groups"):
        grouped_train_test_split(np.zeros((3, 1)), [0, 1, 0])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        grouped_train_test_split(X, y[:-1])
    for test_size in [0, 1.0, -1, "half", len(y), True]:
        with pytest.raises(ValueError, match="test_size must be"):
            grouped_train_test_split(X, y, test_size=test_size)
