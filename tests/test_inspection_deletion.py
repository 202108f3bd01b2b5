"""The decision while instances leave or enter a bag, and what it says of explanations."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import make_regression
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagArray,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
)
from milkit.exceptions import BagShapeError
from milkit.inspection import (
    attention_weights,
    deletion_curve,
    insertion_curve,
    instance_occlusion,
    score_instances,
)
from milkit.neural import AttentionMILRegressor

CURVES = [deletion_curve, insertion_curve]


class FirstFeature(ClassifierMixin, BaseEstimator):
    """The decision is the sum of the first feature: its evidence is known."""

    def __init__(self, constant=None):
        self.constant = constant

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        if self.constant is not None:
            return np.full(len(X), self.constant)
        return np.array([bag[:, 0].sum() for bag in X])

    def predict(self, X):
        return self.classes_[(self.decision_function(X) > 0).astype(int)]


def make_bags(n_bags=20, n_classes=2, sizes=(3, 9), seed=0):
    rng = np.random.default_rng(seed)
    X = [rng.normal(size=(n, 3)) for n in rng.integers(*sizes, size=n_bags)]
    y = np.arange(n_bags) % n_classes
    for bag, label in zip(X, y, strict=True):
        bag[:2] += 3 * label
    return X, y


def network(**params):
    params = {"max_iter": 10, "hidden_layer_sizes": (8,), "random_state": 0, **params}
    return AttentionMILClassifier(**params)


@pytest.fixture
def first():
    X, y = make_bags()
    return FirstFeature().fit(X, y), X, [bag[:, 0] for bag in X]


def by_hand(decide, bag, values, n_steps, insertion):
    """One curve, step by step."""
    order = np.argsort(-values)
    curve = []
    for step in range(n_steps + 1):
        share = step / n_steps * (len(bag) - 1)
        if insertion:  # the complement, so that halves fall as in a deletion
            stay = order[: len(bag) - int((len(bag) - 1 - share) + 0.5 + 1e-9)]
        else:
            stay = order[int(share + 0.5 + 1e-9) :]
        curve.append(decide([bag[np.sort(stay)]])[0])
    return curve


@pytest.mark.parametrize("n_steps", [1, 4, 20])
@pytest.mark.parametrize("curve", CURVES)
def test_it_is_what_a_loop_finds(curve, n_steps, first):
    model, X, values = first
    X, values = [*X, X[0][:1]], [*values, values[0][:1]]
    found = curve(model, X, values, signed=True, class_label=1, n_steps=n_steps)
    expected = [
        by_hand(model.decision_function, bag, v, n_steps, curve is insertion_curve)
        for bag, v in zip(X, values, strict=True)
    ]
    np.testing.assert_allclose(found.fractions, np.linspace(0, 1, n_steps + 1))
    np.testing.assert_allclose(found.decisions, expected)
    np.testing.assert_allclose(found.auc, np.trapezoid(expected, dx=1 / n_steps, axis=1))
    assert found.mean_auc == pytest.approx(found.auc.mean())
    assert found.class_labels.tolist() == [1] * len(X)


def test_ends_of_the_curves(first):
    model, X, values = first
    params = {"signed": True, "class_label": 1, "n_steps": 7}
    deletion = deletion_curve(model, X, values, **params).decisions
    insertion = insertion_curve(model, X, values, **params).decisions
    whole = model.decision_function(X)
    np.testing.assert_allclose(deletion[:, 0], whole)
    np.testing.assert_allclose(insertion[:, -1], whole)
    np.testing.assert_allclose(deletion[:, -1], [v.min() for v in values])
    np.testing.assert_allclose(insertion[:, 0], [v.max() for v in values])


@pytest.mark.parametrize("n_steps", [1, 6, 10])
def test_an_insertion_is_a_deletion_of_the_opposite_read_backwards(first, n_steps):
    model, X, values = first
    params = {"signed": False, "class_label": 1, "n_steps": n_steps}
    insertion = insertion_curve(model, X, values, **params)
    deletion = deletion_curve(model, X, [-v for v in values], **params)
    np.testing.assert_allclose(insertion.decisions, deletion.decisions[:, ::-1])


def test_the_true_explanation_is_the_best_and_its_opposite_the_worst(first):
    model, X, values = first
    rng = np.random.default_rng(0)
    params = {"signed": True, "class_label": 1}
    others = [[rng.normal(size=len(v)) for v in values] for _ in range(20)]
    others.append([-v for v in values])
    down, up = (curve(model, X, values, **params).auc for curve in CURVES)
    for other in others:
        assert np.all(down <= deletion_curve(model, X, other, **params).auc + 1e-9)
        assert np.all(up >= insertion_curve(model, X, other, **params).auc - 1e-9)
    worst = deletion_curve(model, X, others[-1], **params)
    assert worst.mean_auc > deletion_curve(model, X, others[0], **params).mean_auc > down.mean()


@pytest.mark.parametrize("curve", CURVES)
def test_a_constant_decision_has_its_value_as_area(curve):
    X, y = make_bags()
    model = FirstFeature(constant=-2.5).fit(X, y)
    found = curve(model, X, kind="random", class_label=1)
    np.testing.assert_allclose(found.auc, -2.5)
    np.testing.assert_allclose(curve(model, X, kind="random").auc, 2.5)  # predicted: the other


@pytest.mark.parametrize("make", [MISVM, network, lambda: InstanceVotingClassifier(voting="mean")])
def test_evidence_and_occlusion_beat_chance(make):
    X, y = make_bags(40)
    model = make().fit(X, y)
    for kind in ("evidence", "occlusion"):
        for seed in range(3):
            down, up = (curve(model, X, kind="random", random_state=seed) for curve in CURVES)
            assert deletion_curve(model, X, kind=kind, random_state=0).mean_auc < down.mean_auc
            assert insertion_curve(model, X, kind=kind, random_state=0).mean_auc > up.mean_auc


@pytest.mark.parametrize("curve", CURVES)
def test_kinds_are_the_functions_of_their_names(curve):
    X, y = make_bags()
    model = make_pipeline(
        InstanceTransformer(StandardScaler()),
        network(n_heads=2, max_iter=60, learning_rate_init=1e-2),
    ).fit(X, y)
    weights = [w.mean(axis=1) for w in attention_weights(model, X)]
    for kind, values, signed in [
        ("evidence", score_instances(model, X), True),
        ("occlusion", instance_occlusion(model, X), True),
        ("attention", weights, False),
    ]:
        computed = curve(model, X, kind=kind)
        given = curve(model, X, values, signed=signed)
        np.testing.assert_allclose(computed.decisions, given.decisions, rtol=1e-5)
        assert len(np.unique(computed.class_labels)) == 2


def test_evidence_is_turned_for_the_first_of_two_classes(first):
    model, X, values = first
    columns = [np.column_stack([-v, v]) for v in values]
    for label in (None, 0, 1, (np.arange(len(X)) % 2)):
        signed = deletion_curve(model, X, values, signed=True, class_label=label)
        both = deletion_curve(model, X, columns, class_label=label)
        np.testing.assert_allclose(signed.decisions, both.decisions)
        np.testing.assert_array_equal(signed.class_labels, both.class_labels)
    zero = deletion_curve(model, X, values, signed=True, class_label=0)
    turned = deletion_curve(model, X, [-v for v in values], signed=False, class_label=1)
    np.testing.assert_allclose(
        zero.decisions,
        -deletion_curve(model, X, [-v for v in values], signed=False, class_label=1).decisions,
    )
    assert turned.class_labels[0] == 1
    assert zero.class_labels[0] == 0


def test_the_predicted_class_is_followed(first):
    model, X, values = first
    found = deletion_curve(model, X, values, signed=True)
    np.testing.assert_array_equal(found.class_labels, model.predict(X))
    np.testing.assert_allclose(found.decisions[:, 0], np.abs(model.decision_function(X)))


def test_probabilities_of_both_classes_add_up_to_one():
    X, y = make_bags()
    model = network().fit(X, y)
    params = {"response_method": "predict_proba", "signed": False}
    weights = attention_weights(model, X)
    zero, one = (deletion_curve(model, X, weights, class_label=c, **params) for c in (0, 1))
    np.testing.assert_allclose(zero.decisions + one.decisions, 1)
    assert zero.decisions.min() >= 0


def test_several_classes():
    X, _ = make_bags(n_classes=3)
    y = np.array(["a", "b", "c"])[np.arange(len(X)) % 3]
    model = network().fit(X, y)
    evidence, weights = score_instances(model, X), attention_weights(model, X)
    predicted = model.predict(X)
    found = deletion_curve(model, X)
    assert found.decisions.shape == (len(X), 21)
    np.testing.assert_array_equal(found.class_labels, predicted)
    np.testing.assert_allclose(
        found.decisions[:, 0], model.decision_function(X).max(axis=1), rtol=1e-5
    )
    by_label = deletion_curve(model, X, class_label=predicted)
    np.testing.assert_allclose(by_label.decisions, found.decisions, rtol=1e-5)
    column = [e[:, 2] for e in evidence]
    np.testing.assert_allclose(
        deletion_curve(model, X, class_label="c").decisions,
        deletion_curve(model, X, column, class_label="c").decisions,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        deletion_curve(model, X, kind="attention").decisions,
        deletion_curve(model, X, weights).decisions,
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="signed=True is for two classes"):
        deletion_curve(model, X, weights, signed=True)
    with pytest.raises(BagShapeError, match=r"2 columns.*\(3 classes\)"):
        deletion_curve(model, X, [e[:, :2] for e in evidence])


@pytest.mark.parametrize("curve", CURVES)
def test_regressors(curve):
    X, _ = make_bags()
    y = np.array([bag.mean() for bag in X])
    model = AttentionMILRegressor(max_iter=20, random_state=0).fit(X, y)
    found = curve(model, X)
    assert found.class_labels is None
    np.testing.assert_allclose(
        found.decisions[:, -1 if curve is insertion_curve else 0], model.predict(X), rtol=1e-4
    )
    better = curve(model, X, kind="random", random_state=0).mean_auc - found.mean_auc
    assert better < 0 if curve is insertion_curve else better > 0
    with pytest.raises(ValueError, match=r"no classifier\. Leave class_label=None"):
        curve(model, X, class_label=1)
    with pytest.raises(BagShapeError, match="the estimator has no classes"):
        curve(model, X, [np.ones((len(bag), 2)) for bag in X])


def test_several_targets_are_refused():
    X, _ = make_bags()
    _, y = make_regression(len(X), n_targets=2, random_state=0)
    model = make_pipeline(BagStatistics(("mean",)), LinearRegression()).fit(X, y)
    with pytest.raises(ValueError, match="predicts 2 numbers for a bag"):
        deletion_curve(model, X, kind="random")


def test_equal_values_are_ordered_by_the_random_state(first):
    model, X, values = first
    ties = [np.zeros(len(v)) for v in values]
    params = {"signed": False, "class_label": 1}
    found = [deletion_curve(model, X, ties, **params, random_state=s).decisions for s in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    at_random = deletion_curve(model, X, kind="random", class_label=1, random_state=0)
    np.testing.assert_array_equal(at_random.decisions, found[0])
    # Over many orders it is a straight line from the whole sum to one instance's mean.
    many = np.mean(
        [deletion_curve(model, X, ties, **params, random_state=s).auc for s in range(300)], axis=0
    )
    middle = [(v.sum() + v.mean()) / 2 for v in values]
    np.testing.assert_allclose(many, middle, atol=0.4)
    # Ties are broken among themselves only.
    half = [(v > np.median(v)).astype(float) for v in values]
    a, b = (deletion_curve(model, X, half, **params, random_state=s, n_steps=2) for s in (0, 1))
    odd = np.array([len(v) % 2 == 1 for v in values])
    np.testing.assert_allclose(a.decisions[odd, 1], b.decisions[odd, 1])


@pytest.mark.parametrize("curve", CURVES)
def test_nan_comes_last(curve, first):
    model, X, values = first
    cut = [np.where(v < np.median(v), np.nan, v) for v in values]
    low = [np.where(v < np.median(v), -np.inf, v) for v in values]
    params = {"signed": False, "class_label": 1, "random_state": 0}
    found = [curve(model, X, v, **params).decisions for v in (cut, low)]
    np.testing.assert_array_equal(*found)
    # Turned for the other class it is last as well.
    found = curve(model, X, cut, signed=True, class_label=0, random_state=0)
    expected = curve(model, X, [-v for v in cut], signed=False, class_label=0, random_state=0)
    np.testing.assert_array_equal(found.decisions, expected.decisions)


def test_instances_that_a_filter_dropped_are_last():
    X, y = make_bags()
    model = make_pipeline(OneClassInstanceFilter(), MISVM()).fit(X, y)
    evidence = score_instances(model, X)
    assert any(np.isnan(e).any() for e in evidence)
    found = deletion_curve(model, X, random_state=0)
    assert np.all(np.isfinite(found.decisions))
    assert found.mean_auc < deletion_curve(model, X, kind="random", random_state=0).mean_auc


@pytest.mark.parametrize("kind", ["evidence", "attention", "occlusion", "random"])
@pytest.mark.parametrize("curve", CURVES)
def test_bags_with_one_instance_are_flat(curve, kind):
    X, y = make_bags()
    model = network().fit(X, y)
    ones = [bag[:1] for bag in X]
    found = curve(model, ones, kind=kind)
    expected = np.abs(model.decision_function(ones))
    np.testing.assert_allclose(found.decisions, np.tile(expected[:, None], 21), rtol=1e-4)
    np.testing.assert_allclose(found.auc, expected, rtol=1e-4)


@pytest.mark.parametrize("curve", CURVES)
def test_order_of_instances_and_bags_does_not_matter(curve):
    X, y = make_bags()
    model = network().fit(X, y)
    found = curve(model, X)
    turned = curve(model, [bag[::-1] for bag in X[::-1]])
    np.testing.assert_allclose(turned.decisions[::-1], found.decisions, rtol=1e-4, atol=1e-5)
    part = curve(model, BagArray.from_list(X)[3:8])
    np.testing.assert_allclose(part.decisions, found.decisions[3:8], rtol=1e-4, atol=1e-5)


def test_covariates_stay_with_the_parts():
    X, y = make_bags()
    table = pd.DataFrame({"age": np.random.default_rng(0).normal(60, 9, len(X))})
    bags = BagArray.from_list(X, covariates=table)
    model = network(covariates="concat", branch_layer_sizes=(4,)).fit(bags, y)
    found = deletion_curve(model, bags)
    np.testing.assert_allclose(
        found.decisions[:, 0], np.abs(model.decision_function(bags)), rtol=1e-4, atol=1e-5
    )
    last = [
        bag[[v.argmin() if c else v.argmax()]]
        for bag, v, c in zip(X, score_instances(model, bags), found.class_labels, strict=True)
    ]
    decision = model.decision_function(BagArray.from_list(last, covariates=table))
    sign = np.where(found.class_labels == 1, 1, -1)
    np.testing.assert_allclose(found.decisions[:, -1], sign * decision, rtol=1e-4, atol=1e-5)
    frame = table.assign(cells=pd.Series(X))
    model.set_params(covariate_columns=["age"]).fit(frame, y)
    named = deletion_curve(model, frame)
    np.testing.assert_allclose(named.decisions, found.decisions, rtol=1e-4, atol=1e-5)


def test_string_and_boolean_labels():
    X, y = make_bags()
    for labels in (np.array(["healthy", "sick"]), np.array([False, True])):
        model = MISVM().fit(X, labels[y])
        for label in (labels[1], labels[1].item()):
            found = deletion_curve(model, X, class_label=label, random_state=0)
            np.testing.assert_array_equal(found.class_labels, np.repeat(labels[1:], len(X)))
        with pytest.raises(ValueError, match="class_label 'ill' is none of the classes"):
            deletion_curve(model, X, class_label="ill")


@pytest.mark.parametrize("curve", CURVES)
def test_values_that_do_not_fit(curve, first):
    model, X, values = first
    named = BagArray.from_list(X, names=[f"sample-{i}" for i in range(len(X))])
    short = [*values[:4], values[4][:-1], *values[5:]]
    with pytest.raises(BagShapeError, match=r"Bag 4 \('sample-4'\) has \d instances and \d values"):
        curve(model, named, short, signed=True)
    with pytest.raises(ValueError, match="values for 19 bags, but X has 20"):
        curve(model, X, values[1:], signed=True)
    with pytest.raises(ValueError, match=r"Say signed=True where it speaks for 1.*as attention is"):
        curve(model, X, values)
    with pytest.raises(TypeError, match=r"Got ndarray of shape .*split_by_bag"):
        curve(model, X, np.concatenate(values), signed=True)
    with pytest.raises(TypeError, match="Got one flat list"):
        curve(model, X, np.concatenate(values).tolist(), signed=True)
    with pytest.raises(TypeError, match="kind='attention'"):
        curve(model, X, "attention")
    with pytest.raises(TypeError, match="Got BagArray"):
        curve(model, X, named)
    with pytest.raises(BagShapeError, match=r"shape \(\d, 3, 1\)"):
        curve(model, X, [bag[:, :, None] for bag in X])
    for broken in (1.0, np.ones((1, 1, 1))):
        with pytest.raises(BagShapeError, match=r"Bag 2 has values of shape \("):
            curve(model, X, [*values[:2], broken, *values[3:]], signed=True)
    with pytest.raises(ValueError, match="values of Bag 2"):
        curve(model, X, [*values[:2], [1.0, [2.0, 3.0]], *values[3:]], signed=True)
    with pytest.raises(ValueError, match="values for 0 bags"):
        curve(model, X, [], signed=True)
    with pytest.raises(BagShapeError, match=r"Bag 1 .*all must have one number"):
        curve(model, X, [values[0], *[v[:, None] for v in values[1:]]])
    with pytest.raises(BagShapeError, match=r"3 columns.*\(2 classes\).*mean\(axis=1\)"):
        curve(model, X, X)
    with pytest.raises(ValueError, match="Bag 0"):
        curve(model, X, [np.array(["a"] * len(v)) for v in values], signed=True)


@pytest.mark.parametrize("curve", CURVES)
def test_bad_input(curve, first):
    model, X, _ = first
    with pytest.raises(BagShapeError, match=rf"{curve.__name__} needs bags, but got one 2-D table"):
        curve(model, X[0], kind="random")
    with pytest.raises(BagShapeError, match=rf"Got no bags; {curve.__name__}"):
        curve(model, BagArray.from_list(X)[:0], kind="random", class_label=1)
    with pytest.raises(NotFittedError):
        curve(MISVM(), X)
    with pytest.raises(TypeError, match="must be a fitted estimator"):
        curve(MISVM, X)
    with pytest.raises(TypeError, match="FirstFeature has no score_instances"):
        curve(model, X)
    with pytest.raises(ValueError, match="'kind' parameter"):
        curve(model, X, kind="gradient")
    with pytest.raises(ValueError, match="'n_steps' parameter"):
        curve(model, X, kind="random", n_steps=0)
    for broken in ([0, 1], [[0]] * 20, [[0], [0, 1]], {0: 1}, {1}):
        with pytest.raises(ValueError, match="one for each of the 20 bags"):
            curve(model, X, kind="random", class_label=broken)
    with pytest.raises(ValueError, match=r"class_label 7 is none .* \[0, 1\]"):
        curve(model, X, kind="random", class_label=7)


@pytest.mark.parametrize("curve", CURVES)
def test_nothing_is_ignored(curve, first):
    model, X, values = first
    with pytest.raises(ValueError, match=r"signed=False .*kind='random' .*Leave signed=None"):
        curve(model, X, kind="random", signed=False)
    with pytest.raises(ValueError, match=r"kind='occlusion' .*Pass one of the two"):
        curve(model, X, values, kind="occlusion", signed=True)


def test_plain_scikit_learn():
    X, y = make_bags()
    model = make_pipeline(BagStatistics(("mean",)), LogisticRegression()).fit(X, y)
    evidence = [bag @ model[-1].coef_[0] for bag in X]
    found = deletion_curve(model, X, evidence, signed=True)
    occluded = deletion_curve(model, X, kind="occlusion")
    np.testing.assert_allclose(found.decisions, occluded.decisions)


def test_an_object_array_of_values_and_a_progress_bar(first, capsys):
    model, X, values = first
    array = np.empty(len(X), dtype=object)
    array[:] = values
    found = insertion_curve(model, X, array, signed=True, verbose=1)
    assert "insertion_curve, bags" in capsys.readouterr().err
    expected = insertion_curve(model, tuple(X), tuple(values), signed=True)
    np.testing.assert_array_equal(found.decisions, expected.decisions)
    assert capsys.readouterr() == ("", "")
