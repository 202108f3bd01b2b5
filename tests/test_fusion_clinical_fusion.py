"""ClinicalFusion against a table that is computed by hand with scikit-learn."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin, clone
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.metaestimators import available_if

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    ClinicalFusion,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
)
from milkit.exceptions import GroupLeakageError
from milkit.fusion._bag_features import BagFeatures
from milkit.inspection import attention_weights, predict_instances, score_instances
from milkit.metrics import make_instance_scorer
from milkit.model_selection import GroupedSplit


def make_cohort(n_classes=2, n_bags=48, seed=0, shift=1.0):
    """Two bags of each patient; patient 0 has bags of two labels."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{i:02d}" for i in range(n_bags // 2)], 2)
    code = np.repeat(np.arange(n_bags // 2) % n_classes, 2)
    code[1] = 1
    bags = [
        rng.normal(size=(n, 3)) + shift * np.eye(3)[label]
        for n, label in zip(rng.integers(2, 8, n_bags), code, strict=True)
    ]
    age = 60 + 5 * code + rng.normal(0, 8, n_bags)
    age[4] = np.nan
    table = pd.DataFrame({"age": age, "sex": rng.choice(["f", "m"], n_bags)})
    y = np.array(["a", "b", "c"])[code]
    return BagArray.from_list(bags, groups=groups, covariates=table), y


def final():
    return make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())


def statistics():
    return make_pipeline(BagStatistics(), StandardScaler(), LogisticRegression())


def covariate_columns(X):
    """Age, sex_f and sex_m."""
    table = X.covariates
    return np.column_stack([table["age"], table["sex"] == "f", table["sex"] == "m"])


def table_by_hand(model, X, y, cv, groups, kinds):
    """Out-of-fold columns of one estimator, fold by fold."""
    columns = None
    for train, test in cv.split(np.zeros(len(y)), y, groups):
        fitted = clone(model).fit(X[train], y[train])
        part = BagFeatures(fitted, X[train], kinds)(X[test])
        columns = np.full((len(y), part.shape[1]), np.nan) if columns is None else columns
        columns[test] = part
    return columns


# -- out of fold -----------------------------------------------------------------------------


class Spy(ClassifierMixin, BaseEstimator):
    """Notes, for each bag that it scores, which bags it was fitted on.

    The first feature is the number of the bag.
    """

    calls = []

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen_ = {int(bag[0, 0]) for bag in X}
        return self

    def predict_proba(self, X):
        numbers = [int(bag[0, 0]) for bag in X]
        Spy.calls.append((self.seen_, numbers))
        # What it memorised shows.
        p = np.array([0.9 if i in self.seen_ else 0.1 for i in numbers])
        return np.column_stack([1 - p, p])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def numbered(X):
    numbers = np.repeat(np.arange(len(X)), X.sizes)
    flat, _ = X.flat()
    return X.with_instances(np.column_stack([numbers, flat]))


@pytest.mark.parametrize("source", ["inside X", "argument", "none", "GroupedSplit"])
def test_no_model_scores_a_bag_of_a_group_that_it_saw(source):
    X, y = make_cohort()
    X = numbered(X)
    groups = X.groups
    if source in ("argument", "none"):
        X = X.with_columns(groups=None)
    cv = GroupedSplit(GroupKFold(4)) if source == "GroupedSplit" else 4
    own = np.arange(len(X)) if source == "none" else groups
    Spy.calls.clear()
    model = ClinicalFusion(Spy(), GaussianNB(), covariates=[], cv=cv, random_state=0)
    table = model.fit_transform(X, y, groups=groups if source == "argument" else None)
    scored = []
    for seen, numbers in Spy.calls:
        if len(seen) == len(X):
            continue
        assert not set(own[sorted(seen)]) & set(own[numbers])
        scored += numbers
    assert sorted(scored) == list(range(len(X)))
    np.testing.assert_array_equal(table, np.full((len(X), 1), 0.1))
    # The models that score new bags saw everything.
    np.testing.assert_array_equal(model.transform(X), np.full((len(X), 1), 0.9))
    assert [fitted.seen_ for fitted in model.estimators_] == [set(range(len(X)))]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "kinds"),
    [
        (InstanceVotingClassifier(voting="mean"), ["probability", "rate", "count", "quantiles"]),
        (statistics(), ["decision"]),
        (
            make_pipeline(InstanceTransformer(StandardScaler()), InstanceVotingClassifier()),
            ["quantiles", "rate"],
        ),
    ],
)
def test_table_and_second_level_by_hand(estimator, kinds, n_classes):
    X, y = make_cohort(n_classes)
    new, _ = make_cohort(n_classes, seed=1)
    cv = GroupKFold(4)
    model = ClinicalFusion(estimator, final(), bag_features=kinds, cv=cv)
    table = model.fit_transform(X, y)
    columns = table_by_hand(estimator, X, y, cv, X.groups, kinds)
    expected = np.hstack([columns, covariate_columns(X)])
    np.testing.assert_allclose(table, expected, rtol=1e-6, atol=1e-9)
    # The second level is fitted on this table.
    second = final().fit(expected, y)
    whole = BagFeatures(clone(estimator).fit(X, y), X, kinds)
    rows = np.hstack([whole(new), covariate_columns(new)])
    np.testing.assert_allclose(model.transform(new), rows, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(new), second.predict_proba(rows), rtol=1e-5)
    np.testing.assert_allclose(
        model.decision_function(new), second.decision_function(rows), rtol=1e-5, atol=1e-7
    )
    np.testing.assert_array_equal(model.predict(new), second.predict(rows))
    assert model.bag_features_ == [tuple(kinds)]
    assert list(model.get_feature_names_out()[-3:]) == ["age", "sex_f", "sex_m"]
    assert len(model.get_feature_names_out()) == table.shape[1]


