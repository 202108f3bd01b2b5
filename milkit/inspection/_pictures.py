"""Instances as pictures that can be shown."""

import numpy as np

_CHANNELS = (1, 3, 4)
# What full opacity is where it is not of whole numbers: a share, a byte, or two bytes.
_OPAQUE = (1, 255, 65535)


def is_picture(shape):
    """Can instances of this shape be shown as pictures?

    Rows and columns, in front of them channels: one is grey, three are RGB, four RGBA.
    """
    return len(shape) == 2 or (len(shape) == 3 and shape[0] in _CHANNELS)


def channels_first(pictures):
    """Pictures of shape (n, height, width[, channels]) with their channels in front."""
    shape = pictures.shape[1:]
    if not is_picture(shape) and is_picture(shape[::-1]):
        return np.moveaxis(pictures, -1, 1)
    return pictures


def as_pictures(instances):
    """RGB pictures of instances.

    Parameters
    ----------
    instances : ndarray of shape (n, height, width) or (n, n_channels, height, width)
        Bytes are taken as they are. Other numbers inside [0, 1] are multiplied by 255, and all
        others are stretched together, so that the least finite number of all becomes 0 and the
        largest 255: pictures that are shown beside each other stay comparable. What is not finite
        is mid-grey. A fourth channel is opacity, over white, and not stretched with the colours.
        Full is, of integers, the largest number of the fewest bits that hold all of them, and of
        8 bits at least: 255, 511, 1023, ..., or 1 where none is above it. Of other numbers it is
        1, 255 or 65535, the first that is more than half of the largest, or the largest.

    Returns
    -------
    pictures : ndarray of shape (n, height, width, 3), uint8
    """
    instances = np.asarray(instances)
    if not is_picture(instances.shape[1:]):
        raise ValueError(
            "Pictures are instances of shape (height, width) or (channels, height, width) with 1, "
            f"3 or 4 channels. Got instances of shape {instances.shape[1:]} instead."
        )
    if instances.ndim == 3:
        instances = instances[:, None]
    pictures = np.moveaxis(_bytes(instances), 1, -1)
    if pictures.shape[-1] == 4:
        opacity = pictures[..., 3:] / 255
        over_white = pictures[..., :3] * opacity + 255 * (1 - opacity)
        pictures = np.rint(over_white).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(pictures, (*pictures.shape[:-1], 3)))


def _bytes(pictures):
    if pictures.dtype == np.uint8:
        return pictures
    parts = _stretched(pictures[:, :3].astype(np.float64)), _opacity(pictures[:, 3:])
    return np.rint(255 * np.concatenate(parts, axis=1)).astype(np.uint8)


def _stretched(values):
    """Numbers inside [0, 1]; what is not finite is in the middle."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    if low < 0 or high > 1:
        values = (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
    return np.nan_to_num(values, nan=0.5, posinf=0.5, neginf=0.5)


def _opacity(values):
    """Opacity inside [0, 1]; what is not finite is opaque."""
    of_integers = values.dtype.kind in "iu"
    values = values.astype(np.float64)
    largest = values.max(initial=0, where=np.isfinite(values))
    if of_integers:
        full = 1 if largest <= 1 else 2 ** max(8, int(largest).bit_length()) - 1
    else:
        full = next((most for most in _OPAQUE if largest < 2 * most), largest)
    return np.where(np.isfinite(values), np.clip(values / full, 0, 1), 1)
