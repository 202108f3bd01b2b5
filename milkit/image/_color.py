"""ColorStatisticsMatcher: bring images to the channel means and deviations of a reference."""

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from milkit.bags import BagArray
from milkit.base import BagMixin, BagsToBagsMixin
from milkit.exceptions import BagShapeError
from milkit.image._pixels import looks_channels_last
from milkit.utils._segments import segment_sum
from milkit.utils.validation import as_bag_array, validate_bags

__all__ = ["ColorStatisticsMatcher"]

# Of the images that are worked on at a time; as floats they are eight times that, if bytes.
_BLOCK_BYTES = 1 << 20


class ColorStatisticsMatcher(OneToOneFeatureMixin, BagMixin, BagsToBagsMixin, BaseEstimator):
    """Bring images to the channel means and standard deviations of a reference.

    Stains and scanners differ between patients. In each channel, x becomes m1 + s1 (x − m0) / s0
    with the mean m0 and deviation s0 of the pixels of the patient (or whatever ``per`` says) and
    those of the reference, m1 and s1. Names, groups, covariates and instance data are kept.

    Parameters
    ----------
    reference : BagArray, list of bags or ndarray of shape (n_images, C, H, W), default=None
        Images whose colours are aimed at, as many channels as those of X and of any size; also one
        image of shape (C, H, W). None takes all pixels of the bags in ``fit``.
    per : {"bag", "instance", "group", "dataset"}, default="bag"
        Whose pixels are brought to the reference together: those of a bag, of each instance, of
        the bags of one group of X, or of all bags that are transformed at once. "dataset" is for
        data of another source, which is transformed as a whole: with it (and with "group") the
        result for a bag depends on what it is transformed with.

    Attributes
    ----------
    mean_ : ndarray of shape (n_channels,)
        Mean of the reference in each channel.
    scale_ : ndarray of shape (n_channels,)
        Standard deviation of the reference in each channel.
    n_features_in_ : int
        Number of numbers in an instance.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Only where the bags have feature names that are strings.
    instance_shape_ : tuple
        Shape of one instance.
    fitted_on_table_ : bool
        Whether ``fit`` got a 2-D array, read as one instance per bag.

    See Also
    --------
    milkit.InstanceTransformer : Scales features with one mean and deviation for all bags.

    Notes
    -----
    Bytes (uint8) remain bytes: they are rounded and cut off at 0 and 255. Floats are not cut off.
    A channel that is constant in a bag becomes the mean of the reference.

    What differs between patients in colour is removed, whether it is stain or disease. With few
    cells in a bag, or with many stained cells in the bags of one class, match per "group" or
    "dataset", or leave the colours as they are. Match before segmentation: pixels that were
    blacked out count like others, and are black no more.

    Instances that are vectors are taken as images of one pixel, each feature a channel.

    This is the transfer of [1]_, in the channels that the images have.

    References
    ----------
    .. [1] E. Reinhard, M. Ashikhmin, B. Gooch and P. Shirley, "Color transfer between images",
           IEEE Computer Graphics and Applications 21(5), 2001, doi:10.1109/38.946629.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.image import ColorStatisticsMatcher
    >>> rng = np.random.default_rng(0)
    >>> pale = rng.integers(180, 220, size=(4, 3, 8, 8)).astype(np.uint8)
    >>> dark = rng.integers(60, 140, size=(6, 3, 8, 8)).astype(np.uint8)
    >>> Xt = ColorStatisticsMatcher(reference=pale).fit_transform([pale, dark])
    >>> Xt
    BagArray(2 bags, 10 instances, sizes 4/5/6 (min/median/max), instance shape (3, 8, 8), uint8)
    >>> [round(float(bag.mean())) for bag in (pale, dark, Xt[1])]
    [200, 101, 200]
    """

    _parameter_constraints: dict = {
        "reference": [BagArray, np.ndarray, list, tuple, None],
        "per": [StrOptions({"bag", "instance", "group", "dataset"})],
    }

    def __init__(self, reference=None, *, per="bag"):
        self.reference = reference
        self.per = per

    def fit(self, X, y=None):
        """Learn the mean and deviation of each channel of the reference.

        Parameters
        ----------
        X : container of n_bags bags
            Images of shape (C, H, W), or vectors.
        y : None
            Ignored.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If images have no channels or have them last, or the reference has others, or floats
            where X has bytes.
        """
        self._validate_params()
        bags = self._validated(X, reset=True)
        self._from_bytes = bags.dtype == np.uint8
        pixels = bags.flat()[0] if self.reference is None else self._reference_images(bags)
        mean, scale = _unit_statistics(_channels(pixels), np.array([0, len(pixels)]))
        self.mean_, self.scale_ = mean[0], scale[0]
        return self

    def _validated(self, X, *, reset):
        bags = validate_bags(
            self, X, reset=reset, dtype=[np.float64, np.float32, np.uint8], tensors=True
        )
        if len(bags.instance_shape) == 2:
            raise BagShapeError(
                f"The instances have shape {bags.instance_shape}; images have shape (channels, "
                "rows, columns). Grey images have one channel: instances[:, np.newaxis]."
            )
        if looks_channels_last(bags.instance_shape):
            raise BagShapeError(
                f"The instances have shape {bags.instance_shape}, with the channels last, and each "
                "row would be taken for a channel. Pass images.transpose(0, 3, 1, 2)."
            )
        return bags

    def _reference_images(self, bags):
        """The reference as an array of shape (n, ...), with the channels of the bags."""
        reference, shape = self.reference, bags.instance_shape
        if isinstance(reference, np.ndarray) and reference.dtype != object:
            images = reference[np.newaxis] if reference.ndim == len(shape) else reference
        else:
            images = as_bag_array(reference).flat()[0]
        if images.ndim != len(shape) + 1 or images.shape[1] != shape[0] or images.size == 0:
            raise ValueError(
                f"reference must hold instances with {shape[0]} channels, as those of X of shape "
                f"{shape}. Got shape {images.shape[1:]} instead; several images are "
                "np.stack(images), of shape (n_images, channels, rows, columns)."
            )
        if len(shape) > 1 and (images.dtype == np.uint8) != (bags.dtype == np.uint8):
            raise ValueError(
                f"reference is of type {images.dtype} and X of {bags.dtype}: bytes (uint8) and "
                "floats have different units. Give both as bytes or both as floats."
            )
        if not np.isfinite(images).all():
            raise ValueError("reference has NaN or infinity; leave such images out.")
        return images

    def transform(self, X):
        """Bring bags to the statistics of the reference.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Xt : BagArray of shape (n_bags,), or ndarray of shape (n_samples, n_features)
            Of the type of X. Bags for bags; a 2-D array for what was read as 2-D.
        """
        check_is_fitted(self)
        bags = self._validated(X, reset=False)
        flat, offsets = bags.flat()
        images = flat.ndim > 2
        if images and (bags.dtype == np.uint8) != self._from_bytes:
            kinds = ["floats", "bytes (uint8)"]
            raise ValueError(
                f"{type(self).__name__} was fitted on images of {kinds[self._from_bytes]}, and got "
                f"{kinds[not self._from_bytes]}. Pass images of the same type."
            )
        unit_of = self._units(bags, offsets)
        order = np.argsort(unit_of, kind="stable")
        starts = np.append(np.unique(unit_of[order], return_index=True)[1], len(flat))
        pixels = _channels(flat)
        mean, scale = _unit_statistics(pixels, starts, order)
        gain = np.zeros_like(scale)
        np.divide(self.scale_, scale, out=gain, where=scale > 0)
        # Vectors of bytes are numbers, which need not fit in a byte.
        dtype = flat.dtype if images or flat.dtype != np.uint8 else np.float64
        matched = _matched(pixels, unit_of, mean, gain, self.mean_, np.dtype(dtype))
        names = bags.feature_names
        bags = bags.with_instances(matched.reshape(flat.shape), feature_names=names)
        return self._like_input(X, bags)

    def _units(self, bags, offsets):
        """Number of the unit of each instance, counted from 0."""
        if self.per == "instance":
            return np.arange(offsets[-1])
        if self.per == "dataset":
            return np.zeros(offsets[-1], dtype=np.int64)
        unit = np.arange(len(bags))
        if self.per == "group":
            if bags.groups is None:
                raise ValueError(
                    "per='group' needs bags with groups: pass BagArray(..., groups=...), or use "
                    "per='bag'."
                )
            unit = np.unique(bags.groups, return_inverse=True)[1]
        return np.repeat(unit, bags.sizes)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _channels(instances):
    """A view of shape (n, n_channels, n_pixels)."""
    return instances.reshape(*instances.shape[:2], -1)


