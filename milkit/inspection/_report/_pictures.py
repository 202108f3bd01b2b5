"""Pictures of instances for a report: found, made small and written into the page."""

import base64
from io import BytesIO

import numpy as np

from milkit.bags import BagArray
from milkit.exceptions import describe_bag
from milkit.inspection._pictures import as_pictures, channels_first, is_picture
from milkit.inspection._values import instance_column

__all__ = ["data_uris", "find_pictures"]

# Larger pictures are made smaller: the page shows them at a quarter of this.
_LARGEST = 256


def find_pictures(images, bags, rows):
    """For each of some bags an array of pictures, or None where there are none.

    Parameters
    ----------
    images : str, ndarray, BagArray, list of ndarray, False or None
        See :func:`milkit.inspection.patient_report`.
    bags : BagArray of shape (n_bags,)
    rows : list of int
        The bags that are shown.

    Returns
    -------
    pictures : list of ndarray of shape (n_i, channels, height, width) or None
        Not copied before it is known which are shown.
    """
    if images is None and is_picture(bags.instance_shape):
        return [bags[row] for row in rows]
    if images is None or images is False:
        return [None] * len(rows)
    if isinstance(images, str):
        images = instance_column(bags, images, "images")
    if isinstance(images, (BagArray, list, tuple)):
        return _from_list(images, bags, rows)
    images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise ValueError(
            "images must be an array of shape (n, height, width), (n, channels, height, width) or "
            f"(n, height, width, channels). Got shape {images.shape} instead."
        )
    sizes = bags.sizes
    if len(images) == bags.n_instances:
        starts = np.cumsum(sizes) - sizes
        return [channels_first(images[starts[r] : starts[r] + sizes[r]]) for r in rows]
    if len(images) == sizes[rows].sum():
        stops = np.cumsum(sizes[rows])[:-1]
        return [channels_first(part) for part in np.split(images, stops)]
    shown = " and ".join(
        f"{describe_bag(row, bags.names)} has {sizes[row]:,} instances" for row in rows
    )
    raise ValueError(
        f"images holds {len(images):,} pictures, but {shown}, and X has {bags.n_instances:,}. "
        "Pass one picture for each instance that is reported on, or one for each instance of X."
    )


def _from_list(images, bags, rows):
    n = len(images)
    if n not in (len(bags), len(rows)):
        raise ValueError(
            f"images is a list with one array for each bag, and has {n}; expected {len(bags)}, or "
            f"{len(rows)} for what is reported on. Pictures of one bag are passed as one array."
        )
    found = []
    for k, row in enumerate(rows):
        part = np.asarray(images[row if n == len(bags) else k])
        if part.ndim not in (3, 4) or len(part) != bags.sizes[row]:
            raise ValueError(
                f"{describe_bag(row, bags.names)} has {bags.sizes[row]:,} instances, but its "
                f"images have shape {part.shape}. Expected one picture for each instance."
            )
        found.append(channels_first(part))
    return found


def data_uris(pictures):
    """PNG files as text.

    Parameters
    ----------
    pictures : ndarray of shape (n, height, width) or (n, channels, height, width)
        Those that are shown, all together, so that they are stretched alike.

    Returns
    -------
    uris : list of str
    sizes : list of tuple
        Width and height of each, in pixels.

    Raises
    ------
    ImportError
        If Pillow is missing.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Pictures are written with Pillow, which is not installed: pip install milkit[image]. "
            "Or leave the pictures out with images=False."
        ) from error
    uris, sizes = [], []
    for pixels in as_pictures(pictures):
        image = Image.fromarray(pixels)
        if max(image.size) > _LARGEST:
            image.thumbnail((_LARGEST, _LARGEST))
        file = BytesIO()
        image.save(file, format="PNG", optimize=True)
        uris.append("data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii"))
        sizes.append(image.size)
    return uris, sizes
