"""fusion_ablation against folds and metrics by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.ensemble import AdaBoostClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import (
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    ClinicalFusion,
    InstanceVotingClassifier,
)
from milkit.exceptions import GroupLeakageError
from milkit.model_selection import GroupedSplit, fusion_ablation

ROWS = ["clinical only", "bags only", "both"]


def make_cohort(n_bags=60, seed=0, n_classes=2, shift=0.6, age=1.0, grouped=True):
    """Two bags of each patient, unless grouped is False."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_bags // 2), 2) if grouped else None
    y = np.repeat(np.arange(n_bags // 2) % n_classes, 2)
    bags = [
        rng.normal(shift * label, size=(n, 2))
        for n, label in zip(rng.integers(2, 6, n_bags), y, strict=True)
    ]
    table = pd.DataFrame(
        {"age": age * y + rng.normal(size=n_bags), "iron": rng.normal(size=n_bags)}
    )
    return BagArray.from_list(bags, groups=groups, covariates=table), y


def second():
    return make_pipeline(StandardScaler(), LogisticRegression())


def make_fusion(estimator=None, **params):
    estimator = make_pipeline(BagStatistics(), second()) if estimator is None else estimator
    return ClinicalFusion(estimator, second(), cv=3, random_state=0, **params)


def by_hand(model, X, y, folds, scoring, columns=lambda X: X):
    scorer = get_scorer(scoring)
    return [
        scorer(clone(model).fit(columns(X[train]), y[train]), columns(X[test]), y[test])
        for train, test in folds
    ]


# -- the three values ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scoring", ["roc_auc", "average_precision", "accuracy", "balanced_accuracy"]
)
def test_values_by_hand(scoring):
    X, y = make_cohort()
    fusion, cv = make_fusion(), GroupKFold(3)
    found = fusion_ablation(fusion, X, y, cv=cv, scoring=scoring, n_resamples=50, random_state=0)
    folds = list(cv.split(np.zeros(60), y, X.groups))
    expected = {
        "clinical only": by_hand(second(), X, y, folds, scoring, lambda X: X.covariates.to_numpy()),
        "bags only": by_hand(fusion.estimator, X, y, folds, scoring),
        "both": by_hand(fusion, X, y, folds, scoring),
    }
    assert list(found.scores.index) == list(found.fold_scores.columns) == ROWS
    for name, values in expected.items():
        np.testing.assert_allclose(found.fold_scores[name], values)
        assert found.scores.loc[name, "value"] == pytest.approx(np.mean(values))
    value = found.scores["value"]
    np.testing.assert_allclose(
        found.differences["value"], [value["both"] - value[ROWS[0]], value["both"] - value[ROWS[1]]]
    )
    assert list(found.differences.index) == ["the bags", "the covariates"]
    for table in (found.scores, found.differences):
        assert np.all(table["low"] <= table["value"])
        assert np.all(table["value"] <= table["high"])
    assert (found.n_units, found.scoring, found.confidence_level) == (30, scoring, 0.95)
    assert not hasattr(fusion, "estimators_")


def test_three_classes():
    X, y = make_cohort(n_classes=3)
    y = np.array(["a", "b", "c"])[y]
    cv = StratifiedGroupKFold(3)
    found = fusion_ablation(make_fusion(), X, y, cv=cv, n_resamples=20, random_state=0)
    folds = list(cv.split(np.zeros(60), y, X.groups))
    values = []
    for train, test in folds:
        p = make_fusion().fit(X[train], y[train]).predict_proba(X[test])
        values.append(roc_auc_score(y[test], p, multi_class="ovr"))
    np.testing.assert_allclose(found.fold_scores["both"], values)


def test_several_estimators():
    X, y = make_cohort()
    members = [
        ("votes", InstanceVotingClassifier()),
        ("means", make_pipeline(BagStatistics(), second())),
    ]
    fusion = make_fusion(members)
    found = fusion_ablation(fusion, X, y, cv=GroupKFold(3), n_resamples=20, random_state=0)
    folds = list(GroupKFold(3).split(np.zeros(60), y, X.groups))
    alone = clone(fusion).set_params(covariates=[])
    np.testing.assert_allclose(
        found.fold_scores["bags only"], by_hand(alone, X, y, folds, "roc_auc")
    )


def test_another_clinical_estimator():
    X, y = make_cohort()
    boost = AdaBoostClassifier(n_estimators=5, random_state=0)
    found = fusion_ablation(
        make_fusion(),
        X,
        y,
        clinical_estimator=boost,
        cv=GroupKFold(3),
        n_resamples=20,
        random_state=0,
    )
    folds = list(GroupKFold(3).split(np.zeros(60), y, X.groups))
    values = by_hand(boost, X, y, folds, "roc_auc", lambda X: X.covariates.to_numpy())
    np.testing.assert_allclose(found.fold_scores["clinical only"], values)
    plain = fusion_ablation(make_fusion(), X, y, cv=GroupKFold(3), n_resamples=20, random_state=0)
    for name in ROWS[1:]:
        np.testing.assert_array_equal(found.fold_scores[name], plain.fold_scores[name])


# -- the intervals ---------------------------------------------------------------------------


def test_a_model_compared_with_itself_gives_zero():
    X, y = make_cohort()
    X = X.with_columns(covariates={"constant": np.zeros(60)})
    # A covariate without distances: with and without it the neighbours are the same.
    fusion = ClinicalFusion(
        [("votes", InstanceVotingClassifier())], KNeighborsClassifier(3), cv=3, random_state=0
    )
    with pytest.warns(UserWarning, match=r"\['constant'\] are constant"):
        found = fusion_ablation(fusion, X, y, cv=GroupKFold(3), n_resamples=200, random_state=0)
    assert found.scores.loc["both", "high"] > found.scores.loc["both", "low"]
    np.testing.assert_array_equal(found.differences.loc["the covariates"], 0)
    assert "What the covariates add: nothing that these data show" in found.summary()


def test_intervals_are_of_paired_differences_over_groups():
    """Against a bootstrap of its own draws, one after the other."""
    X, y = make_cohort()
    cv = GroupKFold(3)
    found = fusion_ablation(
        make_fusion(), X, y, cv=cv, scoring="balanced_accuracy", n_resamples=4000, random_state=0
    )
    models = {
        "clinical only": (second(), lambda X: X.covariates.to_numpy()),
        "both": (make_fusion(), lambda X: X),
    }
    folds = list(cv.split(np.zeros(60), y, X.groups))
    labels = {name: np.empty(60, dtype=int) for name in models}
    for name, (model, columns) in models.items():
        for train, test in folds:
            fitted = clone(model).fit(columns(X[train]), y[train])
            labels[name][test] = fitted.predict(columns(X[test]))
    rng = np.random.default_rng(0)
    gains = []
    for _ in range(1500):
        drawn = np.bincount(rng.integers(0, 30, 30), minlength=30)
        weight = drawn[X.groups]
        by_fold, shares = [], []
        for _, test in folds:
            w, true = weight[test], y[test]
            if min(w[true == c].sum() for c in (0, 1)) == 0:
                continue  # undefined
            recalls = {
                n: [
                    np.average(labels[n][test][true == c] == c, weights=w[true == c])
                    for c in (0, 1)
                ]
                for n in models
            }
            by_fold.append(np.mean(recalls["both"]) - np.mean(recalls["clinical only"]))
            shares.append(weight[test].sum())
        gains.append(np.average(by_fold, weights=shares))
    expected = np.quantile(gains, [0.025, 0.975])
    np.testing.assert_allclose(
        found.differences.loc["the bags", ["low", "high"]], expected, atol=0.025
    )


def test_groups_widen_the_intervals():
    """Each patient ten times: the same bags as one group give an honest, wider interval."""
    X, y = make_cohort(40, age=0.3, shift=0.2, grouped=False)
    rows = np.repeat(np.arange(40), 10)
    many, labels = X[rows].with_columns(groups=rows), y[rows]
    folds = list(StratifiedGroupKFold(3).split(np.zeros(400), labels, rows))
    width = {}
    for name, bags in (("groups", many), ("bags", many.with_columns(groups=None))):
        found = fusion_ablation(
            make_fusion(), bags, labels, cv=folds, n_resamples=300, random_state=0
        )
        width[name] = (found.scores["high"] - found.scores["low"])["clinical only"]
        assert found.n_units == (40 if name == "groups" else 400)
    assert width["groups"] > 2 * width["bags"]


def test_confidence_level():
    X, y = make_cohort()
    params = {"cv": GroupKFold(3), "n_resamples": 300, "random_state": 0}
    wide, short = (
        fusion_ablation(make_fusion(), X, y, confidence_level=level, **params)
        for level in (0.95, 0.5)
    )
    assert np.all(wide.scores["low"] < short.scores["low"])
    assert np.all(wide.differences["high"] >= short.differences["high"])
    assert short.confidence_level == 0.5


# -- what it says ----------------------------------------------------------------------------


def test_bags_of_noise_add_nothing():
    X, y = make_cohort(80, shift=0.0, age=2.0)
    found = fusion_ablation(make_fusion(), X, y, cv=4, n_resamples=300, random_state=0)
    assert found.scores.loc["clinical only", "value"] > 0.8
    first, other = found.summary().split("\n")
    assert first.startswith("What the bags add: nothing that these data show, ")
    assert first.endswith("in roc_auc")
    assert other.startswith("What the covariates add: something, +0.")


def test_bags_that_add_something_and_harm():
    X, y = make_cohort(80, shift=1.5, age=0.0)
    found = fusion_ablation(make_fusion(), X, y, cv=4, n_resamples=300, random_state=0)
    assert found.summary().startswith("What the bags add: something")
    found.differences.loc["the bags"] = [-0.2, -0.3, -0.1]
    assert found.summary().startswith("What the bags add: harm, -0.200 [-0.300, -0.100]")


def test_plot():
    plt = pytest.importorskip("matplotlib.pyplot")
    X, y = make_cohort()
    found = fusion_ablation(make_fusion(), X, y, cv=3, n_resamples=20, random_state=0)
    _, given = plt.subplots()
    assert found.plot(given) is given
    ax = found.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ROWS
    assert ax.get_xlabel() == "roc_auc, mean of test folds, 95% interval over 30 groups"
    line = ax.containers[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(orig=False), found.scores["value"])
    plt.close("all")


# -- folds and containers --------------------------------------------------------------------


def test_repeatable_and_parallel():
    X, y = make_cohort()
    first, again, parallel, other = (
        fusion_ablation(make_fusion(), X, y, cv=3, n_resamples=50, n_jobs=jobs, random_state=seed)
        for jobs, seed in ((None, 0), (None, 0), (2, 0), (None, 1))
    )
    for found in (again, parallel):
        pd.testing.assert_frame_equal(found.scores, first.scores)
        pd.testing.assert_frame_equal(found.differences, first.differences)
    assert not other.scores.equals(first.scores)


def test_numbers_of_folds_keep_groups_whole_and_classes_even():
    X, y = make_cohort()
    for cv in (3, np.int64(3)):
        found = fusion_ablation(make_fusion(), X, y, cv=cv, n_resamples=20, random_state=0)
        assert found.fold_scores.shape == (3, 3)
        assert found.n_units == 30
    found = fusion_ablation(make_fusion(), X, y, cv=None, n_resamples=20, random_state=0)
    assert len(found.fold_scores) == 5
    bags = X.with_columns(groups=None)
    found = fusion_ablation(make_fusion(), bags, y, cv=3, n_resamples=20, random_state=0)
    assert found.n_units == 60


def test_groups_as_an_argument_are_those_inside_x():
    X, y = make_cohort()
    params = {"cv": 3, "n_resamples": 20, "random_state": 0}
    inside = fusion_ablation(make_fusion(), X, y, **params)
    passed = fusion_ablation(
        make_fusion(), X.with_columns(groups=None), y, groups=X.groups, **params
    )
    # Also the folds inside the fusion: its scores are the same.
    pd.testing.assert_frame_equal(passed.fold_scores, inside.fold_scores)
    pd.testing.assert_frame_equal(passed.scores, inside.scores)
    with pytest.raises(GroupLeakageError, match="disagree"):
        fusion_ablation(make_fusion(), X, y, groups=np.arange(60), **params)


def test_repetitions_and_lists_of_folds():
    X, y = make_cohort(grouped=False)
    cv = RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0)
    found = fusion_ablation(make_fusion(), X, y, cv=cv, n_resamples=50, random_state=0)
    folds = list(cv.split(np.zeros(60), y))
    assert len(found.fold_scores) == 6
    np.testing.assert_allclose(
        found.fold_scores["both"], by_hand(make_fusion(), X, y, folds, "roc_auc")
    )
    listed = fusion_ablation(make_fusion(), X, y, cv=folds, n_resamples=50, random_state=0)
    pd.testing.assert_frame_equal(listed.scores, found.scores)
    X, y = make_cohort()
    again = GroupedSplit(StratifiedGroupKFold(3, shuffle=True, random_state=0), n_repeats=2)
    found = fusion_ablation(make_fusion(), X, y, cv=again, n_resamples=50, random_state=0)
    assert (len(found.fold_scores), found.n_units) == (6, 30)


