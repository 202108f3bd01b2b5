"""InstanceVotingClassifier against scikit-learn on the instances and a loop over bags."""

import pickle
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier, StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    RandomizedSearchCV,
    cross_val_score,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from milkit import AttentionMILClassifier, BagArray, InstanceTransformer, InstanceVotingClassifier
from milkit.exceptions import BagShapeError
from milkit.model_selection import GroupedSplit

LABELS = {2: np.array(["healthy", "sick"]), 3: np.array([3, 7, 8])}


def make_bags(n_classes=2, n_bags=30, seed=0, n_features=3, max_size=7, shift=1.0):
    rng = np.random.default_rng(seed)
    encoded = np.arange(n_bags) % n_classes
    bags = [
        rng.normal(size=(n, n_features)) + shift * np.eye(n_features)[label]
        for n, label in zip(rng.integers(1, max_size + 1, n_bags), encoded, strict=True)
    ]
    return bags, LABELS[n_classes][encoded]


def instances(bags, y):
    """Instances, their labels, and the weight that makes each bag count the same."""
    sizes = np.array([len(bag) for bag in bags])
    return np.concatenate(bags), np.repeat(y, sizes), np.repeat(sizes.mean() / sizes, sizes)


# -- the votes -------------------------------------------------------------------------------