def test_several_estimators():
    X, y = make_cohort()
    members = [("votes", InstanceVotingClassifier()), ("means", statistics())]
    model = ClinicalFusion(members, final(), cv=GroupKFold(4), random_state=0)
    table = model.fit_transform(X, y)
    kinds = [("probability", "rate", "count", "quantiles"), ("probability",)]
    assert model.bag_features_ == kinds
    parts = [
        table_by_hand(member, X, y, GroupKFold(4), X.groups, kind)
        for (_, member), kind in zip(members, kinds, strict=True)
    ]
    np.testing.assert_allclose(
        table, np.hstack([*parts, covariate_columns(X)]), rtol=1e-6, atol=1e-9
    )
    names = model.get_feature_names_out()
    assert list(names[[0, 1, 6]]) == [
        "votes__probability_b",
        "votes__rate_b",
        "means__probability_b",
    ]
    assert not hasattr(members[0][1], "classes_")


def test_no_estimators_is_the_second_level_on_the_covariates():
    X, y = make_cohort()
    model = ClinicalFusion([], final()).fit(X, y)
    second = final().fit(covariate_columns(X), y)
    np.testing.assert_allclose(
        model.predict_proba(X), second.predict_proba(covariate_columns(X)), rtol=1e-7
    )
    assert model.estimators_ == []
    assert list(model.get_feature_names_out()) == ["age", "sex_f", "sex_m"]


def test_without_passthrough_the_second_level_sees_bags_only():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final(), passthrough=False, random_state=0)
    assert model.fit_transform(X, y).shape == (48, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is lacking
        model.fit(X.with_columns(covariates=None), y)
    with pytest.raises(ValueError, match="neither estimators nor covariates"):
        ClinicalFusion([], passthrough=False).fit(X, y)


def test_number_of_folds_is_stratified_and_whole():
    X, y = make_cohort()
    Spy.calls.clear()
    ClinicalFusion(Spy(), GaussianNB(), covariates=[], cv=3, random_state=0).fit(numbered(X), y)
    tests = [numbers for seen, numbers in Spy.calls if len(seen) < len(X)]
    assert len(tests) == 3
    for numbers in tests:
        assert np.all(np.bincount(np.unique(y, return_inverse=True)[1][numbers]) >= 6)


# -- the second level ------------------------------------------------------------------------


def test_default_second_level():
    xgboost = pytest.importorskip("xgboost")
    X, y = make_cohort()
    keep = np.flatnonzero((y == "a") | (np.arange(48) % 3 > 0))  # classes of different size
    X, y = X[keep], y[keep]
    model = ClinicalFusion(statistics(), random_state=0)
    table = model.fit_transform(X, y)
    code = (y == "b").astype(int)
    ratio = np.sum(code == 0) / np.sum(code == 1)
    assert ratio != 1
    assert isinstance(model.final_estimator_, xgboost.XGBClassifier)
    assert model.final_estimator_.scale_pos_weight == pytest.approx(ratio)
    second = xgboost.XGBClassifier(
        n_estimators=100, learning_rate=0.1, scale_pos_weight=ratio, n_jobs=1, random_state=0
    ).fit(table, code)
    rows = model.transform(X)
    np.testing.assert_allclose(model.predict_proba(X), second.predict_proba(rows), rtol=1e-5)
    importances = model.feature_importances_
    assert importances.shape == (len(model.get_feature_names_out()),)
    np.testing.assert_allclose(importances, second.feature_importances_, rtol=1e-5)
    assert not hasattr(model, "decision_function")
    assert set(model.predict(X)) <= {"a", "b"}
    # Weights count in the ratio.
    weight = np.where(code == 1, 3.0, 1.0)
    model.fit(X, y, sample_weight=weight)
    assert model.final_estimator_.scale_pos_weight == pytest.approx(ratio / 3)


def test_default_second_level_with_three_classes():
    pytest.importorskip("xgboost")
    X, y = make_cohort(3)
    model = ClinicalFusion(statistics(), random_state=0).fit(X, y)
    assert model.predict_proba(X).shape == (48, 3)
    assert model.score(X, y) > 0.6


def test_methods_of_the_second_level():
    X, y = make_cohort()
    imputed = make_pipeline(SimpleImputer(), LinearSVC())
    model = ClinicalFusion(statistics(), imputed, random_state=0)
    assert not hasattr(model, "predict_proba")
    model.fit(X, y)
    assert model.decision_function(X).shape == (48,)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "feature_importances_")
    forest = ClinicalFusion(statistics(), RandomForestClassifier(5), random_state=0).fit(X, y)
    assert forest.feature_importances_.sum() == pytest.approx(1)


@pytest.mark.parametrize("labels", [["b", "a"], [False, True], [7, -3], [0.0, 2.0]])
def test_labels_come_back_as_they_were(labels):
    X, y = make_cohort()
    y = np.array(labels)[(y == "b").astype(int)]
    model = ClinicalFusion(InstanceVotingClassifier(), final(), random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.classes_, np.unique(labels))
    predicted = model.predict(X)
    assert predicted.dtype == y.dtype
    np.testing.assert_array_equal(predicted, model.classes_[model.predict_proba(X).argmax(axis=1)])
    assert model.score(X, y) > 0.7
    assert f"bags__probability_{model.classes_[1]}" in model.get_feature_names_out()


def test_sample_weight_reaches_both_levels():
    X, y = make_cohort()
    weight = np.random.default_rng(0).uniform(0.5, 3, len(y))
    inner, cv = (
        make_pipeline(InstanceTransformer(StandardScaler()), InstanceVotingClassifier()),
        GroupKFold(4),
    )
    model = ClinicalFusion(inner, final(), bag_features=["probability"], cv=cv)
    table = model.fit_transform(X, y, sample_weight=weight)
    columns = np.empty((len(y), 1))
    for train, test in cv.split(np.zeros(len(y)), y, X.groups):
        w = weight[train]
        scaler = InstanceTransformer(StandardScaler()).fit(X[train], sample_weight=w)
        last = InstanceVotingClassifier().fit(scaler.transform(X[train]), y[train], sample_weight=w)
        columns[test, 0] = last.predict_proba(scaler.transform(X[test]))[:, 1]
    expected = np.hstack([columns, covariate_columns(X)])
    np.testing.assert_allclose(table, expected, rtol=1e-6)
    second = final().fit(
        expected, y, standardscaler__sample_weight=weight, logisticregression__sample_weight=weight
    )
    rows = model.transform(X)
    np.testing.assert_allclose(model.predict_proba(X), second.predict_proba(rows), rtol=1e-5)
    assert not np.allclose(table, clone(model).fit_transform(X, y), equal_nan=True)
    unweighted = ClinicalFusion(inner, KNeighborsClassifier(), covariates=[])
    with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
        unweighted.fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match=r"no bag of class \['b'\] with a weight above 0"):
        model.fit(X, y, sample_weight=(y == "a").astype(float))


