"""What generators and loaders share: sizes, order inside bags, the form of the result."""

from numbers import Integral

import numpy as np
from sklearn.utils import Bunch

__all__ = ["as_result", "check_range", "draw_counts", "shuffled_within_bags"]


def as_result(X, y, return_X_y, **entries):
    """``(X, y)``, or a Bunch with ``data``, ``target`` and the other entries."""
    return (X, y) if return_X_y else Bunch(data=X, target=y, **entries)


def check_range(value, name, *, minimum=1):
    """``(low, high)``, both inclusive, from an integer or a pair of integers."""
    low, high = (value, value) if isinstance(value, Integral) else value
    if not (isinstance(low, Integral) and isinstance(high, Integral)) or not minimum <= low <= high:
        raise ValueError(
            f"{name} must be an integer of at least {minimum} or a pair (low, high) of integers "
            f"with {minimum} <= low <= high. Got {value!r} instead."
        )
    return int(low), int(high)


def draw_counts(rng, low, high, size, distribution="uniform"):
    """Integers between low and high, both inclusive; evenly spread or skewed to the right."""
    if distribution == "uniform":
        return rng.randint(low, high + 1, size=size)
    # Log-normal with its median at a quarter of the (logarithmic) range and its upper limit
    # three deviations away, so that most bags are small and a few are very large.
    span = np.log(high / low)
    drawn = np.exp(rng.normal(np.log(low) + span / 4, span / 4, size=size))
    return np.clip(np.rint(drawn), low, high).astype(np.int64)


def shuffled_within_bags(rng, bag_of):
    """An order of the instances that is random inside every bag and keeps the bags apart."""
    return np.lexsort((rng.random_sample(len(bag_of)), bag_of))
