"""GroupedSplit."""

import pickle
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    BaseCrossValidator,
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    LeavePGroupsOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    check_cv,
    cross_val_predict,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from milkit import BagArray
from milkit.exceptions import GroupLeakageError
from milkit.model_selection import GroupedSplit

N_PATIENTS, BAGS_EACH = 24, 3
PATIENT = np.repeat(np.arange(N_PATIENTS), BAGS_EACH)
Y = PATIENT % 2


def make_bags(groups=PATIENT, **columns):
    rng = np.random.default_rng(0)
    bags = [rng.normal(label, 1, size=(rng.integers(1, 6), 2)) for label in Y]
    return BagArray.from_list(bags, groups=groups, **columns)


def bag_means(X):
    return np.array([bag.mean(axis=0) for bag in X])


def make_model():
    return make_pipeline(FunctionTransformer(bag_means), LogisticRegression())


class Spy(FunctionTransformer):
    """Notes the patients on which it is fitted."""

    seen = []

    def __init__(self):
        super().__init__(bag_means)

    def fit(self, X, y=None):
        if X.groups is not None:
            Spy.seen.append(set(X.groups.tolist()))
        return super().fit(X, y)


class LeakySplit:
    def split(self, X, y=None, groups=None):
        yield np.arange(1, len(X)), np.array([0])

    def get_n_splits(self, X=None, y=None, groups=None):
        return 1


@pytest.mark.parametrize(
    "cv",
    [
        5,
        StratifiedGroupKFold(4, shuffle=True, random_state=0),
        GroupKFold(3),
        LeaveOneGroupOut(),
        LeavePGroupsOut(1),
        GroupShuffleSplit(7, random_state=0),
    ],
)
def test_no_group_on_both_sides(cv):
    X = make_bags()
    splitter = GroupedSplit(cv)
    splits = list(splitter.split(X, Y))
    assert len(splits) == splitter.get_n_splits(X, Y)
    for train, test in splits:
        assert not set(X[train].groups) & set(X[test].groups)
        assert len(train) + len(test) == len(X)


@pytest.mark.parametrize("cv", [GroupKFold(3), StratifiedGroupKFold(4), LeaveOneGroupOut()])
def test_folds_are_those_of_the_wrapped_splitter(cv):
    expected = list(cv.split(np.zeros(len(Y)), Y, PATIENT))
    for a, b in zip(GroupedSplit(cv).split(make_bags(), Y), expected, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])


def test_groups_from_argument_bagarray_and_dataframe():
    X = make_bags()
    df = pd.DataFrame({"cells": X.to_list(), "patient": PATIENT})
    expected = [test.tolist() for _, test in GroupedSplit(3).split(X, Y)]
    for splitter, data, groups in [
        (GroupedSplit(3), X.to_list(), PATIENT),
        (GroupedSplit(3), X, PATIENT),
        (GroupedSplit(3, group="patient"), df, None),
        (GroupedSplit(3, group="patient"), np.zeros((len(Y), 1)), PATIENT),
    ]:
        assert [test.tolist() for _, test in splitter.split(data, Y, groups)] == expected
        assert splitter.get_n_splits(data, Y, groups) == 3


@pytest.mark.parametrize("cv", [5, LeaveOneGroupOut()])
@pytest.mark.parametrize(
    ("X", "group"),
    [
        (make_bags(groups=None), None),
        (np.zeros((len(Y), 2)), None),
        (np.zeros((len(Y), 2)), "patient"),
        (pd.DataFrame({"a": Y}), None),
    ],
)
def test_without_groups_it_never_splits(X, group, cv):
    splitter = GroupedSplit(cv, group=group)
    with pytest.raises(GroupLeakageError, match="No groups"):
        list(splitter.split(X, Y))
    if cv != 5:
        with pytest.raises(GroupLeakageError, match="No groups"):
            splitter.get_n_splits(X, Y)
    with pytest.raises(ValueError, match="No groups"):
        cross_validate(make_model(), X, Y, cv=splitter)


def test_contradicting_or_missing_groups():
    with pytest.raises(GroupLeakageError, match="disagree"):
        list(GroupedSplit(3).split(make_bags(), Y, np.arange(len(Y))))
    groups = np.array([*PATIENT[:-1].tolist(), None], dtype=object)
    with pytest.raises(ValueError, match="Bag 71 has no group"):
        list(GroupedSplit(3).split(np.zeros((len(Y), 1)), Y, groups))


def test_a_leaking_splitter_is_caught():
    with pytest.raises(GroupLeakageError, match="LeakySplit put bags of group 0"):
        list(GroupedSplit(LeakySplit()).split(make_bags(), Y))


