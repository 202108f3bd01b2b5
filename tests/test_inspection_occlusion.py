"""What a decision loses without an instance, against a loop and against closed forms."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

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
from milkit.exceptions import BagShapeError
from milkit.inspection import _decisions as module
from milkit.inspection import (
    attention_weights,
    deletion_curve,
    insertion_curve,
    instance_occlusion,
    score_instances,
)
from milkit.neural import AttentionMILRegressor


def make_bags(n_bags=24, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, 3)) for n in rng.integers(2, 7, size=n_bags)]
    y = np.arange(n_bags) % n_classes
    for bag, label in zip(X, y, strict=True):
        bag[0] += 3 * label
    return X, y


def network(**params):
    params = {"max_iter": 5, "hidden_layer_sizes": (8,), "random_state": 0, **params}
    return AttentionMILClassifier(**params)


def with_columns(X, seed=0):
    """The bags with everything that a BagArray can carry."""
    rng = np.random.default_rng(seed)
    sizes = [len(bag) for bag in X]
    return BagArray.from_list(
        X,
        names=[f"sample-{i}" for i in range(len(X))],
        groups=np.arange(len(X)) // 2,
        covariates=pd.DataFrame(
            {"age": rng.normal(60, 10, len(X)), "sex": rng.choice(["f", "m"], len(X))}
        ),
        instance_data={"area": [rng.normal(size=n) for n in sizes]},
    )


def brute_force(decide, X):
    """The same by one call for each instance, on a BagArray."""
    found = []
    for i in range(len(X)):
        bag = X[[i]]
        n = int(bag.sizes[0])
        whole = decide(bag)[0]
        values = np.full((n, *np.shape(whole)), np.nan)
        for k in range(n):
            if n > 1:
                values[k] = whole - decide(bag.select_instances(np.arange(n) != k))[0]
        found.append(values)
    return found


def assert_lists_close(found, expected, **tolerance):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, **{"rtol": 1e-4, "atol": 1e-5, **tolerance})


ESTIMATORS = {
    "MISVM": lambda: MISVM(),
    "network": network,
    "network in a search": lambda: GridSearchCV(network(), {}, cv=2),
    "covariates": lambda: network(covariates="concat", branch_layer_sizes=(4,)),
    "attention features": lambda: network(attention_features=["area"]),
    "filter": lambda: make_pipeline(
        InstanceTransformer(StandardScaler()), OneClassInstanceFilter(), MISVM()
    ),
    "votes": lambda: InstanceVotingClassifier(LogisticRegression()),
    "fusion": lambda: ClinicalFusion(MISVM(), cv=2),
    "plain": lambda: make_pipeline(BagStatistics(), StandardScaler(), SVC()),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("at_once", [1, 10_000])
def test_it_is_what_a_loop_finds(name, at_once, monkeypatch):
    X, y = make_bags()
    X[3] = X[3][:1]
    X = with_columns(X)
    model = ESTIMATORS[name]().fit(X, y)
    decide = getattr(model, "decision_function", None) or (lambda X: model.predict_proba(X)[:, 1])
    expected = brute_force(decide, X)
    monkeypatch.setattr(module, "_BATCH_BYTES", at_once)
    found = instance_occlusion(model, X)
    assert_lists_close(found, expected)
    assert np.isnan(found[3]).tolist() == [True]
    assert sum(np.isnan(values).sum() for values in found) == 1
    assert any(np.abs(values[np.isfinite(values)]).max(initial=0) > 0 for values in found)


def test_covariates_and_instance_data_reach_the_estimator():
    """The decision is read off the columns, so that nothing but them can give it."""

    class Reader(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, X):
            area = np.add.reduceat(X.instance_data["area"], X.flat()[1][:-1])
            names = np.array([int(name.split("-")[1]) for name in X.names])
            return area * X.covariates["age"].to_numpy() + 1000 * X.groups + names

        def predict(self, X):
            return self.classes_[(self.decision_function(X) > 0).astype(int)]

    X, y = make_bags()
    X = with_columns(X)[5:]
    age, area = X.covariates["age"].to_numpy(), X.instance_data["area"]
    found = np.concatenate(instance_occlusion(Reader().fit(X, y[5:]), X))
    np.testing.assert_allclose(found, area * np.repeat(age, X.sizes))


@pytest.mark.parametrize("make", [network, lambda: LogisticRegression()])
def test_shapes_for_several_classes(make):
    X, y = make_bags(n_classes=3)
    model = make()
    if isinstance(model, LogisticRegression):
        model = make_pipeline(BagStatistics(("mean",)), model)
    X = BagArray.from_list(X)
    found = instance_occlusion(model.fit(X, y), X)
    assert [values.shape for values in found] == [(n, 3) for n in X.sizes]
    assert_lists_close(found, brute_force(model.decision_function, X))


def test_regressors():
    X, _ = make_bags()
    y = np.array([bag.mean() for bag in X])
    X = BagArray.from_list(X)
    for model in (
        AttentionMILRegressor(max_iter=3, random_state=0),
        make_pipeline(BagStatistics(("mean", "max")), LinearRegression()),
    ):
        model.fit(X, y)
        assert_lists_close(instance_occlusion(model, X), brute_force(model.predict, X))
        with pytest.raises(TypeError, match=r"'decision_function'.*Take one of \['predict'\]"):
            instance_occlusion(model, X, response_method="decision_function")


def test_outlier_detectors():
    X, _ = make_bags()
    X = BagArray.from_list(X)
    model = make_pipeline(BagStatistics(("mean",)), OneClassSVM()).fit(X)
    assert_lists_close(instance_occlusion(model, X), brute_force(model.decision_function, X))


def test_mean_of_evidence_in_closed_form():
    X, y = make_bags()
    for model in (
        network(pooling="mean"),
        make_pipeline(BagStatistics(("mean",)), LogisticRegression()),
    ):
        model.fit(X, y)
        if hasattr(model, "score_instances"):
            evidence = score_instances(model, X)
        else:
            evidence = [bag @ model[-1].coef_[0] for bag in X]
        expected = [(s - s.mean()) / (len(s) - 1) for s in evidence]
        assert_lists_close(instance_occlusion(model, X), expected)


def test_attention_in_closed_form():
    X, y = make_bags()
    model = network().fit(X, y)
    weights, evidence = attention_weights(model, X), score_instances(model, X)
    # Evidence is n a s; without k the other weights grow by 1 / (1 - a_k).
    expected = [
        (e / len(e) - a * e.mean()) / (1 - a) for a, e in zip(weights, evidence, strict=True)
    ]
    assert_lists_close(instance_occlusion(model, X), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean_std", "logsumexp", "max"])
def test_where_evidence_is_occlusion_it_is_the_same(pooling):
    X, y = make_bags()
    model = network(pooling=pooling).fit(X, y)
    assert_lists_close(instance_occlusion(model, X), score_instances(model, X), atol=1e-4)


def test_only_the_witness_of_a_maximum_is_missed():
    X, y = make_bags()
    model = MISVM().fit(X, y)
    for values, evidence in zip(
        instance_occlusion(model, X), score_instances(model, X), strict=True
    ):
        first = evidence.argmax()
        others = np.delete(evidence, first)
        np.testing.assert_allclose(np.delete(values, first), 0, atol=1e-9)
        np.testing.assert_allclose(values[first], evidence[first] - others.max(), atol=1e-9)


def test_order_of_instances_and_bags_does_not_matter():
    X, y = make_bags()
    model = network().fit(X, y)
    found = instance_occlusion(model, X)
    turned = instance_occlusion(model, [bag[::-1] for bag in X[::-1]])
    assert_lists_close([values[::-1] for values in turned[::-1]], found)
    assert_lists_close(instance_occlusion(model, X[4:7]), found[4:7])


def test_containers():
    X, y = make_bags()
    model = MISVM().fit(X, y)
    expected = instance_occlusion(model, X)
    array = np.empty(len(X), dtype=object)
    array[:] = X
    series = pd.Series(X, index=[f"s{i}" for i in range(len(X))])
    for same in (tuple(X), array, BagArray.from_list(X), series, pd.DataFrame({"cells": series})):
        assert_lists_close(instance_occlusion(model, same), expected)
    equal = np.stack([bag[:2] for bag in X])
    assert_lists_close(instance_occlusion(model, equal), instance_occlusion(model, list(equal)))
    view = BagArray.from_list(X)[::-2]
    assert_lists_close(instance_occlusion(model, view), expected[::-2])


@pytest.mark.parametrize("feature_names", [None, list("abc")])
@pytest.mark.parametrize("index", [None, "names"])
def test_all_columns_of_a_data_frame_stay(feature_names, index):
    bags, y = make_bags()
    X = with_columns(bags)
    cells = np.empty(len(X), dtype=object)
    cells[:] = [
        bag if feature_names is None else pd.DataFrame(bag, columns=feature_names) for bag in bags
    ]
    frame = pd.DataFrame({"age": X.covariates["age"], "cells": cells})
    if index:
        frame.index = X.names
    model = make_pipeline(
        ColumnTransformer(
            [("bags", BagStatistics(("mean",)), ["cells"]), ("age", "passthrough", ["age"])]
        ),
        LogisticRegression(max_iter=10_000),
    ).fit(frame, y)
    before = frame.copy()
    found = instance_occlusion(model, frame)
    slope = model[-1].coef_[0, :3]
    evidence = [bag @ slope for bag in bags]
    assert_lists_close(found, [(s - s.mean()) / (len(s) - 1) for s in evidence])
    pd.testing.assert_frame_equal(frame, before)


def test_fusion_on_a_data_frame():
    bags, y = make_bags()
    X = with_columns(bags)
    model = ClinicalFusion(MISVM(), cv=2, covariates=["age", "sex"])
    frame = X.covariates.assign(cells=pd.Series(bags), note="not a covariate")
    expected = instance_occlusion(model.fit(X, y), X)
    assert_lists_close(instance_occlusion(model.fit(frame, y), frame), expected)


def test_images():
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 256, size=(n, 1, 16, 16), dtype=np.uint8) for n in (2, 3, 2, 4)]
    model = network(max_iter=1).fit(X, [0, 1, 0, 1])
    X = BagArray.from_list(X)
    assert_lists_close(instance_occlusion(model, X), brute_force(model.decision_function, X))


def test_some_instances_only():
    X, y = make_bags()
    model = MISVM().fit(X, y)
    whole = instance_occlusion(model, X)
    wanted = [np.arange(len(bag)) == 1 for bag in X]
    array = np.empty(len(X), dtype=object)
    array[:] = wanted
    for instances in (wanted, array, np.concatenate(wanted)):
        found = instance_occlusion(model, X, instances=instances)
        expected = [np.where(w, v, np.nan) for w, v in zip(wanted, whole, strict=True)]
        assert_lists_close(found, expected)
    nothing = instance_occlusion(model, X, instances=[np.zeros(len(bag), bool) for bag in X])
    assert all(np.isnan(values).all() for values in nothing)
    X, y = make_bags(n_classes=3)
    nothing = instance_occlusion(
        network().fit(X, y), X, instances=[np.zeros(len(bag), bool) for bag in X]
    )
    assert nothing[0].shape == (len(X[0]), 3)


def test_response_methods():
    X, y = make_bags()
    X = BagArray.from_list(X)
    model = network().fit(X, y)
    found = instance_occlusion(model, X, response_method="predict_proba")
    assert_lists_close(found, brute_force(lambda X: model.predict_proba(X)[:, 1], X))
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), cv=2).fit(X, y)
    found = instance_occlusion(calibrated, X)
    assert_lists_close(found, brute_force(lambda X: calibrated.predict_proba(X)[:, 1], X))


def test_a_progress_bar(capsys):
    X, y = make_bags()
    model = MISVM().fit(X, y)
    instance_occlusion(model, X)
    assert capsys.readouterr() == ("", "")
    instance_occlusion(model, X, verbose=1)
    assert "instance_occlusion, instances" in capsys.readouterr().err


class Odd(ClassifierMixin, BaseEstimator):
    """A classifier whose decision is what it is told."""

    def __init__(self, decision=None):
        self.decision = decision

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))

    def decision_function(self, X):
        return self.decision(len(X))


class Names(RegressorMixin, BaseEstimator):
    def fit(self, X, y):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.repeat("a", len(X))


class NoDecision(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.repeat(self.classes_[0], len(X))


def test_estimators_that_cannot_be_explained():
    X, y = make_bags(n_classes=4)
    for wrong in (None, MISVM):
        with pytest.raises(TypeError, match="must be a fitted estimator"):
            instance_occlusion(wrong, X)
    for model in (MISVM(), make_pipeline(BagStatistics(), SVC()), GridSearchCV(MISVM(), {})):
        with pytest.raises(NotFittedError):
            instance_occlusion(model, X)
    with pytest.raises(TypeError, match="estimator"):
        instance_occlusion("a model", X)
    with pytest.raises(TypeError, match="no decision to look at"):
        instance_occlusion(NoDecision().fit(X, y), X)
    with pytest.raises(TypeError, match="no decision at all"):
        instance_occlusion(NoDecision().fit(X, y), X, response_method="predict_proba")
    with pytest.raises(TypeError, match="no decision to look at"):
        instance_occlusion(InstanceTransformer(StandardScaler()).fit(X), X)
    with pytest.raises(TypeError, match="labels with it and not numbers"):
        instance_occlusion(network(max_iter=1).fit(X, y), X, response_method="predict")
    search = GridSearchCV(MISVM(), {}, cv=2, refit=False).fit(X, y)
    with pytest.raises(TypeError, match="refit=True"):
        instance_occlusion(search, X)
    pairs = make_pipeline(BagStatistics(), SVC(decision_function_shape="ovo")).fit(X, y)
    with pytest.raises(ValueError, match="6 columns for 4 classes"):
        instance_occlusion(pairs, X)
    with pytest.raises(TypeError, match="several targets"):
        instance_occlusion(Odd(lambda n: [np.zeros((n, 2))] * 2).fit(X, y), X)
    with pytest.raises(TypeError, match=r"Got dtype float64 and shape \(24, 2, 2\)"):
        instance_occlusion(Odd(lambda n: np.zeros((n, 2, 2))).fit(X, y), X)
    with pytest.raises(TypeError, match="must give numbers"):
        instance_occlusion(Names().fit(X, y), X)


class Own(ClassifierMixin, BaseEstimator):
    """Somebody's own classifier, which asks an SVC."""

    def __init__(self, shape="ovr"):
        self.shape = shape

    def fit(self, X, y):
        svc = SVC(decision_function_shape=self.shape)
        self.model_ = make_pipeline(BagStatistics(), svc).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)

    def decision_function(self, X):
        return self.model_.decision_function(X)


