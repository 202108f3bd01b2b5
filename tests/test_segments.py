"""Segment reductions against a loop over segments."""

from itertools import pairwise

import numpy as np
import pytest

from milkit.utils._segments import (
    segment_argmax,
    segment_kth_largest,
    segment_max,
    segment_min,
    segment_quantile,
    segment_sort,
    segment_sum,
    segment_top,
)


def segments(seed, *, ties=False, dtype=np.float64, shape=(3,)):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, 12)
    offsets = np.append(0, np.cumsum(sizes))
    values = rng.normal(size=(offsets[-1], *shape))
    return (np.round(values) if ties else values).astype(dtype), offsets


def parts(values, offsets):
    return [values[a:b] for a, b in pairwise(offsets)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_reductions(seed, shape, dtype):
    values, offsets = segments(seed, shape=shape, dtype=dtype, ties=dtype == np.int64)
    cut = parts(values, offsets)
    np.testing.assert_allclose(
        segment_sum(values, offsets), [part.sum(axis=0, dtype=np.float64) for part in cut]
    )
    assert segment_sum(values, offsets).dtype == np.float64
    for ours, one in [(segment_max, np.max), (segment_min, np.min)]:
        result = ours(values, offsets)
        np.testing.assert_array_equal(result, [one(part, axis=0) for part in cut])
        assert result.dtype == dtype


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_argmax_is_the_first_and_a_row_of_the_whole(seed, ties):
    values, offsets = segments(seed, shape=(), ties=ties)
    expected = [part.argmax() for part in parts(values, offsets)] + offsets[:-1]
    np.testing.assert_array_equal(segment_argmax(values, offsets), expected)


def test_argmax_of_infinities():
    values = np.array([-np.inf, -np.inf, 1.0, np.inf, np.inf])
    np.testing.assert_array_equal(segment_argmax(values, np.array([0, 2, 5])), [0, 3])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_sort(seed, ties):
    values, offsets = segments(seed, ties=ties)
    before = values.copy()
    expected = np.vstack([np.sort(part, axis=0) for part in parts(values, offsets)])
    np.testing.assert_array_equal(segment_sort(values, offsets), expected)
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("q", [0, 0.05, 1 / 3, 0.5, 0.75, 0.999, 1])
@pytest.mark.parametrize("ties", [False, True])
def test_quantile(q, ties):
    values, offsets = segments(7, ties=ties)
    result = segment_quantile(segment_sort(values, offsets), offsets, q)
    expected = [np.quantile(part, q, axis=0) for part in parts(values, offsets)]
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


def test_one_segment_and_segments_of_one():
    values = np.random.default_rng(0).normal(size=(5, 2))
    whole, single = np.array([0, 5]), np.arange(6)
    np.testing.assert_allclose(segment_sum(values, whole), values.sum(axis=0)[None])
    for function in (segment_sum, segment_max, segment_min, segment_sort):
        np.testing.assert_array_equal(function(values, single), values)
    np.testing.assert_array_equal(segment_argmax(values[:, 0], single), np.arange(5))
    np.testing.assert_array_equal(segment_quantile(values, single, 0.3), values)


def contests(content):
    """How many others each row beats, where two of them tie and one is taken."""
    pairs = np.array([(i, j) for i in range(len(content)) for j in range(len(content)) if i != j])
    if len(pairs) == 0:
        return np.zeros(1)
    rows, offsets = pairs.ravel(), np.arange(0, pairs.size + 1, 2)
    mask = segment_top(np.zeros(len(rows)), offsets, np.ones(len(pairs), int), content[rows])
    different = (content[pairs[:, 0]] != content[pairs[:, 1]]).any(axis=1)
    return np.bincount(pairs[:, 0], mask[::2] & different, minlength=len(content))


def brute_force_top(values, content, counts):
    """The rows of one segment in a plain sort: by value downward, then by the ties they win."""
    wins = contests(content)
    order = sorted(range(len(values)), key=lambda i: (-values[i], -wins[i]))
    mask = np.zeros(len(values), dtype=bool)
    mask[order[:counts]] = True
    return mask


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["different", "tied", "all tied"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_top(seed, kind, dtype):
    values, offsets = segments(seed, ties=kind == "tied", shape=(), dtype=np.float64)
    if kind == "all tied":
        values[:] = 0.5
    rng = np.random.default_rng(seed + 100)
    # Few different contents: the first column alone does not decide.
    content = rng.integers(-1, 2, (len(values), 3)).astype(dtype)
    sizes = np.diff(offsets)
    counts = rng.integers(1, sizes + 1)
    before = values.copy(), content.copy()
    mask = segment_top(values, offsets, counts, content)
    cut = zip(parts(values, offsets), parts(content, offsets), counts, strict=True)
    for got, (part, rows, n) in zip(parts(mask, offsets), cut, strict=True):
        assert got.sum() == n
        expected = brute_force_top(part, rows, n)
        # Rows of equal value and content cannot be told apart: compare what was taken.
        taken, wanted = (
            sorted(zip(part[m], map(tuple, rows[m]), strict=True)) for m in (got, expected)
        )
        assert taken == wanted
    np.testing.assert_array_equal(values, before[0])
    np.testing.assert_array_equal(content, before[1])


@pytest.mark.parametrize("seed", range(5))
def test_top_does_not_depend_on_the_order_of_rows(seed):
    values, offsets = segments(seed, ties=True, shape=())
    rng = np.random.default_rng(seed)
    content = rng.permuted(np.arange(2.0 * len(values))).reshape(-1, 2)
    content[:, 0] %= 3
    counts = rng.integers(1, np.diff(offsets) + 1)
    order = np.concatenate(
        [start + rng.permutation(stop - start) for start, stop in pairwise(offsets)]
    )
    mask = segment_top(values, offsets, counts, content)
    shuffled = segment_top(values[order], offsets, counts, content[order])
    np.testing.assert_array_equal(shuffled, mask[order])
    # The values alone count, whatever holds them.
    for other in (content.astype(np.float32), content.astype(int)):
        np.testing.assert_array_equal(segment_top(values, offsets, counts, other), mask)
    minus = np.where(content == 0, -0.0, content)
    assert np.signbit(minus).any()
    np.testing.assert_array_equal(segment_top(values, offsets, counts, minus), mask)


@pytest.mark.parametrize("column", [0, 1])
def test_top_prefers_no_large_and_no_small_feature(column):
    content = np.random.default_rng(column).normal(size=(2000, 2))
    offsets = np.arange(0, 2001, 2)
    mask = segment_top(np.zeros(2000), offsets, np.ones(1000, int), content)
    larger = content[::2, column] > content[1::2, column]
    # Four standard deviations of 1000 coins.
    assert abs((mask[::2] == larger).sum() - 500) < 65
    assert abs(mask[::2].sum() - 500) < 65


def test_top_of_infinities_and_of_nan_in_the_content():
    values = np.array([np.inf, 1.0, np.inf, -np.inf, -np.inf])
    content = np.array([[np.nan], [0.0], [5.0], [np.nan], [2.0]])
    mask = segment_top(values, np.array([0, 3, 5]), np.array([1, 1]), content)
    np.testing.assert_array_equal(mask, [False, False, True, False, True])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_kth_largest(seed, ties):
    values, offsets = segments(seed, ties=ties, shape=())
    sizes = np.diff(offsets)
    rng = np.random.default_rng(seed)
    for counts in (np.ones_like(sizes), sizes, rng.integers(1, sizes + 1)):
        got = segment_kth_largest(values, offsets, counts)
        expected = [
            sorted(part, reverse=True)[n - 1]
            for part, n in zip(parts(values, offsets), counts, strict=True)
        ]
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(
        segment_kth_largest(values, offsets, np.ones_like(sizes)), segment_max(values, offsets)
    )
