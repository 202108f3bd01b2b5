"""SaturationSegmenter: the stained cell of an image stays, the rest is blacked out."""

import colorsys
import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from milkit import BagArray, InstanceTransformer
from milkit.datasets import make_blood_smear_cohort
from milkit.exceptions import BagShapeError
from milkit.image import SaturationSegmenter
from milkit.image import _segmentation as module
from milkit.image._masks import closed, dilated, filled, saturation_levels, top_threshold


@pytest.fixture(scope="module")
def lymphocytes():
    return make_blood_smear_cohort(
        "lymphocytosis", scale=0.03, bag_scale=0.1, render=True, crop_size=48, random_state=0
    ).data


def noise_images(n=6, height=17, width=23, seed=0, dtype=np.uint8):
    images = np.random.default_rng(seed).integers(0, 256, size=(n, 3, height, width))
    return images.astype(np.uint8) if dtype == np.uint8 else (images / 255).astype(dtype)


def image_with_cells(*cells, height=40, width=40, dtype=np.uint8):
    """A pale image with squares (row, column, side) in the colour of a nucleus."""
    image = np.full((3, height, width), 230, dtype=np.uint8)
    for row, column, side in cells:
        square = image[:, row : row + side, column : column + side]
        square[:] = np.array([110, 60, 150], dtype=np.uint8)[:, None, None]
    return image if dtype == np.uint8 else (image / 255).astype(dtype)


# -- the parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_saturation_is_that_of_colorsys(dtype):
    images = noise_images(2, 5, 6, dtype=dtype)
    images[0, :, 0, 0] = 0
    unit = images / 255 if dtype == np.uint8 else images
    for image, levels in zip(unit, saturation_levels(images), strict=True):
        for (i, j), level in np.ndenumerate(levels):
            _, saturation, _ = colorsys.rgb_to_hsv(*image[:, i, j].tolist())
            assert abs(level - 255 * saturation) <= 0.5 + 1e-4


def spread(values, threshold):
    """Sum of squared distances to the means of the numbers up to, and above, a threshold."""
    parts = values[values <= threshold], values[values > threshold]
    return sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))


@pytest.mark.parametrize("seed", range(5))
def test_two_means_is_the_best_of_all_thresholds_and_no_worse_than_kmeans(seed):
    rng = np.random.default_rng(seed)
    values = np.r_[rng.normal(60, 20, 300), rng.normal(rng.uniform(90, 200), 25, 80)]
    values = np.clip(values, 0, 255).astype(np.uint8).astype(float)
    counts = np.bincount(values.astype(int), minlength=256)
    threshold = top_threshold(counts[None])[0]
    best = min(spread(values, t) for t in range(256))
    assert spread(values, threshold) == pytest.approx(best, rel=1e-12)
    kmeans = KMeans(2, n_init=10, random_state=0).fit(values[:, None])
    assert best <= kmeans.inertia_ * (1 + 1e-9)
    upper = kmeans.labels_ == kmeans.cluster_centers_.argmax()
    if best > kmeans.inertia_ * (1 - 1e-9):  # the same optimum, so the same clusters
        np.testing.assert_array_equal(values > threshold, upper)


def test_three_means_is_the_best_of_all_pairs_of_thresholds():
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 5, size=(4, 20)) * (rng.random((4, 20)) < 0.6)
    for row, threshold in zip(counts, top_threshold(counts, 3), strict=True):
        values = np.repeat(np.arange(20.0), row)
        costs = {}
        for low in range(20):
            for high in range(low, 20):
                parts = np.split(values, np.searchsorted(values, [low, high], side="right"))
                costs[low, high] = sum(((p - p.mean()) ** 2).sum() for p in parts if len(p))
        best = min(costs.values())
        assert min(c for (_, t), c in costs.items() if t == threshold) == pytest.approx(best)


def test_thresholds_of_few_levels():
    counts = np.zeros((3, 256), dtype=int)
    counts[0, 7] = 5  # constant
    counts[1, [3, 9]] = 4, 1
    counts[2, [0, 255]] = 1, 1
    for n_clusters in (2, 3, 4):
        threshold = top_threshold(counts, n_clusters)
        assert threshold[0] == -1
        assert 3 <= threshold[1] < 9 and 0 <= threshold[2] < 255


