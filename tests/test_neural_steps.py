"""Passes over chunks: a bag over the budget comes in pieces, and nothing changes but memory."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from milkit.neural._losses import BinaryLoss, MulticlassLoss
from milkit.neural._network import Instances
from milkit.neural._packed import Budget
from milkit.neural._steps import (
    Objective,
    add_gradient,
    embeddings_of_bags,
    outputs_of_bags,
    read_instances,
)

from .neural_helpers import (
    ALL_AT_ONCE,
    COMBINATIONS,
    BentSum,
    make_bags,
    make_network,
    network_by_hand,
    packed,
    segments_of,
)

SIZES = [3, 40, 1, 17]
WEIGHT = torch.tensor([1.0, 0.25, 3.0, 0.5], dtype=torch.float64)
every_combination = pytest.mark.parametrize(("pooling", "level"), COMBINATIONS)
every_number_of_members = pytest.mark.parametrize("n_members", [1, 3])


class DroppingEncoder(nn.Module):
    """A user's encoder that draws from PyTorch's own generator."""

    def __init__(self, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], 6), nn.Tanh(), nn.Dropout(0.4))

    def forward(self, x):
        return self.layers(x)


def objective(n_outputs=1, share=0.0, n_bags=4):
    loss = BinaryLoss() if n_outputs == 1 else MulticlassLoss(n_outputs)
    target = loss.encode(np.arange(n_bags) % max(2, n_outputs))
    target = target.double() if n_outputs == 1 else target
    return Objective(loss, target, WEIGHT[:n_bags], share)


@contextmanager
def training(network, seed):
    """Training mode, cleared gradients, and random numbers of that seed."""
    network.train()
    network.set_generator(torch.Generator().manual_seed(seed))
    for p in network.parameters():
        p.grad = torch.zeros_like(p)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
    network.set_generator(None)
    network.eval()


def gradient(network, data, objective, budget, seed=0):
    """Gradient of all parameters, and both losses, of all bags."""
    with training(network, seed):
        chunks = data.chunks(np.arange(len(data)), budget)
        losses = sum(torch.stack(add_gradient(network, c, objective, budget)) for c in chunks)
    return {name: p.grad for name, p in network.named_parameters()}, losses


def assert_same_gradients(got, expected):
    torch.testing.assert_close(got[1], expected[1], rtol=1e-10, atol=1e-12)
    assert got[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        torch.testing.assert_close(
            got[0][name], value, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


# -- a bag in pieces has the gradient of the whole --------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@every_combination
def test_pieces_have_the_gradient_of_the_whole(pooling, level, share, n_members):
    network = make_network(
        pooling, level, n_members=n_members, auxiliary_decay=0.5 if share else None
    )
    data = packed(make_bags(SIZES))
    whole = gradient(network, data, objective(share=share), ALL_AT_ONCE)
    assert any((g != 0).any() for g in whole[0].values())
    for budget in (Budget(5, 10), Budget(1, 1), Budget(16, 20)):
        pieces = gradient(network, data, objective(share=share), budget)
        assert_same_gradients(pieces, whole)


@pytest.mark.parametrize("pooling", ["attention", "max", "mean_std", "module"])
def test_pieces_have_the_gradient_of_the_whole_with_several_classes(pooling):
    network = make_network(pooling, n_members=2, n_outputs=3, auxiliary_decay=0.5)
    data = packed(make_bags(SIZES))
    whole = gradient(network, data, objective(3, 0.4), ALL_AT_ONCE)
    assert_same_gradients(gradient(network, data, objective(3, 0.4), Budget(5, 10)), whole)


def test_pieces_with_extra_columns_for_attention():
    network = make_network("gated_attention", n_extra=2, n_members=2)
    data = packed(make_bags(SIZES), make_bags(SIZES, 2, seed=3))
    whole = gradient(network, data, objective(), ALL_AT_ONCE)
    assert_same_gradients(gradient(network, data, objective(), Budget(5, 10)), whole)


@every_combination
def test_the_gradient_is_that_of_numpys_loss(pooling, level):
    """Finite differences of the loss of a network written out in numpy."""
    network = make_network(pooling, level, n_members=2)
    bags = make_bags(SIZES)

    def loss_by_hand():
        total = 0.0
        for i, bag in enumerate(bags):
            for member in range(2):
                logit = network_by_hand(pooling, network, bag, member)[0]
                total += WEIGHT[i].item() * np.logaddexp(0, logit if i % 2 == 0 else -logit)
        return total

    got, losses = gradient(network, packed(bags), objective(), Budget(5, 10))
    np.testing.assert_allclose(losses.numpy(), loss_by_hand(), rtol=1e-9)
    for name, p in network.named_parameters():
        flat = p.data.view(-1)
        for j in {0, flat.numel() // 2, flat.numel() - 1}:
            before, losses = flat[j].item(), []
            for step in (1e-5, -1e-5):
                flat[j] = before + step
                losses.append(loss_by_hand())
            flat[j] = before
            slope = (losses[0] - losses[1]) / 2e-5
            np.testing.assert_allclose(
                got[name].view(-1)[j], slope, rtol=1e-4, atol=1e-8, err_msg=f"{name}, {j}"
            )


# -- random numbers ---------------------------------------------------------------------------


def whole_from_recorded_pieces(network, data, objective, budget, seed=0):
    """The bag's gradient with the dropout of its pieces: each is encoded once, with a graph, and
    the embeddings are joined in front of the pooling."""
    losses = torch.zeros(2, dtype=torch.float64)
    share = objective.auxiliary_share
    with training(network, seed):
        for chunk in data.chunks(np.arange(len(data)), budget):
            segments, bags = chunk.segments, torch.from_numpy(chunk.bags)
            parts = [
                network.instances(p.x, p.extra) for p in map(chunk.piece, chunk.pieces(budget))
            ]
            instances = Instances.joined(parts)
            outputs = network.read(network.sums(instances, segments), segments)[1]
            bag_loss = objective.of_bags(outputs, bags)
            auxiliary = objective.of_instances(network, instances, segments, bags, len(chunk.x))
            total = (1 - share) * bag_loss + share * auxiliary
            total.backward()
            losses += torch.stack([bag_loss, total]).detach()
    return {name: p.grad for name, p in network.named_parameters()}, losses


@every_number_of_members
@pytest.mark.parametrize("encoder", [None, DroppingEncoder], ids=["own", "user's"])
@every_combination
def test_both_passes_drop_the_same(pooling, level, encoder, n_members):
    network = make_network(
        pooling, level, n_members=n_members, dropout=0.5, encoder=encoder, auxiliary_decay=0.5
    )
    data, budget = packed(make_bags([40, 23])), Budget(7, 10)
    expected = whole_from_recorded_pieces(network, data, objective(1, 0.3, 2), budget)
    assert_same_gradients(gradient(network, data, objective(1, 0.3, 2), budget), expected)
    other = gradient(network, data, objective(1, 0.3, 2), budget, seed=1)
    assert not torch.equal(other[1], expected[1])  # the masks matter


def test_the_pieces_of_a_bag_have_masks_of_their_own():
    network = make_network(dropout=0.5, n_members=1)
    data = packed([np.repeat(make_bags([1])[0], 20, axis=0)])
    seen = []
    sums = network.sums
    network.sums = lambda instances, *rest: seen.append(instances.h) or sums(instances, *rest)
    gradient(network, data, objective(n_bags=1), Budget(5, 5))
    first, second = torch.stack(seen[:4]), torch.stack(seen[4:])
    assert torch.equal(first[:3], second)  # the last is not computed again
    assert not any(torch.equal(first[0], piece) for piece in first[1:])


def test_dropout_goes_on_behind_a_bag_in_pieces():
    """Two equal bags, each in pieces, are not dropped alike."""
    data, network = packed(make_bags([20]) * 2), make_network(dropout=0.5)
    both = objective(n_bags=2)
    losses = [
        gradient(network, data, replace(both, target=torch.zeros(2), weight=weight), Budget(5, 5))[
            1
        ]
        for weight in torch.eye(2)
    ]
    assert not torch.equal(*losses)


# -- memory -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["attention", "max", "module"])
def test_the_encoder_never_sees_more_than_the_budget(pooling):
    network, budget = make_network(pooling, auxiliary_decay=0.5), Budget(pack=50, split=120)
    rows = []
    network.encoder.register_forward_hook(lambda module, inputs, out: rows.append(out.shape[1]))
    data = packed(make_bags([1000, 10, 777]))
    gradient(network, data, objective(share=0.2, n_bags=3), budget)
    assert max(rows) <= budget.pack
    # The large bags twice, but for their last pieces.
    assert 2 * 1777 + 10 - 2 * budget.pack <= sum(rows) < 2 * 1777 + 10
    rows.clear()
    outputs_of_bags(network, data, budget)
    embeddings_of_bags(network, data, budget)
    read_instances(network, data, budget, network.evidence)
    assert max(rows) <= budget.pack
    assert sum(rows) == 3 * 1787


@pytest.mark.parametrize("pooling", ["attention", "logsumexp"])
def test_activations_of_one_piece_are_held(pooling):
    """What autograd keeps for the backward pass does not grow with the bag."""

    def most_saved(n):
        network, live, most = make_network(pooling), {"n": 0}, [0]

        class Held:
            def __init__(self, tensor):
                self.tensor = tensor
                live["n"] += tensor.numel()
                most[0] = max(most[0], live["n"])

            def __del__(self):
                live["n"] -= self.tensor.numel()

        with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
            gradient(network, packed(make_bags([n])), objective(n_bags=1), Budget(100, 100))
        return most[0]

    assert most_saved(3000) == most_saved(1000)


# -- prediction -------------------------------------------------------------------------------


@every_number_of_members
@every_combination
def test_predictions_do_not_depend_on_the_budget(pooling, level, n_members):
    network, data = make_network(pooling, level, n_members=n_members), packed(make_bags(SIZES))
    readers = [outputs_of_bags, embeddings_of_bags, _evidence]
    if network.pooling.is_weighted_mean:
        readers.append(_weights)
    for read in readers:
        whole = read(network, data, ALL_AT_ONCE)
        assert whole.dtype == np.float64
        for budget in (Budget(1, 1), Budget(7, 9), Budget(30, 30)):
            got = read(network, data, budget)
            np.testing.assert_allclose(got, whole, rtol=1e-9, atol=1e-11)


def _evidence(network, data, budget):
    return read_instances(network, data, budget, network.evidence)


def _weights(network, data, budget):
    return read_instances(network, data, budget, network.weights)


@every_number_of_members
@every_combination
def test_outputs_by_hand(pooling, level, n_members):
    bags = make_bags(SIZES)
    network = make_network(pooling, level, n_members=n_members)
    outputs = outputs_of_bags(network, packed(bags), Budget(7, 9))
    assert outputs.shape == (n_members, len(bags), 1)
    for e in range(n_members):
        expected = [network_by_hand(pooling, network, bag, e) for bag in bags]
        np.testing.assert_allclose(outputs[e], expected, rtol=1e-8, atol=1e-10)


def test_read_instances_means_over_the_members_in_order():
    network, bags = make_network(n_members=3), make_bags(SIZES)
    got = read_instances(network, packed(bags), Budget(7, 9), lambda instances, *_: instances.h)
    x = torch.from_numpy(np.concatenate(bags))
    with torch.no_grad():
        np.testing.assert_allclose(got, network.encoder(x).mean(0), rtol=1e-10)


def test_a_users_pooling_sees_whole_bags():
    seen = []

    class Watching(BentSum):
        def forward(self, h, offsets):
            seen.append(offsets.tolist())
            return super().forward(h, offsets)

    network, data = make_network(Watching), packed(make_bags(SIZES))
    seen.clear()
    outputs_of_bags(network, data, Budget(8, 10))
    assert sorted(o[-1] for o in seen) == sorted(SIZES)
    gradient(network, data, objective(), Budget(8, 10))
    assert all(o[0] == 0 and np.isin(np.diff(o), SIZES).all() for o in seen)


# -- the objective ----------------------------------------------------------------------------


def test_the_instances_of_a_bag_share_its_label_and_its_weight():
    network, bags = make_network(auxiliary_decay=0.5, n_members=2), make_bags(SIZES)
    instances = network.instances(torch.from_numpy(np.concatenate(bags)))
    segments = segments_of(bags)
    which = torch.tensor([2, 0, 3, 1])
    got = objective().of_instances(network, instances, segments, which, segments.sizes)
    head = network.auxiliary
    total, first = 0.0, 0
    for bag, number in zip(bags, which.tolist(), strict=True):
        h = instances.h[:, first : first + len(bag)]
        logits = (h @ head.weight + head.bias)[..., 0]
        losses = np.logaddexp(0, (-logits if number % 2 else logits).detach().numpy())
        total += WEIGHT[number].item() * losses.mean(axis=1).sum()
        first += len(bag)
    np.testing.assert_allclose(got.item(), total, rtol=1e-10)


def test_members_add_up():
    """The gradient of an ensemble's member does not know of the others."""
    network, data = make_network(n_members=3), packed(make_bags(SIZES))
    together, losses = gradient(network, data, objective(), ALL_AT_ONCE)
    for member in range(3):
        alone = make_network(n_members=1)
        with torch.no_grad():
            for p, q in zip(alone.parameters(), network.parameters(), strict=True):
                p.copy_(q[[member]])
        own, own_losses = gradient(alone, data, objective(), ALL_AT_ONCE)
        for name, value in own.items():
            torch.testing.assert_close(together[name][[member]], value, rtol=1e-10, atol=1e-12)
        losses = losses - own_losses
    np.testing.assert_allclose(losses, 0, atol=1e-10)
