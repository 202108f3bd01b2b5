"""Fitting a classifier on instances: groups, weights and steps."""

import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer
from milkit.exceptions import BagShapeError
from milkit.instance._instance_fit import (
    as_samples,
    fit_on_instances,
    instance_evidence,
    instance_probabilities,
    instance_votes,
)


@pytest.fixture
def data():
    """Instances of twelve groups, whose size differs; each group has one label."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), rng.integers(2, 9, 12))
    y = groups % 2
    X = rng.normal(size=(len(y), 3)) + y[:, None]
    order = rng.permutation(len(y))
    return X[order], y[order], groups[order], rng.uniform(0.2, 3.0, len(y))


class Takes(ClassifierMixin, BaseEstimator):
    """A classifier that notes what its fit got, and predicts the first class."""

    def fit(self, X, y, sample_weight=None, groups=None):
        self.X_, self.weight_, self.groups_ = X, sample_weight, groups
        self.classes_ = np.unique(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.classes_[0])


class Step(TransformerMixin, BaseEstimator):
    """A step in front that notes its weights."""

    def fit(self, X, y=None, sample_weight=None):
        self.weight_ = sample_weight
        return self

    def transform(self, X):
        return X


ROUTING = pytest.mark.parametrize("routing", [False, True])


@ROUTING
def test_weights_and_groups_reach_every_step_that_takes_them(data, routing):
    X, y, groups, weight = data
    with sklearn.config_context(enable_metadata_routing=routing):
        alone = fit_on_instances(Takes(), X, y, weight=weight, groups=groups)
        piped = make_pipeline(SelectKBest(k="all"), Step(), "passthrough", Takes())
        fit_on_instances(piped, X, y, weight=weight, groups=groups)
        nested = make_pipeline(make_pipeline(Step()), make_pipeline(Step(), Takes()))
        fit_on_instances(nested, X, y, weight=weight, groups=groups)
        assert sklearn.get_config()["enable_metadata_routing"] is routing
    for last in (alone, piped[-1], nested[1][-1]):
        np.testing.assert_array_equal(last.weight_, weight)
        np.testing.assert_array_equal(last.groups_, groups)
    for step in (piped[1], nested[0][0], nested[1][0]):
        np.testing.assert_array_equal(step.weight_, weight)


def test_without_weights_none_are_handed_on(data):
    X, y, groups, _ = data
    model = fit_on_instances(make_pipeline(Step(), Takes()), X, y, groups=groups)
    assert model[0].weight_ is None
    assert model[1].weight_ is None
    np.testing.assert_array_equal(model[1].groups_, groups)


@ROUTING
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize(
    ("make", "n_folds"),
    [
        (lambda: CalibratedClassifierCV(LogisticRegression()), 5),
        (lambda: CalibratedClassifierCV(LogisticRegression(), cv=3), 3),
        (lambda: CalibratedClassifierCV(LinearSVC(), cv=100), 6),  # so many groups of each class
        (lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}), 5),
    ],
)
def test_folds_inside_divide_no_group(data, make, n_folds, piped, routing):
    X, y, groups, _ = data
    model = make_pipeline(StandardScaler(), make()) if piped else make()
    with sklearn.config_context(enable_metadata_routing=routing):
        fit_on_instances(model, X, y, groups=groups)
    last = model[-1] if piped else model
    assert len(last.cv) == n_folds
    tested = np.concatenate([test for _, test in last.cv])
    assert sorted(tested) == list(range(len(y)))
    for train, test in last.cv:
        assert not set(groups[train]) & set(groups[test])
        assert sorted([*train, *test]) == list(range(len(y)))
    # They are what it worked with.
    if hasattr(last, "cv_results_"):
        assert last.n_splits_ == n_folds
    else:
        assert len(last.calibrated_classifiers_) == n_folds


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of LogisticRegressionCV, which change often
def test_folds_of_logistic_regression_cv(data):
    X, y, groups, weight = data
    model = fit_on_instances(
        LogisticRegressionCV(Cs=[0.01, 1.0], cv=4), X, y, weight=weight, groups=groups
    )
    folds = list(StratifiedGroupKFold(4).split(X, y, groups))
    reference = LogisticRegressionCV(Cs=[0.01, 1.0], cv=folds).fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(model.coef_, reference.coef_)
    # Folds by instance would give other scores.
    other = LogisticRegressionCV(Cs=[0.01, 1.0], cv=4).fit(X, y, sample_weight=weight)
    ours, theirs = (np.concatenate(list(dict(m.scores_).values())) for m in (model, other))
    assert not np.allclose(ours, theirs)


@ROUTING
@pytest.mark.parametrize("cv", [StratifiedKFold(3), GroupKFold(4), "list"])
def test_folds_that_somebody_chose_are_kept(data, cv, routing):
    X, y, groups, _ = data
    cv = list(KFold(2).split(X)) if cv == "list" else cv
    of_groups = {"groups": groups} if isinstance(cv, GroupKFold) else {}
    folds = cv if isinstance(cv, list) else list(cv.split(X, y, **of_groups))
    model = CalibratedClassifierCV(GaussianNB(), cv=cv)
    with sklearn.config_context(enable_metadata_routing=routing):
        fit_on_instances(model, X, y, groups=groups)
    reference = CalibratedClassifierCV(GaussianNB(), cv=folds).fit(X, y)
    assert len(model.calibrated_classifiers_) == len(folds)
    np.testing.assert_array_equal(model.predict_proba(X), reference.predict_proba(X))


@pytest.mark.parametrize("n_few", [1, 2, 3])
def test_folds_where_a_class_has_few_groups(data, n_few):
    # With more folds one would train on a single class.
    X, y, groups, _ = data
    few = np.unique(groups[y == 1])[:n_few]
    kept = (y == 0) | np.isin(groups, few)
    X, y, groups = X[kept], y[kept], groups[kept]
    model = CalibratedClassifierCV(LogisticRegression())
    if n_few == 1:
        message = "CalibratedClassifierCV needs samples of at least two groups of each class"
        with pytest.raises(ValueError, match=message):
            fit_on_instances(model, X, y, groups=groups)
        return
    fit_on_instances(model, X, y, groups=groups)
    assert len(model.cv) == n_few
    for train, test in model.cv:
        assert set(y[train]) == set(y[test]) == {0, 1}


def test_groups_reach_the_split_of_early_stopping(data):
    X, y, groups, _ = data
    params = {
        "early_stopping": True,
        "validation_fraction": 0.3,
        "max_iter": 15,
        "hidden_layer_sizes": (4,),
        "learning_rate_init": 0.05,
        "random_state": 0,
    }
    inside = fit_on_instances(AttentionMILClassifier(**params), X, y, groups=groups)
    piped = make_pipeline(
        InstanceTransformer(FunctionTransformer()), AttentionMILClassifier(**params)
    )
    fit_on_instances(piped, X, y, groups=groups)
    bags = [row[None] for row in X]
    reference = AttentionMILClassifier(**params).fit(bags, y, groups=groups)
    other = AttentionMILClassifier(**params).fit(bags, y)
    assert inside.validation_scores_ == reference.validation_scores_
    assert piped[-1].validation_scores_ == reference.validation_scores_
    assert inside.validation_scores_ != other.validation_scores_


@ROUTING
@pytest.mark.parametrize(
    ("make", "inside"),
    [
        (lambda: GridSearchCV(Takes(), {}), lambda model: model.best_estimator_),
        (lambda: RandomizedSearchCV(Takes(), {}, n_iter=1), lambda model: model.best_estimator_),
        (lambda: VotingClassifier([("a", Takes()), ("b", Takes())]), lambda m: m.estimators_[1]),
        (
            lambda: make_pipeline(Step(), GridSearchCV(VotingClassifier([("a", Takes())]), {})),
            lambda model: model[-1].best_estimator_.estimators_[0],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The total space of parameters:UserWarning")
def test_weights_reach_what_is_inside_searches_and_votes(data, make, inside, routing):
    X, y, groups, weight = data
    with sklearn.config_context(enable_metadata_routing=routing):
        model = fit_on_instances(make(), X, y, weight=weight, groups=groups)
    np.testing.assert_array_equal(inside(model).weight_, weight)


@pytest.mark.parametrize(
    "make",
    [
        KNeighborsClassifier,
        lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()),
        lambda: OneVsRestClassifier(LogisticRegression()),
        lambda: GridSearchCV(KNeighborsClassifier(), {}),
        lambda: VotingClassifier([("a", GaussianNB()), ("b", KNeighborsClassifier())]),
    ],
)
def test_weights_that_the_classifier_cannot_take(data, make):
    X, y, groups, weight = data
    model = make()
    name = type(model[-1] if hasattr(model, "steps") else model).__name__
    with pytest.raises(ValueError, match=f"{name}.fit takes no sample_weight.*weight='instance'"):
        fit_on_instances(model, X, y, weight=weight, groups=groups)
    assert fit_on_instances(model, X, y, groups=groups) is model


# -- images ------------------------------------------------------------------------------------


def small_network():
    """An AttentionMILClassifier for tiny images."""
    from torch import nn

    def encoder(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4), nn.ReLU())

    return AttentionMILClassifier(encoder=encoder, max_iter=3, batch_size=50, random_state=0)


@pytest.mark.parametrize(
    ("make", "bags"),
    [
        (LogisticRegression, False),
        (small_network, True),
        (lambda: make_pipeline(small_network()), True),
        (lambda: make_pipeline("passthrough", None, small_network()), True),
        (lambda: make_pipeline(make_pipeline("passthrough", small_network())), True),
        (lambda: CalibratedClassifierCV(small_network()), True),
        (lambda: GridSearchCV(make_pipeline(small_network()), {}), True),
        (lambda: OneVsRestClassifier(small_network()), True),
        (lambda: VotingClassifier([("a", "drop"), ("b", small_network())]), True),
        (lambda: CalibratedClassifierCV(LogisticRegression()), False),
        (CalibratedClassifierCV, False),
        # What comes first decides: here it makes vectors of the images itself.
        (lambda: make_pipeline(FunctionTransformer(), small_network()), False),
        (
            lambda: make_pipeline(InstanceTransformer(StandardScaler(), flatten=True), SVC()),
            True,
        ),
    ],
)
def test_images_are_bags_of_one_instance_for_estimators_on_bags(make, bags):
    # An array of shape (n, 4, 5) would be read as n bags of four instances.
    images = np.zeros((6, 4, 5))
    got = as_samples(make(), images)
    if bags:
        assert isinstance(got, BagArray)
        assert got.sizes.tolist() == [1] * 6
        assert got.instance_shape == (4, 5)
    else:
        assert got is images
    vectors = np.zeros((6, 3))
    assert as_samples(make(), vectors) is vectors


def test_images_inside_a_wrapper():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    images = rng.normal(size=(40, 3, 4)) + y[:, None, None]
    model = CalibratedClassifierCV(small_network(), cv=2)
    fit_on_instances(model, images, y, groups=np.arange(40))
    members = [member.estimator for member in model.calibrated_classifiers_]
    assert [member.instance_shape_ for member in members] == [(3, 4)] * 2
    assert instance_probabilities(model, images).shape == (40, 2)


@pytest.mark.parametrize(
    "make",
    [LogisticRegression, lambda: make_pipeline(StandardScaler(), SVC()), RandomForestClassifier],
)
def test_images_for_what_takes_vectors(make):
    images, y = np.zeros((6, 4, 5)), np.arange(6) % 2
    with pytest.raises(BagShapeError, match=r"shape \(4, 5\), and .* takes vectors. Use a"):
        fit_on_instances(make(), images, y, groups=np.arange(6))


def test_other_errors_are_left_alone(data):
    X, y, groups, _ = data
    with pytest.raises(ValueError, match="'C' parameter of LogisticRegression"):
        fit_on_instances(LogisticRegression(C=-1), X, y, groups=groups)


# -- what a classifier says --------------------------------------------------------------------


def test_votes_are_predictions(data):
    X, _, groups, _ = data
    for labels in (np.array(["no", "yes"])[groups % 2], np.array([5, 3, 9])[groups % 3]):
        model = GaussianNB().fit(X, labels)
        votes = instance_votes(model, X)
        assert votes.shape == (len(X), len(model.classes_))
        np.testing.assert_array_equal(votes.sum(axis=1), 1)
        np.testing.assert_array_equal(model.classes_[votes.argmax(axis=1)], model.predict(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_evidence(data, n_classes):
    X, _, groups, _ = data
    y = groups % n_classes
    proba = GaussianNB().fit(X, y)
    decision = LinearSVC().fit(X, y)
    plain = Takes().fit(X, y)
    expected = [
        proba.predict_proba(X),
        decision.decision_function(X),
        (plain.predict(X)[:, None] == np.arange(n_classes)).astype(float),
    ]
    if n_classes == 2:
        expected = [e[:, 1] if e.ndim == 2 else e for e in expected]
    for model, values in zip((proba, decision, plain), expected, strict=True):
        got = instance_evidence(model, X)
        assert got.shape == ((len(X),) if n_classes == 2 else (len(X), 3))
        np.testing.assert_allclose(got, values)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_decisions_of_pairs_of_classes_are_no_evidence(data, n_classes, piped):
    X, _, groups, _ = data
    y = groups % n_classes
    model = SVC(decision_function_shape="ovo")
    model = (make_pipeline(StandardScaler(), model) if piped else model).fit(X, y)
    expected = model.decision_function(X)
    if n_classes > 2:
        expected = model.predict(X)[:, None] == np.arange(n_classes)
    np.testing.assert_allclose(instance_evidence(model, X), expected)
