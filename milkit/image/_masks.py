"""From saturation to masks, for stacks of images at once."""

import numpy as np
from scipy import ndimage

_LEVELS = 256
# Neighbours inside an image of a stack: those that share a side.
_IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
_IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)


def saturation_levels(images):
    """Saturation of HSV, (max - min) / max over the channels, in 256 levels; black has 0."""
    high, low = images.max(axis=1), images.min(axis=1)
    saturation = np.zeros(high.shape, dtype=np.float32)
    np.divide(high - low, high, out=saturation, where=high > 0, dtype=np.float32)
    return np.rint(saturation * (_LEVELS - 1)).astype(np.uint8)


def top_threshold(counts, n_clusters=2):
    """Where the upper cluster of an exact k-means begins, from histograms.

    Clusters of numbers are intervals, so that all of them can be tried. Those with the least
    squared distances to their means have the largest sum of (sum of the numbers)² / count.

    Parameters
    ----------
    counts : ndarray of int, shape (n, n_levels)
    n_clusters : int, default=2

    Returns
    -------
    threshold : ndarray of int, shape (n,)
        The last level below the upper cluster; -1 where all numbers are equal.
    """
    n_levels = counts.shape[1]
    n = np.pad(counts, ((0, 0), (1, 0))).cumsum(axis=1).astype(np.float64)
    total = np.pad(counts * np.arange(n_levels), ((0, 0), (1, 0))).cumsum(axis=1).astype(np.float64)

    def gain(first, last):
        """Of the cluster of the levels from one up to the other; 0 of an empty one."""
        number = n[:, last] - n[:, first]
        gained = np.where(number < 0, -np.inf, 0.0)
        np.divide((total[:, last] - total[:, first]) ** 2, number, out=gained, where=number > 0)
        return gained

    cut = np.arange(n_levels + 1)
    best = gain([0], cut)  # of the levels below each cut, in a growing number of clusters
    for _ in range(n_clusters - 2):
        best = np.stack([(best + gain(cut, [last])).max(axis=1) for last in cut], axis=1)
    return (best + gain(cut, [n_levels])).argmax(axis=1) - 1


def histograms(levels):
    """Histogram of each image, shape (n, 256)."""
    n = len(levels)
    codes = levels.reshape(n, -1) + np.arange(0, n * _LEVELS, _LEVELS)[:, None]
    return np.bincount(codes.ravel(), minlength=n * _LEVELS).reshape(n, _LEVELS)


def _grow(masks, axes):
    """Dilation by one pixel along each axis at the same time; the result is a new array."""
    grown = masks.copy()
    for axis in axes:
        ahead = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        behind = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        grown[ahead] |= masks[behind]
        grown[behind] |= masks[ahead]
    return grown


def dilated(masks, radius):
    """Dilation of each mask of a stack by an octagon, which is nearly a disk of that radius.

    Steps by one pixel, each as quick as an addition: those in a square reach as far along the
    diagonals, those in a cross half as far. So many of both give an octagon with equal sides.
    """
    n_squares = round(radius * (np.sqrt(2) - 1))
    for step in range(radius):
        if step < n_squares:
            masks = _grow(_grow(masks, [1]), [2])
        else:
            masks = _grow(masks, [1, 2])
    return masks


def closed(masks, radius):
    """Morphological closing; what lies outside the image neither adds to a mask nor takes away."""
    return ~dilated(~dilated(masks, radius), radius)


def filled(masks):
    """Holes of each mask filled: background that does not reach the border of its image."""
    labels, n_labels = ndimage.label(~masks, structure=_IN_PLANE)
    outside = np.zeros(n_labels + 1, dtype=bool)
    for edge in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[edge] = True
    outside[0] = False
    return ~outside[labels]


def cells_of(masks, keep):
    """One component of each mask: the one that weighs most, by its area or near the centre."""
    height, width = masks.shape[1:]
    labels, n_labels = ndimage.label(masks, structure=_IN_PLANE)
    weight = None
    if keep == "central":
        # A Gaussian with a deviation of a quarter of the image.
        rows, columns = (
            np.exp(-8 * (np.arange(size) / size + (0.5 / size - 0.5)) ** 2)
            for size in (height, width)
        )
        weight = np.broadcast_to(np.outer(rows, columns), masks.shape).ravel()
    score = np.bincount(labels.ravel(), weight, minlength=n_labels + 1)
    score[0] = -1
    rank = np.empty(n_labels + 1, dtype=np.int32)  # so that of two equal components one is kept
    rank[np.argsort(score, kind="stable")] = np.arange(n_labels + 1)
    ranks = rank[labels]
    return ranks == np.maximum(ranks.max(axis=(1, 2), keepdims=True), 1)