def svc(shape):
    return make_pipeline(BagStatistics(), SVC(decision_function_shape=shape))


PAIRS = {
    "pipeline": svc,
    "search": lambda shape: GridSearchCV(svc(shape), {}, cv=2),
    "frozen": lambda shape: FrozenEstimator(svc(shape)),
    "fusion": lambda shape: ClinicalFusion(
        MISVM(), final_estimator=SVC(decision_function_shape=shape), cv=2, covariates=[]
    ),
    "own": Own,
    "bagging": lambda shape: make_pipeline(
        BagStatistics(), BaggingClassifier(SVC(decision_function_shape=shape), n_estimators=3)
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_three_pairs_are_not_three_classes(name):
    X, y = make_bags(n_bags=30, n_classes=3)
    model = PAIRS[name]("ovo")
    if name == "frozen":
        model.estimator.fit(X, y)
    model.fit(X, y)
    for function in (instance_occlusion, deletion_curve, insertion_curve):
        options = {} if function is instance_occlusion else {"kind": "random"}
        with pytest.raises(ValueError, match=r"one for each pair.*decision_function_shape='ovr'"):
            function(model, X, **options)


@pytest.mark.parametrize("shape", ["ovo", "ovr"])
def test_pairs_of_one_bag(shape):
    X, y = make_bags(n_bags=60, n_classes=3)
    model = Own(shape).fit(X, y)
    refused = 0
    for i in range(len(X)):
        one = X[i : i + 1]
        greatest = model.classes_[model.decision_function(one).argmax()]
        if shape == "ovr" or greatest == model.predict(one)[0]:  # nothing tells
            assert instance_occlusion(model, one)[0].shape == (len(X[i]), 3)
            continue
        refused += 1
        with pytest.raises(ValueError, match="one for each pair"):
            instance_occlusion(model, one)
    assert (refused > 30) == (shape == "ovo")


def test_members_of_boosting_decide_pairs_and_it_does_not():
    X, y = make_bags(n_bags=30, n_classes=3)
    model = make_pipeline(
        BagStatistics(), AdaBoostClassifier(SVC(decision_function_shape="ovo"), n_estimators=3)
    ).fit(X, y)
    X = BagArray.from_list(X[:6])
    assert_lists_close(instance_occlusion(model, X), brute_force(model.decision_function, X))


def test_evidence_of_instances_is_for_classes_and_not_for_pairs():
    X, y = make_bags(n_bags=30, n_classes=3)
    pairs = SVC(decision_function_shape="ovo")
    plain = InstanceVotingClassifier(pairs).fit(X, y)
    search = InstanceVotingClassifier(GridSearchCV(pairs, {}, cv=2)).fit(X, y)
    assert_lists_close(score_instances(search, X), score_instances(plain, X))


class Counted(ClassifierMixin, BaseEstimator):
    """Notes the sizes of the bags that it is asked about."""

    def __init__(self, n_columns=1):
        self.n_columns = n_columns

    def fit(self, X, y):
        self.classes_, self.decided_, self.predicted_ = np.unique(y), [], []
        return self

    def predict(self, X):
        self.predicted_.append([len(bag) for bag in X])
        return self.classes_[self._decide(X).argmax(axis=1)]

    def decision_function(self, X):
        self.decided_.append([len(bag) for bag in X])
        values = self._decide(X)
        return values[:, 0] if self.n_columns == 1 else values

    def _decide(self, X):
        return np.stack([np.resize(bag.mean(axis=0), self.n_columns) for bag in X])


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_no_more_is_predicted_than_is_needed(n_classes):
    X, y = make_bags(n_classes=n_classes)
    sizes, smallest = [len(bag) for bag in X], [min(map(len, X))]
    for_check = {2: [], 3: [sizes], 4: [smallest]}[n_classes]
    model = Counted(1 if n_classes == 2 else n_classes).fit(X, y)
    instance_occlusion(model, X, instances=[np.arange(len(bag)) == 0 for bag in X])
    assert model.decided_ == [sizes, [n - 1 for n in sizes]]
    assert model.predicted_ == for_check
    model.fit(X, y)
    deletion_curve(model, X, kind="random", class_label=1)
    assert model.predicted_ == for_check
    model.fit(X, y)
    insertion_curve(model, X, kind="random")
    assert model.predicted_ == for_check + [sizes] * (n_classes != 3)
    model.fit(X, y)
    deletion_curve(model, X[:1], kind="random")
    assert model.predicted_ == [sizes[:1]]


@pytest.mark.parametrize("name", PAIRS)
def test_a_decision_for_each_of_three_classes(name):
    X, y = make_bags(n_bags=30, n_classes=3)
    model = PAIRS[name]("ovr")
    if name == "frozen":
        model.estimator.fit(X, y)
    model.fit(X, y)
    X = BagArray.from_list(X[:6])
    assert_lists_close(instance_occlusion(model, X), brute_force(model.decision_function, X))
    X, y = make_bags()  # two classes have one pair
    model = svc("ovo").fit(X, y)
    assert instance_occlusion(model, X)[0].shape == (len(X[0]),)


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneVsRestClassifier(MISVM()),
        lambda: make_pipeline(BagStatistics(), RidgeClassifier()),
        lambda: make_pipeline(BagStatistics(), DecisionTreeClassifier()),
        lambda: GridSearchCV(make_pipeline(BagStatistics(), KNeighborsClassifier()), {}, cv=2),
    ],
)
def test_several_labels_for_each_bag(make):
    X, y = make_bags()
    model = make().fit(X, np.column_stack([y, np.arange(len(y)) < 12]).astype(int))
    for function in (instance_occlusion, deletion_curve, insertion_curve):
        options = {} if function is instance_occlusion else {"kind": "random", "class_label": 1}
        with pytest.raises(TypeError, match="y of two dimensions and gives 2 labels"):
            function(model, X, **options)