def octagon(radius):
    point = np.zeros((1, 2 * radius + 1, 2 * radius + 1), dtype=bool)
    point[0, radius, radius] = True
    return dilated(point, radius)[0]


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 9])
def test_dilation_and_closing_are_those_of_scipy(radius):
    masks = np.random.default_rng(radius).random((4, 30, 21)) < 0.04
    element = octagon(radius)
    for mask, grown, shut in zip(masks, dilated(masks, radius), closed(masks, radius), strict=True):
        np.testing.assert_array_equal(grown, ndimage.binary_dilation(mask, element))
        wide = np.pad(mask, 2 * radius + 1)  # so that the border plays no part
        inner = slice(2 * radius + 1, -2 * radius - 1)
        expected = ndimage.binary_erosion(
            ndimage.binary_dilation(mask, element), element, border_value=1
        )
        np.testing.assert_array_equal(shut, expected)
        assert np.all(shut >= ndimage.binary_closing(wide, element)[inner, inner])
        assert np.all(shut >= mask)


def test_the_structuring_element_is_nearly_a_disk():
    for radius in (4, 8, 16):
        rows, columns = np.nonzero(octagon(radius))
        assert rows.min() == 0 and rows.max() == 2 * radius
        far = np.hypot(rows - radius, columns - radius).max()
        assert far <= 1.12 * radius
        assert 1 < octagon(radius).sum() / (np.pi * (radius + 0.5) ** 2) < 1.1


def test_holes_are_filled_as_by_scipy():
    masks = np.random.default_rng(0).random((5, 25, 31)) < 0.55
    for mask, full in zip(masks, filled(masks), strict=True):
        np.testing.assert_array_equal(full, ndimage.binary_fill_holes(mask))


# -- the whole ---------------------------------------------------------------------------------


def reference_mask(image, closing_radius, margin, keep):
    """The method for one image: all thresholds tried, and scipy's morphology."""
    levels = saturation_levels(image[None])[0].astype(float)
    mask = levels > min(range(256), key=lambda t: spread(levels.ravel(), t))
    element = octagon(closing_radius)
    mask = ndimage.binary_erosion(ndimage.binary_dilation(mask, element), element, border_value=1)
    labels, n = ndimage.label(mask)
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    away = ((y + 0.5) / height - 0.5) ** 2 + ((x + 0.5) / width - 0.5) ** 2
    weight = np.exp(-away / (2 * 0.25**2)) if keep == "central" else np.ones_like(away)
    if keep != "all":
        mask = labels == 1 + np.argmax([weight[labels == i + 1].sum() for i in range(n)])
    return ndimage.binary_dilation(ndimage.binary_fill_holes(mask), octagon(margin))


@pytest.mark.parametrize("keep", ["central", "largest", "all"])
def test_masks_are_those_of_the_method_step_by_step(lymphocytes, keep):
    images = lymphocytes.instances[:12]
    masks = SaturationSegmenter(keep=keep, closing_radius=2, margin=1).mask([images])[0]
    for image, mask in zip(images, masks, strict=True):
        np.testing.assert_array_equal(mask, reference_mask(image, 2, 1, keep))


def test_the_rest_is_blacked_out_and_the_cell_is_untouched(lymphocytes):
    for background in (0, 128):
        segmenter = SaturationSegmenter(n_clusters=3, background=background)
        segmented = segmenter.transform(lymphocytes)
        masks = segmenter.mask(lymphocytes)
        assert [len(mask) for mask in masks] == lymphocytes.sizes.tolist()
        assert segmented.dtype == np.uint8
        mask = np.concatenate(masks)[:, None]
        images, out = lymphocytes.flat()[0], segmented.flat()[0]
        np.testing.assert_array_equal(out, np.where(mask, images, background))


def test_on_rendered_lymphocytes_it_finds_the_lymphocyte(lymphocytes):
    masks = np.concatenate(SaturationSegmenter(n_clusters=3).mask(lymphocytes))
    ious = []
    for mask, (top, left, bottom, right) in zip(
        masks, lymphocytes.instance_data["box"], strict=True
    ):
        rows, columns = np.nonzero(mask.any(axis=1))[0], np.nonzero(mask.any(axis=0))[0]
        high = min(bottom, rows[-1] + 1) - max(top, rows[0])
        wide = min(right, columns[-1] + 1) - max(left, columns[0])
        area = (rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0])
        both = max(0, high) * max(0, wide)
        ious.append(both / (area + (bottom - top) * (right - left) - both))
    assert np.mean(np.array(ious) > 0.5) > 0.95
    assert np.median(ious) > 0.75


def test_which_cell_is_kept():
    # A small one in the middle, a large one in the corner, a speck in the very middle.
    image = image_with_cells((16, 16, 9), (0, 28, 12), height=41, width=41)
    options = {"closing_radius": 0, "margin": 0}
    masks = {
        keep: SaturationSegmenter(keep=keep, **options).mask([image[None]])[0][0]
        for keep in ("central", "largest", "all")
    }
    assert masks["central"].sum() == 81 and masks["central"][20, 20]
    assert masks["largest"].sum() == 144 and masks["largest"][5, 35]
    assert masks["all"].sum() == 81 + 144
    speck = image_with_cells((20, 20, 1), (8, 8, 9), height=41, width=41)
    assert SaturationSegmenter(**options).mask([speck[None]])[0][0].sum() == 81
    # Two equal ones, as far from the middle: one of them.
    twins = image_with_cells((2, 18, 5), (34, 18, 5), height=41, width=41)
    for keep in ("central", "largest"):
        mask = SaturationSegmenter(keep=keep, **options).mask([twins[None]])[0][0]
        assert mask.sum() == 25


