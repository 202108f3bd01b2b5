"""detect_cells and extract_cells: the cells of a smear."""

import builtins
import pickle
from functools import partial

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

pytest.importorskip("skimage", reason="needs scikit-image: pip install milkit[image]")

from milkit.datasets import make_blood_smear_cohort
from milkit.image import (
    crop_instances,
    detect_cells,
    extract_cells,
    load_image_bags,
)

BACKGROUND, RED, NUCLEUS = (232, 228, 232), (212, 160, 168), (110, 60, 150)


def overlaps(first, second):
    """Intersection over union of all pairs of boxes."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return both / (areas[0][:, None] + areas[1] - both)


def n_matched(first, second, iou=0.5):
    """Number of pairs of boxes that overlap, each box in one pair at most."""
    good = overlaps(first, second) >= iou
    return good[linear_sum_assignment(~good)].sum()


def draw(cells, height=80, width=100, noise=0.0, seed=0):
    """An image of disks (row, column, radius[, colour]), with a soft edge."""
    row, column = np.mgrid[:height, :width]
    image = np.broadcast_to(BACKGROUND, (height, width, 3)).astype(float)
    for y, x, radius, *colour in cells:
        inside = np.clip(radius + 0.5 - np.hypot(row - y, column - x), 0, 1)[:, :, None]
        image = (1 - inside) * image + inside * np.array(colour[0] if colour else RED)
    image = image + noise * np.random.default_rng(seed).standard_normal(image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def box_of(y, x, radius):
    return [y - radius, x - radius, y + radius + 1, x + radius + 1]


# -- on rendered smears ------------------------------------------------------------------------


@pytest.mark.parametrize(("crop_size", "seed"), [(24, 0), (32, 1), (32, 2), (64, 3)])
def test_recall_and_precision_on_rendered_smears(crop_size, seed):
    data = make_blood_smear_cohort(
        scale=0.01, render=True, crop_size=crop_size, patient_effect=0.6, random_state=seed
    )
    label = np.split(data.data.instance_data["label"], np.cumsum([len(b) for b in data.boxes])[:-1])
    matched = found = cells = 0
    ill = {"matched": 0, "cells": 0}
    for i in range(0, len(data.images), 6):
        boxes = detect_cells(data.images[i], exclude_border=True)
        true = data.boxes[i]
        matched += n_matched(true, boxes)
        found, cells = found + len(boxes), cells + len(true)
        ill["matched"] += n_matched(true[label[i] > 0], boxes) if (label[i] > 0).any() else 0
        ill["cells"] += (label[i] > 0).sum()
    assert cells > 400
    assert matched / cells >= 0.98  # the goal is 0.95
    assert matched / found >= 0.97
    assert ill["matched"] / ill["cells"] >= 0.95  # sickled, spherical, ... cells among them


def test_lymphocytes_are_found_among_red_cells():
    data = make_blood_smear_cohort(
        "lymphocytosis", scale=0.03, bag_scale=0.1, render=True, crop_size=64, random_state=0
    )
    found = [
        n_matched(true, detect_cells(image))
        for image, true in zip(data.images, data.boxes, strict=True)
    ]
    assert np.mean(found) > 0.97


# -- what it makes of touching, long and hollow cells ------------------------------------------


def test_separate_cells_have_their_boxes():
    cells = [(20, 20, 9), (20, 60, 12), (55, 30, 6), (55, 75, 10, NUCLEUS)]
    boxes = detect_cells(draw(cells, noise=2))
    true = np.array([box_of(*cell[:3]) for cell in cells])
    assert boxes.dtype == np.int64 and boxes.shape == (4, 4)
    assert n_matched(true, boxes, iou=0.7) == 4
    assert np.abs(boxes - true[np.lexsort((true[:, 1], true[:, 0]))]).max() <= 1
    assert np.all(np.diff(boxes[:, 0]) >= 0)  # from the top to the bottom


@pytest.mark.parametrize("distance", [1.55, 1.75, 1.95])
@pytest.mark.parametrize("angle", [0.0, 0.5, 1.2])
def test_touching_cells_are_separated(distance, angle):
    away = np.array([np.sin(angle), np.cos(angle)]) * 10 * distance
    cells = [(25, 25, 10), (*(np.array([25, 25]) + away), 10), (60, 80, 10)]
    boxes = detect_cells(draw(cells))
    assert n_matched(np.array([box_of(*cell) for cell in cells]), boxes, iou=0.6) == 3
    assert len(boxes) == 3


def test_a_chain_and_a_ring_of_cells():
    chain = [(40, 15 + 16 * i, 9) for i in range(5)]
    assert n_matched(np.array([box_of(*c) for c in chain]), detect_cells(draw(chain))) == 5
    ring = [
        (100 + 50 * np.sin(a), 100 + 50 * np.cos(a), 12) for a in np.arange(13) * 2 * np.pi / 13
    ]
    boxes = detect_cells(draw(ring, 200, 200))
    assert len(boxes) == 13
    assert n_matched(np.array([box_of(*c) for c in ring]), boxes) == 13


@pytest.mark.parametrize("bend", [0.0, 0.02])
def test_long_cells_stay_whole(bend):
    row, column = np.mgrid[:80, :100]
    image = draw([(20, 80, 10)])
    y, x = row - 45 - bend * (column - 35) ** 2, column - 35
    long = (x / 26.0) ** 2 + (y / 7.0) ** 2 < 1
    image[long] = RED
    boxes = detect_cells(image)
    rows, columns = np.nonzero(long)
    true = [[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1], box_of(20, 80, 10)]
    assert len(boxes) == 2 and n_matched(np.array(true), boxes, iou=0.8) == 2


def test_a_pale_middle_is_no_hole():
    hollow = [(25, 25, 12), (25, 25, 6, BACKGROUND), (25, 47, 12), (25, 47, 6, BACKGROUND)]
    boxes = detect_cells(draw([*hollow, (60, 70, 12)]))
    true = np.array([box_of(25, 25, 12), box_of(25, 47, 12), box_of(60, 70, 12)])
    assert len(boxes) == 3 and n_matched(true, boxes, iou=0.7) == 3


# -- what does not matter ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def smear():
    data = make_blood_smear_cohort(scale=0.01, render=True, crop_size=32, random_state=4)
    return max(data.images, key=len)


def assert_same_cells(first, second, iou=0.7, share=0.97):
    assert n_matched(first, second, iou) >= share * max(len(first), len(second))


def test_mirrored_and_turned_images(smear):
    boxes = detect_cells(smear)
    size = len(smear)
    assert len(boxes) > 20
    assert_same_cells(boxes, detect_cells(smear.transpose(1, 0, 2))[:, [1, 0, 3, 2]])
    mirrored = detect_cells(smear[:, ::-1])
    back = np.c_[mirrored[:, 0], size - mirrored[:, 3], mirrored[:, 2], size - mirrored[:, 1]]
    assert_same_cells(boxes, back)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_and_read_only_lists(smear, dtype):
    before = smear.copy()
    boxes = detect_cells(smear)
    np.testing.assert_array_equal(detect_cells((smear / 255).astype(dtype)), boxes)
    smear.flags.writeable = False
    np.testing.assert_array_equal(detect_cells(smear), boxes)
    np.testing.assert_array_equal(smear, before)


def test_uneven_light(smear):
    size = len(smear)
    y, x = np.linspace(-1, 1, size)[:, None], np.linspace(-1, 1, size)
    lamp = (0.85 + 0.1 * y - 0.05 * x - 0.1 * x * x)[:, :, None]
    darker = np.rint(smear * lamp).astype(np.uint8)
    assert_same_cells(detect_cells(smear), detect_cells(darker), share=0.95)


def test_the_size_of_pixels(smear):
    larger = ndimage.zoom(smear, (2, 2, 1), order=1, grid_mode=True, mode="nearest")
    assert_same_cells(2 * detect_cells(smear), detect_cells(larger), share=0.95)


# -- parameters --------------------------------------------------------------------------------


def test_min_area_is_a_share_of_a_typical_cell():
    cells = [(20, 20, 10), (20, 50, 10), (20, 80, 10), (55, 20, 5), (55, 50, 3)]  # 1/4, 1/11
    image = draw(cells)
    assert [len(detect_cells(image, min_area=a)) for a in (0.02, 0.15, 0.5)] == [5, 4, 3]
    # With the diameter given it is a number of pixels.
    assert len(detect_cells(image, cell_diameter=10, min_area=0.8)) == 4
    assert len(detect_cells(image, cell_diameter=10, min_area=2.0)) == 3


def test_cells_at_the_border():
    cells = [(20, 20, 10), (60, 50, 10), (2, 60, 10), (40, 99, 9), (77, 15, 8)]
    image = draw(cells)
    kept, inside = detect_cells(image), detect_cells(image, exclude_border=True)
    assert len(kept) == 5 and len(inside) == 2
    true = np.clip([box_of(*cell) for cell in cells], 0, [80, 100, 80, 100])
    assert n_matched(true, kept, iou=0.7) == 5
    assert n_matched(true[:2], inside, iou=0.7) == 2


def test_min_contrast():
    pale = tuple(np.array(BACKGROUND) - 18)  # a distance of 0.12
    image = draw([(20, 20, 10), (20, 60, 10, pale), (60, 60, 10, pale)])
    assert len(detect_cells(image)) == 3
    assert len(detect_cells(image, min_contrast=0.2)) == 1
    assert len(detect_cells(image, min_contrast=0.9)) == 0


@pytest.mark.parametrize(
    "image",
    [
        np.full((50, 60, 3), 230, dtype=np.uint8),
        np.zeros((50, 60, 3), dtype=np.uint8),
        np.full((50, 60, 3), 0.5),
        np.zeros((1, 1, 3), dtype=np.uint8),
        draw([], noise=4),
        draw([], 200, 300, noise=8),
    ],
)
def test_an_image_without_cells(image):
    boxes = detect_cells(image)
    assert boxes.shape == (0, 4) and boxes.dtype == np.int64
    crops, boxes = extract_cells(image, size=8)
    assert crops.shape == (0, 3, 8, 8) and boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"cell_diameter": 1}, "cell_diameter"),
        ({"min_area": -1}, "min_area"),
        ({"min_contrast": 0}, "min_contrast"),
        ({"exclude_border": "yes"}, "exclude_border"),
    ],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        detect_cells(draw([]), **parameters)


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        (np.zeros((9, 9), dtype=np.uint8), ValueError, "greyscale"),
        (np.zeros((9, 9, 4), dtype=np.uint8), ValueError, "alpha"),
        (np.zeros((3, 9, 9), dtype=np.uint8), ValueError, "channels first"),
        (np.zeros((0, 0, 3), dtype=np.uint8), ValueError, "empty"),
        (np.full((9, 9, 3), 1.5), ValueError, "between 0 and 1"),
        (np.zeros((9, 9, 3), dtype=np.uint16), TypeError, "uint16"),
    ],
)
def test_bad_images(image, error, match):
    with pytest.raises(error, match=match):
        detect_cells(image)


def test_without_scikit_image(monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.partition(".")[0] == "skimage":
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install milkit\[image\]"):
        detect_cells(draw([]))


# -- extract_cells -----------------------------------------------------------------------------


def test_extracted_cells_are_crops_of_the_boxes(smear):
    crops, boxes = extract_cells(smear, size=(20, 24), padding=0.2, exclude_border=True)
    np.testing.assert_array_equal(boxes, detect_cells(smear, exclude_border=True))
    expected = crop_instances(smear, boxes, size=(20, 24), padding=0.2)
    np.testing.assert_array_equal(crops, expected)
    windows, _ = extract_cells(smear, size=32, resize=False, exclude_border=True)
    expected = crop_instances(smear, boxes, size=32, resize=False)
    np.testing.assert_array_equal(windows, expected)


def test_from_a_folder_of_smears_to_bags_of_cells(tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="needs pillow")
    data = make_blood_smear_cohort(
        scale=0.01, bag_scale=0.3, render=True, crop_size=24, random_state=0
    )
    X = data.data[:4]
    for bag, numbers in enumerate(np.split(X.instance_data["image"], np.cumsum(X.sizes)[:-1])):
        folder = tmp_path / f"sample-{bag}"
        folder.mkdir()
        for number in np.unique(numbers):
            image_module.fromarray(data.images[number]).save(folder / f"{number}.png")
    extract = partial(extract_cells, size=24, resize=False, exclude_border=True)
    extract = pickle.loads(pickle.dumps(extract))
    found = load_image_bags(tmp_path, extract=extract).data
    assert found.instance_shape == (3, 24, 24) and found.dtype == np.uint8
    np.testing.assert_allclose(found.sizes, X.sizes, rtol=0.1)
    number = np.array([int(path.rpartition("/")[2][:-4]) for path in sorted_paths(tmp_path)])
    assert n_crops_from_their_images(found, data.images, number) == found.n_instances


def sorted_paths(folder):
    """Files in the order of the bags and, inside, of their numbers."""
    return [
        str(path)
        for bag in sorted(folder.iterdir())
        for path in sorted(bag.iterdir(), key=lambda path: int(path.stem))
    ]


def n_crops_from_their_images(bags, images, number):
    """How many instances are the window around their box on the image that they name."""
    same = 0
    for crop, box, image in zip(
        bags.flat()[0], bags.instance_data["box"], bags.instance_data["image"], strict=True
    ):
        window = crop_instances(images[number[image]], [box], size=crop.shape[1:], resize=False)
        same += np.array_equal(window[0], crop)
    return same
