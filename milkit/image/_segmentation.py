"""SaturationSegmenter: keep the stained cell of each image and black out the rest."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions

from milkit.base import BagMixin, BagsToBagsMixin, split_by_bag
from milkit.exceptions import BagShapeError, describe_bag
from milkit.image._masks import (
    cells_of,
    closed,
    dilated,
    filled,
    histograms,
    saturation_levels,
    top_threshold,
)
from milkit.image._pixels import in_unit_range, refuse_other_dtype
from milkit.utils.validation import validate_bags

__all__ = ["SaturationSegmenter"]

# Of the pixels that are worked on at a time: some MB with what is made of them.
_BLOCK_PIXELS = 1 << 20


class SaturationSegmenter(BagMixin, BagsToBagsMixin, BaseEstimator):
    """Keep the stained cell of each image and black out the rest.

    A stained nucleus has more saturated colours than red cells, and these more than the
    background. The saturation of the pixels of each image is divided into two clusters; the upper
    one is closed, and its cell is kept with a few pixels around it. Each image is segmented by
    itself: nothing is learned from others.

    Parameters
    ----------
    n_clusters : int, default=2
        Number of clusters, of which the uppermost is the cell. Where red cells are kept together
        with the stained one, 3 tells them apart; of pale cytoplasm less is kept then.
    keep : {"central", "largest", "all"}, default="central"
        Which connected component of the upper cluster is the cell: the one with most pixels,
        where those near the centre of the image count more, the largest one, or all of them.
    closing_radius : int or "auto", default="auto"
        Radius of the closing in pixels, 0 for none. "auto" is 1/32 of the shorter side of the
        image.
    margin : int or "auto", default="auto"
        By how many pixels the cell is widened. "auto" is 1/64 of the shorter side.
    background : float, default=0
        Value of the pixels outside of the cell, in the units of the images: 0 to 255 for bytes,
        0 to 1 for floats.

    Attributes
    ----------
    n_features_in_ : int
        Number of numbers in an image, 3 · height · width.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Never there, because images have no feature names.
    instance_shape_ : tuple
        Shape of one image, (3, height, width).
    fitted_on_table_ : bool
        Always False.

    See Also
    --------
    milkit.image.detect_cells : Finds the cells of a smear that shows many.

    Notes
    -----
    As [1]_ has it in section 3.3: saturation of HSV, k-means with two clusters, a closing "to get
    a convex lymphocyte and to recover the whole lymphocyte by adding few pixels from each side".
    Where an image shows several saturated cells, one of them is chosen here, and its holes are
    filled. Clusters of numbers are intervals; the best ones are found by trying all of 256 levels,
    so that nothing is drawn at random.

    ``fit`` only looks at the shape of the images. ``transform`` works without it.

    References
    ----------
    .. [1] W. Bouatay, A. Chouchene and Y. Naji, "Deep Learning Medical Imaging: Report of the
           Challenge", student report, 2021, section 3.3.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.image import SaturationSegmenter
    >>> image = np.full((3, 8, 8), 220, dtype=np.uint8)
    >>> image[:, 2:6, 2:6] = np.array([90, 40, 160], dtype=np.uint8)[:, None, None]
    >>> segmenter = SaturationSegmenter(margin=0)
    >>> segmenter.mask([image[None]])[0].sum()
    np.int64(16)
    >>> segmenter.transform([image[None]])[0][0, :, 0, 0]
    array([0, 0, 0], dtype=uint8)
    """

    _parameter_constraints: dict = {
        "keep": [StrOptions({"central", "largest", "all"})],
        "n_clusters": [Interval(Integral, 2, 8, closed="both")],
        "closing_radius": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "margin": [Interval(Integral, 0, None, closed="left"), StrOptions({"auto"})],
        "background": [Interval(Real, 0, 255, closed="both")],
    }

    def __init__(
        self, *, n_clusters=2, keep="central", closing_radius="auto", margin="auto", background=0
    ):
        self.n_clusters = n_clusters
        self.keep = keep
        self.closing_radius = closing_radius
        self.margin = margin
        self.background = background

    def fit(self, X, y=None):
        """Look at the shape of the images.

        Parameters
        ----------
        X : container of n_bags bags
            Bags of images of shape (n_i, 3, height, width), uint8 or floats from 0 to 1.
        y : object, default=None
            Not used.

        Returns
        -------
        self : object

        Raises
        ------
        BagShapeError
            If the instances are no images with three channels.
        TypeError, ValueError
            If the pixels are neither bytes nor floats from 0 to 1.
        """
        self._validate(X, reset=True)
        return self

    def mask(self, X):
        """Where the cell of each image is.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        masks : list of ndarray of bool, each of shape (n_i, height, width)
            One array for each bag.

        Raises
        ------
        ValueError
            If all pixels of an image have the same saturation; the bag is named.
        """
        bags = self._validate(X, reset=False)
        images, _ = bags.flat()
        masks = np.empty((len(images), *images.shape[2:]), dtype=bool)
        for block in self._blocks(images):
            masks[block] = self._masks(images[block], bags, block.start)
        return split_by_bag(masks, bags)

    def transform(self, X):
        """Black out what is not the cell.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,)
            Images of the same shape and type.

        Raises
        ------
        ValueError
            If all pixels of an image have the same saturation; the bag is named.
        """
        bags = self._validate(X, reset=False)
        images, _ = bags.flat()
        background = self._background(images.dtype)
        segmented = np.empty_like(images)
        for block in self._blocks(images):
            masks = self._masks(images[block], bags, block.start)
            segmented[block] = np.where(masks[:, None], images[block], background)
        return bags.with_instances(segmented)

    def _validate(self, X, *, reset):
        self._validate_params()
        bags = validate_bags(self, X, reset=reset, dtype=None, tensors=True)
        shape = bags.instance_shape
        if len(shape) != 3 or shape[0] != 3:
            hint = ""
            if len(shape) == 3 and shape[2] == 3:
                hint = " The channels come first: pass images.transpose(0, 3, 1, 2)."
            elif len(shape) == 3 and shape[0] == 4:
                hint = " Drop the alpha channel with images[:, :3]."
            elif len(shape) == 2 or shape[0] == 1:
                hint = " Greyscale images have no saturation."
            raise BagShapeError(
                f"{type(self).__name__} needs colour images of shape (3, height, width). Got "
                f"instances of shape {shape}.{hint}"
            )
        refuse_other_dtype(bags.dtype, "The images")
        self._refuse_other_floats(bags)
        return bags

    def _refuse_other_floats(self, bags):
        images, _ = bags.flat()
        for block in self._blocks(images):
            if in_unit_range(images[block]):
                continue
            i = next(i for i in range(block.start, block.stop) if not in_unit_range(images[i]))
            raise ValueError(
                f"{_describe_instance(bags, i)} holds floats from {images[i].min():g} to "
                f"{images[i].max():g}; they must lie between 0 and 1. Divide by 255 what was made "
                "of bytes."
            )

    def _blocks(self, images):
        step = max(1, _BLOCK_PIXELS // (images.shape[2] * images.shape[3]))
        return [slice(i, min(i + step, len(images))) for i in range(0, len(images), step)]

    def _masks(self, images, bags, first):
        """Masks of a block of images, the first of which is this instance of the bags."""
        side = min(images.shape[2:])
        closing = max(1, round(side / 32)) if self.closing_radius == "auto" else self.closing_radius
        margin = round(side / 64) if self.margin == "auto" else self.margin
        levels = saturation_levels(images)
        thresholds = top_threshold(histograms(levels), self.n_clusters)
        if np.any(thresholds < 0):
            where = _describe_instance(bags, first + int(np.argmax(thresholds < 0)))
            raise ValueError(
                f"{where} has one saturation in all pixels, so that no cell can be told from the "
                "background: the image is empty, or grey. Look at where it comes from, or drop it "
                "with X.select_instances(mask)."
            )
        masks = closed(levels > thresholds[:, None, None], closing)
        if self.keep != "all":
            masks = cells_of(masks, self.keep)
        return dilated(filled(masks), margin)

    def _background(self, dtype):
        """The background's value, if images of this type can hold it."""
        limit = 1 if dtype.kind == "f" else 255
        if self.background > limit or (limit == 255 and self.background != int(self.background)):
            kind = "a whole number from 0 to 255" if limit == 255 else "a number from 0 to 1"
            raise ValueError(
                f"The 'background' parameter must be {kind} for images of type {dtype}. Got "
                f"{self.background!r} instead."
            )
        return dtype.type(self.background)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32", "uint8"]
        return tags


def _describe_instance(bags, i):
    """``"Bag 3 ('patient-07'), instance 5,"`` for a row of ``bags.flat()``."""
    offsets = bags.flat()[1]
    bag = int(np.searchsorted(offsets, i, side="right") - 1)
    return f"{describe_bag(bag, bags.names)}, instance {i - offsets[bag]},"