@pytest.mark.parametrize(
    ("cv", "instead"),
    [
        (KFold(3), "GroupKFold"),
        (StratifiedKFold(3), "StratifiedGroupKFold"),
        (ShuffleSplit(), "GroupShuffleSplit"),
        (StratifiedShuffleSplit(), "GroupShuffleSplit"),
        (LeaveOneOut(), "LeaveOneGroupOut"),
        (RepeatedStratifiedKFold(), "n_repeats"),
        (TimeSeriesSplit(), "GroupKFold"),
    ],
)
def test_splitters_that_ignore_groups_are_refused(cv, instead):
    with pytest.raises(ValueError, match=rf"ignores groups.*{instead}"):
        GroupedSplit(cv)


@pytest.mark.parametrize("cv", [1, True, "5", None, [([0], [1])]])
def test_what_is_no_splitter_is_refused(cv):
    with pytest.raises(ValueError, match=r"cv must be"):
        GroupedSplit(cv)


@pytest.mark.parametrize(
    "cv", [GroupKFold(3), LeaveOneGroupOut(), GroupShuffleSplit(), LeavePGroupsOut(2)]
)
def test_strata_need_a_splitter_that_stratifies(cv):
    with pytest.raises(ValueError, match="does not stratify"):
        GroupedSplit(cv, strata=["age"])


def test_strata_are_a_list():
    with pytest.raises(TypeError, match="list of covariate names"):
        GroupedSplit(strata="age")


def test_scikit_learn_takes_it_as_a_splitter():
    splitter = GroupedSplit(3, strata=["age"])
    assert isinstance(splitter, BaseCrossValidator)
    assert check_cv(splitter, Y, classifier=True) is splitter
    assert repr(splitter).startswith("GroupedSplit(cv=3")
    assert "strata=['age']" in repr(splitter)
    assert clone(splitter, safe=False).strata == ["age"]
    search = clone(GridSearchCV(make_model(), {}, cv=splitter))
    assert repr(search.cv) == repr(splitter)
    assert repr(pickle.loads(pickle.dumps(splitter))) == repr(deepcopy(splitter))


@pytest.mark.parametrize("routing", [False, True])
def test_cross_validate_needs_no_groups_argument(routing):
    with sklearn.config_context(enable_metadata_routing=routing):
        X = make_bags()
        result = cross_validate(make_model(), X, Y, cv=GroupedSplit(4), return_indices=True)
        pairs = zip(result["indices"]["train"], result["indices"]["test"], strict=True)
        for train, test in pairs:
            assert not set(PATIENT[train]) & set(PATIENT[test])
        params = {"params": {"groups": PATIENT}} if routing else {"groups": PATIENT}
        again = cross_validate(make_model(), X, Y, cv=GroupedSplit(4), **params)
        np.testing.assert_array_equal(again["test_score"], result["test_score"])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("kind", ["search", "stacking", "calibration"])
def test_nested_splits_keep_patients_whole(routing, kind):
    inner = make_pipeline(Spy(), LogisticRegression())

    def wrap(cv):
        if kind == "search":
            return GridSearchCV(inner, {"logisticregression__C": [0.1, 1]}, cv=cv)
        if kind == "stacking":
            return StackingClassifier([("a", inner)], LogisticRegression(), cv=cv)
        return CalibratedClassifierCV(inner, cv=cv)

    Spy.seen = []
    with sklearn.config_context(enable_metadata_routing=routing):
        outer = cross_validate(
            wrap(GroupedSplit(3)),
            make_bags(),
            Y,
            cv=GroupedSplit(2),
            return_indices=True,
            error_score="raise",
        )
        # Every inner training set holds whole patients: 8 of the 12 in the outer training set.
        assert {len(seen) for seen in Spy.seen} <= {8, 12}
        assert 8 in {len(seen) for seen in Spy.seen}
        assert np.isfinite(outer["test_score"]).all()
        with pytest.raises(GroupLeakageError, match="No groups"):
            wrap(GroupedSplit(3)).fit(make_bags(groups=None), Y)


def test_cross_val_predict():
    proba = cross_val_predict(
        make_model(), make_bags(), Y, cv=GroupedSplit(3), method="predict_proba"
    )
    assert proba.shape == (len(Y), 2)


def test_without_y():
    for train, test in GroupedSplit(4).split(make_bags()):
        assert not set(PATIENT[train]) & set(PATIENT[test])
        assert len(test) == len(Y) // 4
    assert len(list(GroupedSplit(GroupKFold(2)).split(make_bags()))) == 2


def test_a_real_valued_y_is_stratified():
    # 24 whole numbers are no classes: with one for each patient there is nothing to stratify.
    for target in (PATIENT + 0.5, PATIENT.astype(float), PATIENT):
        for train, test in GroupedSplit(4).split(make_bags(), target):
            assert not set(PATIENT[train]) & set(PATIENT[test])
            assert np.mean(target[test] > np.median(target)) == pytest.approx(0.5)


