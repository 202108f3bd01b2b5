"""group_permutation_test."""

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    StratifiedGroupKFold,
    cross_val_score,
    permutation_test_score,
)

from milkit import BagArray
from milkit.exceptions import GroupLeakageError
from milkit.metrics import make_group_scorer
from milkit.model_selection import GroupedSplit, group_permutation_test
from milkit.model_selection._permutation_test import _label_shuffler


def make_data(seed=0, effect=0.0, n_patients=20, bags_each=4):
    """Bags of a patient lie close together; the label belongs to the patient."""
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), bags_each)
    y = rng.permutation(n_patients)[patient] % 2
    centre = rng.normal(size=(n_patients, 2))[patient]
    return centre + 0.3 * rng.normal(size=(len(y), 2)) + effect * y[:, None], y, patient


def test_an_effect_is_found_and_the_result_has_scikit_learns_form():
    X, y, patient = make_data(effect=3)
    score, permuted, pvalue = group_permutation_test(
        _Centroids(), X, y, groups=patient, n_permutations=30, random_state=0
    )
    assert permuted.shape == (30,)
    assert pvalue == (np.sum(permuted >= score) + 1) / 31 == 1 / 31
    assert abs(permuted.mean() - 0.5) < 0.1


def test_the_level_is_held_where_the_naive_test_rejects_too_often():
    """60 data sets without effect, of 16 patients with 5 bags each, at the level 10 %."""
    naive, grouped = [], []
    cv = GroupedSplit(3)
    for seed in range(60):
        X, y, patient = make_data(seed, n_patients=16, bags_each=5)
        splits = list(cv.split(X, y, patient))
        params = {"n_permutations": 9, "random_state": seed}
        naive.append(permutation_test_score(_Centroids(), X, y, cv=splits, **params)[2])
        grouped.append(
            group_permutation_test(_Centroids(), X, y, groups=patient, cv=cv, **params)[2]
        )
    assert np.mean(np.array(grouped) <= 0.1) <= 0.2
    assert np.mean(np.array(naive) <= 0.1) >= 0.25


