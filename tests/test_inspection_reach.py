"""Instance outputs through pipelines, searches and wrappers."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    StratifiedKFold,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
)
from milkit.base import BagMixin, BagsToBagsMixin, split_by_bag
from milkit.exceptions import BagShapeError
from milkit.inspection import attention_weights, predict_instances, score_instances
from milkit.neural import AttentionMILRegressor
from milkit.utils.validation import as_bag_array


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 3)) for n in rng.integers(2, 7, size=24)]
    y = np.arange(24) % 2
    for bag in X[1::2]:
        bag[0] += 4
    return X, y


class KeepLarge(BagsToBagsMixin, BaseEstimator):
    """Drops the half of each bag with the smallest first feature."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        bags = as_bag_array(X)
        return bags.select_instances([bag[:, 0] >= np.median(bag[:, 0]) for bag in bags])


def quick_attention():
    return AttentionMILClassifier(max_iter=3, hidden_layer_sizes=(8,), random_state=0)


def assert_lists_equal(a, b):
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        np.testing.assert_allclose(left, right)


WRAPPERS = {
    "search": lambda e: GridSearchCV(e, {}, cv=2),
    "fixed threshold": lambda e: FixedThresholdClassifier(e, threshold=0.1),
    "tuned threshold": lambda e: TunedThresholdClassifierCV(e, cv=2),
    "threshold around search": lambda e: FixedThresholdClassifier(GridSearchCV(e, {}, cv=2)),
    "pipeline": lambda e: make_pipeline("passthrough", e),
    "pipeline in pipeline": lambda e: make_pipeline(make_pipeline("passthrough", e)),
    "one vs rest": lambda e: OneVsRestClassifier(e),
}


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("make", [lambda: MISVM(), quick_attention])
def test_wrappers_give_what_the_estimator_gives(data, name, make):
    X, y = data
    expected = make().fit(X, y).score_instances(X)
    assert_lists_equal(score_instances(WRAPPERS[name](make()).fit(X, y), X), expected)


def test_frozen_and_calibrated_on_it(data):
    X, y = data
    model = MISVM().fit(X, y)
    calibrated = CalibratedClassifierCV(FrozenEstimator(model), cv=2).fit(X, y)
    assert_lists_equal(score_instances(FrozenEstimator(model), X), model.score_instances(X))
    assert_lists_equal(score_instances(calibrated, X), model.score_instances(X))


def test_calibrated_is_the_mean_of_its_members(data):
    X, y = data
    cv = StratifiedKFold(3)
    calibrated = CalibratedClassifierCV(MISVM(), cv=cv).fit(X, y)
    members = [
        MISVM().fit([X[i] for i in train], y[train]).score_instances(X)
        for train, _ in cv.split(np.zeros(len(y)), y)
    ]
    expected = [np.mean(parts, axis=0) for parts in zip(*members, strict=True)]
    assert_lists_equal(score_instances(calibrated, X), expected)
    with pytest.raises(TypeError, match="holds 3 fitted members"):
        predict_instances(calibrated, X)


def test_labels_of_the_one_member(data):
    X, y = data
    y = np.array(["healthy", "sick"])[y]
    calibrated = CalibratedClassifierCV(MISVM(), cv=2, ensemble=False).fit(X, y)
    expected = MISVM().fit(X, y).predict_instances(X)
    assert [a.tolist() for a in predict_instances(calibrated, X)] == [b.tolist() for b in expected]


def test_pipeline_applies_its_steps(data):
    X, y = data
    model = make_pipeline(InstanceTransformer(StandardScaler()), MISVM()).fit(X, y)
    expected = model[-1].score_instances(model[0].transform(X))
    assert_lists_equal(score_instances(model, X), expected)
    labels = predict_instances(model, X)
    assert all(np.array_equal(a, b > 0) for a, b in zip(labels, expected, strict=True))


