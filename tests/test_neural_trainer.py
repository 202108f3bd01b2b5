"""The training loop: gradients, weights, members, when it stops, and what it leaves behind."""

import pickle
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, PoissonRegressor
from torch import nn
from torch.nn import functional as F

from milkit.neural import AttentionMILClassifier
from milkit.neural._layers import Dropout
from milkit.neural._losses import BinaryLoss, MulticlassLoss, SquaredLoss
from milkit.neural._packed import Budget
from milkit.neural._threads import threads_for
from milkit.neural._trainer import TrainingData, TrainingSettings, mean_loss, train

from .neural_helpers import (
    ALL_AT_ONCE,
    COMBINATIONS,
    make_bags,
    make_network,
    network_by_hand,
    packed,
    segments_of,
)

SIZES = [3, 1, 7, 2, 5, 4, 1, 6]
N_BAGS = len(SIZES)
Y = np.arange(N_BAGS) % 2
every_combination = pytest.mark.parametrize(("pooling", "level"), COMBINATIONS)


def make_data(bags=None, y=Y, weight=None, loss=None):
    data = packed(make_bags(SIZES) if bags is None else bags)
    target = (loss or BinaryLoss()).encode(y)
    target = target.double() if target.is_floating_point() else target
    weight = np.ones(len(data)) if weight is None else np.asarray(weight, dtype=float)
    return TrainingData(data, target, weight)


def run(network, data=None, loss=None, seed=0, validation=None, after_epoch=None, **changed):
    """Train with settings that differ from quick ones in what is given."""
    before = {key: changed.pop(key) for key in ("first_epoch", "optimizer_state") if key in changed}
    defaults = {
        "budget": ALL_AT_ONCE,
        "batch_size": N_BAGS,
        "max_iter": 1,
        "learning_rate_init": 1e-2,
    }
    return train(
        network,
        loss or BinaryLoss(),
        make_data() if data is None else data,
        TrainingSettings(**(defaults | changed)),
        generator=torch.Generator().manual_seed(seed),
        rng=np.random.default_rng(seed),
        validation=validation,
        after_epoch=after_epoch,
        **before,
    )


def weights_of(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def step_of(data, pooling="attention", **changed):
    """The gradient of the last step of a short training, read off plain gradient descent, and
    the loss."""
    network = make_network(pooling)
    before = weights_of(network)
    changed = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0} | changed
    record = run(network, data, **changed)
    return before - weights_of(network), record.loss_curve[0]