def vote(p, voting, threshold):
    if voting in ("majority", "mean"):
        return p.mean()
    if voting == "max":
        return p.max()
    if voting == "noisy_or":
        return 1 - np.prod(1 - p)
    needed = threshold
    if not isinstance(threshold, int):
        needed = max(1, -(-Fraction(str(threshold)) * len(p) // 1))
    return max((q for q in p if np.sum(p >= q) >= needed), default=0.0)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    ("voting", "threshold"),
    [
        ("majority", 1),
        ("mean", 1),
        ("max", 1),
        ("noisy_or", 1),
        ("threshold", 1),
        ("threshold", 3),
        ("threshold", 0.4),
    ],
)
def test_every_vote_in_a_loop(voting, threshold, n_classes):
    (bags, y), (new, _) = make_bags(n_classes), make_bags(n_classes, seed=1)
    model = InstanceVotingClassifier(GaussianNB(), voting=voting, threshold=threshold).fit(bags, y)
    flat, labels, weight = instances(bags, y)
    reference = GaussianNB().fit(flat, labels, sample_weight=weight)
    assert model.classes_.tolist() == LABELS[n_classes].tolist()
    for i, bag in enumerate(new):
        p = reference.predict_proba(bag)
        if voting == "majority":
            p = (reference.predict(bag)[:, None] == reference.classes_).astype(float)
        shares = np.array([vote(column, voting, threshold) for column in p.T])
        got = model.predict_proba([bag])[0]
        if n_classes == 2:
            assert got[1] == pytest.approx(shares[1], abs=1e-9)
            assert got[0] == pytest.approx(1 - shares[1], abs=1e-9)
            expected = LABELS[2][int(shares[1] > 0.5)]
        else:
            # Of shares that are all 0 nothing can be said.
            share = np.full(3, 1 / 3) if shares.max() < 1e-12 else shares / shares.sum()
            np.testing.assert_allclose(got, share, atol=1e-9)
            expected = LABELS[3][shares.argmax()]
        assert model.predict([bag])[0] == expected
        # One bag at a time is all of them together.
        np.testing.assert_allclose(model.predict_proba(new)[i], got, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("voting", ["majority", "mean", "max", "noisy_or", "threshold"])
@pytest.mark.parametrize("estimator", [GaussianNB(), DecisionTreeClassifier(random_state=0)])
def test_decision_probability_and_label_agree(estimator, voting, n_classes):
    bags, y = make_bags(n_classes, shift=3.0)
    bags[0] = np.repeat(bags[0], 2000, axis=0)  # noisy-or of it is 1 in doubles
    model = InstanceVotingClassifier(estimator, voting=voting, threshold=2).fit(bags, y)
    scores, proba = model.decision_function(bags), model.predict_proba(bags)
    assert scores.shape == ((30,) if n_classes == 2 else (30, 3))
    assert proba.shape == (30, n_classes)
    assert np.isfinite(scores).all()
    assert (proba >= 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    chosen = np.searchsorted(model.classes_, model.predict(bags))
    # The label has the largest probability, and of log-odds it is strictly so or the first.
    np.testing.assert_array_equal(proba[np.arange(30), chosen], proba.max(axis=1))
    if n_classes == 2:
        np.testing.assert_array_equal(chosen, scores > 0)
        np.testing.assert_allclose(proba[:, 1], 1 / (1 + np.exp(-scores)))
    else:
        np.testing.assert_array_equal(chosen, scores.argmax(axis=1))


def test_equal_votes_go_to_the_first_class():
    X = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    model = InstanceVotingClassifier(GaussianNB()).fit([X[:2], X[2:]], ["b", "a"])
    assert model.predict([X, X[::-1]]).tolist() == ["a", "a"]
    np.testing.assert_allclose(model.predict_proba([X]), 0.5)
    assert model.decision_function([X])[0] == pytest.approx(0.0)


def test_noisy_or_ranks_large_bags():
    bags, y = make_bags()
    model = InstanceVotingClassifier(GaussianNB(), voting="noisy_or").fit(bags, y)
    rng = np.random.default_rng(0)
    large = [rng.normal(loc, 0.1, size=(10_000, 3)) for loc in (0.0, 0.1, 0.2, 0.3)]
    p = [model.estimator_.predict_proba(bag)[:, 1] for bag in large]
    scores = model.decision_function(large)
    assert len(np.unique(scores)) == 4
    np.testing.assert_allclose(scores, [-np.log1p(-q).sum() for q in p], rtol=1e-9)
    assert (model.predict_proba(large)[:, 1] == 1.0).all()


def test_one_more_instance_never_lowers_noisy_or_and_max():
    bags, y = make_bags()
    for voting in ("noisy_or", "max"):
        model = InstanceVotingClassifier(GaussianNB(), voting=voting).fit(bags, y)
        shorter = [bag[:-1] for bag in bags if len(bag) > 1]
        longer = [bag for bag in bags if len(bag) > 1]
        assert (model.decision_function(longer) >= model.decision_function(shorter)).all()


# -- instances -------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
def test_instance_outputs(n_classes):
    (bags, y), (new, _) = make_bags(n_classes), make_bags(n_classes, seed=1)
    model = InstanceVotingClassifier(GaussianNB()).fit(bags, y)
    inner = model.estimator_
    for bag, evidence, labels in zip(
        new, model.score_instances(new), model.predict_instances(new), strict=True
    ):
        p = inner.predict_proba(bag)
        np.testing.assert_allclose(evidence, p[:, 1] if n_classes == 2 else p)
        np.testing.assert_array_equal(labels, LABELS[n_classes][inner.predict(bag)])
    model = InstanceVotingClassifier(LinearSVC()).fit(bags, y)
    for bag, evidence in zip(new, model.score_instances(new), strict=True):
        np.testing.assert_allclose(evidence, model.estimator_.decision_function(bag))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_counts_and_rates(n_classes):
    bags, y = make_bags(n_classes)
    model = InstanceVotingClassifier(GaussianNB()).fit(bags, y)
    Xt = model.transform(bags)
    assert Xt.shape == (30, 2 * n_classes)
    counts, rates = Xt[:, :n_classes], Xt[:, n_classes:]
    sizes = [len(bag) for bag in bags]
    np.testing.assert_array_equal(counts.sum(axis=1), sizes)
    np.testing.assert_allclose(rates.sum(axis=1), 1)
    for labels, row in zip(model.predict_instances(bags), counts, strict=True):
        assert row.tolist() == [np.sum(labels == label) for label in model.classes_]
    np.testing.assert_allclose(rates, counts / np.array(sizes)[:, None])
    # The rates are the shares of votes.
    np.testing.assert_allclose(model.predict_proba(bags), rates, atol=1e-12)
    names = [f"{what}_{label}" for what in ("count", "rate") for label in model.classes_]
    assert model.get_feature_names_out().tolist() == names
    table = model.set_output(transform="pandas").transform(bags)
    assert isinstance(table, pd.DataFrame)
    assert table.columns.tolist() == names
    np.testing.assert_array_equal(table.to_numpy(), Xt)


# -- training --------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [GaussianNB(), LogisticRegression(tol=1e-10, max_iter=1000)])
def test_every_bag_weighs_the_same(estimator):
    bags, y = make_bags()
    flat, labels, weight = instances(bags, y)
    assert weight.mean() == pytest.approx(30 * np.mean([len(bag) for bag in bags]) / len(flat))
    model = InstanceVotingClassifier(estimator, voting="mean").fit(bags, y)
    reference = clone(estimator).fit(flat, labels, sample_weight=weight)
    for bag, evidence in zip(bags, model.score_instances(bags), strict=True):
        np.testing.assert_allclose(evidence, reference.predict_proba(bag)[:, 1], rtol=1e-6)
    each = InstanceVotingClassifier(estimator, voting="mean", weight="instance").fit(bags, y)
    reference = clone(estimator).fit(flat, labels)
    for bag, evidence in zip(bags, each.score_instances(bags), strict=True):
        np.testing.assert_allclose(evidence, reference.predict_proba(bag)[:, 1], rtol=1e-12)


@pytest.mark.parametrize(
    "estimator",
    [
        # Without a penalty: the sum of the weights is the number of instances, and grows.
        LogisticRegression(C=1e8, tol=1e-12, max_iter=5000),
        GaussianNB(),
        make_pipeline(StandardScaler(), GaussianNB()),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    ],
)
@pytest.mark.parametrize("times", [2, 9])
def test_instances_of_a_bag_many_times_over_change_nothing(estimator, times):
    bags, y = make_bags()
    longer = list(bags)
    longer[3] = np.repeat(bags[3], times, axis=0)
    one = InstanceVotingClassifier(estimator, voting="mean").fit(bags, y)
    two = InstanceVotingClassifier(estimator, voting="mean").fit(longer, y)
    new, _ = make_bags(seed=1)
    np.testing.assert_allclose(one.predict_proba(new), two.predict_proba(new), rtol=1e-4, atol=1e-6)
    # Where instances weigh the same they do.
    one.set_params(weight="instance").fit(bags, y)
    two.set_params(weight="instance").fit(longer, y)
    assert not np.allclose(one.predict_proba(new), two.predict_proba(new), atol=1e-3)


@pytest.mark.parametrize("weight", ["bag", "instance"])
@pytest.mark.parametrize("class_weight", [None, "balanced", {"sick": 3.0}])
def test_sample_weight_is_a_repeated_bag(weight, class_weight):
    bags, y = make_bags()
    times = np.tile([2, 1, 3, 0, 1, 1], 5)  # the classes in other proportions
    model = InstanceVotingClassifier(
        LogisticRegression(tol=1e-12, max_iter=1000), weight=weight, class_weight=class_weight
    )
    one = clone(model).fit(bags, y, sample_weight=times)
    rows = np.repeat(np.arange(30), times)
    two = clone(model).fit([bags[i] for i in rows], y[rows])
    np.testing.assert_allclose(one.estimator_.coef_, two.estimator_.coef_, rtol=1e-5)
    np.testing.assert_allclose(one.estimator_.intercept_, two.estimator_.intercept_, rtol=1e-5)
    unweighted = clone(model).fit(bags, y)
    assert not np.allclose(one.estimator_.coef_, unweighted.estimator_.coef_, rtol=1e-2)


@pytest.mark.parametrize("weight", ["bag", "instance"])
def test_class_weight_counts_bags(weight):
    bags, y = make_bags(n_bags=31)
    y[:9] = "healthy"
    sizes = np.array([len(bag) for bag in bags])
    n_sick = np.sum(y == "sick")
    balanced = {"healthy": 31 / (2 * (31 - n_sick)), "sick": 31 / (2 * n_sick)}
    for class_weight, factors in [
        ("balanced", balanced),
        ({"sick": 5.0}, {"healthy": 1, "sick": 5}),
    ]:
        model = InstanceVotingClassifier(
            GaussianNB(), weight=weight, class_weight=class_weight, voting="mean"
        ).fit(bags, y)
        of_bag = np.array([factors[label] for label in y])
        # GaussianNB has no penalty: only the proportions count.
        of_instance = np.repeat(of_bag / (sizes if weight == "bag" else 1), sizes)
        reference = GaussianNB().fit(np.concatenate(bags), np.repeat(y, sizes), of_instance)
        np.testing.assert_allclose(model.estimator_.theta_, reference.theta_)
        np.testing.assert_allclose(model.estimator_.class_prior_, reference.class_prior_)


@pytest.mark.parametrize("weight", ["bag", "instance"])
@pytest.mark.parametrize(
    "estimator",
    [
        GaussianNB(),
        RandomForestClassifier(5, random_state=0),  # draws from what it gets
        CalibratedClassifierCV(LogisticRegression()),
    ],
)
def test_a_bag_of_weight_zero_is_left_out(estimator, weight):
    bags, y = make_bags()
    groups, sample_weight = np.arange(30) // 2, np.tile([1.0, 2.0, 1.0], 10)
    sample_weight[[4, 5, 11]] = 0.0
    rest = np.flatnonzero(sample_weight)
    bags[4], bags[5] = bags[4] + 100, bags[5] - 100
    model = InstanceVotingClassifier(estimator, weight=weight)
    one = clone(model).fit(bags, y, sample_weight=sample_weight, groups=groups)
    two = clone(model).fit(
        [bags[i] for i in rest], y[rest], sample_weight=sample_weight[rest], groups=groups[rest]
    )
    assert_same_evidence(one, two, bags)
    if weight == "instance" and not isinstance(estimator, GaussianNB):
        # With none but 0 and 1 there is nothing to weigh.
        one.fit(bags, y, sample_weight=sample_weight > 0, groups=groups)
        two.fit([bags[i] for i in rest], y[rest], groups=groups[rest])
        assert_same_evidence(one, two, bags)


def assert_same_evidence(one, two, bags):
    for a, b in zip(one.score_instances(bags), two.score_instances(bags), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_class_without_weight():
    bags, y = make_bags(3)
    model = InstanceVotingClassifier(GaussianNB())
    with pytest.raises(ValueError, match=r"All bags of class \[3\] have weight 0; leave"):
        model.fit(bags, y, sample_weight=y != 3)
    with pytest.raises(ValueError, match=r"All bags of class \[3, 8\] have weight 0"):
        model.fit(bags, y, sample_weight=y == 7)
    with pytest.raises(ValueError, match=r"All bags of class \[7\] have weight 0"):
        model.set_params(class_weight={7: 0}).fit(bags, y)


def test_without_weights_any_classifier_will_do():
    bags, y = make_bags()
    with pytest.raises(
        ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight.*weight='i"
    ):
        InstanceVotingClassifier(KNeighborsClassifier()).fit(bags, y)
    model = InstanceVotingClassifier(KNeighborsClassifier(), weight="instance", voting="mean")
    model.fit(bags, y)
    flat, labels, _ = instances(bags, y)
    reference = KNeighborsClassifier().fit(flat, labels)
    expected = [reference.predict_proba(bag).mean(axis=0) for bag in bags]
    np.testing.assert_allclose(model.predict_proba(bags), expected, atol=1e-12)
    for params in ({"sample_weight": np.arange(1, 31)}, {"sample_weight": np.full(30, 2.0)}):
        with pytest.raises(ValueError, match=r"KNeighborsClassifier.fit takes no sample_weight"):
            model.fit(bags, y, **params)
    # Bags of one size need none.
    same = [bag[:1] for bag in bags]
    assert InstanceVotingClassifier(KNeighborsClassifier()).fit(same, y).score(same, y) > 0.5


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.1]}),
        RandomizedSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.1]}, n_iter=2, random_state=0),
    ],
)
def test_weights_reach_a_search_inside(search):
    bags, y = make_bags()
    model = InstanceVotingClassifier(search, voting="mean").fit(bags, y)
    flat, labels, weight = instances(bags, y)
    best = clone(model.estimator_.best_estimator_).fit(flat, labels, sample_weight=weight)
    for bag, evidence in zip(bags, model.score_instances(bags), strict=True):
        np.testing.assert_allclose(evidence, best.predict_proba(bag)[:, 1], rtol=1e-9)


