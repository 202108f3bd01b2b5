"""What the displays have in common where they draw."""

from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np

from milkit.inspection._pictures import as_pictures

__all__ = ["ColorScale", "color_scale", "draw_image", "import_pyplot", "legend", "number", "plain"]

# Matthew Petroff's ten colours, which are told apart with the common kinds of colour blindness.
# The lightest of them comes last.
_COLORS = (
    *("#3f90da", "#e76300", "#832db6", "#bd1f01", "#717581"),
    *("#ffa90e", "#a96b59", "#94a4a2", "#b9ac70", "#92dadd"),
)
_DASHES = ("-", "--", "-.", ":")
GREY = "#8a8a8a"
WITNESS = "#ffa90e"
_ATTENTION, _EVIDENCE = "viridis", "coolwarm"
# Above this many marks, vector formats get them as pixels.
RASTERIZE_ABOVE = 2000
# Pixels of a side that are worth drawing.
_MAX_SIDE = 2000


def import_pyplot(caller):
    """Pyplot, or an error that says how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} needs Matplotlib, which is not installed: pip install milkit[plot]"
        ) from error
    return plt


def plain(text, length=40):
    """Text of a user on one line; draw it with ``parse_math=False``."""
    text = "".join(c if c.isprintable() else " " for c in str(text))
    if len(text) <= length:
        return text
    tail = (length - 1) // 2  # long names often differ in their ends alone
    return text[: length - 1 - tail] + "…" + text[-tail:]


def new_axes(caller, ax, **options):
    """The figure and axes to draw on."""
    plt = import_pyplot(caller)
    if ax is None:
        _, ax = plt.subplots(**{"layout": "constrained", **options})
    check_axes(ax)
    return ax.figure, ax


def check_axes(ax):
    """Refuse a figure, or an array of axes."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be a single Matplotlib Axes. Got {type(ax).__name__} instead.")


def set_title(ax, text, caption=""):
    """A title, with a line beneath it."""
    if caption:
        ax.set_title(f"{plain(text)}\n{caption}", parse_math=False, fontsize="medium")
    else:
        ax.set_title(plain(text), parse_math=False)


def legend(ax, handles, labels, **options):
    """A legend that takes its labels as they are, whatever signs are in them."""
    if not handles:
        return None
    drawn = ax.legend(handles, ["label"] * len(handles), **options)
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(plain(label))
    return drawn


def series_styles(n):
    """Color and dashes of each of n lines."""
    if n <= len(_COLORS):
        colors = _COLORS[:n]
    else:
        import matplotlib

        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.93, n))
    return [(color, _DASHES[i % len(_DASHES)]) for i, color in enumerate(colors)]


@dataclass
class ColorScale:
    """Numbers to colour, and how the colour bar reads.

    ``strength`` is between 0 and 1, the visible weight of a mark: strong ones come on top.
    """

    shown: np.ndarray
    strength: np.ndarray
    low: float
    high: float
    cmap: str
    label: str
    ticks: list
    tick_labels: list