def assert_same_step(first, second):
    torch.testing.assert_close(first[0], second[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(first[1], second[1], rtol=1e-6)


# -- gradients and weights --------------------------------------------------------------------


@pytest.mark.parametrize("budget", [Budget(1, 1), Budget(8, 8), Budget(13, 100), Budget(4, 6)])
def test_a_batch_cut_in_chunks_has_the_gradient_of_the_whole(budget):
    data = make_data(weight=np.random.default_rng(0).uniform(0.1, 3, N_BAGS))
    assert_same_step(step_of(data, budget=budget), step_of(data))


def test_gradient_is_that_of_a_loop_over_the_bags():
    weight, bags = np.random.default_rng(1).uniform(0.1, 3, N_BAGS), make_bags(SIZES)
    network, total = make_network(), 0.0
    for bag, label, w in zip(bags, Y, weight, strict=True):
        h = network.encoder(torch.from_numpy(bag))[0]
        scores = torch.tanh(h @ network.pooling.V.weight[0] + network.pooling.V.bias[0])
        scores = scores @ network.pooling.w.weight[0] + network.pooling.w.bias[0]
        z = (torch.softmax(scores, 0) * h).sum(0)
        logit = (z @ network.head.weight[0] + network.head.bias[0])[0, 0]
        total = total - w * torch.log(torch.sigmoid(logit if label else -logit)) / weight.sum()
    total.backward()
    gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
    assert_same_step(step_of(make_data(weight=weight)), (gradient, total.item()))


def test_a_weight_of_two_is_the_bag_twice():
    weight = np.ones(N_BAGS)
    weight[2] = 2
    twice, bags = np.append(np.arange(N_BAGS), 2), make_bags(SIZES)
    repeated = make_data([bags[i] for i in twice], Y[twice])
    assert_same_step(step_of(make_data(weight=weight)), step_of(repeated, batch_size=N_BAGS + 1))


@pytest.mark.parametrize("scale", [1e-6, 7.0, 1e9])
def test_the_scale_of_the_weights_does_not_matter(scale):
    weight = np.random.default_rng(0).uniform(0.1, 3, N_BAGS)
    assert_same_step(step_of(make_data(weight=scale * weight)), step_of(make_data(weight=weight)))


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_minibatch_is_not_divided_by_its_own_weights(batch_size):
    """Else a batch of light bags would pull as hard as a batch of heavy ones."""
    data = make_data(weight=[1, 9, 1, 1, 5, 0.1, 5, 5])
    tiny = {"batch_size": batch_size, "learning_rate_init": 1e-7}  # the weights hardly move
    move = step_of(data, **tiny)[0] / 1e-7
    whole = step_of(data)[0]
    torch.testing.assert_close(move, whole * (N_BAGS / batch_size), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, N_BAGS, 100])
@pytest.mark.parametrize("n_members", [1, 3])
def test_every_bag_counts_once_in_an_epoch(batch_size, n_members):
    """With no step to speak of, the loss of an epoch does not depend on the batches."""
    weight, bags = np.random.default_rng(0).uniform(0.1, 3, N_BAGS), make_bags(SIZES)
    network = make_network(n_members=n_members)
    losses = [
        [np.logaddexp(0, (1 - 2 * label) * network_by_hand("attention", network, bag, e)[0])
         for bag, label in zip(bags, Y, strict=True)]
        for e in range(n_members)
    ]  # fmt: skip
    record = run(
        network, make_data(weight=weight), batch_size=batch_size, learning_rate_init=1e-300
    )
    expected = np.average(np.mean(losses, axis=0), weights=weight)
    np.testing.assert_allclose(record.loss_curve, [expected], rtol=1e-6)
    np.testing.assert_allclose(record.bag_loss_curve, [expected], rtol=1e-6)


# -- members ----------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adamw", "sgd"])
@every_combination
def test_members_are_trained_as_if_alone(pooling, level, solver):
    """The same initial weights and order of bags: the same weights after several epochs."""
    options = {
        "max_iter": 4, "batch_size": 3, "solver": solver, "weight_decay": 0.1,
        "auxiliary_decay": 0.5, "budget": Budget(4, 6),
    }  # fmt: skip
    together = make_network(pooling, level, n_members=3, auxiliary_decay=0.5)
    singles = [make_network(pooling, level, auxiliary_decay=0.5) for _ in range(3)]
    for member, single in enumerate(singles):
        copy_member(together, member, single)
    record = run(together, **options)
    curves = [run(single, **options).loss_curve for single in singles]
    np.testing.assert_allclose(record.loss_curve, np.mean(curves, axis=0), rtol=1e-6)
    for member, single in enumerate(singles):
        own = make_network(pooling, level, auxiliary_decay=0.5)
        copy_member(together, member, own)
        torch.testing.assert_close(weights_of(own), weights_of(single), rtol=1e-8, atol=1e-10)


def copy_member(network, member, single):
    """Weights of one member of an ensemble into a network of one."""
    with torch.no_grad():
        for name, p in single.named_parameters():
            if "members.0." in name:  # a user's module
                other = name.replace("members.0.", f"members.{member}.")
                p.copy_(network.get_parameter(other))
            else:
                p.copy_(network.get_parameter(name)[[member]])


def test_members_in_single_precision_drift_no_further_than_rounding():
    together = make_network(n_members=2, dtype=torch.float32)
    single = make_network(dtype=torch.float32)
    copy_member(together, 1, single)
    data = make_data()
    data = replace(data, packed=packed(make_bags(SIZES), dtype=torch.float32))
    for network in (together, single):
        run(network, data, max_iter=5, batch_size=3, solver="sgd")
    own = make_network(dtype=torch.float32)
    copy_member(together, 1, own)
    torch.testing.assert_close(weights_of(own), weights_of(single), rtol=1e-3, atol=1e-5)


def test_members_drop_on_their_own():
    network = make_network(n_members=2, dropout=0.5)
    with torch.no_grad():
        for p in network.parameters():
            p[1] = p[0]
    run(network, max_iter=2)
    assert all(not torch.equal(p[0], p[1]) for p in network.parameters())


# -- the course of a training -----------------------------------------------------------------


@every_combination
def test_the_loss_falls(pooling, level):
    network = make_network(pooling, level, n_members=2)
    record = run(network, max_iter=50, learning_rate_init=0.05)
    assert len(record.loss_curve) == 50
    assert record.loss_curve[-1] < 0.7 * record.loss_curve[0]
    assert record.converged
    assert not record.interrupted


def test_solvers_and_schedules_reach_the_optimiser():
    """The first step of Adam goes by the learning rate; cosine has none left at the end."""
    moves = {}
    for schedule in ("constant", "cosine"):
        network = make_network()
        weights = [weights_of(network)]
        run(
            network, max_iter=20, solver="adam", learning_rate=schedule, learning_rate_init=1e-3,
            after_epoch=lambda record, w=weights, n=network: w.append(weights_of(n)),
        )  # fmt: skip
        moves[schedule] = torch.stack(weights).diff(dim=0).abs().amax(dim=1).tolist()
    assert moves["constant"][0] == moves["cosine"][0] == pytest.approx(1e-3, rel=1e-3)
    assert moves["cosine"][-1] < 0.02 * moves["constant"][-1]


@pytest.mark.parametrize("validated", [False, True])
def test_schedules_are_told_the_monitored_loss(validated, monkeypatch):
    told = []
    monkeypatch.setattr("milkit.neural._trainer.make_schedule", lambda *_: told.append)
    validation = make_data(make_bags([4, 2], seed=9), [0, 1]) if validated else None
    record = run(make_network(), max_iter=5, learning_rate="plateau", validation=validation)
    expected = [-score for score in record.validation_scores] if validated else record.loss_curve
    assert told == expected


def test_weight_decay_pulls_to_zero():
    sizes = []
    for weight_decay in (0.0, 30.0):
        network = make_network()
        run(network, max_iter=20, weight_decay=weight_decay)
        sizes.append(weights_of(network).norm())
    assert sizes[1] < 0.2 * sizes[0]


def test_tol_stops_a_training_that_stands_still():
    record = run(make_network(), max_iter=500, tol=1e-3, n_iter_no_change=3)
    assert len(record.loss_curve) < 500
    assert record.converged
    best = np.minimum.accumulate(record.loss_curve)
    falls = best[:-1] - np.array(record.loss_curve[1:])  # below the best so far
    assert (falls[-3:] <= 1e-3).all()
    assert falls[-4] > 1e-3


def test_tol_is_not_reached():
    record = run(make_network(), max_iter=3, tol=0.0)
    assert len(record.loss_curve) == 3
    assert not record.converged


def test_loss_target_ends_after_several_epochs_below_it():
    record = run(make_network(), max_iter=500, loss_target=0.4, n_iter_no_change=4)
    assert record.converged
    below = np.array(record.bag_loss_curve) < 0.4
    assert len(below) < 500
    assert below[-4:].all()
    runs = "".join("x" if low else " " for low in below[:-1]).split()
    assert max(map(len, runs)) == 3  # never four of them in a row before


def test_loss_target_looks_at_the_bags_alone():
    """In the first epoch the loss is all of the instances."""
    record = run(make_network(auxiliary_decay=1.0), max_iter=3, auxiliary_decay=1.0)
    assert record.bag_loss_curve != record.loss_curve
    between = np.sort([record.bag_loss_curve[0], record.loss_curve[0]]).mean()
    ended = run(
        make_network(auxiliary_decay=1.0), max_iter=3, auxiliary_decay=1.0, loss_target=between,
        n_iter_no_change=1,
    )  # fmt: skip
    assert (len(ended.loss_curve) == 1) == (record.bag_loss_curve[0] < between)


def test_after_epoch_ends_the_training():
    seen = []

    def after_epoch(record):
        seen.append(len(record.loss_curve))
        return len(seen) == 3

    record = run(make_network(), max_iter=10, after_epoch=after_epoch)
    assert seen == [1, 2, 3]
    assert len(record.loss_curve) == 3


def test_nan_names_the_epoch():
    bags = make_bags(SIZES)
    bags[2][1] = np.nan
    with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 1.*one scale"):
        run(make_network(), make_data(bags), max_iter=5)


def test_an_exploding_loss_names_a_later_epoch():
    with pytest.raises(FloatingPointError, match=r"training loss is (inf|nan) in epoch [2-9]"):
        run(make_network(), max_iter=9, learning_rate_init=1e200)


def test_dropout_follows_its_seed():
    def trained(seed):
        network = make_network(dropout=0.5)
        run(network, seed=seed, max_iter=3)
        return weights_of(network)

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


def test_a_trained_network_keeps_no_generator_and_no_gradients():
    network = make_network("heads", n_members=2, dropout=0.5)
    small = len(pickle.dumps(network))
    run(network)
    assert not network.training
    assert network.generator is None
    assert all(m.generator is None for m in network.modules() if isinstance(m, Dropout))
    assert all(p.grad is None for p in network.parameters())
    assert len(pickle.dumps(network)) <= 1.05 * small
    again, bags = pickle.loads(pickle.dumps(network)), make_bags(SIZES)
    x = torch.from_numpy(np.concatenate(bags))
    assert torch.equal(again(x, segments_of(bags)), network(x, segments_of(bags)))


def test_an_error_leaves_the_network_in_order():
    network = make_network(dropout=0.5)
    bags = make_bags(SIZES)
    bags[0][:] = np.nan
    with pytest.raises(FloatingPointError):
        run(network, make_data(bags))
    assert not network.training
    assert network.generator is None


# -- the auxiliary loss -----------------------------------------------------------------------


@pytest.mark.parametrize("first_epoch", [0, 2])
@pytest.mark.parametrize("decay", [0.0, 0.3, 1.0])
def test_the_share_of_the_auxiliary_loss(decay, first_epoch):
    """In epoch E it is decay to the E, and 0 to the 0 is one."""
    bags, network = make_bags(SIZES), make_network(auxiliary_decay=decay)
    by_bag, by_instance = [], []
    head = network.auxiliary
    for bag, label in zip(bags, Y, strict=True):
        sign = 1 - 2 * label
        by_bag.append(np.logaddexp(0, sign * network_by_hand("attention", network, bag)[0]))
        h = network.encoder(torch.from_numpy(bag))[0]
        logits = (h @ head.weight[0] + head.bias[0]).detach().numpy()
        by_instance.append(np.logaddexp(0, sign * logits).mean())
    record = run(
        network, auxiliary_decay=decay, max_iter=3, learning_rate_init=1e-300,
        first_epoch=first_epoch,
    )  # fmt: skip
    shares = np.array([decay**E for E in range(first_epoch, first_epoch + 3)])
    expected = (1 - shares) * np.mean(by_bag) + shares * np.mean(by_instance)
    np.testing.assert_allclose(record.loss_curve, expected, rtol=1e-6)
    np.testing.assert_allclose(record.bag_loss_curve, np.mean(by_bag), rtol=1e-6)


def test_a_share_of_one_never_trains_the_bags():
    network = make_network("gated_attention", auxiliary_decay=1.0, n_members=2)
    parts = {"pooling": network.pooling, "head": network.head, "encoder": network.encoder}
    before = {name: weights_of(part) for name, part in parts.items()}
    run(network, auxiliary_decay=1.0, max_iter=3, budget=Budget(3, 5))
    assert torch.equal(weights_of(network.pooling), before["pooling"])
    assert torch.equal(weights_of(network.head), before["head"])
    assert not torch.equal(weights_of(network.encoder), before["encoder"])


def test_a_share_of_zero_trains_the_auxiliary_head_in_the_first_epoch_only():
    ends = []
    for max_iter in (0, 1, 4):
        network = make_network(auxiliary_decay=0.0)
        if max_iter:
            run(network, auxiliary_decay=0.0, max_iter=max_iter, solver="sgd", momentum=0.0)
        ends.append(weights_of(network.auxiliary))
    assert not torch.equal(ends[0], ends[1])
    assert torch.equal(ends[1], ends[2])


# -- validation -------------------------------------------------------------------------------


def held_out(seed=5):
    y = np.array([0, 1, 0, 1, 1])
    bags = make_bags([3, 1, 4, 2, 3], seed=seed)
    return bags, y, np.array([1.0, 2.0, 0.5, 1.0, 3.0])


def loss_by_hand(network, bags, y, weight):
    """Weighted mean loss of the members' mean logit."""
    logits = [
        np.mean([network_by_hand("attention", network, bag, e)[0] for e in range(2)])
        for bag in bags
    ]
    return np.average(np.logaddexp(0, (1 - 2 * y) * logits), weights=weight)


def test_mean_loss_is_that_of_the_mean_output():
    network = make_network(n_members=2, dropout=0.5)
    for training in (True, False):
        network.train(training)
        got = mean_loss(network, BinaryLoss(), make_data(*held_out()), Budget(3, 3))
        np.testing.assert_allclose(got, loss_by_hand(network, *held_out()), rtol=1e-9)
        assert network.training == training


def test_the_best_weights_stay():
    """Validation labels that contradict: it gets worse from some epoch on."""
    network, kept = make_network(n_members=2, dropout=0.2), []
    record = run(
        network, validation=make_data(*held_out()), max_iter=200, n_iter_no_change=8,
        learning_rate_init=0.05, after_epoch=lambda record: kept.append(weights_of(network)),
    )  # fmt: skip
    scores = record.validation_scores
    assert record.best_iter == np.argmax(scores) + 1
    assert len(scores) == len(record.loss_curve) == record.best_iter + 8 < 200
    assert torch.equal(weights_of(network), kept[record.best_iter - 1])
    np.testing.assert_allclose(loss_by_hand(network, *held_out()), -max(scores), rtol=1e-9)


def test_validation_with_tol_wants_more_than_that():
    network = make_network()
    record = run(
        network, validation=make_data(*held_out()), max_iter=200, n_iter_no_change=2, tol=1e9
    )
    assert len(record.loss_curve) == 3  # the first counts as progress
    assert record.best_iter == np.argmax(record.validation_scores) + 1


def test_validation_does_not_touch_the_training():
    """Up to the epoch where it stops, dropout and the order of bags are the same."""
    options = {"max_iter": 6, "batch_size": 3, "n_iter_no_change": 100}
    alone = run(make_network(dropout=0.3), **options)
    watched = run(make_network(dropout=0.3), validation=make_data(*held_out()), **options)
    assert alone.loss_curve == watched.loss_curve


class _Normed(nn.Module):
    """An encoder with numbers that are no parameters."""

    def __init__(self, shape):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(shape[0], 4), nn.BatchNorm1d(4))

    def forward(self, x):
        return self.layers(x)