@pytest.mark.parametrize("arrays", [True, False])
def test_data_frames(arrays):
    """The group and the covariates are no features of the bags alone."""
    X, y = make_cohort()
    if arrays:
        df = X.covariates.assign(cells=pd.Series(X.to_list(), dtype=object))
    else:
        X = BagArray.from_list(
            [bag[:1] for bag in X.to_list()], groups=X.groups, covariates=X.covariates
        )
        df = X.covariates.assign(f0=X.flat()[0][:, 0], f1=X.flat()[0][:, 1])
    df = df.assign(patient=X.groups)
    estimator = InstanceVotingClassifier(GaussianNB(), voting="mean")
    params = {"cv": 3, "n_resamples": 20, "random_state": 0}
    expected = fusion_ablation(make_fusion(estimator), X, y, **params)
    fusion = make_fusion(estimator, covariates=["age", "iron"], group="patient")
    found = fusion_ablation(fusion, df, y, **params)
    pd.testing.assert_frame_equal(found.fold_scores, expected.fold_scores)
    assert found.n_units == 30


def test_named_covariates_in_any_sequence():
    X, y = make_cohort()
    params = {"cv": 3, "n_resamples": 20, "random_state": 0}
    expected = fusion_ablation(make_fusion(covariates=["age"]), X, y, **params)
    bags = pd.Series(X.to_list(), dtype=object)
    df = X.covariates.assign(cells=bags, patient=X.groups)
    for named in (("age",), np.array(["age"])):
        fusion = make_fusion(covariates=named, group="patient")
        for container in (X, df):
            found = fusion_ablation(fusion, container, y, **params)
            pd.testing.assert_frame_equal(found.fold_scores, expected.fold_scores)


