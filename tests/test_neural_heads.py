"""Heads: what is made of a bag's embedding and its covariates, against numpy."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from milkit.neural._losses import BinaryLoss, MulticlassLoss, SquaredLoss
from milkit.neural._network import Instances
from milkit.neural._packed import Budget
from milkit.neural._pooling import AttentionPooling
from milkit.neural._ragged import Segments
from milkit.neural._steps import (
    Objective,
    add_gradient,
    bag_shares,
    embeddings_of_bags,
    outputs_of_bags,
    read_instances,
)

from .neural_helpers import (
    ALL_AT_ONCE,
    NOT_AT_LEVEL,
    POOLINGS,
    experts_by_hand,
    head_by_hand,
    make_bags,
    make_network,
    numbers,
    packed,
    pool_by_hand,
    segments_of,
)

SIZES = [3, 40, 1, 17]
WEIGHT = torch.tensor([1.0, 0.25, 3.0, 0.5], dtype=torch.float64)
N_BAGS, N_COVARIATES = 4, 2

# Name of a head → parameters of the estimator.
HEADS = {
    "linear": {"covariates": "concat", "branch_layer_sizes": ()},
    "branches": {"covariates": "concat", "branch_layer_sizes": (7,)},
    "deep branches": {"covariates": "concat", "branch_layer_sizes": (8, 7)},
    "layers": {"covariates": "concat", "branch_layer_sizes": (), "head_layer_sizes": (9, 7)},
    "both": {"covariates": "concat", "branch_layer_sizes": (7,), "head_layer_sizes": (7,)},
    "mixture": {"covariates": "mixture", "branch_layer_sizes": (7,)},
    "linear mixture": {"covariates": "mixture", "branch_layer_sizes": ()},
    "layers alone": {"head_layer_sizes": (9, 7)},
}
every_head = pytest.mark.parametrize("head", HEADS)
every_number_of_members = pytest.mark.parametrize("n_members", [1, 3])
EMBEDDING_POOLINGS = [name for name in POOLINGS if name not in NOT_AT_LEVEL["embedding"]]


def network_with(head, pooling="attention", **parameters):
    """A network with that head, all weights away from where they begin; and covariates."""
    n_covariates = N_COVARIATES if "covariates" in HEADS[head] else 0
    network = make_network(pooling, n_covariates=n_covariates, **{**HEADS[head], **parameters})
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in network.head.parameters():  # normalisation begins with ones and zeros
            p += 0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return network


def covariates_for(head, n_bags=N_BAGS, seed=11):
    if "covariates" not in HEADS[head]:
        return None
    return np.random.default_rng(seed).normal(size=(n_bags, N_COVARIATES))


# -- outputs ----------------------------------------------------------------------------------


def network_by_hand(pooling, network, bags, covariates=None, member=0):
    """Outputs (n_bags, n_outputs) of a one-hidden-layer network: every step in numpy."""
    p = numbers(network.encoder, member)
    encoded = [np.maximum(x @ p["layers.0.weight"] + p["layers.0.bias"], 0) for x in bags]
    z = np.array([pool_by_hand(pooling, network.pooling, h, member=member) for h in encoded])
    return head_by_hand(network.head, z, covariates, member)


def outputs_of(network, bags, covariates=None):
    covariates = None if covariates is None else torch.from_numpy(covariates)
    with torch.no_grad():
        x = torch.from_numpy(np.concatenate(bags))
        return network(x, segments_of(bags), covariates=covariates).numpy()


@every_number_of_members
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("sizes", [SIZES, [4]], ids=str)
@every_head
def test_outputs_by_hand(head, sizes, n_outputs, n_members):
    network = network_with(head, n_outputs=n_outputs, n_members=n_members)
    bags, covariates = make_bags(sizes), covariates_for(head, len(sizes))
    outputs = outputs_of(network, bags, covariates)
    assert outputs.shape == (n_members, len(bags), n_outputs)
    for e in range(n_members):
        expected = network_by_hand("attention", network, bags, covariates, e)
        np.testing.assert_allclose(outputs[e], expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("pooling", EMBEDDING_POOLINGS)
@pytest.mark.parametrize("head", ["both", "mixture"])
def test_outputs_by_hand_behind_every_pooling(head, pooling):
    network = network_with(head, pooling, n_members=2)
    bags, covariates = make_bags(SIZES), covariates_for(head)
    outputs = outputs_of(network, bags, covariates)
    for e in range(2):
        expected = network_by_hand(pooling, network, bags, covariates, e)
        np.testing.assert_allclose(outputs[e], expected, rtol=1e-9, atol=1e-11)


def shapes_of(head):
    return [tuple(p.shape[1:]) for p in head.parameters() if p.shape[1] > 1]


def test_the_heads_of_the_reports():
    """A branch of 128 on each side and a linear layer; and 256 and 128 behind both together."""
    branches = make_network(hidden_layer_sizes=(64,), covariates="concat", n_covariates=3).head
    assert shapes_of(branches) == [(64, 128), (3, 128), (256, 1)]
    layers = make_network(
        hidden_layer_sizes=(64,), covariates="concat", n_covariates=3, branch_layer_sizes=(),
        head_layer_sizes=(256, 128),
    ).head  # fmt: skip
    assert shapes_of(layers) == [(67, 256), (256, 128), (128, 1)]
    alone = make_network(hidden_layer_sizes=(64,), head_layer_sizes=(256, 128)).head
    assert shapes_of(alone) == [(64, 256), (256, 128), (128, 1)]


@pytest.mark.parametrize("covariates", [None, "concat", "mixture"])
def test_without_covariates_the_head_is_linear(covariates):
    network = make_network(covariates=covariates)
    plain = make_network()
    assert [name for name, _ in network.named_parameters()] == [
        name for name, _ in plain.named_parameters()
    ]
    bags = make_bags(SIZES)
    np.testing.assert_array_equal(outputs_of(network, bags), outputs_of(plain, bags))


@every_head
def test_members_are_single_networks_with_the_same_weights(head):
    network = network_with(head, n_members=3, n_outputs=2)
    data = packed(make_bags(SIZES), covariates=covariates_for(head))
    readers = [outputs_of_bags, *([bag_shares] if "mixture" in head else [])]
    for member in range(3):
        alone = network_with(head, n_outputs=2)
        with torch.no_grad():
            for p, q in zip(alone.parameters(), network.parameters(), strict=True):
                p.copy_(q[[member]])
        for read in readers:
            together = read(network, data, ALL_AT_ONCE)
            np.testing.assert_allclose(
                read(alone, data, ALL_AT_ONCE)[0], together[member], rtol=1e-12
            )
        np.testing.assert_allclose(
            alone.evidence(*instances_of(alone, data)).detach()[0],
            network.evidence(*instances_of(network, data)).detach()[member],
            rtol=1e-9, atol=1e-12,
        )  # fmt: skip
    assert np.ptp(together, axis=0).min() > 0


@every_head
def test_a_bag_sees_its_own_covariates_only(head):
    network, bags = network_with(head, n_members=2), make_bags(SIZES)
    covariates = covariates_for(head)
    together = outputs_of(network, bags, covariates)
    for i, bag in enumerate(bags):
        own = None if covariates is None else covariates[[i]]
        np.testing.assert_allclose(
            outputs_of(network, [bag], own)[:, 0], together[:, i], rtol=1e-10, atol=1e-12
        )
    if covariates is not None:
        changed = covariates.copy()
        changed[1] += 1
        moved = outputs_of(network, bags, changed)
        np.testing.assert_allclose(
            np.delete(moved, 1, axis=1), np.delete(together, 1, axis=1), rtol=1e-12
        )
        assert not np.isclose(moved[:, 1], together[:, 1]).any()


@every_head
def test_a_network_pickles(head):
    network = network_with(head, n_members=2, dropout=0.5)
    again = pickle.loads(pickle.dumps(network))
    bags, covariates = make_bags(SIZES), covariates_for(head)
    np.testing.assert_array_equal(
        outputs_of(again, bags, covariates), outputs_of(network, bags, covariates)
    )


# -- the mixture ------------------------------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("head", ["mixture", "linear mixture"])
def test_probabilities_are_mixed(head, n_outputs, n_members):
    """π p₁ + (1 − π) p₂, π being what expert_weights gives."""
    network = network_with(head, n_outputs=n_outputs, n_members=n_members)
    bags, covariates = make_bags(SIZES), covariates_for(head)
    data = packed(bags, covariates=covariates)
    outputs = outputs_of_bags(network, data, ALL_AT_ONCE)
    shares = bag_shares(network, data, ALL_AT_ONCE)
    embeddings = embeddings_of_bags(network, data, ALL_AT_ONCE)
    assert shares.shape == (n_members, len(bags), 1)
    for e in range(n_members):
        first, second, share = experts_by_hand(network.head, embeddings[e], covariates, e)
        np.testing.assert_allclose(shares[e], share, rtol=1e-10)
        to_probability = expit if n_outputs == 1 else softmax_of_rows
        np.testing.assert_allclose(
            to_probability(outputs[e]),
            share * to_probability(first) + (1 - share) * to_probability(second),
            rtol=1e-10,
        )


def softmax_of_rows(logits):
    return softmax(logits, axis=1)


HUGE = np.array([-1e4, -200.0, -3.0, 0.0, 0.5, 200.0, 1e4])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixed_logits_of_certain_experts(dtype):
    """Two classes: all pairs of logits and gates, also where probabilities are 0 and 1."""
    grid = np.stack(np.meshgrid(HUGE, HUGE, HUGE), axis=-1).reshape(-1, 3)
    leaves = [torch.tensor(column[:, None], dtype=dtype, requires_grad=True) for column in grid.T]
    got = BinaryLoss.mixed(*leaves)
    first, second, gate = grid.T.astype(np.longdouble)

    def log_sum(sign):
        """Logarithm of the mixed probability of one class."""
        terms = [
            -np.logaddexp(0, -sign * logit) - np.logaddexp(0, -side * gate)
            for logit, side in ((first, 1), (second, -1))
        ]
        return np.logaddexp(*terms)

    expected = (log_sum(1) - log_sum(-1)).astype(float)
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(got.detach()[:, 0], expected, rtol=rtol, atol=rtol)
    for target in (torch.zeros(len(grid)), torch.ones(len(grid))):
        loss = BinaryLoss()(got, target.to(dtype)).sum()
        gradients = torch.autograd.grad(loss, leaves, retain_graph=True)
        assert all(torch.isfinite(g).all() for g in gradients)
        assert all(g.abs().max() <= 1 + 1e-6 for g in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixed_logits_of_certain_experts_among_several_classes(dtype):
    rng = np.random.default_rng(0)
    grid = rng.choice(HUGE, size=(400, 7))
    tensors = [grid[:, :3], grid[:, 3:6], grid[:, 6:]]
    leaves = [torch.tensor(part, dtype=dtype, requires_grad=True) for part in tensors]
    got = MulticlassLoss.mixed(*leaves)
    first, second, gate = tensors
    expected = np.logaddexp(
        log_softmax(first, axis=1) - np.logaddexp(0, -gate),
        log_softmax(second, axis=1) - np.logaddexp(0, gate),
    )
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(got.detach(), expected, rtol=rtol, atol=rtol)
    loss = MulticlassLoss(3)(got, torch.from_numpy(rng.integers(3, size=400)))
    gradients = torch.autograd.grad(loss.sum(), leaves)
    assert all(torch.isfinite(g).all() for g in gradients)


def test_mixed_numbers():
    rng = np.random.default_rng(0)
    first, second, gate = rng.normal(size=(3, 2, 5, 1))
    got = SquaredLoss.mixed(*map(torch.from_numpy, (first, second, gate)))
    np.testing.assert_allclose(got, expit(gate) * first + (1 - expit(gate)) * second, rtol=1e-12)
    sure = SquaredLoss.mixed(*(torch.tensor([v]) for v in (3.0, -7.0, 200.0)))
    assert sure.item() == 3.0
    assert SquaredLoss.mixed(*(torch.tensor([v]) for v in (3.0, -7.0, -200.0))).item() == -7.0


@pytest.mark.parametrize(
    ("loss", "n_outputs"), [(BinaryLoss, 1), (MulticlassLoss, 3), (SquaredLoss, 1)]
)
def test_experts_that_agree_are_their_mixture(loss, n_outputs):
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, n_outputs)))
    gate = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 5, 1)))
    got = loss.mixed(logits, logits, gate)
    expected = logits if n_outputs == 1 else torch.log_softmax(logits, dim=-1)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


# -- gradients --------------------------------------------------------------------------------


def objective(n_outputs=1, share=0.0, n_bags=N_BAGS):
    loss = BinaryLoss() if n_outputs == 1 else MulticlassLoss(n_outputs)
    target = loss.encode(np.arange(n_bags) % max(2, n_outputs))
    target = target.double() if n_outputs == 1 else target
    return Objective(loss, target, WEIGHT[:n_bags], share)


def begin(network, seed):
    """Training mode, no gradients yet, and dropout of that seed."""
    network.train()
    network.set_generator(torch.Generator().manual_seed(seed))
    for p in network.parameters():
        p.grad = torch.zeros_like(p)


def end(network):
    network.set_generator(None)
    network.eval()
    return {name: p.grad for name, p in network.named_parameters()}


def gradient(network, data, objective, budget, seed=0):
    """Gradient of all parameters, and both losses, of all bags."""
    begin(network, seed)
    chunks = data.chunks(np.arange(len(data)), budget)
    losses = sum(torch.stack(add_gradient(network, c, objective, budget)) for c in chunks)
    return end(network), losses


def assert_same_gradients(got, expected):
    torch.testing.assert_close(got[1], expected[1], rtol=1e-10, atol=1e-12)
    for name, value in expected[0].items():
        torch.testing.assert_close(
            got[0][name], value, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(("share", "n_members"), [(0.0, 1), (0.3, 3)])
@pytest.mark.parametrize("pooling", ["attention", "max", "mean_std", "module"])
@every_head
def test_pieces_have_the_gradient_of_the_whole(head, pooling, share, n_members):
    auxiliary = {"auxiliary_decay": 0.5} if share else {}
    network = network_with(head, pooling, n_members=n_members, **auxiliary)
    data = packed(make_bags(SIZES), covariates=covariates_for(head))
    whole = gradient(network, data, objective(share=share), ALL_AT_ONCE)
    assert all((g != 0).any() for name, g in whole[0].items() if name.startswith("head"))
    for budget in (Budget(5, 10), Budget(1, 1)):
        pieces = gradient(network, data, objective(share=share), budget)
        assert_same_gradients(pieces, whole)


@pytest.mark.parametrize("head", ["both", "mixture"])
def test_pieces_have_the_gradient_of_the_whole_with_several_classes(head):
    network = network_with(head, n_outputs=3, n_members=2)
    data = packed(make_bags(SIZES), covariates=covariates_for(head))
    whole = gradient(network, data, objective(3), ALL_AT_ONCE)
    assert_same_gradients(gradient(network, data, objective(3), Budget(5, 10)), whole)


@pytest.mark.parametrize("n_outputs", [1, 3])
@every_head
def test_the_gradient_is_that_of_numpys_loss(head, n_outputs):
    """Finite differences of the loss of a network written out in numpy; bags in pieces."""
    network = network_with(head, n_members=2, n_outputs=n_outputs)
    bags, covariates = make_bags(SIZES), covariates_for(head)

    def loss_by_hand():
        total, target = 0.0, np.arange(len(bags)) % max(2, n_outputs)
        for member in range(2):
            logits = network_by_hand("attention", network, bags, covariates, member)
            logits = np.hstack([np.zeros_like(logits), logits]) if n_outputs == 1 else logits
            losses = -log_softmax(logits, axis=1)[np.arange(len(bags)), target]
            total += WEIGHT.numpy() @ losses
        return total

    got, losses = gradient(
        network, packed(bags, covariates=covariates), objective(n_outputs), Budget(5, 10)
    )
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
                got[name].view(-1)[j], slope, rtol=1e-4, atol=1e-7, err_msg=f"{name}, {j}"
            )


@every_head
def test_a_bag_in_pieces_with_dropout(head):
    """The head drops once, behind the pieces, and both passes drop alike in front of it."""
    network = network_with(head, n_members=2, dropout=0.5)
    bags = make_bags([40, 23])
    data, budget = packed(bags, covariates=covariates_for(head, 2)), Budget(7, 10)
    of_two = objective(n_bags=2)
    begin(network, seed=0)
    total = 0.0
    for chunk in data.chunks(np.arange(2), budget):
        parts = [network.instances(p.x, p.extra) for p in map(chunk.piece, chunk.pieces(budget))]
        state = network.sums(Instances.joined(parts), chunk.segments)
        outputs = network.read(state, chunk.segments, chunk.covariates)[1]
        loss = of_two.of_bags(outputs, torch.from_numpy(chunk.bags))
        loss.backward()
        total = total + loss.detach()
    expected = end(network), torch.stack([total, total])
    assert_same_gradients(gradient(network, data, of_two, budget), expected)
    other = gradient(network, data, of_two, budget, seed=1)
    assert not torch.equal(other[1], expected[1])  # the masks matter


def test_the_head_drops_in_training_only():
    """Behind an encoder that does not drop, two seeds differ in training, and not in prediction."""
    for head in ("branches", "layers", "mixture", "layers alone"):
        network = network_with(head, hidden_layer_sizes=(), dropout=0.5)
        data = packed(make_bags(SIZES), covariates=covariates_for(head))
        losses = [gradient(network, data, objective(), ALL_AT_ONCE, seed)[1] for seed in (0, 1)]
        assert not torch.equal(*losses)
        first, second = (outputs_of_bags(network, data, ALL_AT_ONCE) for _ in range(2))
        np.testing.assert_array_equal(first, second)


# -- prediction -------------------------------------------------------------------------------


def _evidence(network, data, budget):
    return read_instances(network, data, budget, network.evidence)


@every_number_of_members
@pytest.mark.parametrize("pooling", ["attention", "mean_std"])
@every_head
def test_predictions_do_not_depend_on_the_budget(head, pooling, n_members):
    network = network_with(head, pooling, n_members=n_members)
    data = packed(make_bags(SIZES), covariates=covariates_for(head))
    readers = [outputs_of_bags, embeddings_of_bags, _evidence]
    readers += [bag_shares] * ("mixture" in head)
    for read in readers:
        whole = read(network, data, ALL_AT_ONCE)
        for budget in (Budget(1, 1), Budget(7, 9), Budget(30, 30)):
            got = read(network, data, budget)
            np.testing.assert_allclose(got, whole, rtol=1e-9, atol=1e-11)


def test_chunks_of_some_bags_have_their_covariates():
    network = network_with("branches")
    bags, covariates = make_bags([3, 4, 5, 6]), covariates_for("branches", 4)
    data = packed(bags, covariates=covariates)
    for which in ([2, 0], [1, 2], [3]):
        chunk = data.take(np.array(which))
        np.testing.assert_array_equal(chunk.covariates, covariates[which])
        got = network(chunk.x, chunk.segments, covariates=chunk.covariates)
        expected = outputs_of(network, [bags[i] for i in which], covariates[which])
        np.testing.assert_allclose(got.detach(), expected, rtol=1e-12)
    few = data.subsample(2, np.random.default_rng(0))
    np.testing.assert_array_equal(few.covariates, covariates)


# -- evidence ---------------------------------------------------------------------------------


def instances_of(network, data):
    """What evidence is asked with: instances, segments, covariates."""
    chunk = data.take(np.arange(len(data)))
    with torch.no_grad():
        return network.instances(chunk.x), chunk.segments, chunk.covariates


def evidence_of(network, bags, covariates=None):
    """Evidence by bag, (n_members, n_i, n_outputs)."""
    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        data = packed(bags, covariates=covariates, dtype=dtype)
        evidence = network.evidence(*instances_of(network, data)).numpy()
    evidence = np.broadcast_to(evidence, (len(evidence), sum(map(len, bags)), evidence.shape[2]))
    return np.split(evidence, np.cumsum([len(bag) for bag in bags])[:-1], axis=1)


def occluded_by_hand(pooling, network, bags, covariates, i, k, member):
    """The output of bag i without instance k; of no instances the embedding is 0."""
    own = None if covariates is None else covariates[[i]]
    rest = np.delete(bags[i], k, axis=0)
    if len(rest) == 0:
        width = network.pooling.width(network.encoder.width)
        return head_by_hand(network.head, np.zeros((1, width)), own, member)[0]
    return network_by_hand(pooling, network, [rest], own, member)[0]


@pytest.mark.parametrize(("sizes", "n_members"), [([1, 3, 9, 2, 1], 3), ([7], 1), ([1], 2)])
@pytest.mark.parametrize("pooling", EMBEDDING_POOLINGS)
@pytest.mark.parametrize("head", ["branches", "layers", "mixture", "layers alone"])
def test_evidence_is_what_the_output_loses_without_the_instance(head, pooling, sizes, n_members):
    network = network_with(head, pooling, n_members=n_members, n_outputs=2)
    bags, covariates = make_bags(sizes), covariates_for(head, len(sizes))
    outputs = outputs_of(network, bags, covariates)
    for i, evidence in enumerate(evidence_of(network, bags, covariates)):
        assert evidence.shape == (n_members, len(bags[i]), 2)
        for e in range(n_members):
            without = [
                occluded_by_hand(pooling, network, bags, covariates, i, k, e)
                for k in range(len(bags[i]))
            ]
            np.testing.assert_allclose(evidence[e], outputs[e, i] - without, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("pooling", ["attention", "heads", "gated_attention", "mean"])
@pytest.mark.parametrize("head", ["branches", "mixture"])
def test_evidence_in_single_precision(head, pooling):
    """The differences are those of a network in double precision."""
    network = network_with(head, pooling, n_members=2)
    single = copy.deepcopy(network).float()
    bags, covariates = make_bags([3, 1, 60]), covariates_for(head, 3)
    expected, got = evidence_of(network, bags, covariates), evidence_of(single, bags, covariates)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


@every_number_of_members
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("sizes", [SIZES, [6], [1]], ids=str)
@pytest.mark.parametrize("pooling", ["attention", "gated_attention", "heads", "mean"])
def test_evidence_in_front_of_a_linear_head_is_additive(pooling, sizes, n_outputs, n_members):
    """Its mean over the bag, the bias and the covariates' own term together are the output."""
    network = network_with("linear", pooling, n_outputs=n_outputs, n_members=n_members)
    bags, covariates = make_bags(sizes), covariates_for("linear", len(sizes))
    outputs = outputs_of(network, bags, covariates)
    for i, evidence in enumerate(evidence_of(network, bags, covariates)):
        for e in range(n_members):
            p = numbers(network.head, e)
            own_term = covariates[i] @ p["weight"][-N_COVARIATES:]
            np.testing.assert_allclose(
                evidence[e].mean(axis=0) + p["bias"][0] + own_term, outputs[e, i],
                rtol=1e-9, atol=1e-11,
            )  # fmt: skip