@pytest.mark.parametrize("nested", [False, True])
def test_dropped_instances_are_nan_and_the_rest_in_place(data, nested):
    X, y = data
    model = make_pipeline(KeepLarge(), MISVM())
    if nested:
        model = make_pipeline(InstanceTransformer(StandardScaler()), GridSearchCV(model, {}, cv=2))
    else:
        model = make_pipeline(InstanceTransformer(StandardScaler()), *[s for _, s in model.steps])
    model.fit(X, y)
    evidence = score_instances(model, X)
    inner = model[1].best_estimator_ if nested else model[1:]
    scaled = model[0].transform(X)
    kept = KeepLarge().transform(scaled)
    expected = inner[-1].score_instances(kept)
    for bag, values, want in zip(scaled, evidence, expected, strict=True):
        mask = bag[:, 0] >= np.median(bag[:, 0])
        np.testing.assert_array_equal(np.isnan(values), ~mask)
        np.testing.assert_allclose(values[mask], want)
    labels = predict_instances(model, X)
    assert labels[0].dtype == object
    for values, found in zip(evidence, labels, strict=True):
        kept = ~np.isnan(values)
        assert [int(v) for v in found[kept]] == list((values[kept] > 0).astype(int))


class KeepAboveTrainingMean(BagsToBagsMixin, BaseEstimator):
    """Drops instances by what it was fitted on, but never the largest of a bag."""

    def fit(self, X, y=None):
        self.mean_ = as_bag_array(X).flat()[0].mean(axis=0)[0]
        return self

    def transform(self, X):
        bags = as_bag_array(X)
        return bags.select_instances(
            [(bag[:, 0] >= self.mean_) | (bag[:, 0] == bag[:, 0].max()) for bag in bags]
        )


def test_members_that_drop_different_instances(data):
    X, y = data
    # An instance between the means of the members is kept by some of them only.
    steps = np.linspace(0, 2, len(X))
    X = [np.vstack([bag, [[step, 0, 0]]]) for bag, step in zip(X, steps, strict=True)]
    model = make_pipeline(KeepAboveTrainingMean(), MISVM())
    calibrated = CalibratedClassifierCV(model, cv=StratifiedKFold(3)).fit(X, y)
    members = [member.estimator for member in calibrated.calibrated_classifiers_]
    by_member = [np.concatenate(score_instances(member, X)) for member in members]
    dropped = np.isnan(by_member).sum(axis=0)
    assert {0, 1, 2, 3} == set(dropped)
    expected = [
        np.mean([value for value in values if not np.isnan(value)]) if n < 3 else np.nan
        for n, values in zip(dropped, np.transpose(by_member), strict=True)
    ]
    actual = score_instances(calibrated, X)
    assert [len(part) for part in actual] == [len(bag) for bag in X]
    np.testing.assert_allclose(np.concatenate(actual), expected)


def test_attention_of_members_that_drop_different_instances(data):
    X, y = data
    steps = np.linspace(0, 2, len(X))
    X = [np.vstack([bag, [[step, 0, 0]]]) for bag, step in zip(X, steps, strict=True)]
    model = make_pipeline(KeepAboveTrainingMean(), quick_attention())
    calibrated = CalibratedClassifierCV(model, cv=StratifiedKFold(3)).fit(X, y)
    members = [member.estimator for member in calibrated.calibrated_classifiers_]
    kept = [np.isfinite(np.concatenate(attention_weights(member, X))) for member in members]
    assert np.any(kept[0] != kept[1])
    weights = attention_weights(calibrated, X)
    np.testing.assert_allclose([np.nansum(w) for w in weights], 1, rtol=1e-5)
    np.testing.assert_array_equal(np.isfinite(np.concatenate(weights)), np.any(kept, axis=0))


def halves():
    return make_pipeline(KeepLarge(), MISVM())