def test_bags_only_gets_no_covariates():
    """An estimator of bags may use those that are attached, by itself."""
    X, y = make_cohort()
    fusion, cv = make_fusion(SeesCovariates()), GroupKFold(3)
    params = {"cv": cv, "n_resamples": 20, "random_state": 0}
    found = fusion_ablation(fusion, X, y, **params)
    folds = list(cv.split(np.zeros(60), y, X.groups))
    for columns in (None, ["age"]):
        fusion.set_params(covariates=columns)
        found = fusion_ablation(fusion, X, y, **params)
        np.testing.assert_array_equal(found.fold_scores["bags only"], 0.5)
        np.testing.assert_allclose(
            found.fold_scores["both"], by_hand(fusion, X, y, folds, "roc_auc")
        )
    listed = fusion.set_params(estimator=[("own", SeesCovariates())], covariates=None)
    found = fusion_ablation(listed, X, y, **params)
    np.testing.assert_array_equal(found.fold_scores["bags only"], 0.5)


def test_both_and_clinical_only_see_the_same_covariates():
    """A network in the first level must not bring in a column that the fusion does not name."""
    X, y = make_cohort()
    X = X.with_columns(covariates=X.covariates.assign(told=y + np.arange(len(y)) / 1e3))
    fusion = make_fusion(SeesNames(), covariates=["age"])
    fusion_ablation(fusion, X, y, cv=3, n_resamples=20)
    assert SeesNames.seen == {("age",), ()}


