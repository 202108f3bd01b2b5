"""Layers: the members of an ensemble side by side, and randomness of their own."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from milkit.neural._layers import Dense, Dropout, convolution


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the linear layer of several members ------------------------------------------------------


def test_dense_is_a_linear_layer_for_each_member():
    layer = Dense(3, 5, 2, seeded()).double()
    x = torch.randn(3, 7, 5, generator=seeded(1), dtype=torch.float64).requires_grad_()
    upstream = torch.randn(3, 7, 2, generator=seeded(2), dtype=torch.float64)
    inputs = [x, layer.weight, layer.bias]
    one_by_one = torch.stack(
        [F.linear(x[e], layer.weight[e].T, layer.bias[e, 0]) for e in range(3)]
    )
    torch.testing.assert_close(layer(x), one_by_one, rtol=1e-12, atol=1e-12)
    for a, b in zip(
        torch.autograd.grad(layer(x), inputs, upstream),
        torch.autograd.grad(one_by_one, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_dense_is_drawn_like_pytorchs_own():
    """Uniform between -1/sqrt(n_in) and 1/sqrt(n_in), the bias too."""
    layer, bound = Dense(2, 25, 4000, seeded()), 1 / 5
    for member in range(2):
        for p in (layer.weight[member].detach(), layer.bias[member].detach()):
            assert p.abs().max() <= bound
            assert p.abs().max() > 0.99 * bound
            np.testing.assert_allclose(p.std(), bound / math.sqrt(3), rtol=0.05)
            assert abs(p.mean()) < 0.05 * bound
    assert not torch.equal(layer.weight[0], layer.weight[1])


def test_a_convolution_is_drawn_like_pytorchs_own():
    own, theirs = convolution(3, 400, 5, seeded()), nn.Conv2d(3, 400, 5)
    bound = 1 / math.sqrt(3 * 25)
    for p, q in ((own.weight, theirs.weight), (own.bias, theirs.bias)):
        assert p.shape == q.shape
        assert p.abs().max() <= bound
        np.testing.assert_allclose(p.std().item(), bound / math.sqrt(3), rtol=0.1)


@pytest.mark.parametrize(
    "make", [lambda g: Dense(2, 3, 4, g), lambda g: convolution(2, 3, 3, g)], ids=["dense", "conv"]
)
def test_initial_weights_come_from_the_generator_alone(make):
    before = torch.get_rng_state()
    first, second, other = make(seeded(0)), make(seeded(0)), make(seeded(1))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first.parameters(), second.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


# -- dropout ----------------------------------------------------------------------------------


def dropping(p, seed=0):
    layer = Dropout(p)
    layer.generator = seeded(seed)
    return layer


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
def test_dropout_keeps_the_mean(p):
    dropped = dropping(p)(torch.ones(2, 200, 301))
    n = dropped.numel()
    zeros = (dropped == 0).double().mean()
    assert abs(zeros - p) < 5 * math.sqrt(p * (1 - p) / n)
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=2e-4, atol=0)


def test_neighbours_are_dropped_independently():
    """Several decisions come from one random number, but not the same ones."""
    p = 0.4
    zero = (dropping(p)(torch.ones(1, 1, 400_000)) == 0).flatten().double()
    for lag in (1, 2, 3, 4, 5, 8):
        both = (zero[lag:] * zero[:-lag]).mean()
        assert abs(both - p * p) < 5 * math.sqrt(p * p * (1 - p * p) / len(zero))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (2, 0, 4), (2, 8, 2)], ids=str)
def test_dropout_of_any_shape(shape):
    assert dropping(0.5)(torch.ones(shape)).shape == shape


def test_dropout_only_acts_in_training():
    layer, x = dropping(0.3), torch.ones(1, 20, 20)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), x)
    assert torch.equal(dropping(0.0)(x), x)


def test_members_have_masks_of_their_own():
    dropped = dropping(0.5)(torch.ones(3, 40, 10))
    assert not torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[1], dropped[2])


def test_the_gradient_goes_through_what_is_kept():
    x = torch.randn(2, 30, 5, generator=seeded(1), dtype=torch.float64).requires_grad_()
    out = dropping(0.5)(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, (out / x).detach())
    assert (x.grad == 0).any()


def test_dropout_follows_its_generator_alone():
    x, before = torch.ones(1, 30, 30), torch.get_rng_state()
    assert torch.equal(dropping(0.5, 3)(x), dropping(0.5, 3)(x))
    assert not torch.equal(dropping(0.5, 3)(x), dropping(0.5, 4)(x))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [1e-9, 0.99999, 0.9999999])
def test_dropout_of_almost_nothing_or_everything_stays_finite(p):
    assert torch.isfinite(dropping(p)(torch.ones(1, 100, 100))).all()
