"""Bags as tensors, and how they are cut into chunks and pieces."""

import numpy as np
import pytest
import torch

from milkit.neural._packed import Budget, Packed

from .neural_helpers import make_bags, packed

SIZES = np.array([3, 1, 7, 2, 5, 4, 1, 6])
N_BAGS = len(SIZES)


def make(sizes=SIZES, n_extra=0):
    bags = make_bags(sizes)
    return packed(bags, make_bags(sizes, n_extra, seed=1) if n_extra else None)


def instances_of(data, bags):
    return torch.cat([data.instances[data.offsets[b] : data.offsets[b + 1]] for b in bags])


# -- some bags --------------------------------------------------------------------------------


@pytest.mark.parametrize("bags", [[0], [3, 1], [7, 0, 3], [2, 2, 5], range(N_BAGS), [4, 5, 6]])
def test_take_gives_those_bags(bags):
    data, bags = make(n_extra=2), np.array(bags)
    chunk = data.take(bags)
    np.testing.assert_array_equal(chunk.bags, bags)
    np.testing.assert_array_equal(chunk.segments.sizes, SIZES[bags])
    assert torch.equal(chunk.x, instances_of(data, bags))
    extra = [data.extra[data.offsets[b] : data.offsets[b + 1]] for b in bags]
    assert torch.equal(chunk.extra, torch.cat(extra))


def test_neighbours_are_taken_as_a_view():
    data = make()
    start = data.instances.untyped_storage().data_ptr()
    assert data.take(np.array([2, 3, 4])).x.untyped_storage().data_ptr() == start
    assert data.take(np.array([2, 4])).x.untyped_storage().data_ptr() != start


def test_tensor_instances_are_packed_too():
    data = Packed(torch.arange(24.0).reshape(6, 2, 2), np.array([0, 2, 3, 6]))
    chunk = data.take(np.array([2, 0]))
    assert torch.equal(chunk.x, data.instances[[3, 4, 5, 0, 1]])
    assert chunk.segments.offsets.tolist() == [0, 3, 5]
    assert chunk.extra is None


# -- chunks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [1, 4, 8, 13, 16, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_chunks_cover_every_bag_once_in_order(pack, seed):
    budget = Budget(pack, 10_000)
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 12, size=20)
    data, bags = make(sizes), rng.permutation(20)
    chunks = list(data.chunks(bags, budget))
    np.testing.assert_array_equal(np.concatenate([chunk.bags for chunk in chunks]), bags)
    assert torch.equal(torch.cat([chunk.x for chunk in chunks]), instances_of(data, bags))
    for chunk, after in zip(chunks, [*chunks[1:], None], strict=True):
        own = sizes[chunk.bags]
        assert len(own) == 1 or own.sum() <= pack
        if after is not None and max(own.max(), sizes[after.bags[0]]) < budget.alone:
            assert own.sum() + sizes[after.bags[0]] > pack  # it would not have fitted


def test_large_bags_go_alone_as_views():
    budget = Budget(pack=40, split=1000)
    data = make([3, 10, 2, 25, 2, 2])
    chunks = list(data.chunks(np.arange(6), budget))
    assert [chunk.bags.tolist() for chunk in chunks] == [[0], [1], [2], [3], [4, 5]]
    start = data.instances.untyped_storage().data_ptr()
    assert all(chunk.x.untyped_storage().data_ptr() == start for chunk in chunks)


def test_a_batch_that_fits_is_one_chunk():
    chunks = list(make().chunks(np.array([5, 0, 3]), Budget(1000, 1000)))
    assert [chunk.bags.tolist() for chunk in chunks] == [[5, 0, 3]]


# -- pieces -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 9, 10, 11, 30, 31, 997])
@pytest.mark.parametrize("pack", [1, 3, 10])
def test_pieces_cover_the_bag_and_keep_the_budget(n, pack):
    chunk = make([2, n, 3], n_extra=2).take(np.array([1]))
    pieces = chunk.pieces(Budget(pack, split=10))
    if n <= 10:
        assert pieces is None
        return
    assert pieces[0].start == 0
    assert pieces[-1].stop == n
    sizes = [rows.stop - rows.start for rows in pieces]
    assert [rows.start for rows in pieces[1:]] == [rows.stop for rows in pieces[:-1]]
    assert max(sizes) <= pack
    assert max(sizes) - min(sizes) <= 1  # none is left with a rest
    parts = [chunk.piece(rows) for rows in pieces]
    assert torch.equal(torch.cat([part.x for part in parts]), chunk.x)
    assert torch.equal(torch.cat([part.extra for part in parts]), chunk.extra)
    assert [part.segments.sizes.tolist() for part in parts] == [[size] for size in sizes]
    assert all(part.bags is chunk.bags for part in parts)


def test_several_bags_are_never_cut():
    assert make().take(np.arange(N_BAGS)).pieces(Budget(1, 1)) is None


# -- subsampling ------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3, 5])
def test_subsample_draws_exactly_so_many_of_each_bag(most):
    """Without replacement, in their own order, and bags that are small whole."""
    data, sizes = make(n_extra=2), np.minimum(SIZES, most)
    drawn = data.subsample(most, np.random.default_rng(0))
    np.testing.assert_array_equal(np.diff(drawn.offsets), sizes)
    bag_of = np.repeat(np.arange(N_BAGS), SIZES)
    np.testing.assert_array_equal(bag_of[drawn.rows], np.repeat(np.arange(N_BAGS), sizes))
    assert (np.diff(drawn.rows) > 0).all()  # none twice, none moved
    for bags in (np.arange(N_BAGS), np.array([6, 2, 4]), np.array([3])):
        rows = np.concatenate([drawn.rows[drawn.offsets[b] : drawn.offsets[b + 1]] for b in bags])
        chunk = drawn.take(bags)
        assert torch.equal(chunk.x, data.instances[rows])
        assert torch.equal(chunk.extra, data.extra[rows])
        np.testing.assert_array_equal(chunk.segments.sizes, sizes[bags])


def test_subsample_draws_every_instance_as_often():
    data, rng = make([10, 2, 4]), np.random.default_rng(0)
    counts = np.zeros(16)
    for _ in range(2000):
        counts[data.subsample(4, rng).rows] += 1
    assert (counts[10:] == 2000).all()
    np.testing.assert_allclose(counts[:10], 800, atol=5 * np.sqrt(2000 * 0.4 * 0.6))


def test_subsample_of_small_bags_is_the_same_data():
    data = make()
    assert data.subsample(None, None) is data
    assert data.subsample(7, np.random.default_rng(0)) is data


# -- budgets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["auto", 1, 100, 5000, 10**7])
@pytest.mark.parametrize("n_dims", [1, 3])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_budget(given, n_dims, device):
    budget = Budget.of(given, n_dims, torch.device(device))
    assert 1 <= budget.alone <= budget.pack <= budget.split
    if given != "auto":
        assert budget.split == given


def test_a_gpu_gets_more_at_a_time_and_images_less():
    def of(n_dims, device):
        return Budget.of("auto", n_dims, torch.device(device))

    assert of(1, "cuda").split == 32 * of(1, "cpu").split
    assert of(3, "cpu").split < of(1, "cpu").split
    assert (of(1, "cpu").split, of(3, "cpu").split) == (8192, 1024)  # as the docstrings say
