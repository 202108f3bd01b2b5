"""Simulated cohorts of blood smears."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from milkit.datasets import age_from_birth_date, make_blood_smear_cohort


def mean_and_std(X):
    return np.array([np.concatenate([bag.mean(axis=0), bag.std(axis=0)]) for bag in X])


def accuracies(data):
    """Accuracy in random folds, and with patients kept apart."""
    model = make_pipeline(StandardScaler(), SVC(C=3.0))
    Z = mean_and_std(data.data)
    mixed = StratifiedKFold(3, shuffle=True, random_state=0)
    apart = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    return (
        cross_val_score(model, Z, data.target, cv=mixed).mean(),
        cross_val_score(model, Z, data.target, cv=apart, groups=data.data.groups).mean(),
    )


@pytest.fixture(scope="module")
def red_cell():
    return make_blood_smear_cohort(bag_scale=0.2, random_state=0)


@pytest.fixture(scope="module")
def lymphocytosis():
    return make_blood_smear_cohort("lymphocytosis", bag_scale=0.5, random_state=0)


def test_red_cell_cohort_has_the_published_counts(red_cell):
    table = pd.DataFrame({"y": red_cell.target, "patient": red_cell.data.groups})
    expected = {
        "thalassemia": (3, 25),
        "sickle_cell": (9, 56),
        "piezo1": (8, 44),
        "spherocytosis": (13, 89),
        "healthy": (26, 137),
    }
    for name, counts in expected.items():
        rows = table[table["y"] == name]
        assert (rows["patient"].nunique(), len(rows)) == counts
    assert table.groupby("patient")["y"].nunique().max() == 1
    assert np.array_equal(red_cell.target_names, np.unique(red_cell.target))


def test_images_and_cells_of_a_sample_have_the_published_ranges():
    X, _ = make_blood_smear_cohort(scale=0.2, return_X_y=True, random_state=0)
    image = X.instance_data["image"]
    for start, stop in zip(X.offsets[:-1], X.offsets[1:], strict=True):
        cells = np.bincount(image[start:stop])
        assert 4 <= len(cells) <= 12
        assert cells.min() >= 12 and cells.max() <= 45


def test_lymphocytosis_cohort_has_the_published_counts(lymphocytosis):
    X, y = lymphocytosis.data, lymphocytosis.target
    assert (y == "malignant").sum() == 113 and (y == "reactive").sum() == 50
    assert len(np.unique(X.groups)) == 163
    assert X.sizes.max() > 3 * np.median(X.sizes) / 2


@pytest.mark.parametrize("cohort", ["red_cell", "lymphocytosis"])
def test_diseased_samples_have_their_own_cells_and_the_others_none(cohort):
    data = make_blood_smear_cohort(
        cohort, scale=0.3, bag_scale=0.3, witness_rate=0.1, random_state=1
    )
    X, y = data.data, data.target
    label = X.instance_data["label"]
    strongest = np.maximum.reduceat(label, X.offsets[:-1])
    of_class = {name: 1 + i for i, name in enumerate(data.cell_names)}
    assert np.array_equal(strongest, [of_class.get(name, 0) for name in y])
    bag_of = np.repeat(np.arange(len(X)), X.sizes)
    assert set(label[label > 0] - strongest[bag_of][label > 0]) == {0}
    share = (label > 0)[strongest[bag_of] > 0].mean()
    assert 0.05 < share < 0.2


def test_folds_that_mix_patients_promise_too_much(red_cell):
    mixed, apart = accuracies(red_cell)
    assert mixed > apart + 0.1
    chance = (red_cell.target == "healthy").mean()
    assert apart > chance + 0.03, "there is something to learn about new patients as well"


def test_without_a_patient_effect_nothing_leaks():
    mixed, apart = accuracies(
        make_blood_smear_cohort(bag_scale=0.2, patient_effect=0.0, random_state=0)
    )
    assert abs(mixed - apart) < 0.1


def test_covariates_have_units_types_and_missing_values(red_cell, lymphocytosis):
    for data in (red_cell, lymphocytosis):
        table = data.data.covariates
        assert list(table.columns) == ["age", "sex", "lymphocyte_count"]
        assert table.notna().mean().min() > 0.8
        assert table.isna().any()[["sex", "lymphocyte_count"]].all()
        assert table["age"].dropna().between(1, 102).all()
        assert set(table["sex"].dropna()) == {"F", "M"}
        assert (table["lymphocyte_count"].dropna() > 0).all()
        # Age and sex belong to the patient, so they agree between his or her samples.
        by_patient = table.groupby(data.data.groups)[["age", "sex"]].nunique(dropna=False)
        assert by_patient.max(axis=None) == 1
    half = make_blood_smear_cohort("lymphocytosis", bag_scale=0.1, missing_rate=0.5, random_state=0)
    assert half.data.covariates.isna().mean().between(0.35, 0.65).all()
    complete = make_blood_smear_cohort("lymphocytosis", bag_scale=0.1, missing_rate=0.0)
    assert complete.data.covariates.notna().all(axis=None)


def clinical_aucs(signal):
    data = make_blood_smear_cohort(
        "lymphocytosis", bag_scale=0.1, clinical_signal=signal, missing_rate=0.0, random_state=0
    )
    table, malignant = data.data.covariates, data.target == "malignant"
    return [roc_auc_score(malignant, table[column]) for column in ("age", "lymphocyte_count")]


def test_clinical_signal_is_tunable():
    for none, some, strong in zip(*map(clinical_aucs, (0.0, 1.0, 3.0)), strict=True):
        assert 0.38 < none < 0.62
        assert some > 0.65
        assert strong > some


def test_the_lymphocyte_count_is_skewed_to_the_right(lymphocytosis):
    count = lymphocytosis.data.covariates["lymphocyte_count"].dropna()
    assert count.skew() > 1.5 and count.mean() > 1.2 * count.median()


def test_scale_keeps_three_patients_of_each_class():
    X, y = make_blood_smear_cohort(scale=0.01, bag_scale=0.05, return_X_y=True, random_state=0)
    patients = pd.Series(X.groups).groupby(y).nunique()
    assert (patients == 3).all() and len(patients) == 5
    assert X.sizes.min() >= 4


def test_repeatability_and_names():
    first, again, other = (
        make_blood_smear_cohort(scale=0.1, bag_scale=0.1, random_state=s) for s in (0, 0, 1)
    )
    assert np.array_equal(first.data.flat()[0], again.data.flat()[0])
    assert first.data.covariates.equals(again.data.covariates)
    assert not np.array_equal(first.data.sizes, other.data.sizes)
    assert "simulated" in first.DESCR
    # Neither the order nor a number gives the class away.
    number = [int(name[-3:]) for name in first.data.groups]
    assert abs(np.corrcoef(number, first.target == "healthy")[0, 1]) < 0.9
    with pytest.raises(ValueError, match="cohort"):
        make_blood_smear_cohort("leukaemia")


def test_age_from_birth_date():
    assert abs(age_from_birth_date("1950-01-01", "2020-01-01") - 70) < 0.01
    ages = age_from_birth_date(["1990-05-05", None], ["2000-05-05", "2000-05-05"])
    assert abs(ages[0] - 10) < 0.01 and np.isnan(ages[1])
    births = pd.Series(pd.to_datetime(["1980-03-01", "1990-03-01"]))
    assert np.all(np.diff(age_from_birth_date(births, "2020-03-01")) < -9)
    with pytest.raises(ValueError, match="Entry 1 is born"):
        age_from_birth_date(["1990-01-01", "2030-01-01"], "2020-01-01")
    with pytest.raises(ValueError, match="same length"):
        age_from_birth_date(["1990-01-01"] * 3, ["2020-01-01"] * 2)