@pytest.mark.parametrize("depth", ["bare", "in a pipeline", "in a calibration", "of votes"])
def test_votes_are_the_weighted_mean_of_their_members(data, depth):
    X, y = data
    members = [("a", halves()), ("gone", "drop"), ("b", MISVM(C=3))]
    soft = [(name, CalibratedClassifierCV(m, cv=2, ensemble=False)) for name, m in members[::2]]
    model = VotingClassifier(members, weights=[1, 9, 3])
    if depth == "in a pipeline":
        model = make_pipeline("passthrough", model)
    elif depth == "in a calibration":
        model = VotingClassifier(soft, voting="soft", weights=[1, 3])
        model = CalibratedClassifierCV(model, cv=2, ensemble=False)
    elif depth == "of votes":
        model = VotingClassifier([("vote", model), ("again", model)])
    one, two = (np.concatenate(score_instances(m.fit(X, y), X)) for m in (halves(), MISVM(C=3)))
    assert np.isnan(one).any()
    expected = np.where(np.isnan(one), two, (one + 3 * two) / 4)
    found = score_instances(model.fit(X, y), X)
    assert [len(part) for part in found] == [len(bag) for bag in X]
    np.testing.assert_allclose(np.concatenate(found), expected)
    if "calibration" not in depth:
        with pytest.raises(TypeError, match="VotingClassifier may label an instance differently"):
            predict_instances(model, X)


def test_votes_of_several_classes():
    X, y = four_classes()
    members = [InstanceVotingClassifier(), MISVM()]
    vote = VotingClassifier([("a", members[0]), ("b", members[1])]).fit(X, y)
    one, two = (np.concatenate(m.fit(X, y).score_instances(X)) for m in members)
    np.testing.assert_allclose(np.concatenate(score_instances(vote, X)), (one + two) / 2)


def test_attention_of_voters(data):
    X, y = data
    two_heads = quick_attention().set_params(n_heads=2)
    members = [make_pipeline(KeepLarge(), quick_attention()), two_heads]
    vote = VotingClassifier([("a", members[0]), ("b", members[1])], weights=[3, 1]).fit(X, y)
    one, two = (np.concatenate(attention_weights(m.fit(X, y), X)) for m in members)
    found = attention_weights(vote, X)
    expected = (3 * np.nan_to_num(one) + two.mean(axis=1)) / 4
    np.testing.assert_allclose(np.concatenate(found), expected)
    np.testing.assert_allclose([part.sum() for part in found], 1, rtol=1e-5)


def test_votes_of_regressors(data):
    X, _ = data
    y = np.array([bag.mean() for bag in X])
    network = AttentionMILRegressor(max_iter=2, hidden_layer_sizes=(8,), random_state=0)
    vote = VotingRegressor([("a", network), ("b", network)]).fit(X, y)
    assert_lists_equal(score_instances(vote, X), network.fit(X, y).score_instances(X))


def test_votes_without_evidence(data):
    X, y = data
    rows = make_pipeline(BagStatistics(), LogisticRegression())
    vote = VotingClassifier([("a", MISVM()), ("b", rows)])
    with pytest.raises(NotFittedError, match="VotingClassifier"):
        score_instances(vote, X)
    with pytest.raises(TypeError, match=r"'bagstatistics'.*turns each bag into one row"):
        score_instances(vote.fit(X, y), X)


def four_classes():
    rng = np.random.default_rng(0)
    y = np.repeat(list("abcd"), 10)
    X = [rng.normal(size=(4, 4)) + 3 * np.eye(4)["abcd".index(label)] for label in y]
    return X, y


def without(y, *missing):
    """Splits of which each has no bag of one class, or of several, to train on."""
    return [(np.flatnonzero(~np.isin(y, list(m))), np.arange(len(y))) for m in missing]


def test_members_that_lack_a_class_say_nothing_of_it():
    X, y = four_classes()
    cv = without(y, "a", "b")
    calibrated = CalibratedClassifierCV(InstanceVotingClassifier(), cv=cv).fit(X, y)
    one, two = (
        np.concatenate(member.estimator.score_instances(X)).T
        for member in calibrated.calibrated_classifiers_
    )  # of b, c, d and of a, c, d
    expected = [two[0], one[0], (one[1] + two[1]) / 2, (one[2] + two[2]) / 2]
    found = np.concatenate(score_instances(calibrated, X)).T
    np.testing.assert_allclose(found, expected)


