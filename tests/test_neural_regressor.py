"""AttentionMILRegressor: the seam for other targets."""

import pickle

import numpy as np
import pytest

from milkit import BagArray
from milkit.neural import AttentionMILRegressor

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


def small(**changed):
    return AttentionMILRegressor(**{**SMALL, **changed})


@pytest.fixture(scope="module")
def data():
    return make_bags()


@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "mean", "max"])
def test_learns(pooling, data):
    assert small(pooling=pooling).fit(*data).score(*make_bags(seed=1)) > 0.7


@pytest.mark.parametrize(("scale", "shift"), [(1e-6, 0.0), (1e4, -7.0), (10.0, 1e6)])
def test_units_of_the_target_do_not_matter(scale, shift, data):
    X, y = data
    plain = small(max_iter=10).fit(X, y).predict(X)
    moved = small(max_iter=10).fit(X, scale * y + shift).predict(X)
    np.testing.assert_allclose((moved - shift) / scale, plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "mean"])
def test_evidence_is_in_the_units_of_the_target(pooling, data):
    """Its mean over the bag plus one constant is the prediction."""
    X, y = data
    model = small(pooling=pooling, max_iter=5).fit(X, 100 * y + 1e6)
    bias = model.network_.head.bias.item() * model.loss_.scale + model.loss_.center
    evidence = model.score_instances(X)
    assert [len(e) for e in evidence] == X.sizes.tolist()
    means = np.array([e.mean() for e in evidence])
    np.testing.assert_allclose(means + bias, model.predict(X), rtol=0, atol=1e-3)


def test_evidence_of_max_is_occlusion(data):
    X, y = data
    model = small(pooling="max", max_iter=5).fit(X, 100 * y)
    bag = next(bag for bag in X if len(bag) > 3)
    without = model.predict([np.delete(bag, k, axis=0) for k in range(len(bag))])
    expected = model.predict([bag]) - without
    np.testing.assert_allclose(model.score_instances([bag])[0], expected, rtol=1e-3, atol=1e-3)


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


def test_transform_gives_the_embedding(data):
    X, y = data
    model = small(max_iter=2).fit(X, y)
    Z, head = model.transform(X), model.network_.head
    outputs = Z @ head.weight.detach().numpy()[0] + head.bias.item()
    np.testing.assert_allclose(
        outputs * model.loss_.scale + model.loss_.center, model.predict(X), rtol=1e-4, atol=1e-5
    )
    assert model.get_feature_names_out()[0] == "attentionmilregressor0"
