"""Each bag feature against a loop over bags."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
)
from milkit.fusion._bag_features import BAG_FEATURES, QUANTILES, BagFeatures, chosen, offered
from milkit.inspection import predict_instances, score_instances


def make_bags(n_classes=2, n_bags=30, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) % n_classes
    bags = [
        rng.normal(size=(n, 3)) + np.eye(3)[label]
        for n, label in zip(rng.integers(1, 8, n_bags), y, strict=True)
    ]
    return BagArray.from_list(bags), np.array(["a", "b", "c"])[y]


def network(**params):
    return AttentionMILClassifier(
        hidden_layer_sizes=(4,), attention_dim=4, max_iter=3, tol=0.0, random_state=0, **params
    )


def filtered(last):
    nearest = NearestNeighbors(n_neighbors=2, algorithm="brute")
    return make_pipeline(OneClassInstanceFilter(nearest, fraction=0.5), last)


def by_loop(model, X, kind, X_train):
    """The columns of a kind, one bag after the other."""
    classes = model.classes_
    labels = classes[1:] if len(classes) == 2 else classes
    if kind == "probability":
        return np.array(
            [model.predict_proba(X[i : i + 1])[0, -len(labels) :] for i in range(len(X))]
        )
    if kind == "decision":
        own, ref = (np.reshape(model.decision_function(Z), (len(Z), -1)) for Z in (X, X_train))
        return (own - ref.mean(axis=0)) / ref.std(axis=0)
    if kind in ("rate", "count"):
        rows = []
        for part in predict_instances(model, X):
            counts = [sum(value == label for value in part.tolist()) for label in labels]
            rows.append([count / (len(part) if kind == "rate" else 1) for count in counts])
        return np.array(rows)
    assert kind == "quantiles"
    own, ref = (
        [np.reshape(part, (len(part), -1)).astype(float) for part in score_instances(model, Z)]
        for Z in (X, X_train)
    )
    own, ref = ([p[~np.isnan(p).any(axis=1)] for p in parts] for parts in (own, ref))
    ref = np.concatenate(ref)
    return np.array(
        [
            [
                np.quantile((part[:, k] - ref[:, k].mean()) / ref[:, k].std(), q)
                for q in QUANTILES
                for k in range(part.shape[1])
            ]
            for part in own
        ]
    )


MODELS = {
    "voting": lambda: InstanceVotingClassifier(voting="mean"),
    "piped": lambda: make_pipeline(
        InstanceTransformer(StandardScaler()), InstanceVotingClassifier(voting="mean")
    ),
    "filtered": lambda: filtered(InstanceVotingClassifier(voting="mean")),
    "search": lambda: GridSearchCV(InstanceVotingClassifier(), {"voting": ["mean"]}, cv=2),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", [kind for kind in BAG_FEATURES if kind != "spread"])
def test_against_a_loop(kind, model, n_classes):
    X, y = make_bags(n_classes)
    new, _ = make_bags(n_classes, seed=1)
    fitted = MODELS[model]().fit(X, y)
    features = BagFeatures(fitted, X, [kind])
    got = features(new)
    assert got.shape == (30, len(features.names()))
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, by_loop(fitted, new, kind, X), rtol=1e-6, atol=1e-9)
    # One bag by itself is scaled as among others.
    np.testing.assert_allclose(features(new[3:4]), got[3:4], rtol=1e-6, atol=1e-9)


def test_a_filter_drops_instances_from_counts_and_quantiles():
    X, y = make_bags()
    model = filtered(InstanceVotingClassifier()).fit(X, y)
    kept = np.array(
        [np.sum([v == v for v in part.tolist()]) for part in predict_instances(model, X)]
    )
    assert np.any(kept < X.sizes)
    count = BagFeatures(model, X, ["count"])(X)[:, 0]
    assert np.all(count <= kept)
    # The rate is of all instances of the bag: what was dropped is not positive.
    np.testing.assert_allclose(BagFeatures(model, X, ["rate"])(X)[:, 0], count / X.sizes)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("piped", [False, True])
def test_spread_of_an_ensemble(piped, n_classes):
    X, y = make_bags(n_classes)
    last = network(n_estimators=2)
    model = make_pipeline(InstanceTransformer(StandardScaler()), last) if piped else last
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model.fit(X, y)
    Z = InstanceTransformer(StandardScaler()).fit(X).transform(X) if piped else X
    members = (model[-1] if piped else model).predict_proba_members(Z)
    expected = members.std(axis=0)[:, 1 if n_classes == 2 else 0 :]
    assert np.all(expected > 0)
    features = BagFeatures(model, X, ["spread"])
    np.testing.assert_allclose(features(X), expected, rtol=1e-4, atol=1e-7)
    assert features.names() == [
        f"spread_{label}" for label in model.classes_[1 if n_classes == 2 else 0 :]
    ]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_standardised_on_the_training_bags(n_classes):
    X, y = make_bags(n_classes)
    model = make_pipeline(BagStatistics(), LogisticRegression()).fit(X, y)
    decisions = BagFeatures(model, X, ["decision"])(X)
    np.testing.assert_allclose(decisions.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(decisions.std(axis=0), 1)
    # Another scale of the model's own makes no difference.
    model[-1].coef_ *= 7.0
    model[-1].intercept_ *= 7.0
    np.testing.assert_allclose(BagFeatures(model, X, ["decision"])(X), decisions)


def test_the_scale_of_many_bags_is_that_of_an_even_share(monkeypatch):
    X, y = make_bags()
    model = make_pipeline(BagStatistics(), LogisticRegression()).fit(X, y)
    monkeypatch.setattr("milkit.fusion._bag_features._SCALE_BAGS", len(X) // 3)
    share = X[::3] if len(X) % 3 == 0 else X[::4]
    values = model.decision_function(share)
    expected = (model.decision_function(X) - values.mean()) / values.std()
    got = BagFeatures(model, X, ["decision"])(X)[:, 0]
    np.testing.assert_allclose(got, expected)
    assert abs(got.mean()) > 1e-6  # not that of all


class Constant(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.full(len(X), 0.1)


def test_a_constant_decision_is_not_blown_up():
    X, y = make_bags()
    got = BagFeatures(Constant().fit(X, y), X, ["decision"])(X)
    np.testing.assert_allclose(got, 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "given"),
    [
        (
            InstanceVotingClassifier(voting="mean"),
            ["probability", "decision", "rate", "count", "quantiles"],
        ),
        (MISVM(kernel="linear"), ["decision", "rate", "count", "quantiles"]),
        (network(), ["probability", "decision", "quantiles"]),
        (network(n_estimators=2), ["probability", "decision", "quantiles", "spread"]),
        (make_pipeline(BagStatistics(), LogisticRegression()), ["probability", "decision"]),
        (make_pipeline(BagStatistics(), LinearSVC()), ["decision"]),
    ],
)
def test_what_is_offered(estimator, given):
    X, y = make_bags()
    model = estimator.fit(X, y)
    assert offered(model, X) == given
    both = "probability" in given
    assert chosen(model, X, "auto") == [k for k in given if not (both and k == "decision")]
    assert chosen(model, X, given[-1:]) == given[-1:]
    absent = [kind for kind in BAG_FEATURES if kind not in given]
    with pytest.raises(ValueError, match=f"does not give .*{absent[0]}"):
        chosen(model, X, absent)


def test_names():
    X, y = make_bags()
    model = InstanceVotingClassifier(voting="mean").fit(X, y)
    kinds = ["probability", "decision", "rate", "count", "quantiles"]
    assert BagFeatures(model, X, kinds).names() == [
        *(f"{kind}_b" for kind in kinds[:-1]),
        *(f"evidence_{share}_b" for share in ("q50", "q90", "largest")),
    ]
    X, y = make_bags(3)
    model = InstanceVotingClassifier().fit(X, y)
    assert BagFeatures(model, X, ["rate"]).names() == ["rate_a", "rate_b", "rate_c"]