def _blocks(pixels):
    step = max(1, _BLOCK_BYTES // max(1, pixels[:1].nbytes))
    return (slice(start, start + step) for start in range(0, len(pixels), step))


def _unit_statistics(pixels, offsets, order=None):
    """Mean and standard deviation of each channel of each unit, two arrays (n_units, C).

    Parameters
    ----------
    pixels : ndarray of shape (n, n_channels, n_pixels)
    offsets : ndarray of shape (n_units + 1,)
        Unit ``i`` are the instances ``order[offsets[i]:offsets[i + 1]]``.
    order : ndarray of shape (n,), default=None
        None is their own order.
    """
    means = np.empty(pixels.shape[:2])
    squares = np.empty(pixels.shape[:2])  # mean squared distance to the instance's own mean
    for block in _blocks(pixels):
        values = pixels[block].astype(np.float64)
        means[block] = values.mean(axis=2)
        values -= means[block][:, :, np.newaxis]
        squares[block] = np.einsum("ncp,ncp->nc", values, values) / values.shape[2]
    if order is not None:
        means, squares = means[order], squares[order]
    sizes = np.diff(offsets)
    mean = segment_sum(means, offsets) / sizes[:, np.newaxis]
    squares += (means - np.repeat(mean, sizes, axis=0)) ** 2
    variance = segment_sum(squares, offsets) / sizes[:, np.newaxis]
    # What rounding leaves of a constant channel, as scikit-learn's StandardScaler bounds it.
    count = (sizes * pixels.shape[2])[:, np.newaxis]
    eps = np.finfo(np.float64).eps
    constant = variance <= count * eps * variance + (count * mean * eps) ** 2
    return mean, np.where(constant, 0.0, np.sqrt(variance))


def _matched(pixels, unit_of, mean, gain, target, dtype):
    """The pixels of each unit with another mean and deviation, rounded if they are bytes."""
    matched = np.empty(pixels.shape, dtype=dtype)
    for block in _blocks(pixels):
        unit = unit_of[block]
        values = pixels[block].astype(np.float64)
        values -= mean[unit][:, :, np.newaxis]
        values *= gain[unit][:, :, np.newaxis]
        values += target[:, np.newaxis]
        if dtype == np.uint8:
            np.clip(np.rint(values, out=values), 0, 255, out=values)
        matched[block] = values
    return matched
