"""What is taken for an image: bytes, or floats from 0 to 1, in three channels."""

import numpy as np


def refuse_other_dtype(dtype, where):
    """Images are bytes or floats; of other integers nobody knows the largest."""
    if dtype != np.uint8 and dtype.kind != "f":
        raise TypeError(
            f"{where} must be bytes (uint8), or floats from 0 to 1. Got {dtype} instead; divide "
            "by the largest value that the camera can give."
        )


def looks_channels_last(shape):
    """Whether images of this shape are (rows, columns, channels)."""
    return len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4


def in_unit_range(values):
    """Do all floats lie between 0 and 1? NaN does not; bytes are what they are."""
    return values.dtype == np.uint8 or bool(values.min() >= 0 and values.max() <= 1)


def check_image(image):
    """One colour image as an array of shape (height, width, 3), or an error that says why not."""
    image = np.asarray(image)
    shape = image.shape
    if image.ndim == 2 or (image.ndim == 3 and shape[2] == 1):
        raise ValueError(
            f"The image is greyscale, of shape {shape}; a colour image of shape (height, width, 3) "
            "is needed. Colour cannot be made up, but "
            "np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2) gives grey in three channels."
        )
    if image.ndim == 3 and shape[2] == 4:
        raise ValueError(
            f"The image has four channels, shape {shape}: drop the alpha channel with "
            "image[..., :3]."
        )
    if image.ndim == 3 and shape[0] == 3 and shape[2] != 3:
        raise ValueError(
            f"The image has its channels first, shape {shape}. Pass image.transpose(1, 2, 0), of "
            "shape (height, width, 3)."
        )
    if image.ndim != 3 or shape[2] != 3:
        raise ValueError(f"The image must have the shape (height, width, 3). Got {shape} instead.")
    if image.size == 0:
        raise ValueError(f"The image is empty: shape {shape}.")
    refuse_other_dtype(image.dtype, "The image")
    if not in_unit_range(image):
        raise ValueError(
            f"The image holds floats from {image.min():g} to {image.max():g}; they must lie "
            "between 0 and 1, without NaN. Divide by 255 what was made of bytes."
        )
    return image
