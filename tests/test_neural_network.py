"""The network: outputs, and the evidence of instances."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from milkit.neural._ragged import Segments

from .neural_helpers import (
    COMBINATIONS,
    WEIGHTED,
    make_bags,
    make_network,
    network_by_hand,
    numbers,
    segments_of,
    weights_by_hand,
)

SIZES = [1, 3, 200, 2, 1]
every_combination = pytest.mark.parametrize(("pooling", "level"), COMBINATIONS)
every_number_of_members = pytest.mark.parametrize("n_members", [1, 3])
weighted = pytest.mark.parametrize(
    ("pooling", "level"), [(p, level) for p, level in COMBINATIONS if p in WEIGHTED]
)


def flat(bags):
    return torch.from_numpy(np.concatenate(bags))


def outputs_of(network, bags, extra=None):
    with torch.no_grad():
        return network(flat(bags), segments_of(bags), extra).numpy()


def by_bag(values, bags):
    return np.split(values, np.cumsum([len(bag) for bag in bags])[:-1], axis=1)


def evidence_of(network, bags):
    with torch.no_grad():
        evidence = network.evidence(network.instances(flat(bags)), segments_of(bags))
    return by_bag(evidence.numpy(), bags)


def biases(network):
    return network.head.bias.detach().numpy()  # (n_members, 1, n_outputs)


# -- outputs ----------------------------------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("sizes", [SIZES, [4]], ids=str)
@every_combination
def test_outputs_by_hand(pooling, level, sizes, n_members):
    n_outputs = 1 if pooling == "noisy_or" else 2
    network = make_network(pooling, level, n_members=n_members, n_outputs=n_outputs)
    bags = make_bags(sizes)
    bags = [bag / 20 for bag in bags] if pooling == "noisy_or" else bags
    outputs = outputs_of(network, bags)
    assert outputs.shape == (n_members, len(bags), n_outputs)
    for e in range(n_members):
        expected = [network_by_hand(pooling, network, bag, e) for bag in bags]
        np.testing.assert_allclose(outputs[e], expected, rtol=1e-8, atol=1e-10)


@every_combination
def test_a_bag_does_not_see_its_neighbours(pooling, level):
    network, bags = make_network(pooling, level, n_members=2), make_bags(SIZES)
    together = outputs_of(network, bags)
    for i, bag in enumerate(bags):
        alone = outputs_of(network, [bag])[:, 0]
        np.testing.assert_allclose(alone, together[:, i], rtol=1e-10, atol=1e-12)


@every_combination
def test_members_are_networks_of_their_own(pooling, level):
    network, bags = make_network(pooling, level, n_members=3), make_bags(SIZES)
    outputs = outputs_of(network, bags)
    assert np.ptp(outputs, axis=0).min() > 0
    with torch.no_grad():
        for name, p in network.named_parameters():
            if name.startswith("pooling.members"):  # one module for each member
                p.zero_() if ".1." in name else None
            else:
                p[1] = 0
    changed = outputs_of(network, bags)
    np.testing.assert_array_equal(changed[[0, 2]], outputs[[0, 2]])
    assert not np.isclose(changed[1], outputs[1]).any()


def test_no_hidden_layer_pools_the_features():
    network, bags = make_network("mean", hidden_layer_sizes=()), make_bags(SIZES)
    instances = network.instances(flat(bags))
    z = network.read(network.sums(instances, segments_of(bags)), segments_of(bags))[0]
    np.testing.assert_allclose(z[0], [bag.mean(axis=0) for bag in bags], rtol=1e-10)


def test_extra_columns_reach_attention_and_nothing_else():
    network, bags = make_network("attention", n_extra=2, n_members=2), make_bags(SIZES)
    extra = flat(make_bags(SIZES, 2, seed=5))
    first, second = (network.instances(flat(bags), e) for e in (extra, extra + 1))
    assert torch.equal(first.h, second.h)
    assert torch.equal(first.values, second.values)
    assert not torch.isclose(first.scores, second.scores).any()
    outputs = outputs_of(network, bags, extra)
    only = [0, 4]  # one instance has all the weight, whatever attention sees
    np.testing.assert_allclose(outputs[:, only], outputs_of(network, bags, extra + 1)[:, only])


def test_bytes_are_shares_of_255():
    network = make_network("mean", shape=(1, 16, 16), hidden_layer_sizes=(4,), dtype=torch.float32)
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, size=(5, 1, 16, 16), dtype=np.uint8))
    segments = Segments([2, 3])
    torch.testing.assert_close(network(images, segments), network(images / 255.0, segments))
    assert not torch.allclose(network(images, segments), network(images.float(), segments))


@pytest.mark.parametrize("sizes", [[40], [30, 10]], ids=str)
@every_combination
def test_sums_over_bags_are_taken_in_full_precision(pooling, level, sizes):
    """Under autocast the encoder may work in half precision: a sum of thousands must not."""
    network = make_network(pooling, level, dtype=torch.float32).train()
    x, segments = flat(make_bags(sizes)).float(), Segments(sizes)
    with torch.autocast("cpu", torch.bfloat16):
        shift, sums = network.sums(network.instances(x), segments)
    assert {total.dtype for total in sums} == {torch.float32}
    assert shift is None or shift.dtype == torch.float32


def test_construction_leaves_global_randomness_alone():
    before = torch.get_rng_state()
    first, second = make_network("attention", seed=3), make_network("attention", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_network_pickles():
    network, bags = make_network("heads", n_members=2, dropout=0.5), make_bags(SIZES)
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(outputs_of(again, bags), outputs_of(network, bags))


# -- evidence after a weighted mean -----------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("sizes", [SIZES, [6], [1]], ids=str)
@weighted
def test_evidence_of_a_weighted_mean_is_additive(pooling, level, sizes, n_outputs, n_members):
    """n_i a_k (w · h_k); its mean over the bag plus the bias is the output."""
    network = make_network(pooling, level, n_members=n_members, n_outputs=n_outputs)
    bags = make_bags(sizes)
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        assert evidence.shape == (n_members, len(bags[i]), n_outputs)
        means = evidence.mean(axis=1) + biases(network)[:, 0]
        np.testing.assert_allclose(means, outputs[:, i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [SIZES, [6]], ids=str)
@weighted
def test_evidence_of_a_weighted_mean_by_hand(pooling, level, sizes):
    network, bags = make_network(pooling, level, n_members=2, n_outputs=3), make_bags(sizes)
    found = evidence_of(network, bags)
    for e in range(2):
        head = numbers(network.head, e)["weight"]
        for bag, evidence in zip(bags, found, strict=True):
            with torch.no_grad():
                h = network.encoder(torch.from_numpy(bag))[e].numpy()
            weights = weights_by_hand(network.pooling, h, e)
            blocks = np.split(head, weights.shape[1])  # the heads stand behind each other
            expected = len(bag) * sum(
                weights[:, [j]] * (h @ block) for j, block in enumerate(blocks)
            )
            np.testing.assert_allclose(evidence[e], expected, rtol=1e-9, atol=1e-12)


# -- evidence by occlusion --------------------------------------------------------------------


def assert_evidence_is_occlusion(network, bags, rtol=1e-9):
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        bag = bags[i]
        if len(bag) == 1:
            expected = outputs[:, [i]] - biases(network)
        else:
            without = outputs_of(network, [np.delete(bag, k, axis=0) for k in range(len(bag))])
            expected = outputs[:, [i]] - without
        np.testing.assert_allclose(evidence, expected, rtol=rtol, atol=1e-10)


OCCLUDED = [
    (pooling, level)
    for pooling, level in COMBINATIONS
    if pooling not in WEIGHTED and (pooling, level) != ("max", "instance")
]


@every_number_of_members
@pytest.mark.parametrize("sizes", [[1, 3, 30, 2, 1], [7], [1]], ids=str)
@pytest.mark.parametrize(("pooling", "level"), OCCLUDED)
def test_evidence_is_occlusion(pooling, level, sizes, n_members):
    n_outputs = 1 if pooling == "noisy_or" else 2
    network = make_network(pooling, level, n_members=n_members, n_outputs=n_outputs)
    assert_evidence_is_occlusion(network, make_bags(sizes))


@pytest.mark.parametrize(("pooling", "level"), OCCLUDED)
def test_evidence_in_single_precision(pooling, level):
    """As the estimators have it; users' modules included."""
    network = make_network(pooling, level, n_members=2, dtype=torch.float32)
    bags = [bag.astype(np.float32) for bag in make_bags([3, 1, 20])]
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        if len(bags[i]) > 1:
            rest = [np.delete(bags[i], k, axis=0) for k in range(len(bags[i]))]
            expected = outputs[:, [i]] - outputs_of(network, rest)
            np.testing.assert_allclose(evidence, expected, rtol=1e-4, atol=1e-5)