class SeesNames(ClassifierMixin, BaseEstimator):
    """Notes the names of the covariates that it gets."""

    seen = set()

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        names = () if X.covariates is None else tuple(X.covariates.columns)
        self.seen.add(names)
        return self

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)

    def predict(self, X):
        return np.repeat(self.classes_[:1], len(X))


def test_a_network_that_names_its_covariates():
    X, y = make_cohort()
    network = AttentionMILClassifier(
        covariates="concat", covariate_columns=["age"], max_iter=2, random_state=0
    )
    params = {"cv": GroupKFold(3), "n_resamples": 20, "random_state": 0}
    found = fusion_ablation(make_fusion(network), X, y, **params)
    plain = AttentionMILClassifier(max_iter=2, random_state=0)
    expected = fusion_ablation(make_fusion(plain), X, y, **params)
    np.testing.assert_allclose(found.fold_scores["bags only"], expected.fold_scores["bags only"])
    assert network.covariates == "concat"


def test_a_fold_without_a_class():
    X, y = make_cohort()
    with pytest.raises(ValueError, match="Test fold 0 has no bag of class"):
        fusion_ablation(make_fusion(), X, y, cv=GroupKFold(30), n_resamples=20)


def test_a_group_that_is_lost():
    X, y = make_cohort()
    with pytest.raises(GroupLeakageError, match="group='patient' names a column of a DataFrame"):
        fusion_ablation(make_fusion(group="patient"), X.with_columns(groups=None), y)