def test_a_class_that_no_member_knows():
    X, y = four_classes()
    cv = without(y, "b", "b")
    calibrated = CalibratedClassifierCV(InstanceVotingClassifier(), cv=cv).fit(X, y)
    found = np.concatenate(score_instances(calibrated, X))
    assert np.isnan(found).all(axis=0).tolist() == [False, True, False, False]
    assert np.isfinite(found[:, [0, 2, 3]]).all()


@pytest.mark.parametrize("missing", [["ab", "cd"], ["ab", "a"], ["ab", "ab"]])
def test_evidence_between_two_classes_is_not_that_for_each_of_four(missing):
    X, y = four_classes()
    cv = without(y, *missing)
    calibrated = CalibratedClassifierCV(InstanceVotingClassifier(), cv=cv).fit(X, y)
    with pytest.raises(TypeError, match=r"bags of \['c', 'd'\] alone.* use instance_occlusion"):
        score_instances(calibrated, X)


class Turned(BagsToBagsMixin, BaseEstimator):
    """The instances of each bag by their first feature, with all that is known of them."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        bags = as_bag_array(X)
        flat, offsets = bags.flat()
        order = np.lexsort((-flat[:, 0], np.repeat(np.arange(len(bags)), bags.sizes)))
        data = {name: column[order] for name, column in bags.instance_data.items()}
        return BagArray(flat[order], offsets, instance_data=data)


TURNS = {
    "once": lambda: make_pipeline(Turned(), MISVM()),
    "and drops": lambda: make_pipeline(Turned(), KeepLarge(), MISVM()),
    "around a filter": lambda: make_pipeline(Turned(), make_pipeline(KeepLarge(), MISVM())),
    "around members": lambda: make_pipeline(
        Turned(),
        CalibratedClassifierCV(make_pipeline(KeepLarge(), MISVM()), cv=2, ensemble=False),
    ),
}


@pytest.mark.parametrize("name", TURNS)
def test_instances_that_a_step_puts_into_another_order(data, name):
    X, y = data
    rising = [bag[np.argsort(bag[:, 0])] for bag in X]
    model = TURNS[name]().fit(rising, y)
    evidence = score_instances(model, rising)
    inner = make_pipeline(*[step for _, step in model.steps[1:]])
    # What an instance says does not depend on the order.
    assert_lists_equal(evidence, score_instances(inner, rising))
    assert any(np.ptp(values[np.isfinite(values)]) > 0 for values in evidence)
    if name == "once":
        labels = predict_instances(model, rising)
        assert all(np.array_equal(a, b > 0) for a, b in zip(labels, evidence, strict=True))
        assert labels[0].dtype == y.dtype


class Doubled(Turned):
    def transform(self, X):
        bags = as_bag_array(X)
        index = np.repeat(np.arange(bags.n_instances), 2)
        data = {name: column[index] for name, column in bags.instance_data.items()}
        flat, offsets = bags.flat()
        return BagArray(flat[index], 2 * offsets, instance_data=data)


def test_a_step_that_repeats_instances(data):
    X, y = data
    model = make_pipeline(Doubled(), MISVM()).fit(X, y)
    with pytest.raises(TypeError, match=r"Step 'doubled' \(Doubled\) repeats instances"):
        score_instances(model, X)


def test_attention_weights(data):
    X, y = data
    model = make_pipeline(InstanceTransformer(StandardScaler()), KeepLarge(), quick_attention())
    weights = attention_weights(model.fit(X, y), X)
    assert [len(w) for w in weights] == [len(bag) for bag in X]
    np.testing.assert_allclose([np.nansum(w) for w in weights], 1, rtol=1e-5)
    with pytest.raises(TypeError, match="MISVM has no attention_weights"):
        attention_weights(MISVM().fit(X, y), X)


def test_every_container_and_views(data):
    X, y = data
    model = make_pipeline(InstanceTransformer(StandardScaler()), MISVM()).fit(X, y)
    expected = score_instances(model, X)
    objects = np.empty(len(X), dtype=object)
    objects[:] = X
    bags = BagArray.from_list(X)
    for container in [tuple(X), objects, bags, pd.DataFrame({"bag": X}), pd.Series(X)]:
        assert_lists_equal(score_instances(model, container), expected)
    rows = [5, 2, 9]
    assert_lists_equal(score_instances(model, bags[rows]), [expected[i] for i in rows])


class NamesCovariates(BagMixin, ClassifierMixin, BaseEstimator):
    """Each instance's first feature, plus the age of its bag."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def score_instances(self, X):
        bags = as_bag_array(X, covariates=["age"])
        ages = np.repeat(bags.covariates["age"].to_numpy(), bags.sizes)
        return split_by_bag(bags.flat()[0][:, 0] + ages, bags)