def test_the_best_running_means_stay_too():
    network = make_network(encoder=_Normed)
    validation = make_data(*held_out())
    record = run(
        network, validation=validation, max_iter=100, n_iter_no_change=8, learning_rate_init=0.05
    )
    assert record.best_iter < len(record.loss_curve)
    got = mean_loss(network, BinaryLoss(), validation, ALL_AT_ONCE)
    np.testing.assert_allclose(got, -max(record.validation_scores), rtol=1e-6)


# -- interruption -----------------------------------------------------------------------------


class _Interrupting(BinaryLoss):
    """Ctrl-C in the middle of the third epoch."""

    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __call__(self, outputs, target):
        self.calls -= 1
        if self.calls == 0:
            raise KeyboardInterrupt
        return super().__call__(outputs, target)


@pytest.mark.parametrize("budget", [ALL_AT_ONCE, Budget(3, 4)], ids=["whole", "pieces"])
def test_an_interrupted_training_keeps_the_network(budget):
    network = make_network(dropout=0.5)
    before = weights_of(network)
    record = run(network, loss=_Interrupting(20), max_iter=10, batch_size=1, budget=budget)
    assert record.interrupted
    assert len(record.loss_curve) == 2
    assert not torch.equal(weights_of(network), before)
    assert network.generator is None
    pickle.loads(pickle.dumps(network))


