"""Images a few at a time."""

import numpy as np

# Numbers that are worked on together, a few MB.
_CHUNK_NUMBERS = 2**20


def images_at_a_time(shape):
    """How many images of a shape are worked on together."""
    return max(8, _CHUNK_NUMBERS // int(np.prod(shape)))


def channel_statistics(images):
    """Mean and standard deviation of each channel, as a network sees it: bytes divided by 255.

    Parameters
    ----------
    images : ndarray of shape (n_images, n_channels, height, width)
        Bytes (uint8) or floats.

    Returns
    -------
    mean, deviation : ndarray of shape (n_channels,), float64
        The deviation of a channel that never varies is 1.
    """
    unit = 255.0 if images.dtype == np.uint8 else 1.0
    first, second, n = 0.0, 0.0, images[:, 0].size
    step = images_at_a_time(images.shape[1:])
    # Off the mean of one image, so that squares of large numbers do not cancel.
    shift = images[0].mean(axis=(1, 2), dtype=np.float64, keepdims=True)
    for start in range(0, len(images), step):
        off = images[start : start + step] - shift
        first = first + off.sum(axis=(0, 2, 3))
        second = second + (off * off).sum(axis=(0, 2, 3))
    mean = first / n
    scale = np.sqrt(np.maximum(second / n - mean**2, 0.0))
    # A channel that never varies has a deviation of rounding alone.
    center = shift[:, 0, 0] + mean
    constant = scale <= 1e-6 * np.abs(center)
    return center / unit, np.where(constant, unit, scale) / unit
