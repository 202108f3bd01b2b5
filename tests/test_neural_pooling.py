"""Poolings against their formulas, written out for one bag at a time."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from milkit.exceptions import BagShapeError
from milkit.neural._pooling import make_pooling
from milkit.neural._ragged import segment_max

from .neural_helpers import (
    POOLINGS,
    WEIGHTED,
    BentSum,
    make_bags,
    pool_by_hand,
    segments_of,
    stacked,
    weights_by_hand,
)

WIDTH = 5
SIZES = [1, 4, 300, 2]
UNWEIGHTED = [name for name in POOLINGS if name not in WEIGHTED]
every_pooling = pytest.mark.parametrize("name", POOLINGS)
every_number_of_members = pytest.mark.parametrize("n_members", [1, 3])


def make(name, n_members=1, n_values=WIDTH, seed=0):
    """A pooling of embeddings, and of values that are something else where ``n_values`` says."""
    n_heads = 3 if name == "heads" else 1
    kind = {"heads": "attention", "module": partial(BentSum, n_out=4)}.get(name, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        pooling = make_pooling(kind, n_members, WIDTH, n_values, 3, n_heads, 0, generator)
    return pooling.double().eval()


def pool(pooling, h, segments, values=None, shift=None):
    """The result for embeddings (E, n_instances, m)."""
    values = h if values is None else values
    state = pooling.sums(values, pooling.scores(h, None), segments, shift)
    return pooling.result(*state, segments)


def bags_of_each_member(bags, x):
    return [np.split(x[e].numpy(), np.cumsum([len(b) for b in bags])[:-1]) for e in range(len(x))]


# -- the formulas -----------------------------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("sizes", [SIZES, [1], [60]], ids=str)
@every_pooling
def test_result_by_hand(name, sizes, n_members):
    bags = make_bags(sizes, WIDTH)
    # The product of many (1 - p) is too small for the plain formula.
    bags = [bag - 6 for bag in bags] if name == "noisy_or" else bags
    pooling, h = make(name, n_members), stacked(bags, n_members, seed=1)
    with torch.no_grad():
        z = pool(pooling, h, segments_of(bags)).numpy()
    assert z.shape == (n_members, len(bags), pooling.width(WIDTH))
    for e, own in enumerate(bags_of_each_member(bags, h)):
        expected = [pool_by_hand(name, pooling, bag, None, e) for bag in own]
        np.testing.assert_allclose(z[e], expected, rtol=1e-9, atol=1e-12)


@every_number_of_members
@pytest.mark.parametrize("name", ["attention", "gated_attention", "heads"])
def test_attention_pools_values_that_it_does_not_see(name, n_members):
    """At the instance level the embeddings are attended to, and the outputs pooled."""
    bags = make_bags(SIZES, WIDTH)
    pooling, h = make(name, n_members, n_values=2), stacked(bags, n_members, seed=1)
    values = stacked(make_bags(SIZES, 2, seed=5), n_members, seed=6)
    with torch.no_grad():
        z = pool(pooling, h, segments_of(bags), values).numpy()
    for e, (own, own_values) in enumerate(
        zip(bags_of_each_member(bags, h), bags_of_each_member(bags, values), strict=True)
    ):
        expected = [
            pool_by_hand(name, pooling, *bag, e) for bag in zip(own, own_values, strict=True)
        ]
        np.testing.assert_allclose(z[e], expected, rtol=1e-9, atol=1e-12)


@every_number_of_members
@pytest.mark.parametrize("sizes", [SIZES, [60]], ids=str)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_by_hand(name, sizes, n_members):
    bags = make_bags(sizes, WIDTH)
    pooling, h = make(name, n_members), stacked(bags, n_members, seed=1)
    with torch.no_grad():
        weights = pooling.weights(h, pooling.scores(h, None), segments_of(bags)).numpy()
    for e, own in enumerate(bags_of_each_member(bags, h)):
        expected = np.concatenate([weights_by_hand(pooling, bag, e) for bag in own])
        np.testing.assert_allclose(weights[e], expected, rtol=1e-9)


def test_attention_sees_extra_columns_behind_the_embedding():
    generator = torch.Generator().manual_seed(0)
    pooling = make_pooling("gated_attention", 2, WIDTH, WIDTH, 3, 1, 2, generator).double()
    wide = make("gated_attention", 2)
    wide.V, wide.U, wide.w = pooling.V, pooling.U, pooling.w
    h = torch.randn(2, 7, WIDTH, dtype=torch.float64, generator=generator)
    extra = torch.randn(7, 2, dtype=torch.float64, generator=generator)
    joined = torch.cat([h, extra.expand(2, -1, -1)], dim=2)
    assert torch.equal(pooling.scores(h, extra), wide.scores(joined, None))


@pytest.mark.parametrize("name", [p for p in POOLINGS if p not in ("noisy_or", "module")])
def test_a_bag_twice_over_has_the_same_embedding(name):
    bags = make_bags(SIZES, WIDTH)
    double = [np.concatenate([bag, bag]) for bag in bags]
    pooling = make(name)
    with torch.no_grad():
        once = pool(pooling, stacked(bags), segments_of(bags))
        twice = pool(pooling, stacked(double), segments_of(double))
    torch.testing.assert_close(twice, once, rtol=1e-10, atol=1e-12)


@every_pooling
def test_order_of_instances_does_not_matter(name):
    bags, rng = make_bags(SIZES, WIDTH), np.random.default_rng(1)
    shuffled = [rng.permutation(bag) for bag in bags]
    pooling = make(name)
    with torch.no_grad():
        z = pool(pooling, stacked(bags), segments_of(bags))
        z_shuffled = pool(pooling, stacked(shuffled), segments_of(bags))
    torch.testing.assert_close(z_shuffled, z, rtol=1e-10, atol=1e-12)


def test_logsumexp_lies_between_the_mean_and_the_maximum():
    bags = make_bags(SIZES[1:], WIDTH)
    mean, middle, top = (
        pool(make(name), stacked(bags), segments_of(bags)) for name in ("mean", "logsumexp", "max")
    )
    assert (mean < middle).all()
    assert (middle < top).all()


@pytest.mark.parametrize("value", [-1e4, -800.0, 60.0, 1e4])
@pytest.mark.parametrize("name", ["logsumexp", "noisy_or", "max", "mean", "mean_std"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_huge_values_stay_finite(name, value, dtype):
    bags = [np.full((3, 1), value), np.array([[0.0], [value]]), np.full((1, 1), value)]
    pooling, h = make(name).to(dtype), stacked(bags).to(dtype).requires_grad_()
    z = pool(pooling, h, segments_of(bags))
    z.sum().backward()
    assert torch.isfinite(z).all()
    assert torch.isfinite(h.grad).all()


def test_noisy_or_of_improbable_instances_adds_their_odds():
    """Far below zero the probabilities add up: the logit is that of n p."""
    h = torch.full((1, 100, 1), -30.0, dtype=torch.float64)
    z = pool(make("noisy_or"), h, segments_of([h[0]]))
    np.testing.assert_allclose(z.item(), -30 + np.log(100), rtol=1e-9)


# -- pieces -----------------------------------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("seed", range(4))
@every_pooling
def test_joined_pieces_are_the_whole(name, seed, n_members):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 200))
    h = stacked([5 * rng.normal(size=(n, WIDTH))], n_members, seed=seed)
    cuts = np.unique([0, *rng.integers(0, n, size=rng.integers(1, 9)), n])
    pooling = make(name, n_members)
    with torch.no_grad():
        scores = pooling.scores(h, None)
        states = []
        for a, b in pairwise(cuts):
            own = None if scores is None else scores[:, a:b]
            states.append(pooling.sums(h[:, a:b], own, segments_of([h[0, a:b]])))
        joined = pooling.result(*pooling.join(states), segments_of([h[0]]))
        whole = pool(pooling, h, segments_of([h[0]]))
    torch.testing.assert_close(joined, whole, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [p for p in POOLINGS if p not in ("max", "module")])
def test_the_shift_does_not_matter(name):
    """Not to the result, and not to its gradient."""
    bags = make_bags(SIZES, WIDTH)
    pooling, h = make(name, 2), stacked(bags, 2, seed=1).requires_grad_()
    segments = segments_of(bags)
    state = pooling.sums(h, pooling.scores(h, None), segments)
    if state[0] is None:
        assert name in ("mean", "noisy_or")
        return
    results = [pooling.result(*state, segments)]
    other = state[0] + torch.linspace(-3, 4, state[0].numel()).view(state[0].shape)
    results.append(pool(pooling, h, segments, shift=other))
    results.append(pooling.result(other, pooling.rescale(*state, other), segments))
    upstream = torch.randn(results[0].shape, dtype=torch.float64)
    gradients = [torch.autograd.grad(z, h, upstream, retain_graph=True)[0] for z in results]
    for z, gradient in zip(results[1:], gradients[1:], strict=True):
        torch.testing.assert_close(z, results[0], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-8, atol=1e-10)


# -- gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1, 4, 2], [5]], ids=str)
@every_pooling
def test_gradcheck(name, sizes):
    """Also of the parameters, and with values that are not the embeddings."""
    bags = make_bags(sizes, WIDTH)
    pooling, segments = make(name, 2), segments_of(bags)
    h = stacked(bags, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: pool(pooling, h, segments), h)
    values = stacked(bags, 2, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda h, v: pool(pooling, h, segments, v).sum(0), (h.detach(), values)
    )
    names, parameters = zip(*pooling.named_parameters(), strict=True) if name in (
        "attention", "gated_attention", "heads", "module",
    ) else ((), ())  # fmt: skip

    def with_parameters(*parameters):
        swapped = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(_Pooled(pooling), swapped, (h.detach(), segments))

    if names:
        names = [f"pooling.{key}" for key in names]
        assert torch.autograd.gradcheck(with_parameters, parameters)


class _Pooled(nn.Module):
    def __init__(self, pooling):
        super().__init__()
        self.pooling = pooling

    def forward(self, h, segments):
        return pool(self.pooling, h, segments)


def test_instances_that_share_the_maximum_share_its_gradient():
    h = torch.tensor([[2.0, 1.0], [2.0, 3.0], [0.0, 3.0], [5.0, 3.0]]).unsqueeze(0)
    h.requires_grad_()
    pool(make("max"), h, segments_of([h[0, :3], h[0, 3:]])).sum().backward()
    assert h.grad[0].tolist() == [[0.5, 0.0], [0.5, 0.5], [0.0, 0.5], [1.0, 1.0]]


def test_a_constant_bag_has_a_finite_gradient_of_its_standard_deviation():
    h = torch.ones(1, 4, 2, dtype=torch.float64, requires_grad=True)
    pool(make("mean_std"), h, segments_of([h[0]])).sum().backward()
    torch.testing.assert_close(h.grad, torch.full_like(h, 0.25))


# -- one instance left out --------------------------------------------------------------------


def assert_without_is_a_deletion(name, bags, n_members=1, pooling=None, rtol=1e-9, atol=1e-10):
    """``without`` against the pooling of bags from which an instance was deleted."""
    pooling = pooling or make(name, n_members)
    values = stacked(bags, n_members, seed=1 if n_members > 1 else None)
    with torch.no_grad():
        got = pooling.without(values, segments_of(bags)).numpy()
    assert got.shape == (n_members, values.shape[1], pooling.width(values.shape[2]))
    for e, own in enumerate(bags_of_each_member(bags, values)):
        first = 0
        for bag in own:
            for k in range(len(bag)) if len(bag) > 1 else ():
                rest = torch.from_numpy(np.delete(bag, k, axis=0)).expand(n_members, -1, -1)
                with torch.no_grad():
                    expected = pool(pooling, rest, segments_of([rest[0]]))[e, 0].numpy()
                np.testing.assert_allclose(
                    got[e, first + k], expected, rtol=rtol, atol=atol, err_msg=f"instance {k}"
                )
            first += len(bag)


@every_number_of_members
@pytest.mark.parametrize("sizes", [[1, 4, 30, 2], [1], [2], [25]], ids=str)
@pytest.mark.parametrize("name", UNWEIGHTED)
def test_without_is_a_deletion(name, sizes, n_members):
    assert_without_is_a_deletion(name, make_bags(sizes, WIDTH), n_members)


@pytest.mark.parametrize("name", UNWEIGHTED)
def test_without_where_instances_tie(name):
    rng = np.random.default_rng(0)
    ties = np.array([[1.0, 0.0, 2.0], [1.0, 3.0, -1.0], [0.0, 3.0, 2.0], [1.0, -5.0, 1.0]])
    bags = [
        np.repeat(rng.normal(size=(1, WIDTH)), 4, axis=0),  # all instances are the same
        np.pad(ties, [(0, 0), (0, WIDTH - 3)]),
        np.zeros((2, WIDTH)),
    ]
    assert_without_is_a_deletion(name, bags)


@pytest.mark.parametrize("gap", [5.0, 40.0, 200.0, 2000.0])
@pytest.mark.parametrize("name", ["logsumexp", "max"])
def test_without_where_one_instance_outweighs_the_rest(name, gap):
    """A difference of sums would lose what is small beside it."""
    bags = make_bags([6, 2, 3], WIDTH)
    for bag in bags:
        bag[0] += gap
        bag[-1, 0] += gap  # in one coordinate there are two of them
    assert_without_is_a_deletion(name, bags)


@pytest.mark.parametrize("low", [-3.0, -20.0, -40.0, -300.0])
def test_without_the_one_probable_instance_of_noisy_or(low):
    bags = [bag + low for bag in make_bags([6, 2, 3], WIDTH)]
    for bag in bags:
        bag[0] = 60.0
    assert_without_is_a_deletion("noisy_or", bags, rtol=1e-6)


def test_without_the_outlier_of_mean_and_deviation():
    bags = make_bags([6, 2, 3], WIDTH)
    for bag in bags:
        bag[0] += 1e3
    assert_without_is_a_deletion("mean_std", bags, atol=1e-7)


def test_without_goes_through_large_bags_in_blocks(monkeypatch):
    """A bag of n instances has n bags of n - 1 in it: more than memory holds at once."""
    monkeypatch.setattr("milkit.neural._pooling._MAX_ROWS", 50)
    rows, bags = [], make_bags([20, 1, 60, 3], WIDTH)
    pooling = make("module", 2)
    pooling.members[0].register_forward_hook(
        lambda module, inputs, out: rows.append(len(inputs[0]))
    )
    with torch.no_grad():
        pooling.without(stacked(bags, 2), segments_of(bags))
    assert max(rows) <= 60
    assert_without_is_a_deletion("module", bags, 2)


# -- a user's module --------------------------------------------------------------------------


def test_a_module_is_made_for_each_member():
    widths = []

    def factory(width):
        widths.append(width)
        return BentSum(width)

    pooling = make_pooling(factory, 3, WIDTH, WIDTH, 3, 1, 0, torch.Generator())
    assert widths == [WIDTH] * 3
    weights = [module.linear.weight for module in pooling.members]
    assert not torch.equal(weights[0], weights[1])
    assert pooling.width(WIDTH) == 3


@pytest.mark.parametrize("own", ["module", "factory of one module"])
def test_a_users_module_is_copied(own):
    users = BentSum(WIDTH)
    given = users if own == "module" else lambda width: users
    pooling = make_pooling(given, 2, WIDTH, WIDTH, 3, 1, 0, torch.Generator())
    with torch.no_grad():
        for p in pooling.parameters():
            p.add_(1)
    assert users.training
    assert not torch.equal(users.linear.weight, pooling.members[0].linear.weight)
    assert torch.equal(pooling.members[0].linear.weight, pooling.members[1].linear.weight)


class _Wrong(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, h, offsets):
        return self.make(h, offsets)


@pytest.mark.parametrize(
    ("forward", "got"),
    [
        (lambda h, offsets: h, r"a tensor of shape \(3, 5\)"),
        (lambda h, offsets: h.sum(), r"a tensor of shape \(\)"),
        (lambda h, offsets: [h, h], "an object of type list"),
    ],
)
def test_a_module_that_gives_no_bags_is_refused(forward, got):
    with pytest.raises(BagShapeError, match=f"pooling module must turn.*For 2 bags it gave {got}"):
        make_pooling(lambda width: _Wrong(forward), 1, WIDTH, WIDTH, 3, 1, 0, torch.Generator())


def test_a_factory_of_something_else_is_refused():
    with pytest.raises(TypeError, match="must be a torch module or a function that makes one"):
        make_pooling(lambda width: width, 1, WIDTH, WIDTH, 3, 1, 0, torch.Generator())


# -- initial weights --------------------------------------------------------------------------


def test_initial_weights_come_from_the_generator():
    first, second, other = (make("gated_attention", 2, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)
    assert not any(torch.equal(value[0], value[1]) for value in first.values())


def test_max_sums_count_the_instances_at_the_top():
    h = torch.tensor([1.0, 3.0, 3.0, 2.0]).view(1, -1, 1)
    shift, (total, count) = make("max").sums(h, None, segments_of([h[0]]))
    assert torch.equal(shift, segment_max(h, segments_of([h[0]])))
    assert (total.item(), count.item()) == (6.0, 2.0)