def test_an_interrupted_training_keeps_the_best_weights():
    network, kept = make_network(), []
    n_bags, n_epochs = N_BAGS, 30
    record = run(
        network, loss=_Interrupting((n_bags + 1) * n_epochs + 3), validation=make_data(*held_out()),
        max_iter=100, batch_size=1, n_iter_no_change=1000, learning_rate_init=0.02,
        after_epoch=lambda record: kept.append(weights_of(network)),
    )  # fmt: skip
    assert record.interrupted
    assert len(kept) == n_epochs
    assert torch.equal(weights_of(network), kept[record.best_iter - 1])


# -- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["adamw", "amsgrad", "sgd"])
def test_an_optimiser_goes_on(solver):
    """Two epochs at once, and one after the other with the optimiser's state carried on."""
    at_once, in_turn = make_network(), make_network()
    run(at_once, max_iter=2, solver=solver, weight_decay=0.1)
    state = run(in_turn, solver=solver, weight_decay=0.1).optimizer_state
    state = pickle.loads(pickle.dumps(state))
    run(in_turn, solver=solver, weight_decay=0.1, optimizer_state=state)
    torch.testing.assert_close(weights_of(in_turn), weights_of(at_once), rtol=1e-10, atol=1e-12)


# -- some instances only ----------------------------------------------------------------------


