"""Losses: what a network predicts."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from milkit.neural._losses import BinaryLoss, MulticlassLoss, SquaredLoss


def outputs_of(n_outputs, n_members=3, n_bags=5, scale=2.0):
    rng = np.random.default_rng(0)
    return torch.from_numpy(scale * rng.normal(size=(n_members, n_bags, n_outputs)))


LOSSES = {
    "binary": (BinaryLoss(), np.array([1, 0, 0, 1, 1])),
    "multiclass": (MulticlassLoss(3), np.array([2, 0, 1, 1, 2])),
    "squared": (
        SquaredLoss(np.array([3.0, 5, 4, -2, 0]), np.ones(5)), np.array([3.0, 5, 4, -2, 0])
    ),
}  # fmt: skip
every_loss = pytest.mark.parametrize(("loss", "y"), LOSSES.values(), ids=LOSSES)


def by_hand(loss, outputs, target):
    if isinstance(loss, BinaryLoss):
        return np.logaddexp(0, np.where(target == 1, -1, 1) * outputs[..., 0])
    if isinstance(loss, MulticlassLoss):
        return -np.take_along_axis(log_softmax(outputs, axis=1), target[:, None], 1)[:, 0]
    return (outputs[:, 0] - target) ** 2


@every_loss
def test_one_loss_for_each_bag_of_each_member(loss, y):
    outputs, target = outputs_of(loss.n_outputs), loss.encode(y)
    target = target.double() if target.is_floating_point() else target
    got = loss(outputs, target)
    assert got.shape == (3, 5)
    for own, values in zip(got, outputs, strict=True):
        np.testing.assert_allclose(own, by_hand(loss, values.numpy(), target.numpy()), rtol=1e-10)
        torch.testing.assert_close(loss(values, target), own)  # without members, too
    one_bag = loss(outputs[:, :1], target[:1])
    torch.testing.assert_close(one_bag, got[:, :1])


@every_loss
def test_huge_outputs_have_finite_losses_and_gradients(loss, y):
    outputs = (1e4 * outputs_of(loss.n_outputs)).float().requires_grad_()
    total = loss(outputs, loss.encode(y)).sum()
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("shape", [(4, 1), (3, 4, 1)])
def test_decoding_two_classes_gives_logits(shape):
    outputs = np.random.default_rng(0).normal(size=shape)
    np.testing.assert_array_equal(BinaryLoss().decode(outputs), outputs[..., 0])


def test_decoding_several_classes_gives_logits():
    outputs = np.random.default_rng(0).normal(size=(3, 4, 5))
    np.testing.assert_array_equal(MulticlassLoss(5).decode(outputs), outputs)


def test_targets_are_made_for_the_loss():
    assert BinaryLoss().encode([1, 0]).dtype == torch.float32
    assert MulticlassLoss(3).encode([2, 0]).dtype == torch.int64
    assert (BinaryLoss.n_outputs, MulticlassLoss(4).n_outputs, SquaredLoss.n_outputs) == (1, 4, 1)


# -- numbers ----------------------------------------------------------------------------------


def test_squared_loss_goes_there_and_back():
    y, weight = np.array([3.0, 5.0, 100.0]), np.array([1.0, 3.0, 0.0])
    loss = SquaredLoss(y, weight)
    assert loss.center == 4.5  # the weighted mean
    encoded = loss.encode(y)
    np.testing.assert_allclose(np.average(encoded, weights=weight), 0, atol=1e-6)
    np.testing.assert_allclose(np.average(encoded**2, weights=weight), 1, rtol=1e-6)
    np.testing.assert_allclose(loss.decode(encoded.numpy()[:, None]), y, rtol=1e-6)
    members = np.stack([encoded.numpy()[:, None]] * 2)
    np.testing.assert_allclose(loss.decode(members), [y, y], rtol=1e-6)


@pytest.mark.parametrize("constant", [0.1, -5e8, 0.0])
def test_squared_loss_of_a_constant(constant):
    y = np.full(3, constant)
    loss = SquaredLoss(y, np.array([0.3, 0.7, 0.2]))
    assert (loss.encode(y) == 0).all()
    assert loss.decode(np.array([[5.0]])).tolist() == [constant]
