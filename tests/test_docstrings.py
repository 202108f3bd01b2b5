"""Every public name has a numpydoc docstring with shapes, examples and references."""

import inspect
import re

import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

from .test_common import public_estimators, public_names

# numpydoc's codes that hold everywhere. Not asked for: an extended summary (ES01), a See Also
# section (SA01), a description of what the name says (PR07, RT03), infinitives (SS05), and the
# form of what is returned (RT02, RT04, RT05).
CODES = {
    *("GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),
    *("SS01", "SS02", "SS03", "SS04", "SS06"),
    *("PR01", "PR02", "PR03", "PR04", "PR05", "PR06", "PR08", "PR09", "PR10"),
    *("RT01", "YD01", "SA04"),
}
EXCEPTIONS = {
    ("milkit.bags.BagArray.to_list", "RT01"): "its summary is what it returns",
    ("milkit.utils.validation.reads_as_table", "SS03"): "its summary is a question",
}
# Estimators without an algorithm of their own, so without a paper.
WITHOUT_REFERENCES = {"InstanceTransformer"}
# Functions whose method is somebody's.
WITH_REFERENCES = {
    "milkit.inspection.deletion_curve",
    "milkit.inspection.insertion_curve",
    "milkit.inspection.instance_occlusion",
    "milkit.kernels.set_kernel",
    "milkit.kernels.statistic_kernel",
    "milkit.metrics.bootstrap_interval",
    "milkit.metrics.cross_val_interval",
    "milkit.model_selection.group_permutation_test",
}
# Functions that refuse nothing themselves.
WITHOUT_RAISES = {
    "milkit.base.split_by_bag": "cuts an estimator's own values, which belong to its bags",
    "milkit.utils.validation.reads_as_table": "answers a question about any object",
}
METHODS_THAT_RAISE = ("fit", "fit_transform", "split")
SECTIONS_WITH_SHAPES = ("Parameters", "Attributes", "Returns", "Yields")

NAMES = public_names()


def _methods(name, cls):
    """Public methods that milkit itself wrote; scikit-learn's have scikit-learn's docstrings."""
    for method, value in inspect.getmembers(cls, callable):
        module = getattr(inspect.unwrap(value), "__module__", None) or ""
        if not method.startswith("_") and module.startswith("milkit"):
            yield f"{name}.{method}", value


DOCUMENTED = dict(NAMES)
for _name, _value in NAMES.items():
    if inspect.isclass(_value):
        DOCUMENTED.update(_methods(_name, _value))


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_numpydoc_accepts_it(name):
    errors = [
        f"{code}: {message}"
        for code, message in validate(name)["errors"]
        if code in CODES and (name, code) not in EXCEPTIONS
    ]
    assert not errors, f"The docstring of {name}: {errors}"


@pytest.mark.parametrize(("name", "code"), sorted(EXCEPTIONS))
def test_exceptions_are_needed(name, code):
    assert code in {code for code, _ in validate(name)["errors"]}


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_arrays_have_a_shape(name):
    document = get_doc_object(DOCUMENTED[name])
    without = [
        f"{section}: {item.name} : {item.type}"
        for section in SECTIONS_WITH_SHAPES
        for item in document[section]
        if re.search(r"\bndarray\b|array-like\b|\barray\b", item.type)
        and not re.search(r"shape|length|long\b|BagArray", item.type)
    ]
    assert not without, f"Arrays of {name} without a shape: {without}"


@pytest.mark.parametrize(
    "name",
    sorted(n for n in NAMES if not n.startswith(("milkit.base.", "milkit.exceptions."))),
)
def test_there_is_an_example(name):
    examples = "\n".join(get_doc_object(NAMES[name])["Examples"])
    assert ">>>" in examples, f"{name} has no example in its docstring."
    last = name.rpartition(".")[2]
    assert last in examples, f"The example of {name} does not use it."


@pytest.mark.parametrize("cls", public_estimators(), ids=lambda cls: cls.__name__)
def test_every_algorithm_has_a_reference(cls):
    references = "\n".join(get_doc_object(cls)["References"])
    if cls.__name__ in WITHOUT_REFERENCES:
        assert not references
    else:
        assert re.search(r"\b(19|20)\d\d\b", references), f"{cls.__name__} names no paper."


@pytest.mark.parametrize("cls", public_estimators(), ids=lambda cls: cls.__name__)
def test_fitted_attributes_are_documented(cls):
    attributes = {item.name for item in get_doc_object(cls)["Attributes"]}
    assert {"n_features_in_", "feature_names_in_"} <= attributes


@pytest.mark.parametrize("name", sorted(WITH_REFERENCES))
def test_a_method_of_somebody_has_a_reference(name):
    references = "\n".join(get_doc_object(NAMES[name])["References"])
    assert re.search(r"\b(19|20)\d\d\b", references), f"{name} names no paper."


def _raises(name):
    return [item for item in get_doc_object(DOCUMENTED[name])["Raises"] if "".join(item.desc)]


@pytest.mark.parametrize(
    "name",
    sorted(
        name
        for name, value in DOCUMENTED.items()
        if (name in NAMES and inspect.isfunction(value))
        or (name not in NAMES and name.rpartition(".")[2] in METHODS_THAT_RAISE)
    ),
)
def test_it_says_what_it_raises(name):
    if name in WITHOUT_RAISES:
        assert not _raises(name)
    else:
        assert _raises(name), f"{name} does not say what it raises."