class _Marking(nn.Module):
    """An encoder that remembers which instances it saw; the first feature is their number."""

    seen: list = []

    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(shape[0], 4)

    def forward(self, x):
        if self.training:
            self.seen.append(x[:, 0].round().long().tolist())
        return self.layer(x / 100)


@pytest.mark.parametrize("budget", [ALL_AT_ONCE, Budget(2, 2)], ids=["whole", "pieces"])
def test_each_epoch_draws_instances_anew(budget, monkeypatch):
    seen = []
    monkeypatch.setattr(_Marking, "seen", seen)
    bags, first = make_bags([20, 2, 9, 3]), 0
    for bag in bags:
        bag[:, 0] = first + np.arange(len(bag))
        first += len(bag)
    data, epochs = make_data(bags, [0, 1, 0, 1]), []

    def after_epoch(record):
        epochs.append(sorted(set(chain.from_iterable(seen))))  # in pieces each is seen twice
        seen.clear()

    run(
        make_network(encoder=_Marking), data, max_iter=6, max_instances_per_bag=3, budget=budget,
        after_epoch=after_epoch,
    )  # fmt: skip
    offsets = np.cumsum([0, 20, 2, 9, 3])
    for numbers in epochs:
        assert np.histogram(numbers, offsets)[0].tolist() == [3, 2, 3, 3]
    assert len({tuple(numbers) for numbers in epochs}) == 6