# -- containers and columns ------------------------------------------------------------------


def frame(X):
    column = np.empty(len(X), dtype=object)
    column[:] = X.to_list()
    return X.covariates.assign(patient=X.groups, cells=column, label_="never used")


def test_data_frame_with_arrays():
    X, y = make_cohort()
    model = ClinicalFusion(InstanceVotingClassifier(), final(), cv=4, random_state=0)
    expected = clone(model).fit_transform(X, y)
    named = clone(model).set_params(covariates=["age", "sex"], group="patient")
    df = frame(X)
    np.testing.assert_allclose(named.fit_transform(df, y), expected)
    shuffled = df[["cells", "sex", "label_", "patient", "age"]]
    np.testing.assert_allclose(named.transform(shuffled), named.transform(X))
    # Only fit needs the groups.
    np.testing.assert_allclose(named.transform(df.drop(columns="patient")), named.transform(X))
    with pytest.raises(ValueError, match="'sex'"):
        named.predict(df.drop(columns="sex"))
    with pytest.raises(ValueError, match="Unknown group column 'patient'"):
        clone(named).fit(df.drop(columns="patient"), y)
    # A step in front reads the bags only; a BagArray keeps its columns.
    piped = make_pipeline(InstanceTransformer(StandardScaler()), clone(named))
    with pytest.raises(GroupLeakageError, match="a step in front hands on the bags alone"):
        piped.fit(df, y)
    piped[-1].set_params(group=None)
    with pytest.raises(
        ValueError, match=r"\['age', 'sex'\], which X does not have.*a step in front"
    ):
        piped.fit(df, y)
    assert list(piped.fit(X, y)[1].get_feature_names_out()[-3:]) == ["age", "sex_f", "sex_m"]
    # What is not named is no feature.
    few = clone(named).set_params(covariates=["age"]).fit(df, y)
    assert few.get_feature_names_out()[-1] == "age"
    with pytest.warns(UserWarning, match="X has no covariates"):
        none = clone(named).set_params(covariates=None).fit(df, y)
    assert all(name.startswith("bags__") for name in none.get_feature_names_out())


def test_data_frame_of_numbers():
    X, y = make_cohort()
    means = BagStatistics(["mean"]).fit_transform(X)
    df = pd.DataFrame(means, columns=["f0", "f1", "f2"]).assign(
        age=X.covariates["age"], patient=np.arange(48) // 2
    )
    model = ClinicalFusion(
        InstanceVotingClassifier(), final(), covariates=["age"], group="patient", random_state=0
    ).fit(df, y)
    assert list(model.feature_names_in_) == ["f0", "f1", "f2"]
    np.testing.assert_allclose(model.predict_proba(df[df.columns[::1]]), model.predict_proba(df))
    del df["patient"]
    assert model.predict(df).shape == (48,)


def test_covariates_by_name():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final(), random_state=0).fit(X, y)
    expected = model.predict_proba(X)
    table = X.covariates
    other = X.with_columns(covariates=table[["sex", "age"]].assign(weight=1.0))
    np.testing.assert_allclose(model.predict_proba(other), expected)
    text = [None if np.isnan(age) else str(age) for age in table["age"]]
    texts = X.with_columns(covariates=table.assign(age=text))
    np.testing.assert_allclose(model.predict_proba(texts), expected)
    unknown = X.with_columns(covariates=table.assign(sex="x"))
    with pytest.warns(UserWarning, match="No value of the covariate 'sex'"):
        np.testing.assert_array_equal(model.transform(unknown)[:, -2:], 0)
    lacking = X.with_columns(covariates=table[["age"]])
    with pytest.raises(ValueError, match=r"X lacks the covariates \['sex'\]"):
        model.predict(lacking)
    with pytest.raises(ValueError, match=r"X lacks the covariates \['age', 'sex'\]"):
        model.predict(X.to_list())