def test_a_table_of_numbers_would_use_the_groups_as_a_feature():
    """Noise, one label for each patient: a tree on the patient's number is always right."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(40), 5)
    y = (patient >= 20).astype(int)
    df = pd.DataFrame(rng.normal(size=(200, 3)), columns=list("abc")).assign(patient=patient)
    tree = DecisionTreeClassifier(random_state=0)
    with pytest.raises(ValueError, match=r"'patient' would be a feature.*pass groups="):
        list(GroupedSplit(5, group="patient").split(df, y))
    with pytest.raises(ValueError, match="would be a feature"):
        cross_validate(tree, df, y, cv=GroupedSplit(5, group="patient"))
    with pytest.raises(ValueError, match="would be a feature"):
        GroupedSplit(LeaveOneGroupOut(), group="patient").get_n_splits(df)
    with pytest.raises(ValueError, match=r"'a' would be a feature.*covariates="):
        list(GroupedSplit(5, strata=["a"]).split(df, y, patient))
    with pytest.raises(ValueError, match="Unknown group column 'pat'"):
        list(GroupedSplit(5, group="pat").split(df, y))
    noise = df.drop(columns="patient")
    X = BagArray(noise.to_numpy(), np.arange(201), groups=patient)
    for data, params in [(noise, {"groups": patient}), (np.asarray(noise), {"groups": patient})]:
        result = cross_validate(tree, data, y, cv=GroupedSplit(5), **params)
        assert result["test_score"].mean() < 0.7
    assert len(list(GroupedSplit(5).split(X, y))) == 5


def clinical_table(n, rng):
    """Patients with an age, and a sex that is missing in some."""
    sex = rng.choice(np.array(["f", "m", None], dtype=object), n, p=[0.6, 0.3, 0.1])
    age = np.where(rng.uniform(size=n) < 0.1, np.nan, rng.normal(70, 10, n))
    return pd.DataFrame({"age": age, "sex": sex})


def imbalance(splitter, X, y, values):
    return np.mean(
        [abs(values[test].mean() - values[train].mean()) for train, test in splitter.split(X, y)]
    )


@pytest.mark.parametrize("strata", [["age"], ["sex"], ["age", "sex"]])
def test_strata_balance_the_covariates(strata):
    n, gaps = 240, {True: [], False: []}
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table, y = clinical_table(n, rng), rng.integers(0, 2, n)
        X = BagArray(np.zeros((n, 1)), np.arange(n + 1), groups=np.arange(n), covariates=table)
        traits = {
            "age": (table["age"] > table["age"].median()).to_numpy(),
            "sex": (table["sex"] == "f").to_numpy(),
        }
        if strata == ["age"]:  # with both, too few ages are missing for strata of their own
            traits["missing"] = table["age"].isna().to_numpy()
        traits = [traits[name] for name in traits if name in [*strata, "missing"]]
        for given in (True, False):
            splitter = GroupedSplit(5, strata=strata if given else None)
            gaps[given].append([imbalance(splitter, X, y, values) for values in traits])
            assert imbalance(splitter, X, y, y) < 0.1
    assert np.all(np.mean(gaps[True], axis=0) < 0.7 * np.mean(gaps[False], axis=0))


def test_strata_in_a_dataframe_and_without_y():
    n = 60
    bags = [np.zeros((1, 1))] * n
    df = clinical_table(n, np.random.default_rng(0)).assign(patient=np.arange(n) // 2, cells=bags)
    splitter = GroupedSplit(3, strata=["sex"], group="patient")
    female = (df["sex"] == "f").to_numpy()
    for _, test in splitter.split(df):
        assert female[test].mean() == pytest.approx(female.mean(), abs=0.1)
    with pytest.raises(ValueError, match="Unknown covariates"):
        list(GroupedSplit(3, strata=["weight"], group="patient").split(df))


def test_repetitions():
    X = make_bags()
    splitter = GroupedSplit(3, n_repeats=4, random_state=0)
    tests = [tuple(test) for _, test in splitter.split(X, Y)]
    assert len(tests) == splitter.get_n_splits(X, Y) == 12
    assert len(set(tests)) == 12
    for start in range(0, 12, 3):
        assert sorted(np.concatenate(tests[start : start + 3])) == list(range(len(Y)))
    assert tests == [tuple(test) for _, test in splitter.split(X, Y)]
    cv = StratifiedGroupKFold(3)
    list(GroupedSplit(cv, n_repeats=2).split(X, Y))
    assert cv.shuffle is False  # the user's own splitter is left alone
    with pytest.raises(ValueError, match="would be the same"):
        GroupedSplit(LeaveOneGroupOut(), n_repeats=2)


def test_it_says_whether_its_splits_are_constant():
    assert not GroupedSplit(5).shuffle
    assert not GroupedSplit(LeaveOneGroupOut()).shuffle
    assert not GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=0)).shuffle
    assert GroupedSplit(StratifiedGroupKFold(3, shuffle=True)).shuffle
    assert GroupedSplit(GroupShuffleSplit()).shuffle
    assert GroupedSplit(5, n_repeats=2).shuffle
