"""import milkit is quick because it loads nothing."""

import subprocess
import sys

import pytest

import milkit

HEAVY = [
    "cvxopt",
    "joblib",
    "matplotlib",
    "numpy",
    "pandas",
    "PIL",
    "scipy",
    "skimage",
    "sklearn",
    "torch",
    "xgboost",
]


def modules_after(code):
    """Names of the modules that a fresh interpreter has loaded after running ``code``."""
    code += "\nimport sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy():
    loaded = modules_after("import milkit; dir(milkit); milkit.__version__")
    assert not loaded & set(HEAVY)
    assert {name for name in loaded if name.startswith("milkit.")} == set()


def test_bag_array_needs_numpy_only():
    code = """
from milkit import BagArray
import numpy as np
X = BagArray.from_list([np.ones((2, 3)), np.ones((1, 3))], groups=["ann", "bob"])
repr(X[[1]]), X.map(np.exp).select_instances([True, True, True]).compact().groups
"""
    assert modules_after(code) & set(HEAVY) == {"numpy"}


def test_validation_loads_no_estimators():
    loaded = modules_after("import milkit.base, milkit.utils.validation")
    assert not loaded & {"torch", "cvxopt", "xgboost", "matplotlib"}
    heavy = {"svm", "linear_model", "ensemble", "model_selection", "metrics", "pipeline"}
    assert not loaded & {f"sklearn.{name}" for name in heavy}


@pytest.mark.parametrize(
    "code",
    [
        "from milkit import MISVM",
        "from milkit import SetKernel",
        "from milkit import BagStatistics",
        "from milkit import InstanceTransformer",
        "import milkit.model_selection",
        "import milkit.metrics",
        "import milkit.inspection",
        "import milkit.datasets",
        "import milkit.image; dir(milkit.image)",
    ],
)
def test_only_the_networks_load_torch(code):
    heavy = {"torch", "cvxopt", "xgboost", "matplotlib", "PIL", "skimage"}
    assert not modules_after(code) & heavy


def test_image_steps_with_networks_are_loaded_when_asked_for():
    code = """
import milkit.image
names = {"ConvAutoencoderFeatures", "ModuleFeatures"}
assert names <= set(dir(milkit.image)) & set(milkit.image.__all__)
assert not names & set(vars(milkit.image))
from milkit.image import *
for name in names:
    assert vars(milkit.image)[name] is globals()[name]
"""
    assert "torch" in modules_after(code)
    with pytest.raises(AttributeError, match=r"module 'milkit\.image' has no attribute 'Cells'"):
        milkit.image.Cells  # noqa: B018


@pytest.mark.parametrize("name", milkit.__all__)
def test_lazy_names(name):
    code = f"""
import milkit
assert {name!r} in dir(milkit) and {name!r} not in vars(milkit)
value = milkit.{name}
assert vars(milkit)[{name!r}] is value  # the second access is a plain one
from milkit import {name}
assert {name} is value and value.__name__ == {name!r}
from importlib import import_module
public = value.__module__.partition("._")[0]
assert getattr(import_module(public), {name!r}) is value
"""
    assert "milkit" in modules_after(code)


@pytest.mark.parametrize("name", sorted(set(dir(milkit)) & set(milkit._SUBPACKAGES)))
def test_lazy_subpackages(name):
    assert getattr(milkit, name).__name__ == f"milkit.{name}"


def test_dir_lists_what_there_is():
    assert set(milkit.__all__) <= set(dir(milkit))
    assert {"bags", "base", "exceptions", "utils", "__version__"} <= set(dir(milkit))
    assert milkit.__all__ == sorted(milkit.__all__)


def test_star_import():
    code = "import milkit\nassert milkit.__all__\nfrom milkit import BagArray"
    assert "milkit.bags" in modules_after(code)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="module 'milkit' has no attribute 'SVM'"):
        milkit.SVM  # noqa: B018
    assert not hasattr(milkit, "fit")
    with pytest.raises(ImportError, match="cannot import name 'Bags'"):
        from milkit import Bags  # noqa: F401
