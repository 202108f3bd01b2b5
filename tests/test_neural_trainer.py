"""The training loop: gradients, weights, when it stops, and what it leaves behind."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning

from milkit.neural import AttentionMILClassifier
from milkit.neural._encoders import mlp
from milkit.neural._layers import Dropout
from milkit.neural._losses import BinaryLoss, MulticlassLoss, SquaredLoss
from milkit.neural._network import BagNetwork
from milkit.neural._pooling import make_pooling
from milkit.neural._threads import threads_for
from milkit.neural._trainer import Packed, TrainingSettings, apply_in_chunks, train

SIZES = np.array([3, 1, 7, 2, 5, 4, 1, 6])
N_BAGS = len(SIZES)


def make_network(seed=0, pooling="attention", dropout=0.0, n_outputs=1):
    generator = torch.Generator().manual_seed(seed)
    encoder, width = mlp(3, (6,), dropout, generator)
    pool = make_pooling(pooling, width, 4, generator)
    return BagNetwork(encoder, pool, width, n_outputs, generator).double()


def make_packed(sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(sizes))
    return Packed(torch.from_numpy(rng.normal(size=(offsets[-1], 3))), offsets)


def settings(**changed):
    defaults = {
        "learning_rate_init": 1e-2,
        "weight_decay": 0.0,
        "max_iter": 1,
        "batch_size": N_BAGS,
        "max_batch_instances": 1000,
        "tol": None,
        "n_iter_no_change": 5,
    }
    return TrainingSettings(**{**defaults, **changed})


def run(network, data, y, weight=None, loss=None, seed=0, **changed):
    loss = loss or BinaryLoss()
    return train(
        network,
        loss,
        data,
        loss.encode(y),
        np.ones(len(y)) if weight is None else np.asarray(weight, dtype=float),
        settings(**changed),
        generator=torch.Generator().manual_seed(seed),
        rng=np.random.default_rng(seed),
        progress=lambda epochs: epochs,
    )


def gradients(data, y, weight=None, **changed):
    """The gradient of the only step of a short training, and its loss."""
    network = make_network()
    record = run(network, data, y, weight, **changed)
    return [p.grad for p in network.parameters()], record.loss_curve[0]


def assert_same_gradients(first, second):
    for a, b in zip(first[0], second[0], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(first[1], second[1], rtol=1e-6)


Y = np.arange(N_BAGS) % 2


# -- packed bags ------------------------------------------------------------------------------


@pytest.mark.parametrize("bags", [[0], [3, 1], [7, 0, 3], [2, 2, 5], range(N_BAGS), [4, 5, 6]])
def test_take_gives_those_bags(bags):
    data, bags = make_packed(), np.array(bags)
    x, offsets = data.take(bags)
    np.testing.assert_array_equal(np.diff(offsets), SIZES[bags])
    expected = [data.instances[data.offsets[b] : data.offsets[b + 1]] for b in bags]
    assert torch.equal(x, torch.cat(expected))


def test_neighbours_are_taken_as_a_view():
    data = make_packed()
    start = data.instances.untyped_storage().data_ptr()
    assert data.take(np.array([2, 3, 4]))[0].untyped_storage().data_ptr() == start
    assert data.take(np.array([2, 4]))[0].untyped_storage().data_ptr() != start


@pytest.mark.parametrize("budget", [1, 4, 8, 13, 1000])
def test_chunks_cover_every_bag_once(budget):
    data, bags = make_packed(), np.random.default_rng(0).permutation(N_BAGS)
    chunks = list(data.chunks(bags, budget))
    np.testing.assert_array_equal(np.concatenate(chunks), bags)
    for i, chunk in enumerate(chunks):
        assert len(chunk) == 1 or SIZES[chunk].sum() <= budget
        if i + 1 < len(chunks):  # the next bag would not have fitted
            assert SIZES[chunk].sum() + SIZES[chunks[i + 1][0]] > budget


def test_tensor_instances_are_packed_too():
    data = Packed(torch.arange(24.0).reshape(6, 2, 2), np.array([0, 2, 3, 6]))
    x, offsets = data.take(np.array([2, 0]))
    assert torch.equal(x, data.instances[[3, 4, 5, 0, 1]])
    assert offsets.tolist() == [0, 3, 5]


@pytest.mark.parametrize("budget", [1, 6, 1000])
def test_apply_in_chunks_keeps_the_order(budget):
    data = make_packed()
    got = apply_in_chunks(lambda x, offsets: x * 2, data, budget)
    np.testing.assert_array_equal(got, 2 * data.instances.numpy())
    assert got.dtype == np.float64


# -- gradients and weights --------------------------------------------------------------------


@pytest.mark.parametrize("budget", [1, 8, 13])
def test_a_batch_cut_in_chunks_has_the_gradient_of_the_whole(budget):
    weight = np.random.default_rng(0).uniform(0.1, 3, N_BAGS)
    data = make_packed()
    whole = gradients(data, Y, weight)
    assert_same_gradients(gradients(data, Y, weight, max_batch_instances=budget), whole)


def test_gradient_is_that_of_a_loop_over_the_bags():
    weight = np.random.default_rng(1).uniform(0.1, 3, N_BAGS)
    data, network = make_packed(), make_network()
    total = 0.0
    for i in range(N_BAGS):
        x = data.instances[data.offsets[i] : data.offsets[i + 1]]
        h = network.encoder(x)
        scores = network.pooling.w(torch.tanh(network.pooling.V(h)))
        logit = network.head((torch.softmax(scores, 0) * h).sum(0))[0]
        probability = torch.sigmoid(logit if Y[i] else -logit)
        total = total - weight[i] * torch.log(probability) / weight.sum()
    total.backward()
    expected = [p.grad for p in network.parameters()], float(total.detach())
    assert_same_gradients(gradients(data, Y, weight), expected)


def test_a_weight_of_two_is_the_bag_twice():
    data, weight = make_packed(), np.ones(N_BAGS)
    weight[2] = 2
    twice = np.append(np.arange(N_BAGS), 2)
    x, offsets = data.take(twice)
    repeated = Packed(x, offsets.numpy())
    assert_same_gradients(
        gradients(data, Y, weight), gradients(repeated, Y[twice], batch_size=N_BAGS + 1)
    )


@pytest.mark.parametrize("scale", [1e-6, 7.0, 1e9])
def test_the_scale_of_the_weights_does_not_matter(scale):
    weight = np.random.default_rng(0).uniform(0.1, 3, N_BAGS)
    data = make_packed()
    assert_same_gradients(gradients(data, Y, scale * weight), gradients(data, Y, weight))


def test_a_minibatch_is_not_divided_by_its_own_weights():
    """Else a batch of light bags would pull as hard as a batch of heavy ones."""
    data, weight = make_packed(), np.array([1, 1, 1, 1, 5, 5, 5, 5])
    # The last step's gradient, with and without weights: bag by bag it is in proportion.
    last = np.random.default_rng(0).permutation(N_BAGS)[-1]
    frozen = {"batch_size": 1, "learning_rate_init": 1e-300}
    weighted, plain = gradients(data, Y, weight, **frozen), gradients(data, Y, **frozen)
    for a, b in zip(weighted[0], plain[0], strict=True):
        torch.testing.assert_close(a, b * weight[last] / weight.mean(), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 3, N_BAGS, 100])
def test_every_bag_counts_once_in_an_epoch(batch_size):
    """With no step to speak of, the loss of an epoch does not depend on the batches."""
    weight = np.random.default_rng(0).uniform(0.1, 3, N_BAGS)
    data, network, loss = make_packed(), make_network(), BinaryLoss()
    with torch.no_grad():
        outputs = network(*data.take(np.arange(N_BAGS))).outputs
        expected = np.average(loss(outputs, loss.encode(Y)), weights=weight)
    record = run(network, data, Y, weight, batch_size=batch_size, learning_rate_init=1e-300)
    np.testing.assert_allclose(record.loss_curve, [expected], rtol=1e-6)


# -- the course of a training -----------------------------------------------------------------


def test_the_loss_falls():
    record = run(make_network(), make_packed(), Y, max_iter=60)
    assert len(record.loss_curve) == 60
    assert record.loss_curve[-1] < 0.5 * record.loss_curve[0]
    assert record.converged


def test_tol_stops_a_training_that_stands_still():
    record = run(make_network(), make_packed(), Y, max_iter=500, tol=1e-3, n_iter_no_change=3)
    assert len(record.loss_curve) < 500
    assert record.converged
    best = np.minimum.accumulate(record.loss_curve)
    falls = best[:-1] - np.array(record.loss_curve[1:])  # below the best so far
    assert (falls[-3:] <= 1e-3).all()
    assert falls[-4] > 1e-3


def test_tol_is_not_reached():
    record = run(make_network(), make_packed(), Y, max_iter=3, tol=0.0)
    assert len(record.loss_curve) == 3
    assert not record.converged


def test_nan_names_the_epoch():
    data = make_packed()
    data.instances[4] = torch.nan
    with pytest.raises(FloatingPointError, match=r"loss is nan in epoch 1.*one scale"):
        run(make_network(), data, Y, max_iter=5)


def test_an_exploding_loss_names_a_later_epoch():
    with pytest.raises(FloatingPointError, match=r"training loss is (inf|nan) in epoch [2-9]"):
        run(make_network(), make_packed(), Y, max_iter=9, learning_rate_init=1e200)


def test_dropout_follows_its_seed():
    def parameters(seed):
        network = make_network(dropout=0.5)
        run(network, make_packed(), Y, seed=seed, max_iter=3)
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    assert torch.equal(parameters(0), parameters(0))
    assert not torch.equal(parameters(0), parameters(1))


def test_a_trained_network_keeps_no_generator():
    network = make_network(dropout=0.5)
    run(network, make_packed(), Y)
    assert not network.training
    assert all(m.generator is None for m in network.modules() if isinstance(m, Dropout))
    again = pickle.loads(pickle.dumps(network))
    x, offsets = make_packed().take(np.arange(N_BAGS))
    assert torch.equal(again(x, offsets).outputs, network(x, offsets).outputs)


# -- losses -----------------------------------------------------------------------------------


def test_losses_by_hand():
    logits = torch.tensor([[2.0], [-1.0]])
    expected = np.log1p(np.exp([-2.0, -1.0]))
    binary = BinaryLoss()
    np.testing.assert_allclose(binary(logits, binary.encode([1, 0])), expected, rtol=1e-6)
    outputs = torch.tensor([[1.0, 0.0, -1.0], [0.0, 3.0, 0.0]])
    expected = np.log(np.exp(outputs.numpy()).sum(axis=1)) - [-1.0, 0.0]
    several = MulticlassLoss(3)
    np.testing.assert_allclose(several(outputs, several.encode([2, 0])), expected, rtol=1e-6)


def test_squared_loss_goes_there_and_back():
    y, weight = np.array([3.0, 5.0, 100.0]), np.array([1.0, 3.0, 0.0])
    loss = SquaredLoss(y, weight)
    assert loss.center == 4.5
    encoded = loss.encode(y)
    np.testing.assert_allclose(np.average(encoded, weights=weight), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(encoded**2, weights=weight), 1, rtol=1e-6)
    np.testing.assert_allclose(loss.decode(encoded.numpy()[:, None]), y, rtol=1e-6)
    np.testing.assert_allclose(loss(encoded[:, None], encoded), 0)


def test_squared_loss_of_a_constant():
    loss = SquaredLoss(np.full(3, 0.1), np.array([0.3, 0.7, 0.2]))
    assert (loss.encode(np.full(3, 0.1)) == 0).all()
    assert loss.decode(np.array([[5.0]])).tolist() == [0.1]


# -- global state -----------------------------------------------------------------------------


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_small_steps_run_on_one_thread(two_threads):
    network = make_network()
    with threads_for(10, network):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads_for(10, network):
        raise KeyError
    assert torch.get_num_threads() == 2


def test_large_steps_keep_the_threads(two_threads):
    with threads_for(10**9, make_network()):
        assert torch.get_num_threads() == 2


def test_fit_and_predict_leave_global_state_alone(two_threads):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 3)) for n in SIZES]
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


def test_a_training_that_is_not_done_warns():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, 3)) for n in SIZES]
    model = AttentionMILClassifier(max_iter=2, tol=1e-9, random_state=0)
    with pytest.warns(ConvergenceWarning, match="after max_iter=2 epochs"):
        model.fit(X, Y)