@pytest.mark.parametrize("piped", [False, True])
def test_estimators_find_the_covariates_that_they_name(data, piped):
    X, y = data
    ages = np.arange(24.0)
    model = NamesCovariates()
    expected = [bag[:, 0] + age for bag, age in zip(X, ages, strict=True)]
    if piped:
        model = make_pipeline(KeepLarge(), make_pipeline("passthrough", model))
        for bag, values in zip(X, expected, strict=True):
            values[bag[:, 0] < np.median(bag[:, 0])] = np.nan
    model.fit(BagArray.from_list(X, covariates={"age": ages}), y)
    patients = np.arange(24) // 2
    columns = {"sex": "f", "cells": pd.Series(X, dtype=object), "age": ages, "patient": patients}
    frame = pd.DataFrame(columns).set_index("patient", drop=False)
    # What nobody names may have any name, twice.
    twice = pd.concat([frame, frame[["sex", "sex"]]], axis=1)
    for container in (frame, twice, BagArray.from_list(X, covariates=frame[["age"]])):
        assert_lists_equal(score_instances(model, container), expected)
    with pytest.raises(ValueError, match="'age'"):
        score_instances(model, frame.drop(columns="age"))


def test_a_network_with_covariates_is_asked_with_a_data_frame(data):
    X, y = data
    table = pd.DataFrame({"age": np.arange(24.0), "sex": ["f", "m", "m"] * 8})
    bags = BagArray.from_list(X, covariates=table)
    frame = table.assign(cells=pd.Series(X, dtype=object), patient=np.arange(24))
    params = {"max_iter": 3, "hidden_layer_sizes": (8,), "random_state": 0}
    for columns in (["sex", "age"], None):
        model = AttentionMILClassifier(covariates="concat", covariate_columns=columns, **params)
        model.fit(bags, y)
        assert_lists_equal(score_instances(model, frame), model.score_instances(bags))
        assert_lists_equal(attention_weights(model, frame), model.attention_weights(bags))


def test_data_frames_that_are_no_bags(data):
    X, y = data
    model = MISVM().fit(X, y)
    with pytest.raises(BagShapeError, match=r"Pass \[bag\]"):
        score_instances(model, pd.DataFrame(np.zeros((4, 3))))
    with pytest.raises(ValueError, match=r"BagArray\.from_dataframe"):  # one row per instance
        score_instances(model, pd.DataFrame({"bag": ["a", "a"], "f0": 1.0, "f1": 1.0, "f2": 1.0}))
    two = pd.DataFrame({"cells": pd.Series(X, dtype=object), "cells2": pd.Series(X, dtype=object)})
    with pytest.raises(ValueError, match="2 columns with arrays"):
        score_instances(model, two)


