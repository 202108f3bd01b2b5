"""crop_instances: boxes of an image, all at one size."""

import numpy as np
import pytest
from scipy import ndimage

from milkit import BagArray
from milkit.image import crop_instances


def noise_image(height=40, width=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)


def test_a_box_of_the_wanted_size_is_that_part_of_the_image():
    image = noise_image()
    crops = crop_instances(image, [[3, 5, 13, 25], [30, 30, 40, 50]], size=(10, 20))
    np.testing.assert_array_equal(crops[0], image[3:13, 5:25].transpose(2, 0, 1))
    np.testing.assert_array_equal(crops[1], image[30:40, 30:50].transpose(2, 0, 1))
    assert crops.dtype == np.uint8 and crops.flags.c_contiguous
    assert BagArray(crops, [0, 2]).instance_shape == (3, 10, 20)


def test_smaller_copies_hold_means_of_areas():
    image = noise_image() / 255
    crop = crop_instances(image, [[4, 6, 28, 38]], size=(8, 8), keep_aspect=False)[0]
    blocks = image[4:28, 6:38].reshape(8, 3, 8, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(crop, blocks.transpose(2, 0, 1), rtol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_means_of_parts_of_pixels(seed):
    """Against an image in which every pixel is divided into 16 by 16."""
    rng = np.random.default_rng(seed)
    image = noise_image(20, 24, seed) / 255
    low = rng.integers(0, 5 * 16, 2) / 16
    step = rng.integers(16, 40, 2) / 16  # of the crop, in pixels
    box = [*low, *(low + 6 * step)]
    fine = np.kron(image, np.ones((16, 16, 1)))
    n = np.rint(step * 16).astype(int)
    first = np.rint(low * 16).astype(int)
    part = fine[first[0] : first[0] + 6 * n[0], first[1] : first[1] + 6 * n[1]]
    expected = part.reshape(6, n[0], 6, n[1], 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    crop = crop_instances(image, [box], size=6, keep_aspect=False)[0]
    np.testing.assert_allclose(crop, expected, rtol=1e-9)


def test_larger_copies_are_interpolated_linearly():
    image = noise_image() / 255
    box = np.array([7.0, 9.0, 12.5, 16.0])
    crop = crop_instances(image, [box], size=(22, 28), keep_aspect=False)[0]
    rows = box[0] + 5.5 / 22 * (np.arange(22) + 0.5) - 0.5  # pixel i reaches from i to i + 1
    columns = box[1] + 7 / 28 * (np.arange(28) + 0.5) - 0.5
    grid = np.meshgrid(rows, columns, indexing="ij")
    for channel in range(3):
        expected = ndimage.map_coordinates(image[:, :, channel], grid, order=1)
        np.testing.assert_allclose(crop[channel], expected, rtol=1e-9)


def test_padding_and_proportions():
    image = noise_image(60, 60) / 255
    # 10 × 20, longer side 20: 0.25 · 20 on each side.
    padded = crop_instances(image, [[20, 20, 30, 40]], size=(5, 6), padding=0.25, keep_aspect=False)
    same = crop_instances(image, [[15, 15, 35, 45]], size=(5, 6), keep_aspect=False)
    np.testing.assert_allclose(padded, same, rtol=1e-12)
    square = crop_instances(image, [[20, 20, 30, 40]], size=5)
    same = crop_instances(image, [[15, 20, 35, 40]], size=5, keep_aspect=False)
    np.testing.assert_allclose(square, same, rtol=1e-12)
    high = crop_instances(image, [[20, 20, 30, 30]], size=(8, 4))
    same = crop_instances(image, [[15, 20, 35, 30]], size=(8, 4), keep_aspect=False)
    np.testing.assert_allclose(high, same, rtol=1e-12)


def test_a_disk_stays_round_where_proportions_are_kept():
    row, column = np.mgrid[:60, :60]
    image = np.zeros((60, 60, 3))
    image[np.hypot(row - 29.5, column - 29.5) < 10] = 1
    box = [[20, 15, 40, 45]]  # wider than the disk
    kept = crop_instances(image, box, size=30)[0, 0] > 0.5
    assert kept.any(axis=1).sum() == kept.any(axis=0).sum()
    bent = crop_instances(image, box, size=30, keep_aspect=False)[0, 0] > 0.5
    assert bent.any(axis=1).sum() > 1.3 * bent.any(axis=0).sum()


def test_beyond_the_border_its_pixels_are_repeated():
    image = noise_image(12, 10)
    wide = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode="edge")
    crops = crop_instances(image, [[0, 0, 8, 4], [6, 2, 12, 10]], size=16, padding=1.0)
    for crop, middle, half in zip(crops, [(4, 2), (9, 6)], [4 + 8, 4 + 8], strict=True):
        top, left = 20 + middle[0] - half, 20 + middle[1] - half
        inside = crop_instances(wide, [[top, left, top + 2 * half, left + 2 * half]], size=16)
        np.testing.assert_array_equal(crop, inside[0])


def test_what_lies_over_the_border_is_cut_off():
    image = noise_image()
    over = crop_instances(image, [[-5.5, -3, 10, 12], [30, 40, 99, np.nextafter(60, 61)]], size=8)
    cut = crop_instances(image, [[0, 0, 10, 12], [30, 40, 40, 50]], size=8)
    np.testing.assert_array_equal(over, cut)


@pytest.mark.parametrize("size", [7, (6, 9)])
def test_windows_without_resizing(size):
    image = noise_image(20, 22)
    height, width = np.broadcast_to(size, 2)
    wide = np.pad(image, ((20, 20), (20, 20), (0, 0)), mode="edge")
    boxes = np.array([[5, 6, 9, 12], [0, 0, 3, 2], [15.2, 18, 20, 22]])
    crops = crop_instances(image, boxes, size=size, resize=False)
    for crop, (top, left, bottom, right) in zip(crops, boxes, strict=True):
        row = round((top + bottom) / 2 - height / 2) + 20
        column = round((left + right) / 2 - width / 2) + 20
        expected = wide[row : row + height, column : column + width].transpose(2, 0, 1)
        np.testing.assert_array_equal(crop, expected)


@pytest.mark.parametrize("resize", [True, False])
def test_boxes_do_not_depend_on_each_other(resize):
    image = noise_image()
    rng = np.random.default_rng(0)
    low = rng.uniform(-3, 30, size=(20, 2))
    boxes = np.c_[low, low + rng.uniform(4, 15, size=(20, 2))]
    together = crop_instances(image / 255, boxes, size=(9, 12), padding=0.3, resize=resize)
    for i, box in enumerate(boxes):
        alone = crop_instances(image / 255, [box], size=(9, 12), padding=0.3, resize=resize)
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_stay_floats_from_0_to_1(dtype):
    image = np.ones((30, 30, 3), dtype=dtype)
    crops = crop_instances(image, [[1.3, 2.7, 20.1, 29.9]], size=11, padding=0.4)
    assert crops.dtype == dtype
    np.testing.assert_allclose(crops, 1, rtol=1e-3 if dtype == np.float16 else 1e-6)
    assert crops.max() <= 1


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4))])
@pytest.mark.parametrize("resize", [True, False])
def test_no_boxes_give_no_crops(boxes, resize):
    crops = crop_instances(noise_image(), boxes, size=(5, 7), resize=resize)
    assert crops.shape == (0, 3, 5, 7) and crops.dtype == np.uint8


