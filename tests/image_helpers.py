"""Folders of images for the tests of load_image_bags."""

import warnings

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image", reason="needs pillow: pip install milkit[image]")
from PIL import ImageFile  # noqa: E402, F401

from milkit.image import load_image_bags  # noqa: E402


def noise(seed, rows=6, columns=8, channels=3):
    shape = (rows, columns, channels) if channels else (rows, columns)
    return np.random.default_rng(seed).integers(256, size=shape, dtype=np.uint8)


def smooth(rows, columns):
    """Colours that change slowly, which JPEG keeps."""
    y, x = np.mgrid[:rows, :columns]
    channels = [255 * y / rows, 255 * x / columns, 128 + 100 * np.sin(3 * (x + y) / rows)]
    return np.stack(channels, axis=2).astype(np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def tree(root, files):
    for i, name in enumerate(files):
        save(root / name, noise(i))
    return root


def one(folder, **options):
    """The instances of a folder with one bag, loaded without any remark."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_image_bags(folder, **options).data.instances


def problems(folder, **options):
    """The report of the error that loading raises."""
    with pytest.raises(ValueError, match="problem") as caught:
        load_image_bags(folder, **options)
    return caught.value.report


def luma(rgb):
    """ITU-R 601, rounded."""
    red, green, blue = np.moveaxis(rgb.astype(float), -1, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def make_cohort(root):
    """Three patients with 2, 3 and 1 images."""
    names = ["p2/a.png", "p2/b.png", "p10/1.png", "p10/2.png", "p10/10.png", "p1/x.png"]
    return tree(root, names)
