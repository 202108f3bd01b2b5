"""Segment operations against a loop over the bags."""

import numpy as np
import pytest
import torch

from milkit.neural._ragged import (
    Segments,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    spread,
    weighted_sum,
)

# Each operation and what it does to the instances of one bag, (E, n_i, m).
OPERATIONS = {
    segment_sum: lambda bag: bag.sum(1, keepdim=True),
    segment_mean: lambda bag: bag.mean(1, keepdim=True),
    segment_softmax: lambda bag: torch.softmax(bag, 1),
}
SIZES = {
    "mixed": [1, 3, 10_000, 2, 1, 50],
    "one bag": [7],
    "one large bag": [10_000],
    "one bag of one": [1],
    "bags of one": [1, 1, 1, 1],
}
every_layout = pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
every_number_of_members = pytest.mark.parametrize("n_members", [1, 3])


def normal(*shape, seed=0):
    values = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(values).requires_grad_()


@pytest.fixture(params=OPERATIONS, ids=lambda f: f.__name__)
def operation(request):
    return request.param


def assert_same_with_gradients(got, expected, inputs):
    """Two results of the same inputs, and the gradients of a random upstream through both."""
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    upstream = normal(*got.shape, seed=1).detach()
    for a, b in zip(
        torch.autograd.grad(got, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


# -- against a loop ---------------------------------------------------------------------------


@every_number_of_members
@pytest.mark.parametrize("width", [1, 5])
@every_layout
def test_forward_and_backward_are_those_of_a_loop(operation, sizes, width, n_members):
    values = normal(n_members, sum(sizes), width)
    got = operation(values, Segments(sizes))
    expected = torch.cat([OPERATIONS[operation](bag) for bag in values.split(sizes, 1)], 1)
    assert_same_with_gradients(got, expected, [values])


@every_number_of_members
@pytest.mark.parametrize("width", [1, 5])
@every_layout
def test_maximum_is_that_of_a_loop_and_has_no_gradient(sizes, width, n_members):
    values = normal(n_members, sum(sizes), width)
    got = segment_max(values, Segments(sizes))
    expected = torch.cat([bag.amax(1, keepdim=True) for bag in values.split(sizes, 1)], 1)
    assert torch.equal(got, expected)
    assert not got.requires_grad


@every_number_of_members
@pytest.mark.parametrize("n_heads", [1, 2])
@every_layout
def test_weighted_sum_is_that_of_a_loop(sizes, n_heads, n_members):
    weights, values = normal(n_members, sum(sizes), n_heads), normal(n_members, sum(sizes), 3)
    got = weighted_sum(weights, values, Segments(sizes))
    bags = zip(weights.split(sizes, 1), values.split(sizes, 1), strict=True)
    expected = torch.cat(
        [torch.cat([(w[..., [j]] * v).sum(1, keepdim=True) for j in range(n_heads)], 2)
         for w, v in bags], 1,
    )  # fmt: skip
    assert_same_with_gradients(got, expected, [weights, values])


@every_number_of_members
@every_layout
def test_spread_gives_each_instance_its_bags_row(sizes, n_members):
    rows, other = normal(n_members, len(sizes), 2), normal(n_members, sum(sizes), 2, seed=2)
    got = spread(rows, Segments(sizes)) * other.detach()  # a single row broadcasts
    repeated = [rows[:, [i]].expand(-1, n, -1) for i, n in enumerate(sizes)]
    assert_same_with_gradients(got, torch.cat(repeated, 1) * other.detach(), [rows])


@pytest.mark.parametrize("sizes", [[1, 4, 2], [5]], ids=str)
def test_gradcheck(operation, sizes):
    segments = Segments(sizes)
    values = normal(2, sum(sizes), 3)
    assert torch.autograd.gradcheck(lambda v: operation(v, segments), values)


@pytest.mark.parametrize("n_heads", [1, 2])
@pytest.mark.parametrize("sizes", [[1, 4, 2], [5]], ids=str)
def test_gradcheck_of_the_weighted_sum(n_heads, sizes):
    segments = Segments(sizes)
    inputs = normal(2, sum(sizes), n_heads), normal(2, sum(sizes), 3)
    assert torch.autograd.gradcheck(lambda w, v: weighted_sum(w, v, segments), inputs)


def test_other_bags_do_not_matter(operation):
    values = normal(2, 4 + 10_000 + 6, 3)
    together = operation(values, Segments([4, 10_000, 6]))
    alone = operation(values[:, :4], Segments([4]))
    torch.testing.assert_close(together[:, : alone.shape[1]], alone, rtol=1e-13, atol=1e-13)


# -- which instance is in which bag -----------------------------------------------------------


def test_segments():
    segments = Segments([2, 1, 3])
    assert segments.n_bags == 3
    assert segments.offsets.tolist() == [0, 2, 3, 6]
    assert segments.bag.tolist() == [0, 0, 1, 2, 2, 2]
    assert segments.stacked(2).tolist() == [0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5, 5]
    counts = segments.counts(torch.float64)
    assert counts.dtype == torch.float64
    assert counts.tolist() == [[2.0], [1.0], [3.0]]


# -- extremes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softmax_of_huge_scores_does_not_overflow(dtype):
    scores = torch.tensor([1e30, 0.0, -1e30, -1e30, 1e4, 1e4 - 1, -1e30], dtype=dtype)
    scores = scores.view(1, -1, 1).requires_grad_()
    weights = segment_softmax(scores, Segments([3, 1, 2, 1]))
    sigmoid = 1 / (1 + np.exp(-1.0))
    expected = [1, 0, 0, 1, sigmoid, 1 - sigmoid, 1]
    np.testing.assert_allclose(weights.detach().numpy().ravel(), expected, rtol=1e-6)
    (weights * torch.arange(7, dtype=dtype).view(1, -1, 1)).sum().backward()
    assert torch.isfinite(scores.grad).all()


@every_layout
def test_softmax_sums_to_one(sizes):
    segments = Segments(sizes)
    weights = segment_softmax(100 * normal(2, sum(sizes), 2), segments)
    assert (weights >= 0).all()
    sums = segment_sum(weights, segments)
    torch.testing.assert_close(sums, torch.ones_like(sums))


@pytest.mark.parametrize("sizes", [[3, 5], [8]], ids=str)
def test_softmax_is_not_moved_by_a_shift(sizes):
    scores, segments = normal(1, 8, 1), Segments(sizes)
    torch.testing.assert_close(
        segment_softmax(scores + 7, segments), segment_softmax(scores, segments)
    )


def test_maximum_of_negative_and_infinite_values():
    values = torch.tensor([-3.0, -2.0, -torch.inf, -torch.inf, -torch.inf, 4.0]).view(1, -1, 1)
    top = segment_max(values, Segments([2, 2, 2]))
    assert top.flatten().tolist() == [-2.0, -torch.inf, 4.0]


@pytest.mark.parametrize("sizes", [[2, 3], [5]], ids=str)
def test_maximum_of_nan_is_nan(sizes):
    """Else a training on NaN would go on unnoticed."""
    values = torch.tensor([1.0, torch.nan, 2.0, 3.0, 1.0]).view(1, -1, 1)
    assert torch.isnan(segment_max(values, Segments(sizes))[0, 0, 0])