def test_evidence_of_a_maximum_with_ties():
    rng = np.random.default_rng(0)
    bags = [
        np.repeat(rng.normal(size=(1, 3)), 4, axis=0),  # all instances are the same
        np.array([[1.0, 0.0, 2.0], [1.0, 3.0, -1.0], [0.0, 3.0, 2.0], [1.0, -5.0, 1.0]]),
        np.array([[-1.0, -1.0, -1.0], [-1.0, -2.0, 0.0]]),
    ]
    plain = make_network("max", n_outputs=2, hidden_layer_sizes=())
    assert_evidence_is_occlusion(plain, bags)
    assert_evidence_is_occlusion(make_network("max", n_outputs=2), bags)  # ReLU: zeros tie
    assert np.all(evidence_of(plain, bags)[0] == 0)


@every_number_of_members
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_evidence_of_a_maximum_over_instances_is_their_output(n_outputs, n_members):
    network = make_network("max", "instance", n_members=n_members, n_outputs=n_outputs)
    bags = make_bags(SIZES)
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        alone = outputs_of(network, list(bags[i][:, None]))
        np.testing.assert_allclose(evidence, alone, rtol=1e-9)
        np.testing.assert_allclose(evidence.max(axis=1), outputs[:, i], rtol=1e-12)


# -- a user's modules -------------------------------------------------------------------------


class _Squares(nn.Module):
    """An encoder without parameters, and with as many columns."""

    def __init__(self, shape):
        super().__init__()
        self.flatten = nn.Flatten()

    def forward(self, x):
        return self.flatten(x) ** 2


def test_a_users_encoder():
    network, bags = make_network("mean", n_members=2, encoder=_Squares), make_bags(SIZES)
    outputs = outputs_of(network, bags)
    for e in range(2):
        head = numbers(network.head, e)
        expected = [(bag**2).mean(axis=0) @ head["weight"] + head["bias"][0] for bag in bags]
        np.testing.assert_allclose(outputs[e], expected, rtol=1e-9)