def test_closing_joins_lobes_and_margin_widens():
    lobes = image_with_cells((15, 10, 8), (15, 20, 8))[None]
    apart = SaturationSegmenter(closing_radius=0, margin=0).mask([lobes])[0][0]
    joined = SaturationSegmenter(closing_radius=2, margin=0).mask([lobes])[0][0]
    wider = SaturationSegmenter(closing_radius=2, margin=3).mask([lobes])[0][0]
    assert apart.sum() == 64 and joined.sum() > 128
    np.testing.assert_array_equal(wider, ndimage.binary_dilation(joined, octagon(3)))
    # "auto" follows the size of the image.
    small = image_with_cells((15, 10, 8), (15, 19, 8), height=32, width=32)
    large = np.kron(small, np.ones((1, 8, 8), dtype=np.uint8))
    shares = [SaturationSegmenter().mask([im[None]])[0][0].mean() for im in (small, large)]
    assert shares[0] == pytest.approx(shares[1], rel=0.25)


def test_a_hole_in_the_cell_is_kept():
    image = image_with_cells((10, 10, 15))
    image[:, 15:19, 15:19] = 230
    assert SaturationSegmenter(closing_radius=0, margin=0).mask([image[None]])[0].sum() == 225


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_segmented_as_bytes_are(lymphocytes, dtype):
    images = lymphocytes.instances[:8]
    expected = np.concatenate(SaturationSegmenter().mask([images]))
    floats = (images / 255).astype(dtype)
    segmenter = SaturationSegmenter(background=0.5)
    mask = segmenter.mask([floats])[0]
    assert np.mean(mask == expected) > 0.99  # a level may be rounded to the other side
    segmented = segmenter.transform([floats])
    assert segmented.dtype == dtype
    assert np.all(segmented[0][:, 0][~mask] == dtype(0.5))


def test_blocks_do_not_matter(lymphocytes, monkeypatch):
    expected = SaturationSegmenter(n_clusters=3).transform(lymphocytes).flat()[0]
    for pixels in (1, 5 * 48 * 48):
        monkeypatch.setattr(module, "_BLOCK_PIXELS", pixels)
        actual = SaturationSegmenter(n_clusters=3).transform(lymphocytes).flat()[0]
        np.testing.assert_array_equal(actual, expected)


# -- an estimator on bags ----------------------------------------------------------------------


def test_containers_views_and_order(lymphocytes):
    bags = [np.array(bag) for bag in lymphocytes]
    segmenter = SaturationSegmenter().fit(lymphocytes)
    expected = segmenter.transform(lymphocytes)
    objects = np.empty(len(bags), dtype=object)
    objects[:] = bags
    for container in (bags, tuple(bags), objects, pd.Series(objects)):
        np.testing.assert_array_equal(segmenter.transform(container).flat()[0], expected.flat()[0])
    rows = [2, 0, 2, 4]
    view = segmenter.transform(lymphocytes[rows])
    assert isinstance(view, BagArray) and len(view) == 4
    for i, row in enumerate(rows):
        np.testing.assert_array_equal(view[i], expected[row])
        np.testing.assert_array_equal(segmenter.transform([bags[row][::-1]])[0], view[i][::-1])


def test_columns_are_kept_and_the_input_is_not_changed(lymphocytes):
    before = lymphocytes.instances.copy()
    lymphocytes.instances.flags.writeable = False
    out = SaturationSegmenter().fit_transform(lymphocytes)
    np.testing.assert_array_equal(lymphocytes.instances, before)
    np.testing.assert_array_equal(out.groups, lymphocytes.groups)
    assert out.covariates.equals(lymphocytes.covariates)
    np.testing.assert_array_equal(out.instance_data["box"], lymphocytes.instance_data["box"])


