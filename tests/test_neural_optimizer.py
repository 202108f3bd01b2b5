"""Optimisers against PyTorch's own on separate parameters, and learning-rate schedules."""

import math
import pickle

import pytest
import torch
from torch import nn

from milkit.neural._optimizer import SOLVERS, FlatParameters, make_optimizer, make_schedule


def make_module(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)).double()


X = torch.linspace(-1, 1, 15, dtype=torch.float64).view(5, 3)


def losses(module, step):
    """A loss that changes from step to step, so that the optimiser's memory matters."""
    return ((module(X) - math.sin(step)) ** 2).sum()


# -- one tensor -------------------------------------------------------------------------------


def test_parameters_and_gradients_are_views_of_one_tensor():
    module = make_module()
    before = [p.detach().clone() for p in module.parameters()]
    flat = FlatParameters(module)
    assert flat.tensor.shape == (3 * 4 + 4 + 4 * 2,)
    for p, old in zip(module.parameters(), before, strict=True):
        assert torch.equal(p, old)
        assert p.untyped_storage().data_ptr() == flat.tensor.untyped_storage().data_ptr()
    losses(module, 0).backward()
    twin = make_module()
    gradients = torch.autograd.grad(losses(twin, 0), list(twin.parameters()))
    assert torch.equal(flat.tensor.grad, torch.cat([g.flatten() for g in gradients]))
    flat.clear_gradient()
    assert all((p.grad == 0).all() for p in module.parameters())
    losses(module, 0).backward()  # added to the same tensor, not beside it
    assert (flat.tensor.grad != 0).any()


def test_weights_are_set_through_the_tensor():
    module = make_module()
    flat = FlatParameters(module)
    with torch.no_grad():
        flat.tensor.fill_(0.5)
    assert all((p == 0.5).all() for p in module.parameters())


def test_frozen_parameters_stay():
    module = make_module()
    module[0].requires_grad_(False)
    frozen = module[0].weight.clone()
    flat = FlatParameters(module)
    assert flat.tensor.shape == (8,)
    with torch.no_grad():
        flat.tensor.zero_()
    assert torch.equal(module[0].weight, frozen)
    assert (module[2].weight == 0).all()


def test_released_parameters_have_memory_of_their_own():
    module = make_module()
    flat = FlatParameters(module)
    small = len(pickle.dumps(make_module()))
    flat.release()
    assert all(p.grad is None for p in module.parameters())
    assert len(pickle.dumps(module)) <= small
    weight = module[0].weight.clone()
    flat.tensor.zero_()
    assert torch.equal(module[0].weight, weight)


# -- solvers ----------------------------------------------------------------------------------


def reference(solver, parameters, lr, momentum, weight_decay):
    plain = {"lr": lr, "weight_decay": weight_decay, "foreach": False, "fused": False}
    return {
        "adam": lambda: torch.optim.Adam(parameters, **plain),
        "amsgrad": lambda: torch.optim.Adam(parameters, amsgrad=True, **plain),
        "adamw": lambda: torch.optim.AdamW(parameters, **plain),
        "sgd": lambda: torch.optim.SGD(parameters, momentum=momentum, **plain),
    }[solver]()


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solver_takes_the_steps_of_pytorchs(solver, weight_decay):
    one, separate = make_module(), make_module()
    flat = FlatParameters(one)
    optimizers = [
        make_optimizer(solver, [flat.tensor], 0.02, 0.8, weight_decay),
        reference(solver, separate.parameters(), 0.02, 0.8, weight_decay),
    ]
    for step in range(8):
        for module, optimizer in zip((one, separate), optimizers, strict=True):
            flat.clear_gradient() if module is one else optimizer.zero_grad()
            losses(module, step).backward()
            optimizer.step()
        for p, q in zip(one.parameters(), separate.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-10, atol=1e-12)


def test_solvers_are_four_different_ones():
    ends = []
    for solver in SOLVERS:
        module = make_module()
        flat = FlatParameters(module)
        optimizer = make_optimizer(solver, [flat.tensor], 0.02, 0.8, 0.3)
        for step in range(8):
            flat.clear_gradient()
            losses(module, step).backward()
            optimizer.step()
        ends.append(flat.tensor)
    assert len(ends) == 4
    for i, end in enumerate(ends):
        assert not any(torch.allclose(end, other) for other in ends[:i])


# -- schedules --------------------------------------------------------------------------------


def rates(learning_rate, monitored):
    """The learning rate in front of each epoch, and behind the last."""
    tensor = torch.zeros(2)
    tensor.grad = torch.zeros(2)
    optimizer = make_optimizer("adamw", [tensor], 0.1, 0.9, 0.0)
    lower = make_schedule(learning_rate, optimizer, len(monitored))
    found = [optimizer.param_groups[0]["lr"]]
    for loss in monitored:
        optimizer.step()
        lower(loss)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_constant():
    assert rates("constant", [1.0] * 20) == [0.1] * 21


def test_cosine_falls_to_zero_at_the_end():
    found = rates("cosine", [1.0] * 20)
    expected = [0.05 * (1 + math.cos(math.pi * epoch / 20)) for epoch in range(21)]
    assert found == pytest.approx(expected, abs=1e-9)
    assert found[-1] == pytest.approx(0, abs=1e-12)


def test_plateau_multiplies_by_four_fifths():
    """After more than four epochs in which the loss has not fallen, and then again."""
    assert rates("plateau", [1.0] * 11) == pytest.approx([0.1] * 6 + [0.08] * 5 + [0.064])
    falling = [1.0 - 0.01 * epoch for epoch in range(30)]
    assert rates("plateau", falling) == [0.1] * 31
    now_and_then = [1.0, 1, 1, 1, 1, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8]  # never more than four
    assert rates("plateau", now_and_then) == [0.1] * 12