def test_ensembles_inside():
    bags, y = make_bags()
    flat, labels, weight = instances(bags, y)
    members = [("a", GaussianNB()), ("b", DecisionTreeClassifier(random_state=0))]
    votes = VotingClassifier(members, voting="soft")
    model = InstanceVotingClassifier(votes, voting="mean").fit(bags, y)
    expected = clone(votes).fit(flat, labels, sample_weight=weight).predict_proba(flat)[:, 1]
    np.testing.assert_allclose(np.concatenate(model.score_instances(bags)), expected)
    # Has no predict before it is fitted; its folds are by bag.
    stack = StackingClassifier(members, LogisticRegression(), cv=3)
    model = InstanceVotingClassifier(stack, voting="mean", weight="instance").fit(bags, y)
    bag_of = np.repeat(np.arange(30), [len(bag) for bag in bags])
    for train, test in model.estimator_.cv:
        assert not set(bag_of[train]) & set(bag_of[test])
    reference = clone(stack).set_params(cv=model.estimator_.cv).fit(flat, labels)
    np.testing.assert_allclose(
        np.concatenate(model.score_instances(bags)), reference.predict_proba(flat)[:, 1]
    )


def test_a_classifier_that_wants_numbers_of_classes():
    import xgboost

    for n_classes in (2, 3):
        bags, y = make_bags(n_classes, shift=3.0)
        inner = xgboost.XGBClassifier(n_estimators=5, n_jobs=1)
        with pytest.raises(ValueError, match="Invalid classes"):
            clone(inner).fit(*instances(bags, y)[:2])
        model = InstanceVotingClassifier(inner).fit(bags, y)
        assert model.score(bags, y) > 0.8
        assert set(np.concatenate(model.predict_instances(bags))) == set(LABELS[n_classes])


