"""ColorStatisticsMatcher: each unit gets the mean and deviation of the reference."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline

from milkit import BagArray
from milkit.exceptions import BagShapeError
from milkit.image import ColorStatisticsMatcher
from milkit.image import _color as module


def make_images(seed=0, dtype=np.float64, sizes=(3, 1, 4, 2), shape=(3, 5, 7)):
    """Bags of images, each bag with its own brightness and contrast in each channel."""
    rng = np.random.default_rng(seed)
    bags = []
    for size in sizes:
        mean = rng.uniform(90, 160, size=(shape[0], 1, 1))
        scale = rng.uniform(5, 20, size=(shape[0], 1, 1))
        bags.append((mean + scale * rng.standard_normal((size, *shape))).astype(dtype))
    return BagArray.from_list(
        bags,
        names=[f"bag-{i}" for i in range(len(sizes))],
        groups=np.array(["x", "y", "x", "y"])[: len(sizes)],
        covariates={"age": np.arange(len(sizes))},
        instance_data={"box": rng.integers(9, size=(sum(sizes), 4))},
    )


def pixels_of(images, channel):
    return np.concatenate([np.asarray(image, float)[channel].ravel() for image in images])


def by_loops(X, reference, units):
    """The formula, one channel of one image after the other."""
    images = X.flat()[0]
    out = np.empty(images.shape)
    for unit in set(units):
        members = [i for i in range(len(images)) if units[i] == unit]
        for channel in range(images.shape[1]):
            aim = pixels_of(reference, channel)
            own = pixels_of([images[i] for i in members], channel)
            for i in members:
                z = (images[i, channel].astype(float) - own.mean()) / own.std()
                out[i, channel] = aim.mean() + aim.std() * z
    return out


def units_of(X, per):
    bag = np.repeat(np.arange(len(X)), X.sizes)
    return {
        "bag": bag,
        "instance": np.arange(len(bag)),
        "group": X.groups[bag],
        "dataset": np.zeros(len(bag)),
    }[per].tolist()


PER = ["bag", "instance", "group", "dataset"]


@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_it_is_the_formula(per, dtype):
    X, new = make_images(0, dtype), make_images(1, dtype)
    matcher = ColorStatisticsMatcher(per=per).fit(X)
    matched = matcher.transform(new)
    expected = by_loops(new, X.flat()[0], units_of(new, per))
    assert matched.dtype == dtype
    if dtype == np.uint8:
        np.testing.assert_array_equal(matched.flat()[0], np.clip(np.rint(expected), 0, 255))
    else:
        rtol = 1e-12 if dtype == np.float64 else 1e-6
        np.testing.assert_allclose(matched.flat()[0], expected, rtol=rtol)


@pytest.mark.parametrize("per", PER)
def test_each_unit_has_the_statistics_of_the_reference(per):
    X, new = make_images(0), make_images(1)
    matcher = ColorStatisticsMatcher(per=per).fit(X)
    matched = matcher.transform(new).flat()[0]
    units = np.array(units_of(new, per))
    for unit in set(units.tolist()):
        own = matched[units == unit]
        np.testing.assert_allclose(own.mean(axis=(0, 2, 3)), matcher.mean_)
        np.testing.assert_allclose(own.std(axis=(0, 2, 3)), matcher.scale_)


def test_the_fitted_statistics():
    X = make_images()
    matcher = ColorStatisticsMatcher().fit(X)
    for channel in range(3):
        pixels = pixels_of(X.flat()[0], channel)
        assert matcher.mean_[channel] == pytest.approx(pixels.mean())
        assert matcher.scale_[channel] == pytest.approx(pixels.std())


def test_everything_beside_the_images_is_kept():
    X = make_images()
    matched = ColorStatisticsMatcher().fit_transform(X)
    assert matched.names.tolist() == X.names.tolist()
    assert matched.groups.tolist() == X.groups.tolist()
    assert matched.covariates.equals(X.covariates)
    np.testing.assert_array_equal(matched.instance_data["box"], X.instance_data["box"])
    assert matched.sizes.tolist() == X.sizes.tolist()


def test_the_data_set_itself_stays_as_it_is():
    """Brought to its own statistics, all at once, nothing changes."""
    X = make_images()
    same = ColorStatisticsMatcher(per="dataset").fit_transform(X)
    np.testing.assert_allclose(same.flat()[0], X.flat()[0])


def test_a_change_of_stain_is_undone():
    """An affine change of each channel of a bag does not matter."""
    X = make_images()
    rng = np.random.default_rng(5)
    stained = BagArray.from_list(
        [rng.uniform(0.5, 2, (3, 1, 1)) * bag + rng.uniform(-9, 9, (3, 1, 1)) for bag in X]
    )
    matcher = ColorStatisticsMatcher().fit(X)
    expected = matcher.transform(X).flat()[0]
    np.testing.assert_allclose(matcher.transform(stained).flat()[0], expected)


@pytest.mark.parametrize("form", ["bags", "list", "images", "one image"])
def test_a_given_reference(form):
    X, target = make_images(0), make_images(2, sizes=(2, 3), shape=(3, 9, 4))
    images = target.flat()[0]
    reference = {
        "bags": target,
        "list": target.to_list(),
        "images": images,
        "one image": images[0],
    }[form]
    matcher = ColorStatisticsMatcher(reference).fit(X)
    aim = images[:1] if form == "one image" else images
    expected = by_loops(X, aim, units_of(X, "bag"))
    np.testing.assert_allclose(matcher.transform(X).flat()[0], expected)
    # The bags of fit have no part in it.
    other = clone(matcher).fit(make_images(7))
    np.testing.assert_array_equal(other.mean_, matcher.mean_)


def test_bytes_are_cut_off_and_not_wrapped():
    rng = np.random.default_rng(0)
    X = [rng.integers(100, 104, size=(2, 1, 8, 8)).astype(np.uint8)]
    reference = rng.choice([0, 255], size=(1, 1, 8, 8), p=[0.2, 0.8]).astype(np.uint8)
    matched = ColorStatisticsMatcher(reference).fit(X).transform(X)[0]
    assert matched.min() >= 0 and matched.max() == 255
    order = np.argsort(X[0].ravel(), kind="stable")
    assert np.all(np.diff(matched.ravel()[order].astype(int)) >= 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("per", PER)
def test_constant_channels(dtype, per):
    X = make_images(0, dtype)
    flat = X.flat()[0].copy()
    flat[:, 1] = 0.1 if dtype != np.uint8 else 77
    X = X.with_instances(flat)
    reference = make_images(3, dtype).flat()[0]
    matched = ColorStatisticsMatcher(reference, per=per).fit_transform(X).flat()[0]
    assert np.isfinite(matched).all()
    mean = pixels_of(reference, 1).mean()
    np.testing.assert_allclose(matched[:, 1], np.rint(mean) if dtype == np.uint8 else mean)


def test_a_constant_reference():
    X = make_images(0)
    matched = ColorStatisticsMatcher(np.full((3, 4, 4), 5.0)).fit_transform(X)
    np.testing.assert_allclose(matched.flat()[0], 5.0)


def test_a_small_deviation_far_from_zero_is_not_taken_for_constant():
    X = make_images(0)
    far = X.with_instances(1e6 + 1e-3 * X.flat()[0])
    expected = ColorStatisticsMatcher(X, per="bag").fit_transform(X).flat()[0]
    actual = ColorStatisticsMatcher(X, per="bag").fit_transform(far).flat()[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize("block_bytes", [1, 250, 10**9])
def test_blocks_do_not_matter(monkeypatch, block_bytes):
    X = make_images(0, np.uint8)
    expected = ColorStatisticsMatcher().fit_transform(X).flat()[0]
    monkeypatch.setattr(module, "_BLOCK_BYTES", block_bytes)
    np.testing.assert_array_equal(ColorStatisticsMatcher().fit_transform(X).flat()[0], expected)


def test_other_bags_do_not_matter():
    X = make_images(0, np.uint8)
    matcher = ColorStatisticsMatcher().fit(X)
    whole = matcher.transform(X)
    for i in range(len(X)):
        np.testing.assert_array_equal(matcher.transform(X[[i]])[0], whole[i])


def test_groups_that_lie_apart():
    X = make_images(1)
    matched = ColorStatisticsMatcher(per="group").fit_transform(X)
    order = np.argsort(X.groups, kind="stable")
    sorted_first = ColorStatisticsMatcher(per="group").fit(X).transform(X[order])
    for i, bag in zip(order, sorted_first, strict=True):
        np.testing.assert_allclose(bag, matched[i])


def test_grey_images():
    X = make_images(0, np.uint8, shape=(1, 6, 6))
    matched = ColorStatisticsMatcher().fit_transform(X)
    assert matched.instance_shape == (1, 6, 6) and matched.dtype == np.uint8


def test_vectors_are_images_of_one_pixel():
    rng = np.random.default_rng(0)
    bags = [rng.normal(size=(5, 3)), rng.normal(3, 2, size=(7, 3))]
    matched = ColorStatisticsMatcher().fit_transform(bags)
    everything = np.concatenate(bags)
    for bag in matched:
        np.testing.assert_allclose(bag.mean(axis=0), everything.mean(axis=0))
        np.testing.assert_allclose(bag.std(axis=0), everything.std(axis=0))


def test_in_a_pipeline():
    X = make_images(0, np.uint8)
    twice = make_pipeline(ColorStatisticsMatcher(per="dataset"), ColorStatisticsMatcher())
    assert twice.fit_transform(X).dtype == np.uint8


# -- what is refused ------------------------------------------------------------------------------


def test_bytes_and_floats_are_not_mixed():
    bytes_, floats = make_images(0, np.uint8), make_images(0)
    with pytest.raises(ValueError, match=r"fitted on images of bytes .*, and got floats"):
        ColorStatisticsMatcher().fit(bytes_).transform(floats)
    with pytest.raises(ValueError, match=r"fitted on images of floats, and got bytes"):
        ColorStatisticsMatcher().fit(floats).transform(bytes_)
    with pytest.raises(ValueError, match="reference is of type uint8 and X of float64"):
        ColorStatisticsMatcher(bytes_).fit(floats)


@pytest.mark.parametrize(
    ("reference", "match"),
    [
        (np.zeros((2, 1, 4, 4)), "3 channels.* Got shape \\(1, 4, 4\\)"),
        (np.zeros((4, 4)), "3 channels"),
        (np.zeros((0, 3, 4, 4)), "3 channels"),
        ([np.zeros((3, 4, 4))], r"np\.stack\(images\)"),
        (np.full((1, 3, 4, 4), np.nan), "NaN"),
    ],
)
def test_a_reference_that_cannot_be(reference, match):
    with pytest.raises(ValueError, match=match):
        ColorStatisticsMatcher(reference).fit(make_images())


def test_images_without_channels():
    with pytest.raises(BagShapeError, match=r"shape \(4, 4\); images have shape \(channels"):
        ColorStatisticsMatcher().fit([np.zeros((2, 4, 4)), np.ones((3, 4, 4))])


def test_images_with_channels_last():
    images = make_images().flat()[0].transpose(0, 2, 3, 1)
    with pytest.raises(BagShapeError, match=r"channels last.*transpose\(0, 3, 1, 2\)"):
        ColorStatisticsMatcher().fit([images])


def test_groups_are_needed_for_groups():
    X = make_images().with_columns(groups=None)
    matcher = ColorStatisticsMatcher(per="group").fit(X)
    with pytest.raises(ValueError, match="per='group' needs bags with groups"):
        matcher.transform(X)


def test_an_unknown_unit():
    with pytest.raises(ValueError, match="'per' parameter"):
        ColorStatisticsMatcher(per="patient").fit(make_images())
