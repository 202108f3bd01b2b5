"""What holds for every step on images: the contract of estimators, checked with images."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags

import milkit.image
from milkit import BagArray, InstanceTransformer
from milkit.image import _color, _segmentation
from milkit.neural import _images
from milkit.utils import _bag_check_tools, _bag_checks

from .test_common import ALL_ESTIMATORS, IMAGES_ONLY

STEPS = [step for step in ALL_ESTIMATORS if type(step).__module__.startswith("milkit.image.")]
SHAPE = (3, 8, 9)
DTYPES = (np.uint8, np.float32)

every_step = pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def image_problem(estimator, n_classes=2, seed=0, dtype=np.uint8):
    """Bags of pale images with a coloured square, and labels: what the bag checks are run on."""
    rng = np.random.default_rng(seed)
    bags = []
    for i in range(_bag_check_tools.N_BAGS):
        images = 220 - rng.integers(0, 9, size=(1 + (5 * i + 2) % 7, *SHAPE))
        for image in images:
            row, column = rng.integers(0, 5, 2)
            image[:, row : row + 4, column : column + 4] = rng.integers(40, 160, (3, 1, 1))
        bags.append(images.astype(np.uint8) if dtype == np.uint8 else (images / 255).astype(dtype))
    return bags, np.arange(len(bags)) // 2 % n_classes


def make_bags(dtype=np.uint8):
    return image_problem(None, dtype=dtype)[0]


def fitted(step, X):
    return _bag_check_tools.fit(step, X, None)


def test_no_step_is_left_out():
    names = {type(step).__name__ for step in STEPS}
    assert names >= IMAGES_ONLY
    assert names == {
        name for name in milkit.image.__all__ if hasattr(getattr(milkit.image, name), "transform")
    }


# -- milkit's checks ------------------------------------------------------------------------------

# Bag checks that make vectors by themselves, or are about what no step on images has. Their like
# for images is below, or in the tests of the step.
NOT_ON_IMAGES = {
    "check_bags_bare_bag": "a bare bag of images has four dimensions and is refused as ambiguous",
    "check_bags_containers": "makes a 3-D array of bags of vectors",
    "check_bags_cross_validation": "takes the means of vectors",
    "check_bags_dtypes": "integers are not the same as floats in images",
    "check_bags_pickle_size": "makes a store of vectors",
    "check_bags_sizes": "makes bags of vectors",
    "check_bags_width": "takes bags with fewer features",
}
CHECKS = [check for check in _bag_checks.CHECKS if check.__name__ not in NOT_ON_IMAGES]


def test_checks_that_do_not_apply_have_a_reason():
    assert NOT_ON_IMAGES.keys() <= {check.__name__ for check in _bag_checks.CHECKS}
    assert all(len(reason.split()) > 3 for reason in NOT_ON_IMAGES.values())


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@every_dtype
@every_step
def test_bag_checks(step, dtype, check, monkeypatch):
    if check.__name__ == "check_bags_nonfinite" and dtype == np.uint8:
        pytest.skip("Bytes are finite.")
    for module in (_bag_checks, _bag_check_tools):
        monkeypatch.setattr(module, "make_problem", partial(image_problem, dtype=dtype))
    check(type(step).__name__, step)


# -- scikit-learn's checks -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "check_do_not_raise_errors_in_init_or_set_params",
        "check_estimator_cloneable",
        "check_estimator_repr",
        "check_estimator_tags_renamed",
        "check_get_params_invariance",
        "check_mixin_order",
        "check_no_attributes_set_in_init",
        "check_set_params",
        "check_valid_tag_types",
    ],
)
@every_step
def test_sklearn_checks_that_need_no_table(step, name):
    getattr(estimator_checks, name)(type(step).__name__, clone(step))


@every_step
def test_a_table_is_refused_where_the_tags_say_so(step):
    table = np.arange(20.0).reshape(5, 4)
    if get_tags(step).input_tags.two_d_array:
        assert clone(step).fit_transform(table).shape == table.shape
        return
    for X in (table, [table], pd.DataFrame(table, columns=list("abcd"))):
        with pytest.raises(ValueError, match=r"shape \(4,\)"):
            clone(step).fit(X)


# -- containers and memory ---------------------------------------------------------------------


def containers(bags):
    objects = _bag_check_tools.object_array(bags)
    series = pd.Series(objects)
    yield from (tuple(bags), objects, objects[:, None], series, BagArray.from_list(bags))
    yield pd.DataFrame({"bag": series, "label": np.arange(len(bags))})


@every_dtype
@every_step
def test_containers(step, dtype):
    bags = make_bags(dtype)
    model = fitted(step, bags)
    expected = model.transform(bags)
    assert isinstance(expected, BagArray)
    for X in containers(bags):
        for out in (model.transform(X), fitted(step, X).transform(bags)):
            np.testing.assert_array_equal(out.instances, expected.instances)
            np.testing.assert_array_equal(out.offsets, expected.offsets)


@every_dtype
@every_step
def test_memory_of_any_order(step, dtype, tmp_path):
    """Columns first, every second image, other byte order, or a file mapped for reading."""
    bags = make_bags(dtype)
    model = fitted(step, bags)
    expected = model.transform(bags).instances
    X = BagArray.from_list(bags)
    np.save(tmp_path / "images.npy", X.instances)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    twice = np.repeat(X.instances, 2, axis=0)[::2]
    variants = [
        [np.asfortranarray(bag) for bag in bags],
        [bag.astype(bag.dtype.newbyteorder()) for bag in bags],
        BagArray(np.asfortranarray(X.instances), X.offsets),
        BagArray(twice, X.offsets),
        BagArray(np.ascontiguousarray(X.instances[..., ::-1])[..., ::-1], X.offsets),
        BagArray(mapped, X.offsets),
    ]
    for variant in variants:
        np.testing.assert_array_equal(model.transform(variant).instances, expected)
        actual = fitted(step, variant).transform(variant).instances
        np.testing.assert_array_equal(actual, expected)


@every_step
def test_half_and_double_precision_are_like_single(step):
    bags = make_bags(np.float16)
    expected = fitted(step, [bag.astype(np.float32) for bag in bags])
    expected = expected.transform([bag.astype(np.float32) for bag in bags]).instances
    for dtype in (np.float16, np.float64):
        X = [bag.astype(dtype) for bag in bags]
        actual = fitted(step, X).transform(X).instances
        np.testing.assert_allclose(actual, expected, rtol=2e-3, atol=2e-3)


@every_step
def test_a_few_images_at_a_time(step, monkeypatch):
    """How many are worked on together, and in which bags they are, changes no image."""
    bags = make_bags()
    model = fitted(step, bags)
    alone = model.transform(bags[:2])
    among = [bags[0], np.concatenate(bags), bags[1]]
    whole = model.transform(among)
    assert whole.sizes.tolist() == [len(bag) for bag in among]
    monkeypatch.setattr(_images, "_CHUNK_NUMBERS", 1)
    monkeypatch.setattr(_color, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(_segmentation, "_BLOCK_PIXELS", 500)
    for out in (whole, model.transform(among)):
        for actual, expected in ((out[0], alone[0]), (out[1], whole[1]), (out[2], alone[1])):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@every_step
def test_a_bare_bag_of_images_is_refused(step):
    model = fitted(step, make_bags())
    for call in (model.transform, clone(step).fit):
        with pytest.raises(ValueError, match="ambiguous"):
            call(make_bags()[2])


@every_step
def test_bags_of_other_images_are_refused(step):
    bags = make_bags()
    model = fitted(step, bags)
    other = [*bags[:3], bags[3][:, :, 1:], *bags[4:]]
    for call in (model.transform, clone(step).fit):
        with pytest.raises(ValueError, match=r"Bag 3 has instances of shape \(3, 7, 9\)"):
            call(other)
    with pytest.raises(ValueError, match=r"shape \(3, 7, 9\).* fitted on .* shape \(3, 8, 9\)"):
        model.transform([bag[:, :, 1:] for bag in bags])


# -- scikit-learn's tools -----------------------------------------------------------------------


@every_dtype
@every_step
def test_in_a_pipeline_with_tables_behind_it(step, dtype):
    X = BagArray.from_list(make_bags(dtype), groups=_bag_check_tools.make_groups())
    pipeline = make_pipeline(clone(step), InstanceTransformer(PCA(2), flatten=True))
    pipeline.set_output(transform="pandas")
    out = pickle.loads(pickle.dumps(pipeline.fit(X))).transform(X)
    assert isinstance(out, BagArray) and out.n_features == 2
    np.testing.assert_array_equal(out.groups, X.groups)


@every_step
def test_names_of_vectors(step):
    """Steps that give vectors name their numbers; images have no names."""
    model = fitted(step, make_bags())
    out = model.transform(make_bags())
    if len(out.instance_shape) > 1:
        assert out.feature_names is None
        return
    names = model.get_feature_names_out()
    assert names.dtype == object and len(set(names)) == out.n_features
    np.testing.assert_array_equal(out.feature_names, names)
    assert not hasattr(model, "feature_names_in_")


@every_step
def test_attributes_of_images(step):
    model = fitted(step, make_bags())
    assert model.instance_shape_ == SHAPE
    assert model.n_features_in_ == 3 * 8 * 9
    assert model.fitted_on_table_ is False


@every_step
def test_chains_of_steps(step):
    """Images that come out go into the next step as they are."""
    images = fitted(step, make_bags()).transform(make_bags())
    if len(images.instance_shape) == 3:
        assert images.dtype == np.uint8
        for other in STEPS:
            fitted(other, images).transform(images)