def test_step_of_somebody_else_that_keeps_the_instances(data):
    X, y = data
    double = FunctionTransformer(double_bags)
    model = make_pipeline(double, MISVM()).fit(X, y)
    expected = MISVM().fit([2 * bag for bag in X], y).score_instances([2 * bag for bag in X])
    assert_lists_equal(score_instances(model, X), expected)


def test_step_of_somebody_else_before_one_that_drops_instances(data):
    X, y = data
    model = make_pipeline(FunctionTransformer(double_bags), KeepLarge(), MISVM()).fit(X, y)
    for bag, values in zip(X, score_instances(model, X), strict=True):
        np.testing.assert_array_equal(np.isfinite(values), bag[:, 0] >= np.median(bag[:, 0]))


def cells(frame):
    return frame["cells"]


def cells_and_known_age(frame):
    return frame.assign(age=frame["age"].fillna(50.0))[["cells", "age"]]


@pytest.mark.parametrize("nested", [False, True])
def test_steps_that_take_the_data_frame_alone(data, nested):
    X, y = data
    frame = pd.DataFrame({"cells": pd.Series(X), "age": [None, *np.arange(23.0)]})
    model = make_pipeline(FunctionTransformer(cells), KeepLarge(), MISVM())
    model = GridSearchCV(make_pipeline("passthrough", model), {}, cv=2) if nested else model
    expected = score_instances(make_pipeline(KeepLarge(), MISVM()).fit(X, y), X)
    assert_lists_equal(score_instances(model.fit(frame, y), frame), expected)
    # A step that hands on what it gets does not take the DataFrame away.
    same = make_pipeline(FunctionTransformer(), clone(model))
    assert_lists_equal(score_instances(same.fit(frame, y), frame), expected)
    # The columns that a step of somebody else's made are those that the next one finds.
    model = make_pipeline(
        FunctionTransformer(cells_and_known_age), "passthrough", NamesCovariates()
    )
    ages = [50.0, *np.arange(23.0)]
    expected = [bag[:, 0] + age for bag, age in zip(X, ages, strict=True)]
    assert_lists_equal(score_instances(model.fit(frame, y), frame), expected)


@pytest.mark.parametrize("nested", [False, True])
def test_a_data_frame_that_becomes_a_table(data, nested):
    X, y = data
    frame = pd.DataFrame({"cells": pd.Series(X), "age": np.arange(24.0)})
    columns = ColumnTransformer(
        [("bags", BagStatistics(), ["cells"]), ("age", StandardScaler(), ["age"])]
    )
    model = make_pipeline(columns, LogisticRegression())
    model = CalibratedClassifierCV(model, cv=2) if nested else model
    for function in (score_instances, attention_weights, predict_instances):
        if nested and function is predict_instances:
            continue  # refuses the members
        with pytest.raises(
            TypeError,
            match=r"'columntransformer' \(ColumnTransformer\) turns each bag into one row",
        ):
            function(model.fit(frame, y), frame)


class Broken(BaseEstimator):
    """Takes bags, and fails on them when it is told."""

    def fit(self, X, y=None):
        self.fails_ = False
        return self

    def transform(self, X):
        bags = as_bag_array(X, covariates=["age"] if isinstance(X, pd.DataFrame) else None)
        if self.fails_:
            raise ValueError("frame" if isinstance(X, pd.DataFrame) else "bags")
        return bags


def test_the_error_of_a_step_is_told_after_that_of_the_data_frame(data):
    X, y = data
    frame = pd.DataFrame({"cells": pd.Series(X), "age": np.arange(24.0)})
    model = make_pipeline(Broken(), MISVM()).fit(frame, y)
    model[0].fails_ = True
    with pytest.raises(ValueError, match="frame") as raised:
        score_instances(model, frame)
    assert str(raised.value.__cause__) == "bags"


def double_bags(X):
    return [2 * bag for bag in X]


def first_instance(X):
    return [bag[:1] for bag in X]