def test_it_needs_no_fit_and_can_be_cloned_and_pickled(lymphocytes):
    segmenter = SaturationSegmenter(keep="largest", margin=2)
    expected = segmenter.transform(lymphocytes).flat()[0]
    fitted = clone(segmenter).fit(lymphocytes)
    assert fitted.n_features_in_ == 3 * 48 * 48 and fitted.instance_shape_ == (3, 48, 48)
    for model in (fitted, pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(model.transform(lymphocytes).flat()[0], expected)
    with pytest.raises(BagShapeError, match="fitted on"):
        fitted.transform([noise_images()])
    segmenter.transform([noise_images()])  # any size without fit


def test_in_a_pipeline(lymphocytes):
    steps = SaturationSegmenter(), InstanceTransformer(PCA(3), flatten=True)
    pipeline = make_pipeline(*steps).set_output(transform="pandas")
    Z = pipeline.fit(lymphocytes).transform(lymphocytes)
    assert isinstance(Z, BagArray) and Z.n_features == 3


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instances", "match"),
    [
        (np.zeros((2, 40, 40), dtype=np.uint8), "Greyscale"),
        (np.zeros((2, 1, 40, 40), dtype=np.uint8), "Greyscale"),
        (np.zeros((2, 4, 40, 40), dtype=np.uint8), "alpha"),
        (np.zeros((2, 40, 40, 3), dtype=np.uint8), "channels come first"),
        (np.zeros((2, 5)), r"colour images of shape \(3, height, width\)"),
    ],
)
def test_other_shapes_are_refused(instances, match):
    with pytest.raises(BagShapeError, match=match):
        SaturationSegmenter().fit([instances])
    with pytest.raises(BagShapeError, match=match):
        SaturationSegmenter().transform([instances])


def test_a_table_is_refused():
    with pytest.raises(BagShapeError, match="colour images"):
        SaturationSegmenter().fit(np.zeros((5, 12)))


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, bool])
def test_other_integers_are_refused(dtype):
    with pytest.raises(TypeError, match=rf"bytes \(uint8\).* Got {np.dtype(dtype)}"):
        SaturationSegmenter().fit([noise_images().astype(dtype)])


def test_floats_outside_of_the_unit_range_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 1000)
    bags = [noise_images(3, dtype=np.float32), noise_images(4, dtype=np.float32)]
    bags[1][2] *= 255
    X = BagArray.from_list(bags, names=["ann", "bob"])
    with pytest.raises(ValueError, match=r"Bag 1 \('bob'\), instance 2, holds floats from 0 to 25"):
        SaturationSegmenter().transform(X)
    bags[1][2] = np.nan
    with pytest.raises(ValueError, match="Bag 1 has NaN in instance 2"):
        SaturationSegmenter().transform(bags)


@pytest.mark.parametrize("n_clusters", [2, 3])
def test_images_of_one_saturation_are_refused_by_name(n_clusters, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK_PIXELS", 1000)
    grey = np.repeat(noise_images(1)[:, :1], 3, axis=1)
    for blank in (grey, np.zeros_like(grey), np.full_like(grey, 255)):
        X = BagArray.from_list([noise_images(3), np.concatenate([noise_images(1), blank])])
        segmenter = SaturationSegmenter(n_clusters=n_clusters).fit(X)
        for call in (segmenter.transform, segmenter.mask):
            with pytest.raises(ValueError, match=r"Bag 1, instance 1, has one saturation"):
                call(X)


@pytest.mark.parametrize(
    ("parameters", "dtype", "match"),
    [
        ({"background": 0.5}, np.uint8, "whole number from 0 to 255"),
        ({"background": 128}, np.float32, "number from 0 to 1"),
        ({"background": -1}, np.uint8, "background"),
        ({"keep": "first"}, np.uint8, "keep"),
        ({"closing_radius": -1}, np.uint8, "closing_radius"),
        ({"margin": 1.5}, np.uint8, "margin"),
        ({"n_clusters": 1}, np.uint8, "n_clusters"),
    ],
)
def test_bad_parameters(parameters, dtype, match):
    with pytest.raises(ValueError, match=match):
        SaturationSegmenter(**parameters).transform([noise_images(dtype=dtype)])


# -- real cells --------------------------------------------------------------------------------


@pytest.mark.skipif("MILKIT_DATA" not in os.environ, reason="MILKIT_DATA names no data folder")
def test_on_real_white_cells():
    path = Path(os.environ["MILKIT_DATA"]) / "bccd_cells.npz"
    if not path.exists():
        pytest.skip(f"There is no {path.name} in MILKIT_DATA.")
    data = np.load(path)
    white = data["instances"][data["instance_labels"] == 1].transpose(0, 3, 1, 2)
    mask = SaturationSegmenter().mask([np.ascontiguousarray(white)])[0]
    share = mask.mean(axis=(1, 2))
    assert np.quantile(share, 0.05) > 0.1 and np.quantile(share, 0.95) < 0.8
    # What is kept is stained: bluer and darker than what is not.
    green = white[:, 1].astype(float)
    inside = (green * mask).sum(axis=(1, 2)) / mask.sum(axis=(1, 2))
    outside = (green * ~mask).sum(axis=(1, 2)) / (~mask).sum(axis=(1, 2))
    assert np.mean(inside < outside - 10) > 0.98