def test_bad_input():
    X, y = make_bags()
    model = MISVM().fit(X, y)
    with pytest.raises(BagShapeError, match="instance_occlusion needs bags, but got one 2-D table"):
        instance_occlusion(model, X[0])
    with pytest.raises(BagShapeError, match="Got no bags"):
        instance_occlusion(model, BagArray.from_list(X)[:0])
    with pytest.raises(ValueError, match="'response_method' parameter"):
        instance_occlusion(model, X, response_method="logits")
    mask = [np.ones(9 if i == 2 else len(bag), bool) for i, bag in enumerate(X)]
    with pytest.raises(ValueError, match=r"Bag 2 has .* instances, but its 'instances' has 9"):
        instance_occlusion(model, X, instances=mask)
    with pytest.raises(ValueError, match=r"True or False of each instance.*Got dtype int64"):
        instance_occlusion(model, X, instances=[np.zeros(len(bag), int) for bag in X])
    with pytest.raises(ValueError, match="features"):
        instance_occlusion(model, [bag[:, :2] for bag in X])
    X[5][1, 0] = np.nan
    with pytest.raises(ValueError, match="Bag 5 has NaN"):
        instance_occlusion(model, X)


def test_the_input_is_not_changed():
    X, y = make_bags()
    model = MISVM().fit(X, y)
    for bag in X:
        bag.flags.writeable = False
    assert_lists_close(instance_occlusion(model, X), instance_occlusion(model, X))
