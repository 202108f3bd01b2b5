"""Checks of arrays and offsets on their way into one store."""

import numpy as np

from milkit.exceptions import BagShapeError, describe_bag

# What is gathered at a time before it is converted: small enough to stay in the cache.
_BLOCK_BYTES = 1_000_000


def offsets_of(sizes):
    """Offsets of shape (n_bags + 1,) for bags of these sizes."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def pack(arrays, dtype=None):
    """The arrays behind each other, in C order."""
    shape = (sum(len(array) for array in arrays), *arrays[0].shape[1:])
    store = np.empty(
        shape, np.result_type(*{array.dtype for array in arrays}) if dtype is None else dtype
    )
    with np.errstate(over="ignore"):  # what overflows is infinite, and found with its bag
        return np.concatenate(arrays, out=store, casting="unsafe")


def gather_as(instances, rows, dtype):
    """Rows of the store as another type, without a second copy of them all."""
    with np.errstate(over="ignore"):
        if isinstance(rows, slice):
            return instances[rows].astype(dtype)
        gathered = np.empty((len(rows), *instances.shape[1:]), dtype)
        step = max(1, _BLOCK_BYTES // max(1, instances[:1].nbytes))
        for start in range(0, len(rows), step):
            gathered[start : start + step] = instances[rows[start : start + step]]
        return gathered


def integers(offsets):
    offsets = np.asarray(offsets)
    if offsets.ndim != 1 or len(offsets) < 1 or not np.issubdtype(offsets.dtype, np.integer):
        raise ValueError(
            "offsets must be a 1-D array of integers of length n_bags + 1. Got dtype "
            f"{offsets.dtype} and shape {offsets.shape} instead."
        )
    return offsets.astype(np.int64, copy=False)


def check_offsets(offsets, n_instances, names):
    sizes = np.diff(offsets)
    if offsets[0] != 0:
        raise BagShapeError(f"offsets must begin with 0. Got {offsets[0]} instead.")
    if np.any(sizes < 0):
        i = int(np.argmax(sizes < 0))
        raise BagShapeError(
            f"{describe_bag(i, names)} would end at {offsets[i + 1]} before it begins at "
            f"{offsets[i]}; offsets must rise."
        )
    refuse_empty(sizes, names)
    if offsets[-1] > n_instances:
        i = int(np.argmax(offsets[1:] > n_instances))
        raise BagShapeError(
            f"{describe_bag(i, names)} ends at {offsets[i + 1]}, but there are only "
            f"{n_instances} instances."
        )
    if offsets[-1] != n_instances:
        raise BagShapeError(
            f"offsets end at {offsets[-1]}, but there are {n_instances} instances; the last "
            "offset must be the number of instances."
        )


def refuse_empty(sizes, names, where=""):
    if np.any(sizes == 0):
        i = int(np.argmax(sizes == 0))
        raise BagShapeError(
            f"{describe_bag(i, names)} is empty{where}; every bag needs at least one "
            "instance. Drop the bag and its label, or look why nothing was found in it."
        )


def refuse_other_shapes(arrays, names):
    shape = arrays[0].shape[1:]
    for i, array in enumerate(arrays):
        if array.shape[1:] != shape:
            raise BagShapeError(
                f"{describe_bag(i, names)} has instances of shape {array.shape[1:]}, but bag 0 "
                f"has instances of shape {shape}; all bags must have the same features."
            )


def refuse_named(X):
    """A dict, or the pairs that a groupby gives, hold bags with their names beside them."""
    if isinstance(X, dict):
        raise TypeError(
            "X must be a collection of bags. Got dict instead. Pass list(X.values()), or "
            "BagArray.from_list(list(X.values()), names=list(X))."
        )
    if isinstance(X, (list, tuple)) and X and _is_pair(X[0]):
        raise TypeError(
            "X holds pairs of a name and a bag. Pass [bag for _, bag in X], or "
            "BagArray.from_list([bag for _, bag in X], names=[name for name, _ in X])."
        )


def _is_pair(item):
    return (
        isinstance(item, (list, tuple))
        and len(item) == 2
        and getattr(item[1], "ndim", 0) >= 2
        and getattr(item[0], "ndim", 0) == 0
        and not isinstance(item[0], list)
    )


def refuse_masked(values, what):
    if np.ma.is_masked(values):
        raise ValueError(
            f"{what} is a masked array, and bags have no mask. Use .filled(np.nan) and an imputer."
        )


def to_array(values, what):
    """What has an array inside as an array; ``what`` names it where it has none to give."""
    try:
        return np.asarray(values)
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        hint = " Pass its .detach().cpu().numpy()." * hasattr(values, "detach")
        raise BagShapeError(f"{what} is not an array: {error}{hint}") from error


def as_bag(bag, i, names):
    if hasattr(bag, "tocsr"):
        raise TypeError(
            f"{describe_bag(i, names)} is sparse ({type(bag).__name__}), but dense data is "
            "required. Use .toarray()."
        )
    refuse_masked(bag, describe_bag(i, names))
    array = to_array(bag, describe_bag(i, names))
    if array.ndim == 1 and array.size == 0:
        return np.empty((0, 0))  # refused as empty
    if array.ndim == 0:
        text = repr(bag)
        raise BagShapeError(
            f"{describe_bag(i, names)} is {text if len(text) <= 60 else type(bag).__name__}; drop "
            "it and its label. A bag is an array of shape (n_instances, n_features)."
        )
    if array.ndim < 2:
        raise BagShapeError(
            f"{describe_bag(i, names)} has shape {array.shape}; a bag is an array of shape "
            "(n_instances, n_features). A bag with one instance is bag.reshape(1, -1)."
        )
    return numbers(array, describe_bag(i, names))


def numbers(array, what):
    """Refuse what is no number, here where the bag can still be named."""
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {what} holds complex numbers.")
    if array.dtype.kind == "O":
        try:
            return array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{what} must hold numbers, but {error}.") from error
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{what} must hold numbers. Got dtype {array.dtype} instead; encode it first."
        )
    return array
