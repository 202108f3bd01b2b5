"""AttentionMILRegressor: the same networks for numbers."""

import pickle

import numpy as np
import pytest

from milkit import BagArray
from milkit.neural import AttentionMILRegressor

from .neural_helpers import COMBINATIONS, WEIGHTED, network_by_hand, parameters_of

N_FEATURES = 3
SMALL = {
    "hidden_layer_sizes": (16,),
    "attention_dim": 8,
    "learning_rate_init": 1e-2,
    "max_iter": 40,
    "dropout": 0.0,
    "random_state": 0,
}


def make_bags(n_bags=80, seed=0):
    rng = np.random.default_rng(seed)
    X = BagArray.from_list(
        [rng.normal(size=(rng.integers(1, 8), N_FEATURES)) for _ in range(n_bags)]
    )
    return X, np.array([bag[:, 0].mean() for bag in X])


def small(pooling="attention", level="embedding", **changed):
    return AttentionMILRegressor(**SMALL | parameters_of(pooling, level) | changed)


# All but noisy-or, with two members where the pooling is at the instance level.
MODELS = [
    (pooling, level, {"embedding": 1, "instance": 2}[level])
    for pooling, level in COMBINATIONS
    if pooling != "noisy_or"
]


def some_models(condition=lambda *_: True):
    return pytest.mark.parametrize(
        "which", [m for m in MODELS if condition(*m)], ids=lambda which: "-".join(map(str, which))
    )


@pytest.fixture(scope="module")
def data():
    return make_bags()


@pytest.fixture(scope="module")
def fitted(data):
    """Models fitted on 100 y + 1000; not to be changed."""
    models = {}

    def get(which):
        if which not in models:
            model = small(*which[:2], n_estimators=which[2])
            models[which] = model.fit(data[0], 100 * data[1] + 1000)
        return models[which]

    return get


def constant_of(model):
    """What is predicted where nothing is seen, in the units of the target."""
    bias = model.network_.head.bias.detach().numpy().mean()
    return bias * model.loss_.scale + model.loss_.center


# -- learning and outputs ---------------------------------------------------------------------


@some_models()
def test_learns(which, fitted):
    X, y = make_bags(seed=1)
    least = {"module": 0.2, "max": 0.15}.get(which[0], 0.6)  # these two cannot say a mean
    assert fitted(which).score(X, 100 * y + 1000) > least


@some_models()
def test_prediction_is_the_mean_of_the_members_by_hand(which, fitted, data):
    model = fitted(which)
    members = [
        [network_by_hand(which[0], model.network_, bag, e)[0] for bag in data[0]]
        for e in range(which[2])
    ]
    expected = np.mean(members, axis=0) * model.loss_.scale + model.loss_.center
    np.testing.assert_allclose(model.predict(data[0]), expected, rtol=1e-5)


@some_models()
def test_transform_and_pickle(which, fitted, data):
    model = fitted(which)
    Z = model.transform(data[0])
    width = {"heads": 48, "mean_std": 32, "module": 3}.get(which[0], 16)
    width = 1 if which[1] == "instance" else width
    assert Z.shape == (len(data[0]), which[2] * width)
    assert len(model.get_feature_names_out()) == Z.shape[1]
    assert model.get_feature_names_out()[0] == "attentionmilregressor0"
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(data[0]), model.predict(data[0]))


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e4, -7.0), (10.0, 1e6)])
def test_units_of_the_target_do_not_matter(scale, shift, data):
    X, y = data
    plain = small(max_iter=10).fit(X, y).predict(X)
    moved = small(max_iter=10).fit(X, scale * y + shift).predict(X)
    np.testing.assert_allclose((moved - shift) / scale, plain, rtol=1e-3, atol=1e-3)


# -- evidence ---------------------------------------------------------------------------------


@some_models(lambda pooling, *_: pooling in WEIGHTED)
def test_evidence_is_in_the_units_of_the_target(which, fitted, data):
    """Its mean over the bag plus one constant is the prediction."""
    model = fitted(which)
    evidence = model.score_instances(data[0])
    assert [len(e) for e in evidence] == data[0].sizes.tolist()
    means = np.array([e.mean() for e in evidence])
    np.testing.assert_allclose(means + constant_of(model), model.predict(data[0]), rtol=1e-5)


@some_models(lambda *which: which[0] not in WEIGHTED and which[:2] != ("max", "instance"))
def test_evidence_is_occlusion(which, fitted, data):
    model = fitted(which)
    for bag in [next(bag for bag in data[0] if len(bag) == n) for n in (1, 2, 7)]:
        got = model.score_instances([bag])[0]
        if len(bag) == 1:
            expected = model.predict([bag]) - constant_of(model)
        else:
            without = model.predict([np.delete(bag, k, axis=0) for k in range(len(bag))])
            expected = model.predict([bag]) - without
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_evidence_of_a_maximum_over_instances(n_estimators, data):
    """It is what each instance says alone; the largest is the prediction but for the mean."""
    X, y = data
    model = small("max", "instance", max_iter=5, n_estimators=n_estimators).fit(X, 100 * y + 1000)
    for bag, e, prediction in zip(X, model.score_instances(X), model.predict(X), strict=True):
        alone = model.predict(list(bag[:, None])) - model.loss_.center
        np.testing.assert_allclose(e, alone, rtol=1e-3, atol=1e-3)
        if n_estimators == 1:
            np.testing.assert_allclose(e.max() + model.loss_.center, prediction, rtol=1e-6)


# -- targets and weights ----------------------------------------------------------------------


@pytest.mark.parametrize("constant", [0.0, 0.1, -5e8, 3])
def test_a_constant_is_predicted_exactly(constant, data):
    X = data[0]
    model = small(max_iter=2).fit(X, np.full(len(X), constant))
    assert (model.predict(X) == constant).all()
    assert (np.concatenate(model.score_instances(X)) == 0).all()


def test_integers(data):
    X, y = data
    rounded = np.round(3 * y).astype(int)
    from_integers, from_floats = (
        small(max_iter=3).fit(X, rounded),
        small(max_iter=3).fit(X, rounded.astype(float)),
    )
    np.testing.assert_array_equal(from_integers.predict(X), from_floats.predict(X))
    assert from_integers.predict(X).dtype == np.float64


def test_a_bag_of_weight_zero_is_left_out(data):
    X, y = data
    weight = np.random.default_rng(0).integers(0, 3, len(X)) * 0.5
    kept = np.flatnonzero(weight)
    outlier = np.where(weight > 0, y, 1e9)
    weighted = small(max_iter=5).fit(X, outlier, sample_weight=weight)
    without = small(max_iter=5).fit(X[kept], y[kept], sample_weight=weight[kept])
    np.testing.assert_array_equal(weighted.predict(X), without.predict(X))


def test_weights_move_the_prediction(data):
    X = data[0]
    y = np.arange(len(X)) % 2  # nothing to learn but the mean
    heavy = small(max_iter=5).fit(X, y, sample_weight=1 + 9.0 * y)
    assert heavy.predict(X).mean() > small(max_iter=5).fit(X, y).predict(X).mean() + 0.2


def test_bad_targets(data):
    X, y = data
    with pytest.raises(ValueError, match="NaN"):
        small().fit(X, np.where(y > 0, y, np.nan))
    with pytest.raises(ValueError, match="y has 79 labels, but X has 80 bags"):
        small().fit(X, y[:-1])


def test_a_fit_repeats_and_pickles(data):
    X, y = data
    first, second = small(max_iter=3).fit(X, y), small(max_iter=3).fit(X, y)
    np.testing.assert_array_equal(first.predict(X), second.predict(X))
    again = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