def test_random_state_decides_what_the_classifier_leaves_open():
    bags, y = make_bags()

    def proba(estimator, seed):
        model = InstanceVotingClassifier(estimator, voting="mean", random_state=seed)
        return model.fit(bags, y).predict_proba(bags)

    forest = RandomForestClassifier(5)
    np.testing.assert_array_equal(proba(forest, 0), proba(forest, 0))
    assert not np.array_equal(proba(forest, 0), proba(forest, 1))
    forest = RandomForestClassifier(5, random_state=3)
    np.testing.assert_array_equal(proba(forest, 0), proba(forest, 1))
    flat, labels, weight = instances(bags, y)
    reference = forest.fit(flat, labels, sample_weight=weight)
    np.testing.assert_allclose(proba(forest, 0)[0], reference.predict_proba(bags[0]).mean(axis=0))


# -- a network inside ------------------------------------------------------------------------

NETWORK = {
    "hidden_layer_sizes": (6,),
    "max_iter": 5,
    "batch_size": 40,
    "learning_rate_init": 0.02,
    "random_state": 0,
}


@pytest.mark.parametrize("weight", ["bag", "instance"])
def test_single_instance_classifier(weight):
    # Sadafi et al.'s SIC: the attention network on bags of one instance with their bag's label.
    bags, y = make_bags()
    network = AttentionMILClassifier(pooling="mean", **NETWORK)
    model = InstanceVotingClassifier(network, voting="mean", weight=weight).fit(bags, y)
    flat, labels, of_instance = instances(bags, y)
    reference = clone(network).fit(
        [row[None] for row in flat],
        labels,
        sample_weight=of_instance if weight == "bag" else None,
    )
    for bag, evidence in zip(bags, model.score_instances(bags), strict=True):
        one_each = [row[None] for row in bag]
        np.testing.assert_allclose(evidence, reference.predict_proba(one_each)[:, 1], rtol=1e-6)
    expected = [reference.predict_proba([row[None] for row in bag]).mean(axis=0) for bag in bags]
    np.testing.assert_allclose(model.predict_proba(bags), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("calibrated", [False, True])
def test_images(dtype, calibrated):
    from torch import nn

    def encoder(shape):
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 4), nn.Tanh())

    rng = np.random.default_rng(0)
    y = np.arange(24) % 2
    bags = [rng.integers(0, 120, size=(rng.integers(1, 5), 4, 5)) + 130 * k for k in y]
    bags = [(bag if dtype == np.uint8 else bag / 255).astype(dtype) for bag in bags]
    network = AttentionMILClassifier(encoder=encoder, **(NETWORK | {"max_iter": 40}))
    inner = CalibratedClassifierCV(network, cv=2) if calibrated else network
    model = InstanceVotingClassifier(inner, voting="mean").fit(bags, y)
    assert model.instance_shape_ == (4, 5)
    fitted = (
        model.estimator_.calibrated_classifiers_[0].estimator if calibrated else model.estimator_
    )
    assert fitted.instance_shape_ == (4, 5)
    assert model.score(bags, y) == 1.0
    evidence = model.score_instances(bags)
    assert [len(e) for e in evidence] == [len(bag) for bag in bags]
    np.testing.assert_allclose(
        model.predict_proba(bags)[:, 1], [e.mean() for e in evidence], rtol=1e-6
    )


