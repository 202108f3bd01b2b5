"""Segment reductions against a loop over segments."""

from itertools import pairwise

import numpy as np
import pytest

from milkit.utils._segments import (
    segment_argmax,
    segment_max,
    segment_min,
    segment_quantile,
    segment_sort,
    segment_sum,
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
