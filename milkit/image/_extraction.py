"""extract_cells: boxes of the cells on a smear, and the cells cut out."""

from milkit.image._cropping import crop_instances
from milkit.image._detection import detect_cells

__all__ = ["extract_cells"]


def extract_cells(image, *, size=64, padding=0.1, keep_aspect=True, resize=True, **detect):
    """Find the cells of a smear and cut them out.

    With ``functools.partial`` it is a function for the parameter ``extract`` of
    :func:`load_image_bags`.

    Parameters
    ----------
    image : array-like of shape (height, width, 3)
        A colour image as files give it, uint8 or floats from 0 to 1.
    size : int or (int, int), default=64
        Height and width of the crops in pixels.
    padding : float, default=0.1
        What is added on each side of a box, as a share of its longer side.
    keep_aspect : bool, default=True
        See :func:`crop_instances`.
    resize : bool, default=True
        See :func:`crop_instances`.
    **detect
        Parameters of :func:`detect_cells`.

    Returns
    -------
    crops : ndarray of shape (n_cells, 3, height, width)
        Of the type of the image.
    boxes : ndarray of int, shape (n_cells, 4)
        ``(row_min, col_min, row_max, col_max)`` of each cell.

    Raises
    ------
    TypeError, ValueError, ImportError
        See :func:`detect_cells` and :func:`crop_instances`.

    See Also
    --------
    detect_cells : The boxes alone.
    crop_instances : For boxes from elsewhere.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.image import extract_cells
    >>> row, column = np.mgrid[:60, :80]
    >>> image = np.full((60, 80, 3), 230, dtype=np.uint8)
    >>> for middle in [(20, 20), (20, 38), (45, 60)]:
    ...     image[np.hypot(row - middle[0], column - middle[1]) < 10] = [210, 150, 160]
    >>> crops, boxes = extract_cells(image, size=(24, 24), cell_diameter=20)
    >>> crops.shape, boxes.shape
    ((3, 3, 24, 24), (3, 4))
    """
    boxes = detect_cells(image, **detect)
    crops = crop_instances(
        image, boxes, size=size, padding=padding, keep_aspect=keep_aspect, resize=resize
    )
    return crops, boxes