def test_images_for_what_takes_vectors():
    bags, y = [np.zeros((2, 3, 4, 4))] * 4, [0, 1] * 2
    for estimator in (LogisticRegression(), None, RandomForestClassifier()):
        with pytest.raises(BagShapeError, match=r"shape \(3, 4, 4\), and .* takes vectors"):
            InstanceVotingClassifier(estimator).fit(bags, y)
    # The way out that the message names.
    flattened = make_pipeline(
        InstanceTransformer(StandardScaler(), flatten=True), InstanceVotingClassifier(GaussianNB())
    )
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(2, 3, 4, 4)) + 3 * k for k in y]
    assert flattened.fit(bags, y).score(bags, y) == 1.0


# -- groups ----------------------------------------------------------------------------------


def patients():
    """Thirty bags of ten patients, one label each."""
    bags, _ = make_bags()
    groups = np.arange(30) // 3
    return bags, groups % 2, groups


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("source", ["bags", "argument", "inside X"])
def test_folds_inside_divide_no_bag_and_no_group(source, piped, routing):
    bags, y, groups = patients()
    inner = CalibratedClassifierCV(GaussianNB(), cv=5)
    inner = make_pipeline(StandardScaler(), inner) if piped else inner
    X = BagArray.from_list(bags, groups=groups) if source == "inside X" else bags
    own = np.arange(30) if source == "bags" else groups
    fit_params = {"groups": groups} if source == "argument" else {}
    with sklearn.config_context(enable_metadata_routing=routing):
        model = InstanceVotingClassifier(inner, voting="mean").fit(X, y, **fit_params)
    last = model.estimator_[-1] if piped else model.estimator_
    of_instance = np.repeat(own, [len(bag) for bag in bags])
    assert len(last.cv) == len(last.calibrated_classifiers_) == 5
    for train, test in last.cv:
        assert not set(of_instance[train]) & set(of_instance[test])
        assert len(train) + len(test) == len(of_instance)
    # The user's own was left as it was.
    given = inner[-1] if piped else inner
    assert given.cv == 5
    # What folds by group gave is what scikit-learn gives for these folds.
    flat, labels, weight = instances(bags, y)
    reference = CalibratedClassifierCV(GaussianNB(), cv=last.cv)
    if piped:
        flat = StandardScaler().fit(flat, sample_weight=weight).transform(flat)
    reference.fit(flat, labels, sample_weight=weight)
    np.testing.assert_allclose(
        np.concatenate(model.score_instances(X)), reference.predict_proba(flat)[:, 1], rtol=1e-6
    )


