"""Windows of one size around boxes, pixel for pixel."""

import numpy as np


def windows(image, boxes, height, width):
    """Windows of an image around the middle of each box; at the border its pixels are repeated.

    Parameters
    ----------
    image : ndarray of shape (n_rows, n_columns, n_channels)
    boxes : ndarray of shape (n_boxes, 4)
        (row_min, col_min, row_max, col_max).
    height, width : int

    Returns
    -------
    crops : ndarray of shape (n_boxes, n_channels, height, width)
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    top, left = np.rint(middle - np.array([height, width]) / 2).astype(np.int64).T
    rows = np.clip(top[:, None] + np.arange(height), 0, image.shape[0] - 1)
    columns = np.clip(left[:, None] + np.arange(width), 0, image.shape[1] - 1)
    crops = image[rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))