@pytest.mark.parametrize(
    ("box", "match"),
    [
        ([5, 5, np.nan, 9], "Box 1, .*nan.*, is not finite"),
        ([5, 5, np.inf, 9], "Box 1, .*inf.*, is not finite"),
        ([9, 5, 5, 9], r"Box 1, \[9.0, 5.0, 5.0, 9.0\], is inverted"),
        ([5, 5, 5, 9], "Box 1, .* is empty"),
        ([41, 5, 49, 9], "Box 1, .* lies outside of the image.*40 rows and 50 columns"),
        ([-9, -9, 0, 4], "Box 1, .* lies outside"),
    ],
)
def test_bad_boxes_are_named(box, match):
    with pytest.raises(ValueError, match=match):
        crop_instances(noise_image(), [[1, 1, 9, 9], box, [2, 2, 3, 3]])


@pytest.mark.parametrize("boxes", [[1, 2, 3, 4], np.zeros((2, 5)), np.zeros((1, 2, 4))])
def test_boxes_of_another_shape(boxes):
    with pytest.raises(ValueError, match=r"shape \(n_boxes, 4\)"):
        crop_instances(noise_image(), boxes)


@pytest.mark.parametrize("size", [(3, 0), (3,), (3.5, 2), (2, 3, 3)])
def test_bad_sizes(size):
    with pytest.raises(ValueError, match="size must be"):
        crop_instances(noise_image(), [[1, 1, 9, 9]], size=size)
    with pytest.raises(ValueError, match="size"):
        crop_instances(noise_image(), [[1, 1, 9, 9]], size=0)


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((9, 9), dtype=np.uint8), "greyscale"),
        (np.zeros((9, 9, 1), dtype=np.uint8), "greyscale"),
        (np.zeros((9, 9, 4), dtype=np.uint8), "alpha"),
        (np.zeros((3, 9, 9), dtype=np.uint8), "channels first"),
        (np.zeros((9, 9, 2), dtype=np.uint8), r"\(height, width, 3\)"),
        (np.zeros((2, 9, 9, 3), dtype=np.uint8), r"\(height, width, 3\)"),
        (np.zeros((0, 9, 3), dtype=np.uint8), "empty"),
        (np.full((9, 9, 3), 200.0), "floats from 200 to 200"),
        (np.full((9, 9, 3), -0.1), "between 0 and 1"),
        (np.full((9, 9, 3), np.nan), "without NaN"),
    ],
)
def test_bad_images(image, match):
    with pytest.raises(ValueError, match=match):
        crop_instances(image, [[0, 0, 3, 3]])


@pytest.mark.parametrize("dtype", [np.uint16, np.int64, bool])
def test_other_pixels(dtype):
    with pytest.raises(TypeError, match=r"bytes \(uint8\)"):
        crop_instances(np.zeros((9, 9, 3), dtype=dtype), [[0, 0, 3, 3]])
