"""cross_val_interval."""

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import average_precision_score, mean_absolute_error, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit, LeaveOneGroupOut, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from milkit import BagArray
from milkit.exceptions import GroupLeakageError
from milkit.metrics import bootstrap_interval, cross_val_interval
from milkit.metrics._cross_val_interval import _repetitions, class_scores
from milkit.model_selection import GroupedSplit


def bag_means(X):
    return np.array([bag.mean(axis=0) for bag in X])


def on_bags(final):
    return make_pipeline(FunctionTransformer(bag_means), final)


def make_bags(n_patients=30, each=2, n_classes=2):
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(n_patients), each)
    y = patient % n_classes
    bags = [np.eye(3)[k] + rng.normal(0, 2, size=(rng.integers(2, 5), 3)) for k in y]
    return BagArray.from_list(bags, groups=patient), y


def validate(model, X, y, cv, **params):
    kept = {"return_estimator": True, "return_indices": True}
    return cross_validate(model, X, y, cv=cv, **kept, **params)


@pytest.mark.parametrize("final", [LogisticRegression(), RidgeClassifier()])
@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"]])
def test_values_of_one_cross_validation(final, labels):
    X, y = make_bags()
    y = np.array(labels)[y]
    scoring = ["accuracy", "balanced_accuracy", "roc_auc", "average_precision"]
    result = validate(on_bags(final), X, y, GroupedSplit(5), scoring=scoring[:3])
    table = cross_val_interval(result, X, y, scoring=scoring, n_resamples=200, random_state=0)
    assert list(table.index) == [
        "accuracy",
        "balanced accuracy",
        "mean per-fold AUC",
        "pooled AUC",
        "mean per-fold average precision",
        "pooled average precision",
    ]
    for row, name in zip(table.index[:3], scoring[:3], strict=True):
        assert table.loc[row, "value"] == pytest.approx(result[f"test_{name}"].mean())
    scores = np.empty(len(y))
    for model, test in zip(result["estimator"], result["indices"]["test"], strict=True):
        if hasattr(model, "predict_proba"):
            scores[test] = model.predict_proba(X[test])[:, 1]
        else:
            scores[test] = model.decision_function(X[test])
    positive = y == labels[1]
    assert table.loc["pooled AUC", "value"] == pytest.approx(roc_auc_score(positive, scores))
    assert table.loc["pooled average precision", "value"] == pytest.approx(
        average_precision_score(positive, scores)
    )
    assert (table["low"] < table["value"]).all()
    assert (table["value"] < table["high"]).all()
    assert (table["n_undefined"] == 0).all()


def test_repetitions_are_no_new_patients():
    X, y = make_bags()
    once, ten = (
        cross_val_interval(
            validate(
                on_bags(LogisticRegression()),
                X,
                y,
                GroupedSplit(3, n_repeats=n_repeats, random_state=0),
            ),
            X,
            y,
            random_state=0,
        )
        for n_repeats in (1, 10)
    )
    width = [table["high"] - table["low"] for table in (once, ten)]
    assert (width[1] > 0.6 * width[0]).all()


def test_pooled_values_are_averaged_over_repetitions():
    X, y = make_bags()
    result = validate(
        on_bags(LogisticRegression()), X, y, GroupedSplit(3, n_repeats=4, random_state=0)
    )
    table = cross_val_interval(result, X, y, scoring="roc_auc", n_resamples=50, random_state=0)
    pooled = []
    for start in range(0, 12, 3):
        scores = np.empty(len(y))
        for k in range(start, start + 3):
            test = result["indices"]["test"][k]
            scores[test] = result["estimator"][k].predict_proba(X[test])[:, 1]
        pooled.append(roc_auc_score(y, scores))
    assert table.loc["pooled AUC", "value"] == pytest.approx(np.mean(pooled))