# -- losses of somebody else ------------------------------------------------------------------


class _MultiLabel:
    """Several yes-no questions about each bag."""

    n_outputs = 3

    def encode(self, y):
        return torch.as_tensor(y, dtype=torch.float64)

    def __call__(self, outputs, target):
        target = target.expand_as(outputs)
        return F.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(-1)


class _Poisson:
    """Counts in a time at risk: the output is the logarithm of the rate."""

    n_outputs = 1

    def encode(self, y):
        return torch.as_tensor(y, dtype=torch.float64)

    def __call__(self, outputs, target):
        count, time = target.unbind(-1)
        log_rate = outputs[..., 0]
        return time * torch.exp(log_rate) - count * (log_rate + torch.log(time))


class _Hazard:
    """Survival in discrete time: who is censored, is only known to have lived so long."""

    n_outputs = 4

    def encode(self, y):
        return torch.as_tensor(y, dtype=torch.float64)

    def __call__(self, outputs, target):
        time, event = target[..., :1], target[..., 1:]
        step = torch.arange(4, dtype=outputs.dtype)
        at_risk, dies = (step <= time).to(outputs.dtype), event * (step == time)
        dies = dies.to(outputs.dtype).expand_as(outputs)
        losses = F.binary_cross_entropy_with_logits(outputs, dies, reduction="none")
        return (losses * at_risk).sum(-1)


def linear_network(n_outputs, n_members=1):
    """The mean of the features and a linear head: what scikit-learn's models can check."""
    return make_network("mean", n_outputs=n_outputs, n_members=n_members, hidden_layer_sizes=())


def test_several_labels_at_once():
    """As three logistic regressions on the bags' means."""
    rng, bags = np.random.default_rng(0), make_bags([4] * 60)
    means = np.array([bag.mean(axis=0) for bag in bags])
    y = (means @ rng.normal(size=(3, 3)) + 0.5 * rng.normal(size=(60, 3)) > 0).astype(float)
    network, loss = linear_network(3, n_members=2), _MultiLabel()
    options = {"learning_rate_init": 0.2, "batch_size": 60, "budget": Budget(10**6, 10**6)}
    run(network, make_data(bags, y, loss=loss), loss, max_iter=400, solver="adam", **options)
    for j in range(3):
        plain = LogisticRegression(C=1e8, tol=1e-8, max_iter=1000).fit(means, y[:, j])
        for member in range(2):
            weight = network.head.weight[member, :, j].detach().numpy()
            np.testing.assert_allclose(weight, plain.coef_[0], rtol=0.02, atol=0.02)