def test_chosen_covariates():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final(), covariates=["sex"], random_state=0).fit(X, y)
    assert list(model.get_feature_names_out()[1:]) == ["sex_f", "sex_m"]
    # Others may be lacking.
    model.predict(X.with_columns(covariates=X.covariates[["sex"]]))
    with pytest.raises(ValueError, match=r"covariates names \['weight'\], which X does not have"):
        ClinicalFusion(statistics(), covariates=["sex", "weight"]).fit(X, y)
    with pytest.raises(ValueError, match="X is a list without columns"):
        ClinicalFusion(statistics(), covariates=["sex"]).fit(X.to_list(), y)
    with pytest.raises(ValueError, match=r"The 'covariates' parameter .* must be an array-like"):
        ClinicalFusion(statistics(), covariates="sex").fit(X, y)
    none = ClinicalFusion(statistics(), final(), covariates=[], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert none.fit_transform(X, y).shape == (48, 1)


def test_categories_are_those_of_the_training_bags():
    X, y = make_cohort()
    sex = X.covariates["sex"].to_numpy(dtype=object, copy=True)
    sex[40:] = "other"
    X = X.with_columns(covariates={"sex": sex})
    model = ClinicalFusion(statistics(), final(), random_state=0).fit(X[:40], y[:40])
    assert list(model.get_feature_names_out()[1:]) == ["sex_f", "sex_m"]
    np.testing.assert_array_equal(model.transform(X)[40:, 1:], 0)


def test_columns_of_every_kind():
    X, y = make_cohort()
    sex = X.covariates["sex"].to_numpy(dtype=object)
    table = pd.DataFrame(
        {
            "count": pd.array([*range(47), None], dtype="Int64"),
            "stage": pd.Categorical(["i", "ii", None, "ii"] * 12, categories=["i", "ii", "iii"]),
            "smoker": np.arange(48) % 3 == 0,
            "treated": pd.array([True, False, None] * 16, dtype="boolean"),
            "sex": pd.array(sex, dtype="string"),
            "ward": ["north", None, "south"] * 16,
        }
    )
    model = ClinicalFusion(statistics(), final(), random_state=0).set_output(transform="pandas")
    model.fit(X.with_columns(covariates=table), y)
    names = ["count", "smoker", "treated", "stage_i", "stage_ii", "stage_missing"]
    names += ["sex_f", "sex_m", "ward_missing", "ward_north", "ward_south"]
    assert list(model.get_feature_names_out()[1:]) == names
    got = model.transform(X.with_columns(covariates=table))[names]
    expected = {
        "count": [*range(47), np.nan],
        "smoker": np.arange(48) % 3 == 0,
        "treated": [1, 0, np.nan] * 16,
        "stage_i": [1, 0, 0, 0] * 12,
        "stage_ii": [0, 1, 0, 1] * 12,
        "stage_missing": [0, 0, 1, 0] * 12,
        "sex_f": sex == "f",
        "sex_m": sex == "m",
        "ward_missing": [0, 1, 0] * 16,
        "ward_north": [1, 0, 0] * 16,
        "ward_south": [0, 0, 1] * 16,
    }
    pd.testing.assert_frame_equal(got, pd.DataFrame(expected).astype(float))
    # Categories that are new, and others of pandas' types for the same.
    plain = pd.DataFrame(
        {
            "ward": ["east", "north"],
            "sex": pd.Categorical(["m", None]),
            "treated": [1.0, np.nan],
            "smoker": [None, True],
            "stage": ["iii", "ii"],
            "count": ["3", None],
        }
    )
    got = model.transform(X[:2].with_columns(covariates=plain))[names].to_numpy()
    nan = np.nan
    np.testing.assert_array_equal(
        got, [[3, nan, 1, 0, 0, 0, 0, 1, 0, 0, 0], [nan, 1, nan, 0, 1, 0, 0, 0, 0, 1, 0]]
    )


def test_missing_numbers_pass():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), HistGradientBoostingClassifier(), random_state=0)
    table = model.fit_transform(X, y)
    np.testing.assert_array_equal(table[:, 1], X.covariates["age"])
    assert np.isnan(table[4, 1])
    with pytest.raises(ValueError, match="NaN"):
        ClinicalFusion(statistics(), LogisticRegression(), random_state=0).fit(X, y)


def test_warnings_point_at_the_line_that_called_fit():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final(), random_state=0)
    with pytest.warns(UserWarning, match=r"X has no covariates.*with_columns") as caught:
        model.fit(X.with_columns(covariates=None), y)
    assert {warning.filename for warning in caught} == {__file__}
    assert model.predict_proba(X).shape == (48, 2)
    dull = X.with_columns(covariates=X.covariates.assign(site="here"))
    with pytest.warns(UserWarning, match=r"\['site'\] are constant") as caught:
        model.fit(dull, y)
    assert {warning.filename for warning in caught} == {__file__}


LEAKS = {
    "itself": lambda y: y,
    "0.0 and 1.0": lambda y: (y == "b").astype(float),
    "booleans": lambda y: y == "b",
    "the other way round": lambda y: (y == "a").astype(int),
    "words": lambda y: np.where(y == "b", "ill", "well"),
    "categories": lambda y: pd.Categorical(y),
    "nullable integers": lambda y: pd.array((y == "b").astype(int), dtype="Int64"),
    "strings of pandas": lambda y: pd.array(y, dtype="string"),
}


@pytest.mark.parametrize("labels", ["strings", "integers", "booleans"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_covariate_that_is_y_is_refused(leak, labels):
    X, y = make_cohort()
    table = X.covariates.assign(outcome=LEAKS[leak](y))
    X = X.with_columns(covariates=table)
    y = {"strings": y, "integers": (y == "b").astype(int), "booleans": y == "b"}[labels]
    with pytest.raises(ValueError, match="'outcome' is identical to y"):
        ClinicalFusion(statistics()).fit(X, y)
    named = ClinicalFusion(statistics(), covariates=["age", "outcome"], group="patient")
    with pytest.raises(ValueError, match="'outcome' is identical to y"):
        named.fit(frame(X), y)


def test_the_recoded_labels_of_three_classes_are_refused():
    X, y = make_cohort(3)
    code = np.array([7.5, 1.0, 3.0])[np.unique(y, return_inverse=True)[1]]
    with pytest.raises(ValueError, match="'stage' is identical to y but for its coding"):
        ClinicalFusion(statistics()).fit(X.with_columns(covariates={"stage": code}), y)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.full(48, 3.0), r"\['site'\] are constant, or missing"),
        (np.full(48, np.nan), r"\['site'\] are all missing"),
        (np.full(48, None), r"\['site'\] are all missing"),
        (np.full(48, "here"), r"\['site'\] are constant, or missing"),
    ],
)
def test_a_covariate_that_tells_nothing_changes_nothing(column, message):
    X, y = make_cohort()
    second = make_pipeline(
        SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression()
    )
    model = ClinicalFusion(statistics(), second, random_state=0)
    expected = clone(model).fit(X, y).predict_proba(X)
    dull = X.with_columns(covariates=X.covariates.assign(site=column))
    with pytest.warns(UserWarning, match=message):
        model.fit(dull, y)
    np.testing.assert_allclose(model.predict_proba(dull), expected)


def test_the_last_covariate_taken_away_leaves_none():
    X, y = make_cohort()
    X = X.with_columns(covariates={"outcome": y})
    # As the error about a covariate that is y says.
    bare = X.with_columns(covariates=X.covariates.drop(columns=["outcome"]))
    model = ClinicalFusion(statistics(), final(), random_state=0)
    with pytest.warns(UserWarning, match="X has no covariates"):
        table = model.fit_transform(bare, y)
    assert table.shape == (48, 1)