def test_errors_say_what_to_do(data):
    X, y = data
    table = make_pipeline(BagStatistics(), LogisticRegression()).fit(X, y)
    with pytest.raises(TypeError, match=r"'bagstatistics'.*turns each bag into one row"):
        score_instances(table, X)
    with pytest.raises(TypeError, match="LogisticRegression has no score_instances"):
        score_instances(Pipeline([("lr", LogisticRegression())]), X)
    with pytest.raises(ValueError, match=r"Pass \[bag\]"):
        score_instances(MISVM().fit(X, y), X[0])
    with pytest.raises(NotFittedError, match="GridSearchCV"):
        score_instances(GridSearchCV(MISVM(), {}), X)
    lossy = make_pipeline(FunctionTransformer(first_instance), MISVM()).fit(X, y)
    with pytest.raises(TypeError, match=r"'functiontransformer'.*cannot be traced back"):
        score_instances(lossy, X)


def test_errors_name_estimators_that_have_the_method(data):
    X, y = data
    other = LogisticRegression()
    have = "such as MISVM, AttentionMILClassifier or InstanceVotingClassifier, alone"
    with pytest.raises(TypeError, match=have):
        score_instances(other, X)
    with pytest.raises(TypeError, match="such as AttentionMILClassifier, alone"):
        attention_weights(MISVM().fit(X, y), X)
    with pytest.raises(TypeError, match="such as MISVM or InstanceVotingClassifier, alone"):
        predict_instances(quick_attention().fit(X, y), X)


@pytest.mark.parametrize("piped", [False, True])
def test_what_is_inside_an_estimator_on_bags_is_not_asked(data, piped):
    # The network inside has weights, of bags of one instance each.
    X, y = data
    model = InstanceVotingClassifier(quick_attention())
    model = make_pipeline(InstanceTransformer(StandardScaler()), model) if piped else model
    model.fit(X, y)
    with pytest.raises(TypeError, match="InstanceVotingClassifier has no attention_weights"):
        attention_weights(model, X)
    last = model[-1] if piped else model
    Xt = model[0].transform(X) if piped else X
    assert_lists_equal(score_instances(model, X), last.score_instances(Xt))
    assert_lists_equal(predict_instances(model, X), last.predict_instances(Xt))


def test_what_is_no_fitted_estimator_or_no_bags(data):
    X, y = data
    search = GridSearchCV(MISVM(), {}, cv=2, refit=False).fit(X, y)
    with pytest.raises(
        TypeError, match=r"GridSearchCV holds no .*score_instances needs refit=True"
    ):
        score_instances(search, X)
    for estimator in (None, MISVM):
        with pytest.raises(TypeError, match=r"estimator must be a fitted estimator.* Got .* inste"):
            score_instances(estimator, X)
    for wrong in (None, BagArray):
        with pytest.raises(TypeError, match="X must be a collection of bags"):
            score_instances(MISVM().fit(X, y), wrong)


def test_wrappers_with_several_estimators_inside(data):
    X, y = data
    targets = np.column_stack([[bag.mean() for bag in X], [bag.std() for bag in X]])
    regressor = AttentionMILRegressor(max_iter=1, hidden_layer_sizes=(8,))
    several = MultiOutputRegressor(regressor).fit(X, targets)
    with pytest.raises(TypeError, match="MultiOutputRegressor has no score_instances"):
        score_instances(several, X)
    with pytest.raises(NotFittedError, match="MultiOutputRegressor"):
        score_instances(MultiOutputRegressor(regressor), X)
    table = BaggingClassifier(LogisticRegression(), 2).fit([bag.mean(axis=0) for bag in X], y)
    with pytest.raises(TypeError, match="BaggingClassifier has no score_instances"):
        score_instances(table, X)


def test_several_labels_for_each_bag(data):
    X, y = data
    model = OneVsRestClassifier(MISVM()).fit(X, np.column_stack([y, np.arange(24) // 12]))
    for function in (score_instances, attention_weights, predict_instances):
        with pytest.raises(TypeError, match="y of two dimensions and gives 2 labels"):
            function(model, X)
