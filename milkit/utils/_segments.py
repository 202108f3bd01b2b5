"""Reductions over contiguous segments of rows, without a loop over segments."""

import numpy as np


def segment_sum(values, offsets):
    """Sum of the rows of each segment, in float64; shape (n_segments, ...)."""
    return np.add.reduceat(values, offsets[:-1], axis=0, dtype=np.float64)


def segment_max(values, offsets):
    """Maximum over the rows of each segment; shape (n_segments, ...)."""
    return np.maximum.reduceat(values, offsets[:-1], axis=0)


def segment_min(values, offsets):
    """Minimum over the rows of each segment; shape (n_segments, ...)."""
    return np.minimum.reduceat(values, offsets[:-1], axis=0)


def segment_argmax(values, offsets):
    """Row number of the first maximum of each segment; ``values`` has shape (n_rows,)."""
    sizes = np.diff(offsets)
    is_top = values == np.repeat(segment_max(values, offsets), sizes)
    rows = np.flatnonzero(is_top)
    segment = np.repeat(np.arange(len(sizes)), sizes)[rows]
    return rows[np.unique(segment, return_index=True)[1]]


def segment_sort(values, offsets):
    """Each column sorted inside each segment; ``values`` has shape (n_rows, ...)."""
    sizes, ordered = np.diff(offsets), np.empty_like(values)
    # Segments of one size make a rectangular array, which one call sorts.
    for size in np.unique(sizes):
        rows = offsets[:-1][sizes == size][:, None] + np.arange(size)
        ordered[rows] = np.sort(values[rows], axis=1)
    return ordered


def segment_quantile(sorted_values, offsets, q):
    """Quantile of each segment by linear interpolation, from ``segment_sort``'s result."""
    sizes = np.diff(offsets)
    position = q * (sizes - 1)
    low = np.floor(position).astype(np.int64)
    share = (position - low)[:, None]
    high = np.minimum(low + 1, sizes - 1)
    below = sorted_values[offsets[:-1] + low]
    return below + share * (sorted_values[offsets[:-1] + high] - below)


def segment_top(values, offsets, counts, content):
    """Mask of the ``counts`` largest of each segment, shape (n_rows,).

    Which of equal values are taken follows from a hash of their row of ``content``, shape (n_rows,
    n_columns), so that neither the order of the rows nor the size of a feature decides.
    """
    sizes = np.diff(offsets)
    segment = np.repeat(np.arange(len(sizes)), sizes)
    last = segment_kth_largest(values, offsets, counts)[segment]
    mask, tied = values >= last, values == last
    n_over = np.add.reduceat(mask, offsets[:-1], dtype=np.int64) - counts
    rows = np.flatnonzero(tied & (n_over > 0)[segment])
    if len(rows):
        rows = rows[np.lexsort((_hash_of_rows(content[rows]), segment[rows]))]
        starts = np.append(np.unique(segment[rows], return_index=True)[1], len(rows))
        n_tied = np.diff(starts)
        mask[rows] = _place(starts) < np.repeat(n_tied - n_over[n_over > 0], n_tied)
    return mask


def _hash_of_rows(content):
    """A number for each row that depends on its values alone."""
    import pandas as pd

    table = pd.DataFrame(content.astype(np.float64) + 0.0)  # 0.0 and -0.0 are equal
    return pd.util.hash_pandas_object(table, index=False).to_numpy()


def _place(offsets):
    """Place of each row in its segment, counted from 0."""
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))


def segment_kth_largest(values, offsets, counts):
    """The ``counts``-th largest value of each segment, shape (n_segments,)."""
    return segment_sort(values, offsets)[offsets[1:] - counts]