class _Centroids(ClassifierMixin, BaseEstimator):
    """Nearest centroid of two classes, as quick as can be."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        low, high = (X[y == c].mean(axis=0) for c in self.classes_)
        self.coef_, self.middle_ = high - low, (high + low) / 2
        return self

    def predict(self, X):
        return self.classes_[((X - self.middle_) @ self.coef_ > 0).astype(int)]


class _OnBags(_Centroids):
    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y):
        return super().fit(X.flat()[0], y)

    def predict(self, X):
        return super().predict(X.flat()[0])


@pytest.mark.parametrize("routing", [False, True])
def test_bags_and_nested_search_need_no_groups_argument(routing):
    X2, y, patient = make_data(effect=3)
    X = BagArray(X2, np.arange(len(y) + 1), groups=patient)
    without = BagArray(X2, np.arange(len(y) + 1))
    model = GridSearchCV(_OnBags(), {"scale": [1.0, 2.0]}, cv=GroupedSplit(3))
    params = {"n_permutations": 4, "random_state": 0, "cv": 3}
    with sklearn.config_context(enable_metadata_routing=routing):
        inside = group_permutation_test(model, X, y, **params)
        passed = group_permutation_test(model, without, y, groups=patient, **params)
    np.testing.assert_array_equal(inside[1], passed[1])
    assert inside[0] == passed[0] > 0.8


def test_the_result_does_not_depend_on_n_jobs():
    X, y, patient = make_data()
    results = [
        group_permutation_test(
            _Centroids(), X, y, groups=patient, n_permutations=5, n_jobs=n_jobs, random_state=0
        )[1]
        for n_jobs in (None, 2)
    ]
    np.testing.assert_array_equal(*results)


def test_a_random_state_inside_cv_makes_the_same_folds_for_every_score():
    X, y, patient = make_data()
    results = []
    for n_jobs in (None, 2):
        folds = StratifiedGroupKFold(3, shuffle=True, random_state=np.random.RandomState(0))
        results.append(
            group_permutation_test(
                _Centroids(),
                X,
                y,
                groups=patient,
                cv=folds,
                n_permutations=5,
                n_jobs=n_jobs,
                random_state=0,
            )
        )
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][0] == results[1][0]


def more_bags_of_the_diseased(seed=0):
    """Noise, but diseased patients have three times as many bags."""
    rng = np.random.default_rng(seed)
    diseased = np.arange(30) % 2
    patient = np.repeat(np.arange(30), np.where(diseased, 6, 2) + rng.integers(0, 2, 30))
    return rng.normal(size=(len(patient), 2)), diseased[patient], patient


@pytest.mark.parametrize("scoring", [None, "balanced_accuracy", "roc_auc"])
def test_the_number_of_bags_is_no_evidence(scoring):
    X, y, patient = more_bags_of_the_diseased()
    _, _, pvalue = group_permutation_test(
        DummyClassifier(),
        X,
        y,
        groups=patient,
        scoring=scoring,
        n_permutations=19,
        random_state=0,
    )
    assert pvalue > 0.5


def test_patients_of_unequal_number_of_bags_may_be_scored_whole():
    X, y, patient = more_bags_of_the_diseased()
    bags = BagArray(X, np.arange(len(y) + 1), groups=patient)
    scoring = make_group_scorer(accuracy_score, response_method="predict")
    _, _, pvalue = group_permutation_test(
        DummyClassifier(), bags, y, scoring=scoring, n_permutations=19, random_state=0
    )
    assert pvalue > 0.2


@pytest.mark.parametrize("scoring", ["accuracy", make_scorer(accuracy_score), "f1_weighted"])
def test_accuracy_takes_it_for_evidence_and_says_so(scoring):
    X, y, patient = more_bags_of_the_diseased()
    params = {"groups": patient, "scoring": scoring, "n_permutations": 19, "random_state": 0}
    with pytest.warns(UserWarning, match=r"class 0 have 2\.\d bags.*balanced_accuracy"):
        pvalue = group_permutation_test(DummyClassifier(), X, y, **params)[2]
    assert pvalue == 0.05
    # Unequal sizes that have nothing to do with the label are no reason to warn.
    y_other = (patient // 2 % 2).astype(int)
    group_permutation_test(DummyClassifier(), X, y_other, **params)


def test_folds_without_a_class_are_no_reason_to_warn():
    X, _, patient = make_data(n_patients=9)
    y = np.array(list("aaaaaabbc"))[patient]
    score, permuted, _ = group_permutation_test(
        DummyClassifier(strategy="stratified", random_state=0),
        X,
        y,
        groups=patient,
        cv=LeaveOneGroupOut(),
        n_permutations=5,
        random_state=0,
    )
    assert np.isfinite([score, *permuted]).all()


def test_other_estimators_keep_their_own_score():
    X, y, patient = make_data(effect=3)
    score = group_permutation_test(
        LinearRegression(), X, y, groups=patient, n_permutations=2, random_state=0
    )[0]
    splits = list(GroupedSplit(5).split(X, y, patient))
    assert score == cross_val_score(LinearRegression(), X, y, cv=splits, scoring="r2").mean()


def test_constant_labels_are_permuted_over_all_groups():
    codes = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    y = np.array(["a", "b"])[codes % 2]
    shuffle, log_arrangements = _label_shuffler(y, codes)
    assert np.exp(log_arrangements) == pytest.approx(20)
    seen = set()
    for seed in range(100):
        permuted = shuffle(np.random.RandomState(seed))
        labels = [set(permuted[codes == g]) for g in range(6)]
        assert all(len(label) == 1 for label in labels)
        assert sum(label == {"a"} for label in labels) == 3
        seen.add(tuple(permuted))
    assert len(seen) > 15


def test_varying_labels_move_as_whole_vectors():
    codes = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4])
    y = np.array([0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1])
    shuffle, log_arrangements = _label_shuffler(y, codes)
    assert np.exp(log_arrangements) == pytest.approx(6 * 2)
    for seed in range(20):
        permuted = shuffle(np.random.RandomState(seed))
        for groups in [(0, 1, 2), (3, 4)]:
            vectors = sorted(tuple(y[codes == g]) for g in groups)
            assert sorted(tuple(permuted[codes == g]) for g in groups) == vectors


def test_labels_that_cannot_be_permuted():
    X = np.zeros((6, 1))
    with pytest.raises(ValueError, match="varies inside a group"):
        group_permutation_test(_Centroids(), X, [0, 0, 1, 0, 1, 1], groups=[0, 1, 1, 2, 2, 2], cv=2)
    with pytest.raises(ValueError, match="only one value"):
        group_permutation_test(_Centroids(), X, [1] * 6, groups=[0, 0, 1, 1, 2, 2], cv=2)


def test_few_arrangements_are_told():
    X = np.arange(8.0)[:, None]
    y = np.repeat([0, 1, 0, 1], 2)
    with pytest.warns(UserWarning, match="only 6 arrangements"):
        group_permutation_test(
            _Centroids(), X, y, groups=np.repeat(range(4), 2), cv=2, n_permutations=2
        )


def test_undefined_scores():
    X, y, patient = make_data()
    params = {"groups": patient, "cv": 2, "n_permutations": 10, "random_state": 0}
    never = make_scorer(lambda y_true, y_pred: np.nan)
    with pytest.raises(ValueError, match="score is undefined"):
        group_permutation_test(_Centroids(), X, y, scoring=never, **params)
    # Defined only for the labels given: every permutation counts against them.
    seen = make_scorer(lambda y_true, y_pred: 1.0 if y_true.tolist() in given else np.nan)
    given = [y[test].tolist() for _, test in GroupedSplit(2).split(X, y, patient)]
    with pytest.warns(UserWarning, match=r"undefined \(NaN\) in 10 of 10"):
        score, _, pvalue = group_permutation_test(_Centroids(), X, y, scoring=seen, **params)
    assert (score, pvalue) == (1, 1)


def test_other_errors():
    X, y, patient = make_data()
    with pytest.raises(GroupLeakageError, match="No groups"):
        group_permutation_test(_Centroids(), X, y)
    with pytest.raises(ValueError, match="ignores groups"):
        group_permutation_test(_Centroids(), X, y, groups=patient, cv=KFold(3))
    with pytest.raises(ValueError, match="n_permutations must be"):
        group_permutation_test(_Centroids(), X, y, groups=patient, n_permutations=0)


def test_a_wrapped_splitter_and_a_scoring():
    X, y, patient = make_data(effect=2)
    score, _, _ = group_permutation_test(
        LogisticRegression(),
        X,
        y,
        groups=patient,
        cv=GroupKFold(2),
        scoring="neg_log_loss",
        n_permutations=2,
        random_state=0,
    )
    assert score < 0
