"""milkit: scikit-learn for bags.

Multiple instance learning with estimators that plug into scikit-learn's own tools.
Names are loaded when they are first asked for, so ``import milkit`` is quick.
"""

from importlib import import_module

__version__ = "0.1.0"

_NAMES = {
    "AttentionMILClassifier": "milkit.neural",
    "BagArray": "milkit.bags",
    "BagStatistics": "milkit.embedding",
    "ClinicalFusion": "milkit.fusion",
    "InstanceTransformer": "milkit.preprocessing",
    "InstanceVotingClassifier": "milkit.instance",
    "MISVM": "milkit.svm",
    "OneClassInstanceFilter": "milkit.preprocessing",
    "SelfTrainingMILClassifier": "milkit.instance",
    "SetKernel": "milkit.kernels",
}
_SUBPACKAGES = [
    "bags",
    "base",
    "datasets",
    "embedding",
    "exceptions",
    "fusion",
    "image",
    "inspection",
    "instance",
    "kernels",
    "metrics",
    "model_selection",
    "neural",
    "preprocessing",
    "svm",
    "utils",
]

__all__ = sorted(_NAMES)


def __getattr__(name):
    if name in _NAMES:
        value = getattr(import_module(_NAMES[name]), name)
    elif name in _SUBPACKAGES:
        value = import_module(f"milkit.{name}")
    else:
        raise AttributeError(f"module 'milkit' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_NAMES, *_SUBPACKAGES})
