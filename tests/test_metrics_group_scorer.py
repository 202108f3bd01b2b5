"""make_group_scorer."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.metrics import (
    accuracy_score,
    brier_score_loss,
    mean_absolute_error,
    roc_auc_score,
)
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from milkit import BagArray
from milkit.exceptions import GroupLeakageError
from milkit.metrics import group_predictions, make_group_scorer
from milkit.model_selection import GroupedSplit


def bag_means(X):
    bags = X["cells"] if hasattr(X, "columns") else X
    return np.array([bag.mean(axis=0) for bag in bags])


def on_bags(final):
    return make_pipeline(FunctionTransformer(bag_means), final)


def make_bags(n_classes=2, n_patients=30, labels=None):
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(n_patients), rng.integers(1, 6, n_patients))
    y = patient % n_classes
    bags = [np.eye(3)[k] + rng.normal(0, 2, size=(rng.integers(2, 5), 3)) for k in y]
    names = np.array([f"p{i}" for i in range(n_patients)])[patient]
    return BagArray.from_list(bags, groups=names), (y if labels is None else np.array(labels)[y])


def by_patient(X, y):
    first = np.unique(X.groups, return_index=True)[1]
    return y[np.sort(first)]


@pytest.mark.parametrize("labels", [[0, 1], ["no", "yes"], [False, True]])
def test_patients_are_scored(labels):
    X, y = make_bags(labels=labels)
    model = on_bags(LogisticRegression()).fit(X, y)
    proba = group_predictions(model.predict_proba(X)[:, 1], X.groups)[1]
    truth = by_patient(X, y)
    auc = make_group_scorer("roc_auc")(model, X, y)
    assert auc == roc_auc_score(truth == labels[1], proba)
    predicted = np.array(labels)[(proba > 0.5).astype(int)]
    assert make_group_scorer("accuracy")(model, X, y) == np.mean(predicted == truth)
    assert make_group_scorer(accuracy_score)(model, X, y) == np.mean(predicted == truth)


def test_one_bag_for_each_patient_is_scikit_learns_scorer():
    X, y = make_bags()
    X = X.with_columns(groups=np.arange(len(X)))
    for name in ["accuracy", "balanced_accuracy", "roc_auc", "average_precision"]:
        params = {"cv": GroupedSplit(3)}
        expected = cross_val_score(on_bags(LogisticRegression()), X, y, scoring=name, **params)
        scored = cross_val_score(
            on_bags(LogisticRegression()), X, y, scoring=make_group_scorer(name), **params
        )
        np.testing.assert_allclose(scored, expected)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "roc_auc", "average_precision"])
@pytest.mark.parametrize("final", [LogisticRegression(), RidgeClassifier()])
def test_three_classes(name, final):
    X, y = make_bags(n_classes=3, labels=["a", "b", "c"])
    method = ("predict_proba", "decision_function")
    model = on_bags(final).fit(X, y)
    score = make_group_scorer(name, response_method=method)(model, X, y)
    assert 1 / 3 < score <= 1
    if name == "roc_auc" and hasattr(model, "predict_proba"):
        proba = group_predictions(model.predict_proba(X), X.groups)[1]
        assert score == pytest.approx(roc_auc_score(by_patient(X, y), proba, multi_class="ovr"))
        one_to_one = make_group_scorer(name, multi_class="ovo")(model, X, y)
        expected = roc_auc_score(by_patient(X, y), proba, multi_class="ovo")
        assert one_to_one == pytest.approx(expected)


def test_votes_of_labels():
    X, y = make_bags(labels=["no", "yes"])
    model = on_bags(LogisticRegression()).fit(X, y)
    votes = group_predictions(model.predict(X) == "yes", X.groups)[1]
    predicted = np.where(votes > 0.5, "yes", "no")
    expected = np.mean(predicted == by_patient(X, y))
    for score_func in ["accuracy", lambda t, p: np.mean(t == p)]:
        assert make_group_scorer(score_func, response_method="predict")(model, X, y) == expected


@pytest.mark.parametrize("average", ["mean", "median", "max"])
def test_a_loss_with_parameters(average):
    X, y = make_bags(labels=["no", "yes"])
    model = on_bags(LogisticRegression()).fit(X, y)
    scorer = make_group_scorer(
        brier_score_loss, average=average, greater_is_better=False, pos_label="yes"
    )
    proba = group_predictions(model.predict_proba(X)[:, 1], X.groups, average=average)[1]
    expected = -brier_score_loss(by_patient(X, y) == "yes", proba)
    assert scorer(model, X, y) == pytest.approx(expected)


def test_a_regression():
    X, y = make_bags()
    model = on_bags(LinearRegression()).fit(X, y)
    scorer = make_group_scorer(
        mean_absolute_error, response_method="predict", greater_is_better=False
    )
    predicted = group_predictions(model.predict(X), X.groups)[1]
    assert scorer(model, X, y) == -mean_absolute_error(by_patient(X, y), predicted)


@pytest.mark.parametrize("routing", [False, True])
def test_search_cross_validation_and_several_metrics(routing):
    X, y = make_bags()
    scorer = make_group_scorer("accuracy")
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(
            on_bags(LogisticRegression()),
            {"logisticregression__C": [0.01, 1]},
            scoring={"patients": scorer, "bags": "accuracy"},
            refit="patients",
            cv=GroupedSplit(3),
        )
        result = cross_validate(clone(search), X, y, cv=GroupedSplit(3), error_score="raise")
    assert np.isfinite(result["test_score"]).all()


def test_a_dataframe_with_a_column_of_groups():
    X, y = make_bags()
    df = pd.DataFrame({"cells": X.to_list(), "patient": X.groups})
    model = on_bags(LogisticRegression()).fit(X, y)
    expected = make_group_scorer("roc_auc")(model, X, y)
    assert make_group_scorer("roc_auc", group="patient")(model, df, y) == expected


def test_a_table_of_numbers_would_use_the_groups_as_a_feature():
    X, y = make_bags()
    df = pd.DataFrame({"size": X.sizes, "patient": np.unique(X.groups, return_inverse=True)[1]})
    model = LogisticRegression().fit(df, y)
    with pytest.raises(ValueError, match="'patient' would be a feature"):
        make_group_scorer("roc_auc", group="patient")(model, df, y)


def test_it_pickles_and_shows_itself():
    X, y = make_bags()
    model = on_bags(LogisticRegression()).fit(X, y)
    scorer = make_group_scorer(roc_auc_score, average="median", group="p", max_fpr=0.5)
    assert repr(scorer) == (
        "make_group_scorer(roc_auc_score, response_method='predict_proba', average='median', "
        "group='p', max_fpr=0.5)"
    )
    assert pickle.loads(pickle.dumps(scorer))(model, X, y) == scorer(model, X, y)


def test_errors():
    X, y = make_bags(labels=["no", "yes"])
    model = on_bags(LogisticRegression()).fit(X, y)
    scorer = make_group_scorer("accuracy")
    wrong = y.copy()
    wrong[np.flatnonzero(X.groups == "p2")[-1]] = "yes"
    assert np.sum(X.groups == "p2") > 1
    with pytest.raises(ValueError, match=r"Group 'p2' has bags with different labels, 'no' and"):
        scorer(model, X, wrong)
    with pytest.raises(GroupLeakageError, match="No groups"):
        scorer(model, X.with_columns(groups=None), y)
    ridge = on_bags(RidgeClassifier()).fit(X, y)
    with pytest.raises(AttributeError, match=r"none of \['predict_proba'\]"):
        scorer(ridge, X, y)
    with pytest.raises(ValueError, match=r"has not seen: \['new'\]"):
        make_group_scorer("roc_auc")(model, X, np.where(X.groups == "p1", "new", y.astype("U3")))
    with pytest.raises(ValueError, match="Unknown metric"):
        make_group_scorer("auc")
    with pytest.raises(ValueError, match="average must be"):
        make_group_scorer("roc_auc", average="sum")
    with pytest.raises(ValueError, match="response_method must be"):
        make_group_scorer("roc_auc", response_method="transform")