def test_times_and_infinity_are_refused_before_anything_is_fitted():
    X, y = make_cohort()
    born = pd.date_range("1950-03-01", periods=48, freq="30D")
    Spy.calls.clear()
    with pytest.raises(ValueError, match=r"\['born'\] hold dates .* an age in years"):
        ClinicalFusion(Spy()).fit(X.with_columns(covariates={"born": born}), y)
    wrong = X.with_columns(covariates=X.covariates.fillna({"age": np.inf}))
    with pytest.raises(ValueError, match="'age' is infinite in bag 4"):
        ClinicalFusion(Spy()).fit(wrong, y)
    assert Spy.calls == []


def test_each_group_has_bags_of_both_labels():
    X, _ = make_cohort()
    y = np.where(np.arange(48) % 2, "b", "a")
    model = ClinicalFusion(InstanceVotingClassifier(), final(), random_state=0)
    table = model.fit_transform(X, y)
    assert np.isfinite(table[:, :-3]).all()
    assert model.predict_proba(X).shape == (48, 2)


# -- folds -----------------------------------------------------------------------------------


def test_folds_that_are_refused():
    X, y = make_cohort()
    few = X.with_columns(groups=np.arange(48) // 16)
    with pytest.raises(ValueError, match=r"cv=5 folds were asked for, and there are 3 groups"):
        ClinicalFusion(statistics(), final()).fit(few, y)
    ClinicalFusion(statistics(), final(), cv=3, random_state=0).fit(few, y)
    divided = StratifiedKFold(4, shuffle=True, random_state=0)
    with pytest.raises(GroupLeakageError, match="put bags of group 'p"):
        ClinicalFusion(statistics(), cv=divided).fit(X, y)
    with pytest.raises(ValueError, match="cv must test each bag once"):
        ClinicalFusion(statistics(), cv=ShuffleSplit(3, random_state=0)).fit(
            X.with_columns(groups=None), y
        )
    with pytest.raises(GroupLeakageError, match="disagree"):
        ClinicalFusion(statistics()).fit(X, y, groups=np.arange(48))
    one = X.with_columns(groups=np.where(y == "b", 99, np.arange(48)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that the class has few members
        with pytest.raises(ValueError, match=r"no bag of class \['b'\]"):
            ClinicalFusion(statistics(), cv=3).fit(one, y)


def test_folds_as_a_list_and_other_splitters():
    X, y = make_cohort()
    X = X.with_columns(groups=None)
    cv = KFold(4, shuffle=True, random_state=0)
    model = ClinicalFusion(statistics(), final(), cv=cv)
    expected = model.fit_transform(X, y)
    listed = clone(model).set_params(cv=list(cv.split(np.zeros(48))))
    np.testing.assert_array_equal(listed.fit_transform(X, y), expected)


def test_groups_reach_splits_inside_the_estimators():
    X, y = make_cohort()
    network = AttentionMILClassifier(
        hidden_layer_sizes=(4,), attention_dim=4, max_iter=3, early_stopping=True, random_state=0
    )
    model = ClinicalFusion(network, final(), bag_features=["probability"], random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inside = clone(model).fit_transform(X, y)
        passed = clone(model).fit_transform(X.with_columns(groups=None), y, groups=X.groups)
    np.testing.assert_array_equal(inside, passed)


# -- with scikit-learn's tools ---------------------------------------------------------------


def test_random_state_and_jobs():
    X, y = make_cohort()
    members = [
        ("votes", InstanceVotingClassifier(RandomForestClassifier(3))),
        ("means", statistics()),
    ]
    model = ClinicalFusion(members, RandomForestClassifier(5), cv=3, random_state=0)
    first = clone(model).fit(X, y)
    for n_jobs in (1, 2):
        again = clone(model).set_params(n_jobs=n_jobs)
        np.testing.assert_array_equal(again.fit_transform(X, y), clone(model).fit_transform(X, y))
        np.testing.assert_array_equal(again.predict_proba(X), first.predict_proba(X))
    other = clone(model).set_params(random_state=1).fit(X, y)
    assert not np.array_equal(other.predict_proba(X), first.predict_proba(X))


def test_the_order_of_the_bags_does_not_matter():
    X, y = make_cohort(3)
    order = np.random.default_rng(0).permutation(48)
    place = np.argsort(order)
    folds = list(GroupKFold(4).split(np.zeros(48), y, X.groups))
    moved = [(place[train], place[test]) for train, test in folds]
    members = [("votes", InstanceVotingClassifier()), ("means", statistics())]
    model = ClinicalFusion(members, final(), cv=folds)
    other = clone(model).set_params(cv=moved)
    table = model.fit_transform(X, y)
    np.testing.assert_allclose(other.fit_transform(X[order], y[order]), table[order], rtol=1e-6)
    expected = model.predict_proba(X)
    np.testing.assert_allclose(other.predict_proba(X), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.predict_proba(X[order]), expected[order])
    np.testing.assert_allclose(model.predict_proba(X[7:8]), expected[7:8])


def test_clone_and_pickle():
    X, y = make_cohort()
    estimator = statistics()
    model = ClinicalFusion(estimator, final(), random_state=0)
    fitted = clone(model).fit(X, y)
    assert not hasattr(model, "estimators_")
    assert not hasattr(estimator[-1], "classes_")
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    np.testing.assert_array_equal(loaded.get_feature_names_out(), fitted.get_feature_names_out())
    # The bags are not kept.
    marked = X.with_instances(X.flat()[0].astype(np.float64))
    assert marked.flat()[0].tobytes() not in pickle.dumps(clone(model).fit(marked, y))


def test_search_over_both_levels():
    X, y = make_cohort()
    model = ClinicalFusion(
        InstanceVotingClassifier(LogisticRegression()), final(), cv=3, random_state=0
    )
    grid = {"estimator__estimator__C": [1e-6, 1.0], "bag_features": ["auto", ["rate"]]}
    cv = GroupedSplit(GroupKFold(3))
    search = GridSearchCV(model, grid, cv=cv, scoring="roc_auc", error_score="raise").fit(X, y)
    for params, score in zip(
        search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True
    ):
        by_hand = cross_val_score(clone(model).set_params(**params), X, y, cv=cv, scoring="roc_auc")
        assert by_hand.mean() == pytest.approx(score)
    assert search.predict(X).shape == (48,)


def test_metadata_routing():
    X, y = make_cohort()
    bare = X.with_columns(groups=None)
    model = ClinicalFusion(statistics(), final(), cv=3, random_state=0)
    expected = clone(model).fit(X, y).predict_proba(X)
    weight = np.linspace(0.5, 2, 48)
    weighted = clone(model).fit(X, y, sample_weight=weight).predict_proba(X)
    with sklearn.config_context(enable_metadata_routing=True):
        got = make_pipeline(clone(model)).fit(bare, y, groups=X.groups)
        np.testing.assert_allclose(got.predict_proba(X), expected)
        asked = clone(model).set_fit_request(sample_weight=True)
        got = make_pipeline(asked).fit(bare, y, groups=X.groups, sample_weight=weight)
        np.testing.assert_allclose(got.predict_proba(X), weighted)
        params = {"groups": X.groups}
        scores = cross_val_score(model, bare, y, cv=GroupKFold(3), params=params)
    by_hand = cross_val_score(model, X, y, groups=X.groups, cv=GroupKFold(3))
    np.testing.assert_allclose(scores, by_hand)


def test_set_output():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final(), random_state=0).set_output(transform="pandas")
    table = model.fit_transform(X, y)
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["bags__probability_b", "age", "sex_f", "sex_m"]
    assert list(model.transform(X).columns) == list(table.columns)
    with sklearn.config_context(transform_output="pandas"):
        again = clone(model).fit_transform(X, y)
    pd.testing.assert_frame_equal(again, table)
    index = [f"visit {i}" for i in range(48)]
    named = clone(model).set_params(covariates=["age", "sex"], group="patient")
    got = named.set_output(transform="pandas").fit_transform(frame(X).set_axis(index), y)
    pd.testing.assert_frame_equal(got, table.set_axis(index))


def test_progress(capsys):
    X, y = make_cohort()
    ClinicalFusion(statistics(), final(), cv=3, verbose=1).fit(X, y)
    assert "ClinicalFusion, models" in capsys.readouterr().err


# -- what it says of instances ---------------------------------------------------------------


def small_network(**params):
    return AttentionMILClassifier(
        hidden_layer_sizes=(4,), attention_dim=4, max_iter=3, random_state=0, **params
    )


def assert_same_parts(got, expected):
    """Lists with one array for each bag; in arrays of labels NaN is equal to itself, too."""
    for a, b in zip(got, expected, strict=True):
        pd.testing.assert_frame_equal(pd.DataFrame(a), pd.DataFrame(b), check_exact=True)


INSTANCE_OUTPUTS = {
    "score_instances": score_instances,
    "predict_instances": predict_instances,
    "attention_weights": attention_weights,
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "methods"),
    [
        (InstanceVotingClassifier(), ["score_instances", "predict_instances"]),
        (MISVM(), ["score_instances", "predict_instances"]),
        (small_network(), ["score_instances", "attention_weights"]),
        (
            make_pipeline(
                InstanceTransformer(StandardScaler()),
                OneClassInstanceFilter(NearestNeighbors(n_neighbors=2), fraction=0.5),
                InstanceVotingClassifier(),
            ),
            ["score_instances", "predict_instances"],
        ),
        (GridSearchCV(MISVM(), {"C": [1.0]}, cv=2), ["score_instances", "predict_instances"]),
        (statistics(), []),
        (make_pipeline(BagStatistics(), InstanceVotingClassifier()), []),
    ],
)
def test_instance_outputs_are_those_of_the_first_level(estimator, methods, n_classes):
    X, y = make_cohort(n_classes)
    new, _ = make_cohort(n_classes, seed=1)
    model = ClinicalFusion(estimator, final(), cv=2, random_state=0).fit(X, y)
    # The model of all training bags, not one of a fold.
    whole = clone(estimator).fit(X, y)
    for method, inspect in INSTANCE_OUTPUTS.items():
        if method not in methods:
            assert not hasattr(model, method)
            with pytest.raises(TypeError, match=f"has no {method}|one row, so {method} has no"):
                inspect(model, new)
            continue
        expected = inspect(whole, new)
        for got in (getattr(model, method)(new), inspect(model, new)):
            assert_same_parts(got, expected)


def test_instance_outputs_through_wrappers_and_pickles():
    X, y = make_cohort()
    fusion = ClinicalFusion(InstanceVotingClassifier(), final(), cv=3, random_state=0)
    piped = make_pipeline(InstanceTransformer(StandardScaler()), clone(fusion)).fit(X, y)
    Xt = piped[0].transform(X)
    assert_same_parts(score_instances(piped, X), piped[1].score_instances(Xt))
    searched = GridSearchCV(fusion, {"bag_features": [["rate"]]}, cv=2).fit(X, y)
    fusion.fit(X, y)
    for model in (searched, pickle.loads(pickle.dumps(fusion))):
        assert_same_parts(score_instances(model, X), fusion.score_instances(X))
    labelled = X.with_columns(instance_data={"label": X.flat()[0][:, 1] > 1})
    scorer = make_instance_scorer("roc_auc")
    assert scorer(fusion, labelled) == scorer(fusion.estimators_[0], labelled)


def test_instance_outputs_need_one_estimator():
    X, y = make_cohort()
    members = [("votes", InstanceVotingClassifier()), ("margin", MISVM())]
    several = ClinicalFusion(members, final(), cv=3, random_state=0).fit(X, y)
    none = ClinicalFusion([], final()).fit(X, y)
    for method, inspect in INSTANCE_OUTPUTS.items():
        ask = rf"milkit\.inspection\.{method}\(fusion\.estimators_\[k\], X\)"
        for model, count in ((several, 2), (none, 0)):
            assert not hasattr(model, method)
            with pytest.raises(TypeError, match=rf"here there are {count}\. .*{ask}"):
                inspect(model, X)
            with pytest.raises(AttributeError) as caught:
                getattr(model, method)
            assert f"there are {count}." in str(caught.value.__cause__)
    assert len(score_instances(several.estimators_[1], X)) == len(X)
    unfitted = ClinicalFusion(InstanceVotingClassifier())
    assert not hasattr(unfitted, "score_instances")
    with pytest.raises(NotFittedError, match="ClinicalFusion instance is not fitted"):
        score_instances(unfitted, X)


def test_instance_outputs_where_the_first_level_names_covariates():
    X, y = make_cohort()
    network = small_network(covariates="concat", covariate_columns=["sex"])
    model = ClinicalFusion(network, final(), covariates=["age", "sex"], cv=3, random_state=0)
    model.fit(frame(X), y)
    expected = score_instances(model.estimators_[0], X)
    for container in (X, frame(X)):
        for got in (model.score_instances(container), score_instances(model, container)):
            assert_same_parts(got, expected)


# -- what it refuses -------------------------------------------------------------------------


class OnlyLabels(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Embedding(TransformerMixin, OnlyLabels):
    def transform(self, X):
        return np.zeros((len(X), 2))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"estimator": OnlyLabels()}, TypeError, "neither predict_proba nor decision_function"),
        ({"estimator": Embedding()}, TypeError, "embeddings are not taken"),
        ({"estimator": [("a", OnlyLabels())]}, TypeError, r"Estimator 'a' \(OnlyLabels\)"),
        ({"estimator": [statistics()]}, ValueError, "a list of \\(name, classifier\\)"),
        (
            {"estimator": [("a", statistics())] * 2},
            ValueError,
            "names of the estimators must differ",
        ),
        ({"estimator": "votes"}, ValueError, "The 'estimator' parameter"),
        ({"final_estimator": "forest"}, ValueError, "The 'final_estimator' parameter"),
        (
            {"final_estimator": LinearRegression()},
            TypeError,
            r"final_estimator must be a classifier. Got LinearRegression\(\)",
        ),
        (
            {"final_estimator": make_pipeline(SimpleImputer(), LinearRegression())},
            TypeError,
            "final_estimator must be a classifier",
        ),
        ({"covariates": ["age", "sex", "age"]}, ValueError, "covariates names a column twice"),
        ({"bag_features": ["embedding"]}, ValueError, "Embeddings are refused"),
        ({"bag_features": []}, ValueError, "bag_features must be 'auto' or a list"),
        ({"bag_features": "rate"}, ValueError, "The 'bag_features' parameter"),
        ({"bag_features": ["spread"]}, ValueError, r"does not give \['spread'\]"),
        ({"bag_features": ["rate", "probability"]}, ValueError, r"does not give \['rate'\]"),
        ({"cv": 1}, ValueError, "The 'cv' parameter"),
    ],
)
def test_wrong_parameters(params, error, message):
    X, y = make_cohort()
    with pytest.raises(error, match=message):
        ClinicalFusion(**{"estimator": statistics(), "final_estimator": final(), **params}).fit(
            X, y
        )


