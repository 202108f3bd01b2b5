"""What steps on image instances share."""

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin, BagsToBagsMixin
from milkit.exceptions import BagShapeError
from milkit.image._pixels import looks_channels_last
from milkit.neural._reading import check_pixels
from milkit.utils.validation import validate_bags


class ImageFeatures(BagMixin, BagsToBagsMixin, BaseEstimator):
    """Bags of images to bags of vectors, by a torch module that sees some images at a time."""

    def _validated(self, X, *, reset):
        """Bags of images, bytes or floats, channels first."""
        if not reset:
            check_is_fitted(self, "n_features_out_")  # set last
        bags = validate_bags(
            self, X, reset=reset, dtype=[np.float32, np.uint8], order="C", tensors=True
        )
        shape = bags.instance_shape
        channels_last = looks_channels_last(shape)
        if len(shape) != 3 or channels_last:
            hint = " Pass images.transpose(0, 3, 1, 2)." if channels_last else ""
            hint = " Grey images have one channel: images[:, None]." if len(shape) == 2 else hint
            raise BagShapeError(
                f"{type(self).__name__} works on images with channels first, (channels, rows, "
                f"columns). The instances have shape {shape}.{hint}"
            )
        check_pixels(self, X, bags, reset=reset)
        return bags

    @property
    def _n_features_out(self):
        return self.n_features_out_

    def get_feature_names_out(self, input_features=None):
        """Names of the output features.

        Parameters
        ----------
        input_features : array-like of str, shape (n_features_in_,), default=None
            Not used.

        Returns
        -------
        names : ndarray of str objects, shape (n_features_out_,)
            The lower-cased name of the class and a number.
        """
        check_is_fitted(self, "n_features_out_")
        prefix = type(self).__name__.lower()
        return np.array([f"{prefix}{i}" for i in range(self.n_features_out_)], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        return tags


def in_chunks(function, images, device, step, dtype, bar=None):
    """``function`` of tensors of some images at a time, all rows as one array.

    Parameters
    ----------
    function : callable
        Gets a tensor (n, ...) on the device and returns one (n, ...).
    images : ndarray of shape (n_images, ...)
    device : torch.device
    step : int
        Number of images at a time.
    dtype : dtype
        Of the result.
    bar : tqdm, default=None
        A progress bar over images.
    """
    rows = None
    with torch.inference_mode():
        for start in range(0, len(images), step):
            part = function(_as_tensor(images[start : start + step]).to(device))
            if rows is None:
                rows = np.empty((len(images), *part.shape[1:]), dtype=dtype)
            rows[start : start + step] = part.to("cpu", torch.float32).numpy()
            if bar is not None:
                bar.update(len(part))
    return rows


def _as_tensor(array):
    # torch cannot promise not to write, and numpy's memory may be read-only: wrap a copy then.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
