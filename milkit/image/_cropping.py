"""crop_instances: cut cells out of an image, ready to be a bag."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils._param_validation import Interval, validate_params

from milkit.image._pixels import check_image
from milkit.utils._windows import windows

__all__ = ["crop_instances"]

# Pixels of boxes, or of crops, that are worked on at a time.
_BLOCK_PIXELS = 1 << 17


@validate_params(
    {
        "image": "no_validation",
        "boxes": "no_validation",
        "size": [Interval(Integral, 1, None, closed="left"), tuple, list],
        "padding": [Interval(Real, 0, None, closed="left")],
        "keep_aspect": ["boolean"],
        "resize": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def crop_instances(image, boxes, *, size=64, padding=0.0, keep_aspect=True, resize=True):
    """Cut the boxes out of an image, all at one size, as the instances of a bag.

    Parameters
    ----------
    image : array-like of shape (height, width, 3)
        A colour image as files give it, uint8 or floats from 0 to 1.
    boxes : array-like of shape (n_boxes, 4)
        ``(row_min, col_min, row_max, col_max)`` of each box in pixels, where ``row_max`` and
        ``col_max`` are the first row and column behind it. Fractions are kept. What lies over
        the border of the image is cut off. For boxes ``(x_min, y_min, x_max, y_max)`` pass
        ``boxes[:, [1, 0, 3, 2]]``.
    size : int or (int, int), default=64
        Height and width of the crops in pixels.
    padding : float, default=0.0
        What is added on each side of a box, as a share of its longer side.
    keep_aspect : bool, default=True
        Whether a box is widened to the proportions of ``size``, so that shapes are not
        distorted. It then shows more of its neighbourhood.
    resize : bool, default=True
        Whether boxes are scaled to ``size``. With False a crop is the window of ``size`` pixels
        around the middle of the box, so that large cells stay larger than small ones; ``padding``
        and ``keep_aspect`` then have no meaning.

    Returns
    -------
    crops : ndarray of shape (n_boxes, 3, height, width)
        Channels first, as a :class:`~milkit.BagArray` holds images; of the type of the image.
        Where a crop reaches over the border, the border pixels are repeated.

    Raises
    ------
    TypeError, ValueError
        If the image is no colour image of bytes or floats from 0 to 1, or a box is empty,
        inverted, not finite or outside of the image; it is named.

    See Also
    --------
    detect_cells : Finds boxes.
    extract_cells : Finds boxes and cuts them out.

    Notes
    -----
    A pixel of a smaller copy is the mean of the area that it covers; one of a larger copy is
    interpolated linearly.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.image import crop_instances
    >>> image = np.zeros((20, 30, 3), dtype=np.uint8)
    >>> image[4:12, 10:18] = 200
    >>> crops = crop_instances(image, [[4, 10, 12, 18], [0, 0, 8, 8]], size=4)
    >>> crops.shape, crops[0].min(), crops[1, 0, 0, 0]
    ((2, 3, 4, 4), np.uint8(200), np.uint8(0))
    """
    image = check_image(image)
    boxes = _check_boxes(boxes, image.shape)
    height, width = (size, size) if isinstance(size, Integral) else _check_size(size)
    if len(boxes) == 0:
        return np.empty((0, 3, height, width), dtype=image.dtype)
    if not resize:
        return windows(image, boxes, height, width)
    low, high = boxes[:, :2], boxes[:, 2:]
    half = (high - low) / 2
    half += padding * 2 * half.max(axis=1, keepdims=True)
    if keep_aspect:
        shape = np.array([height, width])
        half = (half / shape).max(axis=1, keepdims=True) * shape
    return _resampled(image, (low + high) / 2, half, height, width)


def _check_size(size):
    if len(size) != 2 or not all(isinstance(side, Integral) and side > 0 for side in size):
        raise ValueError(
            f"size must be a positive integer or a pair (height, width) of them. Got {size!r}."
        )
    return size


def _check_boxes(boxes, shape):
    """Boxes as floats of shape (n, 4), cut off at the border of the image."""
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            "boxes must have the shape (n_boxes, 4), with (row_min, col_min, row_max, col_max) in "
            f"each row. Got shape {boxes.shape} instead."
        )
    clipped = np.clip(boxes, 0, np.array([*shape[:2], *shape[:2]]))
    for bad, what in (
        (~np.isfinite(boxes).all(axis=1), "is not finite"),
        ((boxes[:, :2] > boxes[:, 2:]).any(axis=1), "is inverted"),
        ((boxes[:, :2] == boxes[:, 2:]).any(axis=1), "is empty"),
        ((clipped[:, :2] >= clipped[:, 2:]).any(axis=1), "lies outside of the image"),
    ):
        if bad.any():
            i = int(np.argmax(bad))
            raise ValueError(
                f"Box {i}, {boxes[i].tolist()}, {what}. (row_min, col_min, row_max, col_max) with "
                f"minima below maxima is expected, on an image of {shape[0]} rows and {shape[1]} "
                "columns. Boxes (x_min, y_min, x_max, y_max) are boxes[:, [1, 0, 3, 2]]."
            )
    return clipped


def _resampled(image, middle, half, height, width):
    """Means of the image over the cells of a grid on each window."""
    crops = np.empty((len(middle), 3, height, width), dtype=image.dtype)
    largest = np.maximum(2 * half.max(axis=0) + 2, [height, width])
    step = max(1, int(_BLOCK_PIXELS / largest.prod()))
    for block in (slice(i, i + step) for i in range(0, len(middle), step)):
        rows, row_weights = _weights(middle[block, 0], half[block, 0], height)
        columns, column_weights = _weights(middle[block, 1], half[block, 1], width)
        rows, columns = (
            np.clip(numbers, 0, size - 1)
            for numbers, size in zip((rows, columns), image.shape[:2], strict=True)
        )
        parts = image[rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)
        means = row_weights[:, None] @ parts.astype(np.float64)
        means = means @ column_weights[:, None].transpose(0, 1, 3, 2)
        means = np.clip(means, 0, 255 if image.dtype == np.uint8 else 1)
        crops[block] = np.rint(means) if image.dtype == np.uint8 else means
    return crops


def _weights(middle, half, n):
    """Numbers of the pixels below each grid of n cells, and their share of each cell.

    Parameters
    ----------
    middle, half : ndarray of shape (n_boxes,)
    n : int

    Returns
    -------
    pixels : ndarray of int, shape (n_boxes, n_pixels)
    weights : ndarray of shape (n_boxes, n, n_pixels)
        With sum 1 in each cell.
    """
    step = 2 * half / n
    centers = (middle - half)[:, None] + step[:, None] * (np.arange(n) + 0.5)
    # No cell is narrower than a pixel: means over one pixel are linear interpolation.
    reach = np.maximum(step, 1.0)[:, None] / 2
    low, high = centers - reach, centers + reach
    first = np.floor(low[:, :1]).astype(np.int64)
    pixels = first + np.arange(int(np.ceil((high[:, -1:] - first).max())))
    ends = np.minimum(high[:, :, None], pixels[:, None] + 1)
    overlap = np.maximum(ends - np.maximum(low[:, :, None], pixels[:, None]), 0)
    return pixels, overlap / (2 * reach)[:, :, None]
