"""The network: passes, and the evidence of instances."""

import numpy as np
import pytest
import torch

from milkit.neural._encoders import mlp
from milkit.neural._layers import Dropout, set_generator
from milkit.neural._network import BagNetwork
from milkit.neural._pooling import make_pooling

SIZES = [1, 3, 200, 2, 1]


def make_network(pooling, n_outputs=1, hidden=(6, 4), n_features=3, seed=0, dropout=0.0):
    generator = torch.Generator().manual_seed(seed)
    encoder, width = mlp(n_features, hidden, dropout, generator)
    pool = make_pooling(pooling, width, 3, generator)
    return BagNetwork(encoder, pool, width, n_outputs, generator).double().eval()


def make_bags(sizes=SIZES, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, n_features)) for n in sizes]


def pack(bags):
    offsets = torch.from_numpy(np.cumsum([0, *map(len, bags)]))
    return torch.from_numpy(np.concatenate(bags)), offsets


def outputs_of(network, bags):
    with torch.no_grad():
        return network(*pack(bags)).outputs.numpy()


def evidence_of(network, bags):
    x, offsets = pack(bags)
    with torch.no_grad():
        return np.split(network.evidence(x, offsets).numpy(), offsets.numpy()[1:-1])


@pytest.mark.parametrize("n_outputs", [1, 4])
@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "mean"])
def test_evidence_of_a_weighted_mean_is_additive(pooling, n_outputs):
    """n_i a_k (w · h_k); its mean over the bag plus the bias is the output."""
    network, bags = make_network(pooling, n_outputs), make_bags()
    head = network.head.weight.detach().numpy()
    bias = network.head.bias.detach().numpy()
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        with torch.no_grad():
            out = network(*pack([bags[i]]))
        n, a, h = len(bags[i]), out.weights.numpy(), out.h.numpy()
        assert evidence.shape == (n, n_outputs)
        np.testing.assert_allclose(evidence, n * a * (h @ head.T), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(evidence.mean(axis=0) + bias, outputs[i], rtol=1e-9)


def assert_evidence_is_occlusion(network, bags):
    bias = network.head.bias.detach().numpy()
    outputs = outputs_of(network, bags)
    for i, evidence in enumerate(evidence_of(network, bags)):
        bag = bags[i]
        if len(bag) == 1:
            np.testing.assert_allclose(evidence[0], outputs[i] - bias, atol=1e-12)
            continue
        without = outputs_of(network, [np.delete(bag, k, axis=0) for k in range(len(bag))])
        np.testing.assert_allclose(evidence, outputs[i] - without, atol=1e-12)


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("hidden", [(), (6, 4)])
def test_evidence_of_a_maximum_is_occlusion(hidden, n_outputs):
    assert_evidence_is_occlusion(make_network("max", n_outputs, hidden), make_bags())


def test_evidence_of_a_maximum_with_ties():
    rng = np.random.default_rng(0)
    bags = [
        np.repeat(rng.normal(size=(1, 3)), 4, axis=0),  # all instances are the same
        np.array([[1.0, 0.0, 2.0], [1.0, 3.0, -1.0], [0.0, 3.0, 2.0], [1.0, -5.0, 1.0]]),
        np.array([[-1.0, -1.0, -1.0], [-1.0, -2.0, 0.0]]),
    ]
    assert_evidence_is_occlusion(make_network("max", 2, ()), bags)
    assert_evidence_is_occlusion(make_network("max", 2), bags)  # ReLU: many zeros tie
    assert np.all(evidence_of(make_network("max", 2, ()), bags)[0] == 0)


@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "mean", "max"])
def test_a_bag_does_not_see_its_neighbours(pooling):
    network, bags = make_network(pooling, 2), make_bags()
    together = outputs_of(network, bags)
    for bag, output in zip(bags, together, strict=True):
        np.testing.assert_allclose(outputs_of(network, [bag])[0], output, rtol=1e-10)


@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "mean", "max"])
def test_output_is_the_head_on_the_pooled_embedding(pooling):
    network, bags = make_network(pooling, 2), make_bags()
    with torch.no_grad():
        out = network(*pack(bags))
        torch.testing.assert_close(out.h, network.encoder(pack(bags)[0]))
        torch.testing.assert_close(out.outputs, network.head(out.embeddings))
    assert out.embeddings.shape == (len(bags), 4)


def test_no_hidden_layer_pools_the_features():
    network, bags = make_network("mean", 1, ()), make_bags()
    with torch.no_grad():
        embeddings = network(*pack(bags)).embeddings.numpy()
    np.testing.assert_allclose(embeddings, [bag.mean(axis=0) for bag in bags], rtol=1e-10)


def test_dropout_keeps_the_mean_and_only_acts_in_training():
    layer, x = Dropout(0.3), torch.ones(200, 200)
    set_generator(layer, torch.Generator().manual_seed(0))
    dropped = layer(x)
    assert abs((dropped == 0).double().mean() - 0.3) < 0.02
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / 0.7))
    assert not torch.equal(layer(x), dropped)
    layer.eval()
    assert torch.equal(layer(x), x)


def test_construction_leaves_global_randomness_alone():
    before = torch.get_rng_state()
    first, second = make_network("attention", seed=3), make_network("attention", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