@pytest.mark.parametrize("piped", [False, True])
def test_groups_reach_early_stopping(piped):
    bags, y, groups = patients()
    network = AttentionMILClassifier(early_stopping=True, validation_fraction=0.3, **NETWORK)
    step = make_pipeline(InstanceTransformer(StandardScaler()), network) if piped else network

    def scores(X, **fit_params):
        model = InstanceVotingClassifier(step, weight="instance").fit(X, y, **fit_params)
        return (model.estimator_[-1] if piped else model.estimator_).validation_scores_

    flat, labels, _ = instances(bags, y)
    flat = StandardScaler().fit_transform(flat) if piped else flat
    sizes = [len(bag) for bag in bags]
    by_group = clone(network).fit(flat, labels, groups=np.repeat(groups, sizes)).validation_scores_
    by_bag = clone(network).fit(flat, labels, groups=np.repeat(np.arange(30), sizes))
    assert by_bag.validation_scores_ != by_group
    np.testing.assert_allclose(scores(bags, groups=groups), by_group, rtol=1e-5)
    np.testing.assert_allclose(scores(BagArray.from_list(bags, groups=groups)), by_group, rtol=1e-5)
    np.testing.assert_allclose(scores(bags), by_bag.validation_scores_, rtol=1e-5)


def test_under_metadata_routing():
    bags, y, groups = patients()
    X = BagArray.from_list(bags, groups=groups)
    # Weights go to steps and to what they wrap, although nobody requested them.
    inner = make_pipeline(StandardScaler(), CalibratedClassifierCV(LogisticRegression()))
    model = make_pipeline(InstanceTransformer(StandardScaler()), InstanceVotingClassifier(inner))
    expected = clone(model).fit(X, y).decision_function(X)
    with sklearn.config_context(enable_metadata_routing=True):
        got = clone(model).fit(bags, y, groups=groups)
        np.testing.assert_allclose(got.decision_function(X), expected)
        assert cross_val_score(model, X, y, cv=GroupedSplit(GroupKFold(3))).shape == (3,)


