"""detect_cells: boxes of the cells on a smear."""

from numbers import Real

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.utils._param_validation import Interval, validate_params

from milkit.image._masks import top_threshold
from milkit.image._pixels import check_image

__all__ = ["detect_cells"]

_LEVELS = 256
# Blur against the noise of the camera, in pixels.
_BLUR = 0.5
# Pixels to which the background is fitted, at most about so many, and how often outliers leave.
_FIT_PIXELS, _FIT_ROUNDS = 10_000, 8
# Parts of a cell are joined if the neck between them is wider than this share of the narrower, and
# if together they are no more than so many typical cells.
_NECK, _LARGEST = 0.8, 1.6
# A hole is a pale middle up to this share of a typical cell; what is larger lies between cells. As
# long as that is not known: in disks as thick as the rim.
_HOLE, _HOLE_OF_RIM = 0.4, 2.7
# What the camera's noise does not reach, in medians of the distance from the background.
_NOISE = 3.5


@validate_params(
    {
        "image": "no_validation",
        "cell_diameter": [Interval(Real, 2, None, closed="left"), None],
        "min_area": [Interval(Real, 0, None, closed="left")],
        "min_contrast": [Interval(Real, 0, 1, closed="neither")],
        "exclude_border": ["boolean"],
    },
    prefer_skip_nested_validation=True,
)
def detect_cells(
    image, *, cell_diameter=None, min_area=0.2, min_contrast=0.06, exclude_border=False
):
    """Find the cells of a smear.

    Parameters
    ----------
    image : array-like of shape (height, width, 3)
        A colour image as files give it, uint8 or floats from 0 to 1, of stained cells on a
        brighter background.
    cell_diameter : float, default=None
        Diameter of a typical cell in pixels. None finds it from the image.
    min_area : float, default=0.2
        What is smaller is no cell: area as a share of that of a disk with ``cell_diameter``.
    min_contrast : float, default=0.06
        What differs less from the background is no cell: distance of colours, where each channel
        runs from 0 to 1. Nor is what may be the noise of the image.
    exclude_border : bool, default=False
        Whether cells that the border of the image may cut are left out.

    Returns
    -------
    boxes : ndarray of int, shape (n_cells, 4)
        ``(row_min, col_min, row_max, col_max)`` of each cell, where ``row_max`` and ``col_max``
        are the first row and column behind it; from the top to the bottom. No rows where no cell
        is found.

    Raises
    ------
    TypeError, ValueError
        If the image is no colour image of bytes or floats from 0 to 1.
    ImportError
        If scikit-image is not installed; it comes with ``pip install milkit[image]``.

    See Also
    --------
    extract_cells : The boxes, and the cells cut out.
    SaturationSegmenter : The one stained cell of an image.

    Notes
    -----
    The background is a polynomial of second degree in each channel, fitted again and again to the
    pixels that are left when outliers are removed, so that uneven light does no harm. The
    distance of each pixel's colour from it is divided by an exact 2-means of its logarithm.
    Cells that touch are separated by a watershed on the distance from the edge [1]_; parts whose
    neck is nearly as wide as themselves are joined again, so that long cells stay whole.

    The background must show. On an image that one cell fills, what is found means nothing.

    References
    ----------
    .. [1] F. Meyer, "Topographic distance and watershed lines", Signal Processing 38, 1994.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.image import detect_cells
    >>> row, column = np.mgrid[:60, :80]
    >>> image = np.full((60, 80, 3), 230, dtype=np.uint8)
    >>> for middle in [(20, 20), (20, 38), (45, 60)]:  # the first two touch
    ...     image[np.hypot(row - middle[0], column - middle[1]) < 10] = [210, 150, 160]
    >>> detect_cells(image).round(-1)
    array([[10, 10, 30, 30],
           [10, 30, 30, 50],
           [40, 50, 60, 70]])
    """
    try:
        from skimage.segmentation import watershed
    except ImportError as error:
        raise ImportError(
            "Cells are separated with scikit-image, which is not installed: "
            "pip install milkit[image]"
        ) from error
    image = check_image(image)
    contrast, noise = _contrast(image)
    mask = _stained(contrast, max(min_contrast, _NOISE * noise))
    if not mask.any():
        return np.empty((0, 4), dtype=np.int64)
    if cell_diameter is None:
        thickness = _typical_diameter(mask)  # of hollow cells, that of their rim
        filled = _without_holes(mask, _HOLE_OF_RIM * np.pi / 4 * thickness**2)
        cell_diameter = _typical_diameter(filled)
    cell_area = np.pi / 4 * cell_diameter**2
    mask = _without_holes(mask, _HOLE * cell_area)
    depth = ndimage.distance_transform_edt(mask)
    reach = 2 * round(cell_diameter / 8) + 1
    tops = (ndimage.maximum_filter(depth, reach) == depth) & mask
    labels = watershed(-depth, ndimage.label(tops, np.ones((3, 3)))[0], mask=mask)
    labels = _joined(labels, depth, _LARGEST * cell_area)
    return _boxes(labels, min_area * cell_area, exclude_border)


