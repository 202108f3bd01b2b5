"""Outputs for many instances, a few MB of them at a time."""

import numpy as np

# Of the instances that are given at a time; so many in any case.
_BLOCK_BYTES, _BLOCK_ROWS = 1 << 23, 1024


def in_blocks(function, instances, rows=None):
    """``function`` of the instances, or of some rows of them, a few MB at a time.

    What is gathered and made of them on the way (a standardised copy, say) then lies in memory
    that is at hand, and is never as large as all of them.

    Parameters
    ----------
    function : callable
        Gets an array of instances and returns an array with a row for each, which must not
        depend on the others.
    instances : ndarray of shape (n_instances, ...)
    rows : ndarray of int, shape (n_rows,), default=None
        At least one.

    Returns
    -------
    outputs : ndarray of shape (n_rows, ...)
    """
    n_rows = len(instances) if rows is None else len(rows)
    step = max(_BLOCK_ROWS, _BLOCK_BYTES // instances[:1].nbytes)
    blocks = (slice(start, start + step) for start in range(0, n_rows, step))
    return np.concatenate([function(instances[b if rows is None else rows[b]]) for b in blocks])