# -- with scikit-learn's tools ---------------------------------------------------------------


def test_searches_and_cross_validation():
    # Rare witnesses: the vote matters.
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    bags = [rng.normal(size=(8, 2)) for _ in y]
    for bag in bags[1::2]:
        bag[0] += 4.0
    model = InstanceVotingClassifier(LogisticRegression())
    grid = {"estimator__C": [1e-6, 1.0], "voting": ["mean", "max"]}
    search = GridSearchCV(model, grid, cv=4, scoring="roc_auc").fit(BagArray.from_list(bags), y)
    assert search.best_params_["voting"] == "max"
    assert search.best_score_ > 0.9
    results = search.cv_results_
    assert len(results["params"]) == 4
    by_hand = {
        str(params): cross_val_score(
            clone(model).set_params(**params), bags, y, cv=4, scoring="roc_auc"
        )
        for params in results["params"]
    }
    for i, params in enumerate(results["params"]):
        assert results["mean_test_score"][i] == pytest.approx(by_hand[str(params)].mean())
    assert search.best_estimator_.score_instances(bags[:1])[0].shape == (8,)


def test_clone_and_pickle():
    bags, y = make_bags()
    model = InstanceVotingClassifier(GaussianNB(), voting="threshold", threshold=0.3)
    fitted = clone(model).fit(bags, y)
    assert not hasattr(model, "estimator_")
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.decision_function(bags), fitted.decision_function(bags))
    assert not hasattr(model.estimator, "classes_")