def test_evidence_in_front_of_a_linear_head_does_not_know_the_covariates():
    network, bags = network_with("linear"), make_bags(SIZES)
    first = evidence_of(network, bags, covariates_for("linear"))
    second = evidence_of(network, bags, covariates_for("linear", seed=1))
    np.testing.assert_array_equal(np.concatenate(first, axis=1), np.concatenate(second, axis=1))


# Scores of a bag's instances, of which few have nearly all the weight.
DOMINATED = {
    "one": [0.0, 40, 0, 0.5],
    "one of two": [40.0, 0],
    "beyond the precision": [0.0, 800, 1, 2],
    "two that tie": [40.0, 0, 40, 1],
    "two": [40.0, 39, 0, 1],
    "three steps": [80.0, 40, 0, 1],
    "none but one": [0.0, -40, -40],
    "all the same": [5.0, 5, 5],
    "alone": [40.0],
}


def left_out_by_hand(h, scores):
    """The weighted mean without each instance, anew from the others."""
    rows = []
    for k in range(len(h)):
        weights = softmax(np.delete(scores, k, axis=0), axis=0)
        rows.append(np.concatenate([w @ np.delete(h, k, axis=0) for w in weights.T]))
    return np.array(rows)


@pytest.mark.parametrize("n_heads", [1, 3])
@pytest.mark.parametrize("case", [name for name in DOMINATED if name != "alone"])
def test_without_the_instance_that_has_all_the_weight(case, n_heads):
    rng = np.random.default_rng(0)
    own = np.array(DOMINATED[case])
    scores = np.stack([np.roll(own, j) for j in range(n_heads)], axis=1)  # each head its own
    other = rng.normal(size=(3, n_heads))
    h = rng.normal(size=(len(own) + 3, 4))
    pooling = AttentionPooling(1, 4, 2, n_heads, torch.Generator().manual_seed(0), gated=False)
    n = len(own)
    for sizes, rows, expected in (
        ([n], slice(0, n), [left_out_by_hand(h[:n], scores)]),
        (
            [n, 3],
            slice(0, n + 3),
            [left_out_by_hand(h[:n], scores), left_out_by_hand(h[n:], other)],
        ),
    ):
        values = torch.from_numpy(h[rows]).unsqueeze(0)
        all_scores = torch.from_numpy(np.concatenate([scores, other])[rows]).unsqueeze(0)
        got = pooling.without(values, Segments(sizes), all_scores)
        assert torch.isfinite(got).all()
        np.testing.assert_allclose(got[0], np.concatenate(expected), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("pooling", ["attention", "heads"])
@pytest.mark.parametrize("case", DOMINATED)
@pytest.mark.parametrize("head", ["branches", "layers", "mixture"])
def test_evidence_where_one_instance_has_all_the_weight(head, case, pooling):
    """In single precision as the estimators have it, against a computation in double."""
    network = network_with(head, pooling, dtype=torch.float32)
    own = np.array(DOMINATED[case], dtype=np.float32)
    sizes = [len(own), 3]
    rng = np.random.default_rng(1)
    h = rng.normal(size=(sum(sizes), network.encoder.width)).astype(np.float32)
    n_heads = 3 if pooling == "heads" else 1
    scores = np.concatenate([own, rng.normal(size=3)]).astype(np.float32)
    scores = np.repeat(scores[:, None], n_heads, axis=1)
    covariates = covariates_for(head, 2).astype(np.float32)
    values = torch.from_numpy(h).unsqueeze(0)
    instances = Instances(values, values, torch.from_numpy(scores).unsqueeze(0))
    with torch.no_grad():
        got = network.evidence(instances, Segments(sizes), torch.from_numpy(covariates))[0]
    double = copy.deepcopy(network.head).double()
    start, expected = 0, []
    for i, n in enumerate(sizes):
        rows = slice(start, start + n)
        x, s = h[rows].astype(float), scores[rows].astype(float)
        whole = np.concatenate([w @ x for w in softmax(s, axis=0).T])[None]
        without = left_out_by_hand(x, s) if n > 1 else np.zeros_like(whole)
        repeated = np.repeat(covariates[[i]].astype(float), n, axis=0)
        expected.append(
            head_by_hand(double, whole, repeated[:1]) - head_by_hand(double, without, repeated)
        )
        start += n
    np.testing.assert_allclose(got, np.concatenate(expected), rtol=1e-9, atol=1e-11)


def test_evidence_leaves_the_network_as_it_is():
    network = network_with("mixture", dtype=torch.float32)
    bags = [bag.astype(np.float32) for bag in make_bags(SIZES)]
    evidence_of(network, bags, covariates_for("mixture"))
    assert {p.dtype for p in network.parameters()} == {torch.float32}
