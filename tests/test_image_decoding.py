"""load_image_bags: what becomes of the pixels of each kind of file, and of files with faults."""

import os
import struct
import zlib

import numpy as np
import pandas as pd
import pytest

from milkit.image import load_image_bags

from .image_helpers import Image, ImageFile, luma, make_cohort, noise, one, problems, save, smooth


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path / "cohort")


# -- pixels ---------------------------------------------------------------------------------------


def test_grey(tmp_path):
    pixels = noise(0)
    save(tmp_path / "p" / "a.png", pixels)
    loaded = one(tmp_path, color_mode="grey")
    assert loaded.shape == (1, 1, 6, 8)
    assert np.abs(loaded[0, 0] - luma(pixels)).max() <= 0.51


def test_grey_images_get_three_equal_channels(tmp_path):
    pixels = noise(0, channels=0)
    save(tmp_path / "p" / "a.png", pixels)
    np.testing.assert_array_equal(one(tmp_path)[0], np.stack([pixels] * 3))
    np.testing.assert_array_equal(one(tmp_path, color_mode="grey")[0, 0], pixels)


def test_grey_among_colour_is_mentioned(tmp_path):
    save(tmp_path / "p" / "a.png", noise(0, channels=0))
    save(tmp_path / "p" / "b.png", noise(1))
    with pytest.warns(UserWarning, match=r"(?s)grey among images in colour.*a\.png"):
        data = load_image_bags(tmp_path)
    assert data.report["kind"].tolist() == ["grey"]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_divided_by_257(tmp_path, name):
    values = np.random.default_rng(0).integers(65536, size=(6, 8)).astype(np.uint16)
    values[0, :2] = 0, 65535
    save(tmp_path / "p" / name, values)
    loaded = one(tmp_path, color_mode="grey")[0, 0]
    np.testing.assert_array_equal(loaded, np.rint(values / 257))
    assert loaded[0, 0] == 0 and loaded[0, 1] == 255


def test_sixteen_bits_with_white_at_0(tmp_path):
    """Pillow turns 8 bits and not 16, so that the image would be a negative."""
    values = noise(0, channels=0)
    save(tmp_path / "p" / "a.tif", values, tiffinfo={262: 0})
    np.testing.assert_array_equal(one(tmp_path, color_mode="grey")[0, 0], values)
    save(tmp_path / "p" / "a.tif", values.astype(np.uint16) * 257, tiffinfo={262: 0})
    assert "16 bits of which 0 is white" in problems(tmp_path)["problem"][0]


def test_twelve_of_sixteen_bits_are_mentioned(tmp_path):
    values = np.random.default_rng(0).integers(4096, size=(6, 8)).astype(np.uint16)
    save(tmp_path / "p" / "a.png", values)
    with pytest.warns(UserWarning, match=f"(?s)nearly black.*value is {values.max()} of 65535"):
        load_image_bags(tmp_path)


def test_sixteen_bits_in_each_channel(tmp_path):
    values = np.random.default_rng(0).integers(65536, size=(6, 8, 3)).astype(">u2")

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", 8, 6, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    loaded = np.moveaxis(one(tmp_path)[0], 0, -1)
    assert np.abs(loaded - values / 257).max() < 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_white(tmp_path, mode):
    rgba = np.dstack([noise(0), noise(1, channels=0)])
    rgba[0, :3, 3] = 0, 255, 0
    if mode == "LA":
        rgba[..., :3] = rgba[..., :1]
    image = Image.fromarray(rgba)
    options = {}
    if mode == "LA":
        image = image.convert("LA")
    if mode == "P":
        index = noise(2, channels=0) % 4
        palette = noise(3, 1, 4)[0]
        image = Image.fromarray(index).convert("P")
        image.putpalette(palette.tobytes())
        options["transparency"] = 2
        rgba = np.dstack([palette[index], np.where(index == 2, 0, 255)])
    save(tmp_path / "p" / "a.png", image, **options)
    alpha = rgba[..., 3:] / 255
    expected = alpha * rgba[..., :3] + (1 - alpha) * 255
    assert np.abs(np.moveaxis(one(tmp_path)[0], 0, -1) - expected).max() <= 1


def test_cmyk(tmp_path):
    save(tmp_path / "p" / "a.tif", Image.fromarray(noise(0)).convert("CMYK"))
    np.testing.assert_array_equal(np.moveaxis(one(tmp_path)[0], 0, -1), noise(0))


def test_black_and_white(tmp_path):
    mask = noise(0, channels=0) > 128
    save(tmp_path / "p" / "a.tif", Image.fromarray(mask))
    np.testing.assert_array_equal(one(tmp_path, color_mode="grey")[0, 0], 255 * mask)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_unknown_range_are_refused(tmp_path, dtype):
    save(tmp_path / "p" / "a.tif", noise(0, channels=0).astype(dtype))
    assert "whose range is not known" in problems(tmp_path)["problem"][0]