def test_wrong_input():
    X, y = make_cohort()
    model = ClinicalFusion(statistics(), final())
    with pytest.raises(ValueError, match="only one class, 'a'"):
        model.fit(X, ["a"] * 48)
    with pytest.raises(ValueError, match="y has 3 labels, but X has 48 bags"):
        model.fit(X, y[:3])
    with pytest.raises(ValueError, match="sample_weight has 2 entries"):
        model.fit(X, y, sample_weight=[1, 2])
    for unfitted in ("get_feature_names_out", "feature_importances_"):
        with pytest.raises(NotFittedError, match="ClinicalFusion instance is not fitted"):
            getattr(model, unfitted)()
    model.fit(X, y)
    with pytest.raises(ValueError, match="X has 4 features"):
        model.predict(BagArray.from_list([np.zeros((2, 4))], covariates=X.covariates[:1]))


def test_the_caller_s_columns_are_not_changed():
    X, y = make_cohort()
    before, flat = X.covariates.copy(), X.flat()[0].copy()
    ClinicalFusion(statistics(), final(), random_state=0).fit(X, y).predict(X)
    pd.testing.assert_frame_equal(X.covariates, before)
    np.testing.assert_array_equal(X.flat()[0], flat)


# -- why out of fold -------------------------------------------------------------------------