class SeesCovariates(ClassifierMixin, BaseEstimator):
    """The age where there is one, else always the same."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.zeros(len(X)) if X.covariates is None else X.covariates["age"].to_numpy()

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


@pytest.mark.parametrize("labels", ["strings", "list"])
def test_labels_of_other_types(labels):
    X, y = make_cohort()
    params = {"cv": 3, "n_resamples": 20, "random_state": 0}
    expected = fusion_ablation(make_fusion(), X, y, **params)
    y = np.where(y, "ill", "healthy") if labels == "strings" else y.tolist()
    found = fusion_ablation(make_fusion(), X, y, **params)
    pd.testing.assert_frame_equal(found.fold_scores, expected.fold_scores)


def test_groups_of_both_labels_and_categories_of_one_fold():
    X, _ = make_cohort()
    y = np.arange(60) % 2
    site = np.array(["north", "north", "south"] * 20, dtype=object)
    site[0], site[7] = "east", None
    X = X.with_columns(covariates=X.covariates.assign(site=site))
    found = fusion_ablation(
        make_fusion(InstanceVotingClassifier()), X, y, cv=3, n_resamples=20, random_state=0
    )
    assert np.isfinite(found.fold_scores.to_numpy()).all()
    assert found.n_units == 30


# -- what it refuses -------------------------------------------------------------------------


def test_wrong_input():
    X, y = make_cohort()
    with pytest.raises(ValueError, match="X has no covariates"):
        fusion_ablation(make_fusion(), X.with_columns(covariates=None), y)
    with pytest.raises(ValueError, match="X has no covariates that the fusion uses"):
        fusion_ablation(make_fusion(covariates=[]), X, y)
    for params in ({"passthrough": False}, {"estimator": []}):
        with pytest.raises(ValueError, match="fusion has one half only"):
            fusion_ablation(make_fusion().set_params(**params), X, y)
    with pytest.raises(TypeError, match="fusion must be a ClinicalFusion"):
        fusion_ablation(InstanceVotingClassifier(), X, y)
    for scoring in ("f1", max):
        with pytest.raises(ValueError, match="scoring must be one of"):
            fusion_ablation(make_fusion(), X, y, scoring=scoring)
    with pytest.raises(ValueError, match="n_resamples"):
        fusion_ablation(make_fusion(), X, y, n_resamples=0)
    with pytest.raises(ValueError, match="confidence_level"):
        fusion_ablation(make_fusion(), X, y, confidence_level=95)
    with pytest.raises(ValueError, match="'weight'"):
        fusion_ablation(make_fusion(covariates=["weight"]), X, y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fusion_ablation(make_fusion(), X, y[:-1])
    with pytest.raises(ValueError, match="only one class, 0"):
        fusion_ablation(make_fusion(), X, np.zeros(60, dtype=int))
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        fusion_ablation(make_fusion(), X, np.linspace(0, 1, 60))
    with pytest.raises(ValueError, match="Bag 0 has no label"):
        fusion_ablation(make_fusion(), X, np.where(y, 1.0, np.nan))


@pytest.mark.parametrize("coded", [False, True])
def test_a_covariate_that_is_y_is_refused(coded):
    X, y = make_cohort()
    leak = np.where(y, "ill", "healthy") if coded else y
    X = X.with_columns(covariates=X.covariates.assign(outcome=leak))
    with pytest.raises(ValueError, match="'outcome' is identical to y"):
        fusion_ablation(make_fusion(), X, y, cv=3)


def test_covariates_that_tell_nothing_change_nothing():
    X, y = make_cohort()
    last = make_pipeline(SimpleImputer(keep_empty_features=True), second())
    fusion = make_fusion().set_params(final_estimator=last)
    params = {"cv": 3, "n_resamples": 20, "random_state": 0}
    expected = fusion_ablation(fusion, X, y, **params)
    for column in (1.0, np.nan):
        dull = X.with_columns(covariates=X.covariates.assign(dull=column))
        with pytest.warns(UserWarning, match=r"\['dull'\] are (constant|all missing)"):
            found = fusion_ablation(fusion, dull, y, **params)
        pd.testing.assert_frame_equal(found.fold_scores, expected.fold_scores)


def test_more_folds_than_groups():
    X, y = make_cohort()
    with pytest.raises(ValueError, match="cv=31 folds were asked for, and there are 30 groups"):
        fusion_ablation(make_fusion(), X, y, cv=31)
    inner = make_fusion().set_params(cv=31)  # in three folds 20 groups are left
    with pytest.raises(ValueError, match="cv=31 folds were asked for, and there are 20 groups"):
        fusion_ablation(inner, X, y, cv=3)


class OnlyLabels(ClassifierMixin, BaseEstimator):
    """Neither probabilities nor decision values."""

    fits = 0

    def fit(self, X, y):
        OnlyLabels.fits += 1
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


def test_models_that_give_labels_only():
    X, y = make_cohort()
    OnlyLabels.fits = 0
    for estimator in (OnlyLabels(), [("votes", OnlyLabels())]):
        with pytest.raises(TypeError, match="has neither predict_proba nor decision_function"):
            fusion_ablation(make_fusion(estimator), X, y, cv=3)
    assert OnlyLabels.fits == 0
    # A second level of labels is scored as such.
    fusion = make_fusion().set_params(final_estimator=OnlyLabels())
    with pytest.raises(ValueError, match="Use 'accuracy' or 'balanced_accuracy'"):
        fusion_ablation(fusion, X, y, cv=3)
    found = fusion_ablation(
        fusion, X, y, cv=3, scoring="balanced_accuracy", n_resamples=20, random_state=0
    )
    assert found.scores.loc["both", "value"] == 0.5


@pytest.mark.parametrize(
    "cv", [KFold(3, shuffle=True, random_state=0), StratifiedKFold(4, shuffle=True)]
)
def test_folds_that_divide_a_group_are_refused(cv):
    X, y = make_cohort()
    with pytest.raises(GroupLeakageError, match="put bags of group"):
        fusion_ablation(make_fusion(), X, y, cv=cv)