def test_groups_matter_and_may_be_passed():
    X, y = make_bags(each=6)
    result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(3))
    bare = X.with_columns(groups=None)
    inside = cross_val_interval(result, X, y, random_state=0)
    passed = cross_val_interval(result, bare, y, groups=X.groups, random_state=0)
    np.testing.assert_array_equal(inside, passed)
    ungrouped = cross_val_interval(result, bare, y, random_state=0)
    np.testing.assert_array_equal(inside["value"], ungrouped["value"])
    assert not np.allclose(inside["low"], ungrouped["low"])
    with pytest.raises(GroupLeakageError, match="disagree"):
        cross_val_interval(result, X, y, groups=np.arange(len(y)))


def test_it_equals_the_bootstrap_of_the_predictions():
    X, y = make_bags()
    result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(3))
    table = cross_val_interval(result, X, y, scoring="accuracy", random_state=0)
    predicted, fold = np.empty_like(y), np.empty_like(y)
    for k, (model, test) in enumerate(
        zip(result["estimator"], result["indices"]["test"], strict=True)
    ):
        predicted[test], fold[test] = model.predict(X[test]), k
    interval = bootstrap_interval(
        "accuracy", y, predicted, groups=X.groups, folds=fold, random_state=1
    )
    assert table.loc["accuracy", "value"] == pytest.approx(interval.value)
    assert table.loc["accuracy", "low"] == pytest.approx(interval.low, abs=0.02)


@pytest.mark.parametrize("final", [LogisticRegression(), RidgeClassifier()])
def test_three_classes(final):
    X, y = make_bags(n_classes=3)
    result = validate(on_bags(final), X, y, GroupedSplit(3))
    table = cross_val_interval(result, X, y, n_resamples=100, random_state=0)
    assert table["value"].between(0, 1).all()
    if hasattr(final, "predict_proba"):
        expected = validate(on_bags(final), X, y, GroupedSplit(3), scoring="roc_auc_ovr")
        assert table.loc["mean per-fold AUC", "value"] == pytest.approx(
            expected["test_score"].mean()
        )


class Trained:
    """A model whose training bags had these classes, with such scores."""

    def __init__(self, classes, **scores):
        self.classes_ = np.array(classes)
        for method, values in scores.items():
            setattr(self, method, lambda X, values=values: np.array(values))


def test_a_class_that_a_fold_did_not_train_on_scores_lowest():
    classes = np.array(["a", "b", "c", "d"])
    decision = [[-7.0, -5.0, -6.0], [4.0, 2.0, 3.0]]
    scores = class_scores(Trained(["a", "b", "d"], decision_function=decision), None, classes)
    np.testing.assert_array_equal(scores[:, [0, 1, 3]], decision)
    assert (scores[:, 2] < np.min(decision)).all()
    proba = [[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]
    scores = class_scores(Trained(["b", "c", "d"], predict_proba=proba), None, classes)
    np.testing.assert_array_equal(scores[:, 1:], proba)
    np.testing.assert_array_equal(scores[:, 0], 0)


def test_a_fold_that_trained_on_two_of_three_classes():
    classes = np.array([1, 2, 3])
    scores = class_scores(Trained([1, 3], decision_function=[-2.0, 5.0]), None, classes)
    np.testing.assert_array_equal(scores[:, 0], [2, -5])
    np.testing.assert_array_equal(scores[:, 2], [-2, 5])
    assert (scores[:, 1] < -5).all()


def test_leave_one_out_has_a_pooled_auc_only():
    X, y = make_bags(n_patients=8)
    result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(LeaveOneGroupOut()))
    with pytest.warns(UndefinedMetricWarning, match="at least one of 8 folds"):
        table = cross_val_interval(result, X, y, n_resamples=50, random_state=0)
    assert np.isnan(table.loc["mean per-fold AUC", "value"])
    assert np.isfinite(table.loc["pooled AUC", ["value", "low", "high"]]).all()