def _contrast(image):
    """Distance of each pixel's colour from the background, and its median in the background."""
    pixels = image.astype(np.float32)
    if image.dtype == np.uint8:
        pixels /= 255
    pixels = ndimage.gaussian_filter(pixels, (_BLUR, _BLUR, 0))
    height, width, _ = image.shape
    # Powers of the place in each direction; of their nine products, the six of degree 0, 1 and 2.
    y, x = (np.linspace(-1, 1, n)[:, None] ** np.arange(3) for n in (height, width))
    powers = [(i, j) for i in range(3) for j in range(3 - i)]
    step = max(1, int(np.sqrt(height * width / _FIT_PIXELS)))
    some = pixels[::step, ::step].reshape(-1, 3).astype(np.float64)
    basis = np.stack([np.outer(y[::step, i], x[::step, j]).ravel() for i, j in powers], axis=1)
    # Stain takes light away: the brighter of two clusters, at first.
    brightness = some.min(axis=1)
    kept = brightness >= _cut(brightness)
    for _ in range(_FIT_ROUNDS):
        weights = np.linalg.lstsq(basis[kept], some[kept], rcond=None)[0]
        residual = np.linalg.norm(some - basis @ weights, axis=1)
        kept = residual <= 2.5 * np.median(residual[kept]) + 1e-6
    for channel in range(3):
        products = np.zeros((3, 3))
        products[tuple(np.transpose(powers))] = weights[:, channel]
        pixels[:, :, channel] -= y @ products @ x.T
    return np.sqrt(np.einsum("ijk,ijk->ij", pixels, pixels)), np.median(residual[kept])


def _cut(values):
    """Exact 2-means of numbers in 256 levels: where the lower cluster ends."""
    low, high = values.min(), values.max()
    if low == high:
        return low - 1
    levels = ((values - low) * ((_LEVELS - 1) / (high - low))).astype(np.int64)
    counts = np.bincount(levels.ravel(), minlength=_LEVELS)
    return low + (top_threshold(counts[None])[0] + 1) * ((high - low) / (_LEVELS - 1))


def _stained(contrast, min_contrast):
    """Pixels that belong to cells."""
    # On a linear scale, dark nuclei would be one cluster, and pale red cells background.
    cut = np.exp(_cut(np.log(np.maximum(contrast, min_contrast / 2))))
    cells = contrast > max(cut, min_contrast)
    if cells.any():
        pale = np.quantile(contrast[cells], 0.25)
        cells = contrast > max(_cut(np.minimum(contrast, 2 * pale)), min_contrast)
    return cells


def _without_holes(mask, area):
    """The mask with holes filled that are smaller; what reaches the border is no hole."""
    labels, n_labels = ndimage.label(~mask)
    small = np.bincount(labels.ravel(), minlength=n_labels + 1) < area
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        small[edge] = False
    small[0] = False
    return mask | small[labels]


def _typical_diameter(mask):
    """Diameter of the disks inside components, the median over their area."""
    labels, n_labels = ndimage.label(mask)
    area = np.bincount(labels.ravel(), minlength=n_labels + 1)[1:]
    depth = ndimage.distance_transform_edt(mask)
    radius = _peaks(depth, labels, n_labels + 1)[1:]
    single = area < 1.6 * np.pi * (radius + 0.5) ** 2  # no others hang on
    if single.any():
        area, radius = area[single], radius[single]
    order = np.argsort(radius)
    middle = np.searchsorted(np.cumsum(area[order]), area.sum() / 2)
    return max(2.0, 2 * radius[order][middle])


def _peaks(depth, labels, n):
    """Largest depth of each of n labels."""
    largest = np.zeros(n)
    np.maximum.at(largest, labels.ravel(), depth.ravel())
    return largest


def _joined(labels, depth, largest_area):
    """Labels with those joined that are parts of one cell: the neck between them is wide."""
    n = labels.max() + 1
    peak = _peaks(depth, labels, n)
    edges = []
    for here, there in (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]):
        a, b = labels[here], labels[there]
        border = (a != b) & (a > 0) & (b > 0)
        neck = np.minimum(depth[here][border], depth[there][border])
        a, b = a[border], b[border]
        wide = neck > _NECK * np.minimum(peak[a], peak[b])
        edges.append(np.stack([a[wide], b[wide]]))
    a, b = np.concatenate(edges, axis=1)
    _, parts = connected_components(coo_array((np.ones(len(a)), (a, b)), shape=(n, n)), False)
    area = np.bincount(labels.ravel(), minlength=n)
    too_large = np.bincount(parts, area) > largest_area
    parts = np.where(too_large[parts], n + np.arange(n), parts)
    return np.where(labels > 0, parts[labels] + 1, 0)


def _boxes(labels, min_area, exclude_border):
    """Boxes of the labels that are large enough, from the top to the bottom."""
    area = np.bincount(labels.ravel())
    boxes = np.array(
        [
            [side.start for side in found] + [side.stop for side in found]
            for number, found in enumerate(ndimage.find_objects(labels), start=1)
            if found is not None and area[number] >= min_area
        ],
        dtype=np.int64,
    ).reshape(-1, 4)
    if exclude_border:
        inside = (boxes[:, :2] > 0).all(axis=1) & (boxes[:, 2:] < labels.shape).all(axis=1)
        boxes = boxes[inside]
    return boxes[np.lexsort((boxes[:, 1], boxes[:, 0]))]
