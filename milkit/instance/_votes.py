"""From the probabilities of a bag's instances to the probability of the bag."""

from numbers import Integral

import numpy as np

from milkit.utils._segments import segment_kth_largest, segment_max, segment_sum

# Beyond these a probability counts as certain, so that its log-odds stay finite.
_EPS = np.finfo(np.float64).eps


def _mean(p, offsets, threshold):
    return segment_sum(p, offsets) / np.diff(offsets)[:, None]


def _max(p, offsets, threshold):
    return segment_max(p, offsets)


def _threshold(p, offsets, threshold):
    """The probability that an instance reaches in so many cases: > 0.5 if so many are positive."""
    sizes = np.diff(offsets)
    if isinstance(threshold, Integral):
        counts = np.full(len(sizes), threshold)
    else:  # 0.07 · 100 is 7, and not a little more
        counts = np.maximum(np.ceil(np.round(threshold * sizes, 9)).astype(np.int64), 1)
    reached = np.minimum(counts, sizes)
    columns = [segment_kth_largest(column, offsets, reached) for column in p.T]
    return np.where((counts <= sizes)[:, None], np.column_stack(columns), 0.0)


VOTES = {"majority": _mean, "mean": _mean, "max": _max, "threshold": _threshold}


def bag_log_odds(p, offsets, voting, threshold):
    """Log-odds of each class against the rest, finite.

    Parameters
    ----------
    p : ndarray of shape (n_instances, n_columns)
        Probabilities of the instances; for "majority" 1 for the predicted class and 0 else.
    offsets : ndarray of shape (n_bags + 1,)
    voting : {"majority", "mean", "max", "noisy_or", "threshold"}
    threshold : int or float
        For "threshold", how many instances, or which share.

    Returns
    -------
    log_odds : ndarray of shape (n_bags, n_columns)
    """
    if voting == "noisy_or":
        # log(1 − P) is the sum of log(1 − p), which stays exact where P is nearly 1.
        log_rest = segment_sum(np.log1p(-np.minimum(p, 1 - _EPS)), offsets)
        return np.log(np.maximum(-np.expm1(log_rest), _EPS)) - log_rest
    share = np.clip(VOTES[voting](p, offsets, threshold), _EPS, 1 - _EPS)
    return np.log(share) - np.log1p(-share)
