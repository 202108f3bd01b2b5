"""One image file as an array of bytes, or the reason why not."""

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

__all__ = ["Decoded", "bomb_warning", "read_image", "require_pillow", "whole_images"]

# What a file may be, whatever it is called. Not Pillow's other formats, some of which run programs.
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_ORIENTATION, _PHOTOMETRIC = 0x0112, 0x0106
_SIDEWAYS = (5, 6, 7, 8)
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
# Of the 65 536 levels; 12 bits and fewer.
_FEW_LEVELS = 4096


@dataclass
class Decoded:
    """What one file gave: instances, or a problem."""

    pixels: np.ndarray | None = None  # (k, channels, rows, columns) of uint8
    boxes: np.ndarray | None = None  # (k, 4)
    size: tuple = ()  # rows, columns of the whole image
    digest: bytes = b""
    grey: bool = False
    problem: str | None = None
    remarks: list = field(default_factory=list)  # (kind, text)


class _Unreadable(Exception):
    """A file that Pillow opens and this package does not take."""


def require_pillow():
    """Say how to install Pillow, before anything is looked for."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Images are read with Pillow, which is not installed: pip install milkit[image]"
        ) from error


@contextmanager
def whole_images():
    """Truncated files are refused, whatever another package told Pillow."""
    from PIL import ImageFile

    lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def bomb_warning():
    """The class of Pillow's warning of images with very many pixels."""
    from PIL import Image

    return Image.DecompressionBombWarning


def read_image(path, image_size, color_mode, extract):
    """Instances of one image.

    Parameters
    ----------
    path : str
    image_size : tuple of int or None
        Rows and columns of an instance.
    color_mode : {"rgb", "grey"}
    extract : callable or None
        From the image to crops and boxes; see ``load_image_bags``.

    Returns
    -------
    decoded : Decoded
    """
    found = Decoded()
    # Pillow raises whatever its decoders stumble over: OSError, SyntaxError, struct.error, ...
    try:
        image = _opened(path, found, None if extract is not None else image_size)
    except _Unreadable as reason:
        found.problem = str(reason)
    except Exception as error:
        found.problem = f"cannot be read ({type(error).__name__}: {error})"
    if found.problem is not None:
        return found
    if extract is None:
        crops = _resized(image, image_size, color_mode)[np.newaxis]
        boxes = np.array([[0, 0, *found.size]])
    else:
        crops, boxes = _extracted(path, extract, np.array(image.convert("RGB")))
        if len(crops) == 0:
            found.remarks.append(("no cell", "extract gave no crops"))
            return found
        crops = _in_form(crops, image_size, color_mode)
    found.pixels = np.ascontiguousarray(crops)
    found.boxes = boxes
    return found


def _opened(path, found, image_size):
    """The image upright, in mode "L" or "RGB"; not much larger than image_size where that helps."""
    from PIL import Image, ImageOps

    if not os.path.isfile(path):
        if os.path.exists(path):
            raise _Unreadable("is no file")
        windows = " (it has backslashes, as Windows has it)" * ("\\" in path and os.sep == "/")
        broken = "is a broken link" if os.path.islink(path) else f"there is no such file{windows}"
        raise _Unreadable(broken)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise _Unreadable("is empty (0 bytes)")
        try:
            image = Image.open(file, formats=_FORMATS)
        except Image.UnidentifiedImageError:
            raise _Unreadable(
                "is damaged at its beginning, or no png, jpg, tif or bmp image"
            ) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as bomb:
            raise _Unreadable(_bomb(str(bomb))) from None
        if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
            raise _Unreadable(_bomb(f"{image.width} × {image.height} pixels"))
        # Photographs of a phone hold a thumbnail behind the image.
        pages = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        if pages > 1:
            raise _Unreadable(
                f"has {pages} pages; save the one that is meant, or each, as a file of its own"
            )
        whole, kind = image.size, image.format
        sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
        if image_size is not None:
            # Twice the size in either orientation. Only jpg does it; it saves most of the time.
            image.draft(None, (2 * max(image_size), 2 * max(image_size)))
        drafted = image.size != whole
        image.load()
    found.grey = image.mode in _GREY
    image = ImageOps.exif_transpose(_eight_bits(image, kind, found))
    if drafted:
        width, height = whole[::-1] if sideways else whole
    else:
        width, height = image.size
    found.size = (height, width)
    image = _without_alpha(image)
    # Of the pixels, because a copy may have another name, format or date inside.
    found.digest = hashlib.blake2b(image.tobytes(), person=image.mode.encode()).digest()
    return image