def test_leaving_one_patient_out_is_no_more_certain_than_the_pool():
    X, y = make_bags(each=4)
    result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(LeaveOneGroupOut()))
    row = cross_val_interval(result, X, y, scoring="accuracy", random_state=0).loc["accuracy"]
    right = np.empty(len(y))
    for model, test in zip(result["estimator"], result["indices"]["test"], strict=True):
        right[test] = model.predict(X[test]) == y[test]
    pooled = bootstrap_interval(
        lambda y_true, ok: ok.mean(), y, right, groups=X.groups, random_state=1
    )
    assert row["value"] == pytest.approx(pooled.value)
    assert row["high"] - row["low"] == pytest.approx(pooled.high - pooled.low, rel=0.1)


def test_the_number_of_units_tells_whether_groups_were_found():
    X, y = make_bags(n_patients=20, each=3)
    result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(4))
    params = {"n_resamples": 20, "random_state": 0}
    assert (cross_val_interval(result, X, y, **params)["n_units"] == 20).all()
    bare = X.with_columns(groups=None)
    assert (cross_val_interval(result, bare, y, **params)["n_units"] == 60).all()


def test_a_table_of_numbers_would_use_the_groups_as_a_feature():
    X, y = make_bags()
    table = pd.DataFrame(bag_means(X), columns=list("abc")).assign(patient=X.groups)
    result = validate(LogisticRegression(), table, y, GroupedSplit(3), groups=X.groups)
    with pytest.raises(ValueError, match="'patient' would be a feature"):
        cross_val_interval(result, table, y, group="patient")


@pytest.mark.parametrize("test_size", [0.4, 0.5])
def test_shuffle_splits_are_pooled_one_by_one(test_size):
    """Two test sets without a common bag are no repetition either, if bags are left out."""
    X, y = make_bags()
    for seed in range(3):
        cv = GroupShuffleSplit(4, test_size=test_size, random_state=seed)
        result = validate(on_bags(LogisticRegression()), X, y, GroupedSplit(cv))
        table = cross_val_interval(result, X, y, scoring="roc_auc", n_resamples=20, random_state=0)
        np.testing.assert_array_equal(table.loc["pooled AUC"], table.loc["mean per-fold AUC"])


def test_what_is_a_repetition():
    def n_pooled(*tests):
        tests = [np.array(test) for test in tests]
        return len(_repetitions(tests, tests, n_bags=4))

    assert n_pooled([0, 1], [2, 3]) == 1
    assert n_pooled([0, 1], [2, 3], [0, 2], [1, 3]) == 2
    assert n_pooled([0, 1], [2], [0, 1], [3]) == 4
    assert n_pooled([0, 1], [2, 3], [0, 1]) == 3
    assert n_pooled([0], [1]) == 2


def test_a_callable_and_a_regression():
    X, y = make_bags()
    target = y + np.linspace(0, 1, len(y))
    result = validate(on_bags(LinearRegression()), X, target, GroupedSplit(3))
    table = cross_val_interval(
        result, X, target, scoring=mean_absolute_error, n_resamples=50, random_state=0
    )
    assert list(table.index) == ["mean_absolute_error"]
    assert (table["low"] < table["value"]).all()


def test_errors():
    X, y = make_bags()
    model = on_bags(LogisticRegression())
    with pytest.raises(ValueError, match="return_estimator=True, return_indices=True"):
        cross_val_interval(cross_validate(model, X, y, cv=GroupedSplit(3)), X, y)
    result = validate(model, X, y, GroupedSplit(3))
    with pytest.raises(ValueError, match="Unknown metric 'auc'"):
        cross_val_interval(result, X, y, scoring=["auc"])
    with pytest.raises(ValueError, match=r"tests bag 59, but y has 20 bags"):
        cross_val_interval(result, X[:20], y[:20])
    regression = validate(on_bags(LinearRegression()), X, y, GroupedSplit(3))
    with pytest.raises(ValueError, match="neither predict_proba nor decision_function"):
        cross_val_interval(regression, X, y, scoring="roc_auc")