def limits_of(values):
    """Least and greatest finite value, (0, 0) where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)


def scaled_attention(values, limits):
    """(a - min a) / (max a - min a), one half where all are equal."""
    low, high = limits
    if high > low:
        return (values - low) / (high - low)
    return np.where(np.isnan(values), np.nan, 0.5)


def color_scale(values, kind, label, limits, cmap=None):
    """Attention between its limits, evidence around zero.

    Parameters
    ----------
    values : ndarray of shape (n,)
    kind : {"evidence", "attention"}
    label : str
        What the values are.
    limits : tuple of float
        Least and greatest value in the whole bag.
    cmap : str or None
    """
    low, high = limits
    if kind == "attention":
        shown = scaled_attention(values, limits)
        ticks = [0, 0.5, 1] if high > low else [0.5]
        raw = [low + t * (high - low) for t in ticks]
        labels = [f"{t:g}  (raw {number(r)})" for t, r in zip(ticks, raw, strict=True)]
        if high == low:
            labels = [f"all equal  (raw {number(low)})"]
        label = "attention, scaled within the bag"
        return ColorScale(shown, shown, 0.0, 1.0, cmap or _ATTENTION, label, ticks, labels)
    limit = max(abs(low), abs(high)) or 1.0
    ticks = [-limit, -limit / 2, 0, limit / 2, limit]
    labels = [number(t, "+") for t in ticks]
    strength = np.abs(values) / limit
    return ColorScale(
        values,
        strength,
        -limit,
        limit,
        cmap or _EVIDENCE,
        f"{label} (+ for, − against)",
        ticks,
        labels,
    )


def color_bar(ax, mappable, scale):
    """A colour bar whose labels hold the raw values."""
    bar = ax.figure.colorbar(mappable, ax=ax, shrink=0.85)
    bar.set_ticks(scale.ticks, labels=scale.tick_labels)
    bar.ax.set_ylabel(scale.label, parse_math=False)
    return bar


def read_image(image, what="image"):
    """An image as (height, width) or (height, width, 1, 3 or 4) from an array or a file."""
    if isinstance(image, (str, PathLike)):
        return _from_file(image, what)
    if hasattr(image, "getexif"):
        return _from_pillow(image)
    if not hasattr(image, "__array__") and not isinstance(image, (list, tuple)):
        raise TypeError(
            f"{what} must be an array or the path of an image. Got {type(image).__name__} instead."
        )
    image = np.asarray(image)
    if image.dtype == bool:
        image = image.astype(np.uint8) * np.uint8(255)
    if image.dtype.kind not in "uif":
        raise ValueError(f"{what} must hold numbers. Got dtype {image.dtype} instead.")
    if image.ndim == 3 and image.shape[-1] not in (1, 3, 4) and image.shape[0] in (1, 3, 4):
        image = np.moveaxis(image, 0, -1)  # channels first, as networks have them
    if image.ndim not in (2, 3) or image.size == 0 or image.shape[2:] not in [(), (1,), (3,), (4,)]:
        raise ValueError(
            f"{what} must have shape (height, width), or (height, width, channels) with 1, 3 or 4 "
            f"channels. Got shape {image.shape} instead."
        )
    return image


def _from_file(path, what):
    """As the loader reads it, so that it is the image that instances were cut from."""
    from milkit.image._decode import read_image as decode  # Matplotlib brings Pillow

    found = decode(fspath(path), None, "rgb", None)
    if found.problem is not None:
        raise ValueError(f"{what}, {fspath(path)!r}: {found.problem}.")
    return np.moveaxis(found.pixels[0], 0, -1)


def _from_pillow(image):
    from PIL import ImageOps

    image = ImageOps.exif_transpose(image)
    if not image.mode.startswith(("I", "F")):  # numbers that are no bytes stay what they are
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    return np.asarray(image)


def rgb(image):
    """RGB bytes of an image from ``read_image``."""
    image = image[..., None] if image.ndim == 2 else image
    return as_pictures(np.moveaxis(image, -1, 0)[None])[0]


def draw_image(ax, image, extent=None, **options):
    """An image behind what is shown, thinned where it has more pixels than can be seen."""
    height, width = image.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5) if extent is None else extent
    step = -(-max(height, width) // _MAX_SIDE)
    options = {"origin": "upper", "aspect": "equal", **options}
    return ax.imshow(rgb(image[::step, ::step]), extent=extent, **options)


def number(value, sign=""):
    """Three digits, without an exponent where that is short, and a minus as on axes."""
    size = abs(float(f"{value:.2e}"))  # what is rounded up to 1 has fewer decimals
    if size == 0:
        return "0"
    kind = ".1e" if not 1e-3 <= size < 1e5 else f".{max(0, 2 - int(np.floor(np.log10(size))))}f"
    return f"{value:{sign}{kind}}".replace("-", "\N{MINUS SIGN}")


def count(n, what):
    """ "1 instance", "2 instances"."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"