def test_the_caller_s_bags_are_not_changed():
    bags, y = make_bags()
    X = BagArray.from_list(bags)
    model = InstanceVotingClassifier(make_pipeline(StandardScaler(copy=False), GaussianNB()))
    model.fit(X, y)
    for method in (model.predict, model.transform, model.score_instances, model.predict_instances):
        method(X)
    np.testing.assert_array_equal(X.instances, np.concatenate(bags))
    assert X.instances.flags.writeable


def test_missing_values_pass_where_the_classifier_takes_them():
    bags, y = make_bags()
    bags[2][0, 1] = np.nan
    model = InstanceVotingClassifier(DecisionTreeClassifier(random_state=0)).fit(bags, y)
    assert np.isfinite(model.decision_function(bags)).all()
    for estimator in (GaussianNB(), make_pipeline(StandardScaler(), GaussianNB()), None):
        with pytest.raises(ValueError, match="Bag 2 has NaN in instance 0"):
            InstanceVotingClassifier(estimator).fit(bags, y)
    # The way out that the message names.
    imputed = make_pipeline(InstanceTransformer(SimpleImputer()), InstanceVotingClassifier())
    assert np.isfinite(imputed.fit(bags, y).decision_function(bags)).all()


# -- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize("voting", ["mean", "max", "noisy_or", "threshold"])
@pytest.mark.parametrize("estimator", [LinearSVC(), make_pipeline(StandardScaler(), LinearSVC())])
def test_votes_that_need_probabilities(estimator, voting):
    bags, y = make_bags()
    message = (
        f"voting='{voting}' needs probabilities, and {type(estimator).__name__} has no predict"
    )
    with pytest.raises(ValueError, match=message):
        InstanceVotingClassifier(estimator, voting=voting).fit(bags, y)
    # Both ways out that the message names.
    InstanceVotingClassifier(estimator, voting="majority").fit(bags, y)
    calibrated = CalibratedClassifierCV(LinearSVC())
    InstanceVotingClassifier(calibrated, voting=voting).fit(bags, y)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"voting": "median"}, ValueError, "The 'voting' parameter"),
        ({"threshold": 0}, ValueError, "The 'threshold' parameter"),
        ({"threshold": 1.0}, ValueError, "The 'threshold' parameter"),
        ({"threshold": 2.5}, ValueError, "The 'threshold' parameter"),
        ({"weight": "size"}, ValueError, "The 'weight' parameter"),
        ({"class_weight": "auto"}, ValueError, "The 'class_weight' parameter"),
        ({"class_weight": {"no": 1.0}}, ValueError, "class_weight names"),
        ({"estimator": "forest"}, ValueError, "The 'estimator' parameter"),
        ({"estimator": StandardScaler()}, TypeError, "must be a classifier. Got StandardScaler"),
        ({"estimator": LinearRegression()}, TypeError, "must be a classifier. Got LinearRegr"),
        ({"estimator": KMeans(2)}, TypeError, "must be a classifier. Got KMeans"),
    ],
)
def test_wrong_parameters(params, error, message):
    with pytest.raises(error, match=message):
        InstanceVotingClassifier(**params).fit(*make_bags())


def test_wrong_input():
    bags, y = make_bags()
    with pytest.raises(ValueError, match="only one class, 'a'"):
        InstanceVotingClassifier().fit(bags, ["a"] * 30)
    with pytest.raises(ValueError, match="y has 3 labels, but X has 30 bags"):
        InstanceVotingClassifier().fit(bags, y[:3])
    with pytest.raises(ValueError, match="groups has 2 entries, but X has 30 bags"):
        InstanceVotingClassifier().fit(bags, y, groups=[1, 2])
    model = InstanceVotingClassifier().fit(bags, y)
    with pytest.raises(ValueError, match="X has 4 features"):
        model.predict([np.zeros((2, 4))])