def test_resizing(tmp_path):
    """Halves of one colour remain that; an even mixture keeps its mean."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, 30:] = [200, 100, 40]
    save(tmp_path / "p" / "a.png", pixels)
    loaded = one(tmp_path, image_size=(10, 12))
    assert loaded.shape == (1, 3, 10, 12)
    for channel, value in enumerate([200, 100, 40]):
        np.testing.assert_array_equal(loaded[0, channel, :, :5], 0)
        np.testing.assert_array_equal(loaded[0, channel, :, 7:], value)
    checks = np.indices((40, 60)).sum(axis=0) % 2 * 200
    save(tmp_path / "p" / "a.png", checks.astype(np.uint8))
    assert np.abs(one(tmp_path, image_size=(10, 12)) - 100.0).max() <= 10


def test_jpeg_is_shrunk_while_it_is_decoded(tmp_path):
    pixels = smooth(480, 640)
    save(tmp_path / "jpg" / "p" / "a.jpg", pixels, quality=95)
    save(tmp_path / "png" / "p" / "a.png", pixels)
    quick, exact = (one(tmp_path / name, image_size=(30, 40)) for name in ("jpg", "png"))
    assert np.abs(quick.astype(int) - exact).max() <= 6
    assert np.abs(quick.astype(int) - exact).mean() < 1.5


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("image_size", [None, (10, 20)])
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (3, lambda upright: upright[::-1, ::-1]),
        (6, lambda upright: np.rot90(upright)),
        (8, lambda upright: np.rot90(upright, -1)),
    ],
)
def test_orientation(tmp_path, name, image_size, orientation, turn):
    """The file holds the turned image and says how to turn it back; boxes are of the upright."""
    upright = smooth(160, 320)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save(tmp_path / "p" / name, np.ascontiguousarray(turn(upright)), exif=exif)
    data = load_image_bags(tmp_path, image_size=image_size).data
    np.testing.assert_array_equal(data.instance_data["box"], [[0, 0, 160, 320]])
    loaded = np.moveaxis(data.instances[0], 0, -1).astype(int)
    step = 1 if image_size is None else 16
    near = upright[step // 2 :: step, step // 2 :: step]
    assert np.abs(loaded - near).max() <= 20 and np.abs(loaded - near).mean() < 5


def test_the_orientation_of_sixteen_bits(tmp_path):
    upright = np.random.default_rng(0).integers(65536, size=(6, 8)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a.png", "b.tif"):
        save(tmp_path / "p" / name, np.ascontiguousarray(np.rot90(upright)), exif=exif)
    loaded = one(tmp_path, color_mode="grey")[:, 0]
    np.testing.assert_array_equal(loaded, [np.rint(upright / 257)] * 2)


# -- files with faults ----------------------------------------------------------------------------


def _cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def _truncated(name, share=0.5):
    def make(path):
        _cut(save(path.with_name(name), noise(0, 40, 60)), share)

    return make


def _gif(path):
    save(path.with_suffix(".gif"), noise(0)).rename(path)


def _pages(path):
    pages = [Image.fromarray(noise(i)) for i in range(3)]
    pages[0].save(path.with_suffix(".tif"), save_all=True, append_images=pages[1:])


FAULTS = {
    "truncated png": (_truncated("bad.png"), "truncated"),
    "truncated jpg": (_truncated("bad.jpg"), "truncated"),
    "truncated jpg at its end": (_truncated("bad.jpg", 0.95), "truncated"),
    "truncated tif": (_truncated("bad.tif"), "cannot be read|damaged"),
    "truncated bmp": (_truncated("bad.bmp"), "truncated"),
    "cut header": (_truncated("bad.png", 0.001), "damaged at its beginning"),
    "empty": (lambda path: path.touch(), "is empty \\(0 bytes\\)"),
    "text": (lambda path: path.write_text("<html>not found</html>"), "no png, jpg, tif or bmp"),
    "broken link": (lambda path: path.symlink_to("gone.png"), "is a broken link"),
    "no file": (lambda path: os.mkfifo(path), "is no file"),
    "another format": (_gif, "no png, jpg, tif or bmp"),
    "pages": (_pages, "has 3 pages; save the one"),
}


@pytest.mark.filterwarnings("ignore:.*(Corrupt EXIF|Truncated File):UserWarning")
@pytest.mark.parametrize("make", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("image_size", [None, (6, 8)])
def test_a_file_with_a_fault(cohort, make, image_size):
    make_file, match = make
    make_file(cohort / "p2" / "bad.png")
    report = problems(cohort, image_size=image_size)
    assert len(report) == 1
    assert os.path.basename(report["path"][0]).startswith("bad")
    assert report["bag"][0] == "p2" and report["kind"][0] == "unreadable"
    assert pd.Series(report["problem"]).str.contains(match)[0]
    with pytest.warns(UserWarning, match=r"(?s)1 files or bags .* left out.*bad"):
        data = load_image_bags(cohort, image_size=image_size, on_error="skip")
    assert data.data.sizes.tolist() == [1, 2, 3]
    assert len(data.report) == 1
    assert not any("bad" in path for path in data.image_paths)


def test_truncated_files_if_pillow_is_told_to_take_them(cohort, monkeypatch):
    """Some packages for training set this, and the rest of the image becomes black."""
    _truncated("bad.png")(cohort / "p2" / "bad.png")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert problems(cohort)["problem"].str.contains("truncated").tolist() == [True]
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_photograph_with_a_thumbnail_is_one_image(tmp_path):
    """Phones write a JPEG with a smaller image behind it (MPO)."""
    pages = [Image.fromarray(smooth(60, 80)), Image.fromarray(smooth(6, 8))]
    (tmp_path / "p").mkdir()
    pages[0].save(tmp_path / "p" / "a.jpg", "MPO", save_all=True, append_images=pages[1:])
    assert one(tmp_path).shape == (1, 3, 60, 80)


@pytest.mark.parametrize("limit", [20, 47])
def test_decompression_bombs(cohort, monkeypatch, limit):
    """Pillow warns above its limit and raises above twice the limit; neither passes here."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    report = problems(cohort)
    assert (report["kind"] == "unreadable").sum() == 6
    assert report["problem"].str.contains("may be a decompression bomb").sum() == 6
