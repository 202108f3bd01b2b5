"""Poolings against the formulas of Ilse et al. 2018, written out."""

import numpy as np
import pytest
import torch

from milkit.neural._pooling import make_pooling

NAMES = ["attention", "gated_attention", "mean", "max"]
SIZES = [1, 4, 300, 2]
WIDTH = 5


def pooling_and_bags(name, seed=0):
    pooling = make_pooling(name, WIDTH, 3, torch.Generator().manual_seed(seed)).double()
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(n, WIDTH)) for n in SIZES]
    return pooling, bags


def pool(pooling, bags):
    offsets = torch.from_numpy(np.cumsum([0, *map(len, bags)]))
    with torch.no_grad():
        z, weights = pooling(torch.from_numpy(np.concatenate(bags)), offsets)
    if weights is not None:
        weights = np.split(weights.numpy()[:, 0], offsets.numpy()[1:-1])
    return z.numpy(), weights


def attention_by_hand(pooling, bag, gated):
    parameters = {key: value.detach().numpy() for key, value in pooling.named_parameters()}
    hidden = np.tanh(bag @ parameters["V.weight"].T + parameters["V.bias"])
    if gated:
        gate = bag @ parameters["U.weight"].T + parameters["U.bias"]
        hidden = hidden / (1 + np.exp(-gate))
    scores = np.exp(hidden @ parameters["w.weight"][0] + parameters["w.bias"])
    weights = scores / scores.sum()
    return weights @ bag, weights


@pytest.mark.parametrize("gated", [False, True], ids=["eq. 8", "eq. 9"])
def test_attention_by_hand(gated):
    pooling, bags = pooling_and_bags("gated_attention" if gated else "attention")
    z, weights = pool(pooling, bags)
    for i, bag in enumerate(bags):
        expected_z, expected_weights = attention_by_hand(pooling, bag, gated)
        np.testing.assert_allclose(z[i], expected_z, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(weights[i], expected_weights, rtol=1e-10)


def test_mean_by_hand():
    pooling, bags = pooling_and_bags("mean")
    z, weights = pool(pooling, bags)
    np.testing.assert_allclose(z, [bag.mean(axis=0) for bag in bags], rtol=1e-10, atol=1e-14)
    for bag, w in zip(bags, weights, strict=True):
        np.testing.assert_allclose(w, np.full(len(bag), 1 / len(bag)))


def test_max_by_hand():
    pooling, bags = pooling_and_bags("max")
    z, weights = pool(pooling, bags)
    np.testing.assert_array_equal(z, [bag.max(axis=0) for bag in bags])
    assert weights is None


@pytest.mark.parametrize("name", NAMES)
def test_order_of_instances_does_not_matter(name):
    pooling, bags = pooling_and_bags(name)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(len(bag)) for bag in bags]
    z, weights = pool(pooling, bags)
    shuffled = [bag[order] for bag, order in zip(bags, orders, strict=True)]
    z_shuffled, weights_shuffled = pool(pooling, shuffled)
    np.testing.assert_allclose(z_shuffled, z, rtol=1e-10, atol=1e-12)
    if weights is not None:
        for w, w_shuffled, order in zip(weights, weights_shuffled, orders, strict=True):
            np.testing.assert_allclose(w_shuffled, w[order], rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_bag_twice_over_has_the_same_embedding(name):
    pooling, bags = pooling_and_bags(name)
    z, _ = pool(pooling, bags)
    doubled, _ = pool(pooling, [np.concatenate([bag, bag]) for bag in bags])
    np.testing.assert_allclose(doubled, z, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_bag_of_one_is_its_instance(name):
    pooling, bags = pooling_and_bags(name)
    z, weights = pool(pooling, bags)
    np.testing.assert_allclose(z[0], bags[0][0])
    assert weights is None or weights[0].tolist() == [1.0]


def test_initial_weights_come_from_the_generator():
    first, second, other = (
        pooling_and_bags("gated_attention", seed)[0].state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
