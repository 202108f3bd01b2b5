"""From images to bags: loading, segmentation, detection of cells, and features without labels."""

from importlib import import_module

from milkit.image._color import ColorStatisticsMatcher
from milkit.image._cropping import crop_instances
from milkit.image._detection import detect_cells
from milkit.image._extraction import extract_cells
from milkit.image._loading import load_image_bags
from milkit.image._segmentation import SaturationSegmenter

__all__ = [
    "ColorStatisticsMatcher",
    "ConvAutoencoderFeatures",
    "ModuleFeatures",
    "SaturationSegmenter",
    "crop_instances",
    "detect_cells",
    "extract_cells",
    "load_image_bags",
]

# These load torch, and so they are loaded when they are first asked for.
_NETWORKS = {
    "ConvAutoencoderFeatures": "milkit.image._autoencoder",
    "ModuleFeatures": "milkit.image._module_features",
}


def __getattr__(name):
    if name not in _NETWORKS:
        raise AttributeError(f"module 'milkit.image' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_NETWORKS[name]), name)
    return value


def __dir__():
    return sorted({*globals(), *_NETWORKS})
