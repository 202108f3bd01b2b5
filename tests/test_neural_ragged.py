"""Segment operations against a loop over the bags."""

import numpy as np
import pytest
import torch

from milkit.neural._ragged import (
    bag_index,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    spread,
)

# Each operation and what it does to the instances of one bag.
OPERATIONS = {
    segment_sum: lambda bag: bag.sum(0, keepdim=True),
    segment_mean: lambda bag: bag.mean(0, keepdim=True),
    segment_max: lambda bag: bag.amax(0, keepdim=True),
    segment_softmax: lambda bag: torch.softmax(bag, 0),
}
SIZES = {
    "mixed": [1, 3, 10_000, 1, 17, 2],
    "one bag": [5],
    "bags of one": [1, 1, 1, 1],
}


def packed(sizes, width, seed=0):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(sum(sizes), width))).requires_grad_()
    return values, torch.from_numpy(np.cumsum([0, *sizes]))


def by_bag(values, offsets):
    return torch.split(values, offsets.diff().tolist())


@pytest.fixture(params=OPERATIONS, ids=lambda f: f.__name__)
def operation(request):
    return request.param


@pytest.mark.parametrize("width", [1, 7])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_forward_and_backward_are_those_of_a_loop(operation, sizes, width):
    values, offsets = packed(sizes, width)
    got = operation(values, offsets)
    expected = torch.cat([OPERATIONS[operation](bag) for bag in by_bag(values, offsets)])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    upstream = torch.from_numpy(np.random.default_rng(1).normal(size=tuple(got.shape)))
    for result in (got, expected):
        values.grad = None
        result.backward(upstream)
        if result is got:
            gradient = values.grad
    torch.testing.assert_close(gradient, values.grad, rtol=1e-11, atol=1e-12)


def test_gradcheck(operation):
    values, offsets = packed([1, 4, 2], 3)
    assert torch.autograd.gradcheck(lambda v: operation(v, offsets), values)


def test_other_bags_do_not_matter(operation):
    """The result of a bag is bitwise the same alone and beside a huge one."""
    values, offsets = packed([4, 10_000, 6], 3)
    together = operation(values, offsets)
    bag = values[:4]
    alone = operation(bag, torch.tensor([0, 4]))
    assert torch.equal(together[: len(alone)], alone)


def test_bag_index_and_spread():
    offsets = torch.tensor([0, 2, 3, 6])
    bag = bag_index(offsets, 6)
    assert bag.tolist() == [0, 0, 1, 2, 2, 2]
    rows = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(spread(rows, bag), rows[[0, 0, 1, 2, 2, 2]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_of_huge_scores_does_not_overflow(dtype):
    scores = torch.tensor([1e30, 0.0, -1e30, -1e30, 1e4, 1e4 - 1, -1e30], dtype=dtype)[:, None]
    scores.requires_grad_()
    weights = segment_softmax(scores, torch.tensor([0, 3, 4, 6, 7]))
    sigmoid = 1 / (1 + np.exp(-1.0))
    expected = [1, 0, 0, 1, sigmoid, 1 - sigmoid, 1]
    np.testing.assert_allclose(weights.detach().numpy()[:, 0], expected, rtol=1e-6)
    (weights * torch.arange(7, dtype=dtype)[:, None]).sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_softmax_sums_to_one():
    scores, offsets = packed(SIZES["mixed"], 2)
    weights = segment_softmax(100 * scores, offsets)
    assert (weights >= 0).all()
    torch.testing.assert_close(segment_sum(weights, offsets), torch.ones(6, 2).double())


def test_softmax_is_not_moved_by_a_shift():
    scores, offsets = packed([3, 5], 1)
    torch.testing.assert_close(
        segment_softmax(scores + 7, offsets), segment_softmax(scores, offsets)
    )


def test_instances_that_share_the_maximum_share_its_gradient():
    values = torch.tensor([[2.0, 1.0], [2.0, 3.0], [0.0, 3.0], [5.0, 3.0]], requires_grad=True)
    segment_max(values, torch.tensor([0, 3, 4])).sum().backward()
    assert values.grad.tolist() == [[0.5, 0.0], [0.5, 0.5], [0.0, 0.5], [1.0, 1.0]]


def test_maximum_of_negative_and_infinite_values():
    values = torch.tensor([[-3.0], [-2.0], [-torch.inf], [-torch.inf]])
    top = segment_max(values, torch.tensor([0, 2, 4]))
    assert top[:, 0].tolist() == [-2.0, -torch.inf]