def noise_bags(seed, n_patients, n_each, signal):
    """Bags that resemble others of their patient, and a covariate that may tell the label."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_patients) % 2)
    patient = np.repeat(np.arange(n_patients), n_each)
    shift = (n_each > 1) * rng.normal(0, 2, size=(n_patients, 5))
    bags = [rng.normal(size=(5, 5)) + shift[p] for p in patient]
    age = (signal * labels + rng.normal(size=n_patients))[patient]
    return BagArray.from_list(bags, groups=patient, covariates={"age": age}), labels[patient]


@pytest.mark.parametrize(("signal", "n_each"), [(1, 1), (1, 4), (0, 1)])
def test_bags_of_noise_do_not_drown_the_covariates(signal, n_each):
    base = make_pipeline(BagStatistics(), KNeighborsClassifier(1))
    second = DecisionTreeClassifier(max_depth=3, min_samples_leaf=5, random_state=0)
    aucs = {"clinical": [], "fusion": [], "leaky": []}
    for seed in range(20):
        X, y = noise_bags(seed, 80, n_each, signal)
        outer = StratifiedGroupKFold(2, shuffle=True, random_state=seed)
        for train, test in outer.split(y, y, X.groups):
            own, new = X[train], X[test]
            clinical = clone(second).fit(own.covariates, y[train])
            fusion = ClinicalFusion(base, second, cv=3, random_state=seed).fit(own, y[train])
            # The same with scores of bags that the base was fitted on.
            leaky = clone(second).fit(fusion.transform(own), y[train])
            for name, model, rows in (
                ("clinical", clinical, new.covariates),
                ("fusion", fusion, new),
                ("leaky", leaky, fusion.transform(new)),
            ):
                aucs[name].append(roc_auc_score(y[test], model.predict_proba(rows)[:, 1]))
    mean = {name: np.mean(values) for name, values in aucs.items()}
    assert mean["leaky"] < 0.55
    if signal:
        assert mean["clinical"] > 0.6
        assert mean["fusion"] >= mean["clinical"] - 0.05
    else:
        assert mean["fusion"] == pytest.approx(0.5, abs=0.05)


def test_bags_and_covariates_together_are_better_than_each():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    bags = [rng.normal(0.4 * label, size=(5, 2)) for label in y]
    X = BagArray.from_list(bags, covariates={"age": y + rng.normal(size=200)})
    second = make_pipeline(StandardScaler(), LogisticRegression())
    aucs = {}
    for name, params in {
        "both": {},
        "bags": {"passthrough": False},
        "clinical": {"estimator": []},
        "chance": {"estimator": DummyClassifier(), "passthrough": False},
    }.items():
        model = ClinicalFusion(statistics(), second, random_state=0).set_params(**params)
        model.fit(X[:100], y[:100])
        aucs[name] = roc_auc_score(y[100:], model.predict_proba(X[100:])[:, 1])
    assert aucs["chance"] == 0.5
    assert aucs["both"] > max(aucs["bags"], aucs["clinical"]) > 0.6


# -- what the parts see ------------------------------------------------------------------------


class NotesCovariates(ClassifierMixin, BaseEstimator):
    """Notes the covariates that it gets in ``fit``."""

    seen = set()

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.seen.add(() if X.covariates is None else tuple(X.covariates.columns))
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


@pytest.mark.parametrize("named", [[], ["age"], None])
def test_the_first_level_sees_the_named_covariates_alone(named):
    X, y = make_cohort()
    NotesCovariates.seen.clear()
    ClinicalFusion(NotesCovariates(), final(), covariates=named, cv=3).fit(X, y)
    assert NotesCovariates.seen == {tuple(X.covariates.columns) if named is None else tuple(named)}


def test_a_group_that_is_named_and_not_there():
    X, y = make_cohort()
    model = ClinicalFusion(InstanceVotingClassifier(), final(), group="patient", random_state=0)
    with pytest.raises(GroupLeakageError, match="group='patient'"):
        clone(model).fit(X.with_columns(groups=None), y)
    expected = clone(model).set_params(group=None).fit_transform(X, y)
    np.testing.assert_allclose(clone(model).fit_transform(X, y), expected)
    got = clone(model).fit_transform(X.with_columns(groups=None), y, groups=X.groups)
    np.testing.assert_allclose(got, expected)


class NotesFolds(LogisticRegression):
    """Notes the ages that it is fitted on; each patient has one."""

    seen = []

    def fit(self, X, y):
        self.seen.append(set(X[:, -1].tolist()))
        return super().fit(X, y)


@pytest.mark.parametrize("cv", [3, GroupKFold(3)])
def test_splits_inside_the_second_level_keep_groups_whole(cv):
    X, y = noise_bags(0, 20, 4, 1.0)
    NotesFolds.seen.clear()
    search = GridSearchCV(NotesFolds(), {"C": [1.0]}, cv=cv, refit=True)
    ClinicalFusion([], search, random_state=0).fit(X, y)
    *folds, whole = NotesFolds.seen
    assert len(folds) == 3
    assert len(whole) == 20
    # A divided patient would be in the training part of every fold.
    assert sum(len(whole - fold) for fold in folds) == 20


def test_a_failed_fit_leaves_nothing():
    X, y = make_cohort()
    model = ClinicalFusion(InstanceVotingClassifier(), final(), random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(X, y[::-1], sample_weight=-np.ones(len(y)))
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_parameters_of_a_list_of_estimators():
    X, y = make_cohort()
    pair = [("svm", MISVM()), ("vote", InstanceVotingClassifier())]
    model = ClinicalFusion(pair, final(), cv=3, random_state=0)
    assert model.get_params()["svm__C"] == MISVM().C
    model.set_params(svm__C=7.0, vote__voting="mean")
    assert (pair[0][1].C, pair[1][1].voting) == (7.0, "mean")
    assert clone(model).get_params()["svm__C"] == 7.0
    search = GridSearchCV(model, {"vote__voting": ["mean", "max"]}, cv=GroupedSplit(2))
    search.fit(X, y)
    assert search.best_params_["vote__voting"] in ("mean", "max")


def test_columns_of_the_same_name():
    X, y = make_cohort()
    name = "bags__probability_b"
    X = X.with_columns(covariates=X.covariates.assign(**{name: np.arange(len(y)) % 7}))
    with pytest.raises(ValueError, match=name):
        ClinicalFusion(InstanceVotingClassifier(), final()).fit(X, y)
    with pytest.raises(ValueError, match="names a kind twice"):
        ClinicalFusion(InstanceVotingClassifier(), bag_features=["rate", "rate"]).fit(X, y)


def test_covariates_alone_need_no_folds():
    X = BagArray.from_list([np.zeros((1, 1))] * 4, covariates={"age": [1.0, 2.0, 3.0, 5.0]})
    model = ClinicalFusion([], LogisticRegression()).fit(X, [0, 1, 0, 1])
    assert model.predict(X).shape == (4,)


class OneOrTheOther(ClassifierMixin, BaseEstimator):
    """Offers labels of instances where an even number of bags trained it."""

    def fit(self, X, y):
        self.classes_, self.even_ = np.unique(y), len(y) % 2 == 0
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))

    @available_if(lambda self: self.even_)
    def predict_instances(self, X):
        return [np.zeros(n, dtype=int) for n in X.sizes]


def test_folds_that_offer_different_features():
    X = BagArray.from_list([np.zeros((2, 1))] * 10)
    y = np.arange(10) % 2
    cv = [(np.arange(3, 10), np.arange(3)), (np.arange(7), np.arange(7, 10)),
          (np.r_[:3, 7:10], np.arange(3, 7))]  # fmt: skip
    with pytest.raises(ValueError, match=r"Name what all give, such as bag_features=\['prob"):
        ClinicalFusion(OneOrTheOther(), final(), covariates=[], cv=cv).fit(X, y)


def test_spread_inside_a_search():
    X, y = make_cohort()
    network = AttentionMILClassifier(n_estimators=2, max_iter=2, random_state=0)
    search = GridSearchCV(network, {"dropout": [0.0]}, cv=2)
    model = ClinicalFusion(search, final(), bag_features=["spread"], cv=2, random_state=0)
    plain = ClinicalFusion(
        clone(network).set_params(dropout=0.0), final(), bag_features=["spread"], cv=2,
        random_state=0,
    )  # fmt: skip
    np.testing.assert_allclose(model.fit(X, y).transform(X), plain.fit(X, y).transform(X))