def test_counts():
    """As scikit-learn's Poisson regression of the rate, weighted by time and bag."""
    rng, bags = np.random.default_rng(0), make_bags([4] * 80)
    means = np.array([bag.mean(axis=0) for bag in bags])
    time, weight = rng.uniform(0.5, 4, size=80), rng.uniform(0.2, 2, size=80)
    count = rng.poisson(time * np.exp(means @ [1.0, -0.5, 0.3]))
    loss, network = _Poisson(), linear_network(1)
    data = make_data(bags, np.stack([count, time], axis=1), weight, loss)
    run(network, data, loss, max_iter=400, solver="adam", learning_rate_init=0.05, batch_size=80)
    plain = PoissonRegressor(alpha=0, tol=1e-8)
    plain.fit(means, count / time, sample_weight=time * weight)
    np.testing.assert_allclose(network.head.weight[0, :, 0].detach(), plain.coef_, atol=0.01)
    np.testing.assert_allclose(network.head.bias.item(), plain.intercept_, atol=0.01)


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        (_MultiLabel(), np.random.default_rng(0).integers(0, 2, size=(N_BAGS, 3))),
        (_Poisson(), np.column_stack([np.arange(N_BAGS), np.full(N_BAGS, 2.0)])),
        (_Hazard(), np.column_stack([np.arange(N_BAGS) % 4, np.arange(N_BAGS) % 3 > 0])),
        (MulticlassLoss(3), np.arange(N_BAGS) % 3),
        (SquaredLoss(np.arange(8.0), np.ones(8)), np.arange(8.0)),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "n_outputs") else "",
)
def test_any_loss_trains_with_every_feature_of_the_loop(loss, y):
    """An auxiliary head, members, pieces and validation know nothing of the target."""
    options = {"auxiliary_decay": 0.5, "n_iter_no_change": 1000, "max_iter": 15, "batch_size": 3}
    options["learning_rate_init"] = 0.03
    records, ends = [], []
    for budget in (ALL_AT_ONCE, Budget(3, 4)):
        network = make_network(n_members=2, n_outputs=loss.n_outputs, auxiliary_decay=0.5)
        data = make_data(y=y, loss=loss)
        validation = TrainingData(data.packed, data.target, data.weight)
        record = run(network, data, loss, budget=budget, validation=validation, **options)
        records.append(record)
        ends.append(weights_of(network))
    assert records[0].bag_loss_curve[-1] < 0.8 * records[0].bag_loss_curve[0]
    np.testing.assert_allclose(records[0].loss_curve, records[1].loss_curve, rtol=1e-6)
    np.testing.assert_allclose(
        records[0].validation_scores, records[1].validation_scores, rtol=1e-6
    )
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-6, atol=1e-8)


# -- global state -----------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_steps_run_on_one_thread(two_threads):
    network = make_network()
    with threads_for(10, network, (3,)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads_for(10, network, (3,)):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_a_convolution_works_at_each_pixel(two_threads):
    network = nn.Conv2d(1, 20, 5)
    with threads_for(256, network, (1, 4, 4)):
        assert torch.get_num_threads() == 1
    with threads_for(256, network, (1, 28, 28)):
        assert torch.get_num_threads() == 2


def test_large_steps_keep_the_threads(two_threads):
    with threads_for(10**9, make_network(), (3,)):
        assert torch.get_num_threads() == 2


def test_fit_and_predict_leave_global_state_alone(two_threads):
    X = make_bags(SIZES)
    torch.manual_seed(7)
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = AttentionMILClassifier(hidden_layer_sizes=(4,), max_iter=2, random_state=0)
    model.fit(X, Y).predict(X)
    model.score_instances(X)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.get_num_threads() == 2
    assert torch.is_grad_enabled()


def test_a_failing_fit_leaves_the_threads_alone(two_threads):
    X = [np.full((2, 3), 1e30) * (-1) ** i for i in range(8)]
    model = AttentionMILClassifier(learning_rate_init=1e30, random_state=0)
    with pytest.raises(FloatingPointError, match="in epoch"):
        model.fit(X, Y)
    assert torch.get_num_threads() == 2