def _bomb(text):
    return (
        f"is too large ({text}): it may be a decompression bomb. If the file is to be trusted, "
        "raise PIL.Image.MAX_IMAGE_PIXELS before loading"
    )


def _eight_bits(image, kind, found):
    """16 bits divided by 257, so that 0 stays 0 and 65 535 becomes 255."""
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind == "PNG"):
        if kind == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0:  # Pillow turns 8 bits only
            raise _Unreadable("has 16 bits of which 0 is white; save it with 0 as black")
        values = np.asarray(image).astype(np.uint32)
        if 0 < values.max() < _FEW_LEVELS:
            found.remarks.append(("depth", f"its largest value is {values.max()} of 65535"))
        turned = Image.fromarray(((values + 128) // 257).astype(np.uint8))
        turned.info = {key: image.info[key] for key in ("exif",) if key in image.info}
        return turned
    if image.mode in ("I", "F"):
        what = {"I": "integers that are signed or of 32 bits", "F": "floats"}[image.mode]
        raise _Unreadable(f"holds {what}, whose range is not known; save it with 8 or 16 bits")
    return image


def _without_alpha(image):
    """What is transparent is white, as in a viewer."""
    from PIL import Image

    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _resized(image, size, color_mode):
    """An array of shape (channels, rows, columns)."""
    from PIL import Image

    image = image.convert("L" if color_mode == "grey" else "RGB")
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR, reducing_gap=3.0)
    pixels = np.asarray(image)
    return pixels[np.newaxis] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)


def _extracted(path, extract, image):
    """What the user's function gives, checked."""
    try:
        given = extract(image)
    except Exception as error:
        error.add_note(f"extract was called with the image {path!r} of shape {image.shape}.")
        raise
    if not (isinstance(given, (tuple, list)) and len(given) == 2):
        raise TypeError(
            f"extract must return (crops, boxes). Got {type(given).__name__} for {path!r}."
        )
    try:
        crops, boxes = np.asarray(given[0]), np.asarray(given[1])
    except ValueError as error:
        raise ValueError(
            f"extract must return crops of one shape, and a box for each. Got others for {path!r} "
            f"({error}); resize the crops, or cut windows of one size."
        ) from error
    if crops.shape[:1] == boxes.shape[:1] == (0,):
        return crops, boxes
    if crops.ndim == 4 and crops.shape[1] not in (1, 3):
        crops = np.moveaxis(crops, -1, 1)
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1] not in (1, 3) or not crops.size:
        raise ValueError(
            "extract must return crops of type uint8 and shape (n_cells, 3, rows, columns) or "
            f"(n_cells, rows, columns, 3). Got {crops.dtype} and {np.shape(given[0])} for "
            f"{path!r}. Where there is no cell, return [], []."
        )
    if boxes.shape != (len(crops), 4) or boxes.dtype.kind not in "iuf":
        raise ValueError(
            f"extract must return a box (row_min, col_min, row_max, col_max) for each of its "
            f"{len(crops)} crops. Got {boxes.dtype} of shape {boxes.shape} for {path!r}."
        )
    if not np.isfinite(boxes).all():
        row = int(np.argmin(np.isfinite(boxes).all(axis=1)))
        raise ValueError(f"extract gives the box {boxes[row].tolist()} for {path!r}: not finite.")
    return crops, boxes


def _in_form(crops, size, color_mode):
    """Crops in the wanted size and colours, (k, channels, rows, columns)."""
    from PIL import Image

    n_channels = 1 if color_mode == "grey" else 3
    if crops.shape[1] == n_channels and size in (None, crops.shape[2:]):
        return crops
    last = np.ascontiguousarray(np.moveaxis(crops, 1, -1))
    images = (Image.fromarray(crop[:, :, 0] if crop.shape[2] == 1 else crop) for crop in last)
    return np.stack([_resized(image, size, color_mode) for image in images])
