"""Randomness of estimators inside estimators."""

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

# Seeds that every generator of NumPy and PyTorch takes.
_MAX_SEED = np.iinfo(np.int32).max


def seeds_from(random_state, n):
    """Independent seeds, shape (n,)."""
    return check_random_state(random_state).randint(_MAX_SEED, size=n)


def seeded_clone(estimator, seed):
    """A clone in which every ``random_state`` that was None is decided by ``seed``."""
    copy = clone(estimator)
    params = copy.get_params()
    # The attribute and not the parameter: OneClassSVM draws a number and has no such parameter.
    parts = [copy, *(params[name] for name in sorted(params))]
    parts = [part for part in parts if getattr(part, "random_state", 0) is None]
    for part, state in zip(parts, seeds_from(seed, len(parts)).tolist(), strict=True):
        part.random_state = state
    return copy
