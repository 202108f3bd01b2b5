"""load_image_bags: files and tables in, bags of bytes out, and no fault in silence."""

import os
import sys
import tracemalloc
import unicodedata

import numpy as np
import pandas as pd
import pytest

from milkit.datasets import load_bags, save_bags
from milkit.image import load_image_bags
from milkit.image._files import natural_key

from .image_helpers import Image, luma, make_cohort, noise, one, problems, save, tree
from .test_import import modules_after


@pytest.fixture
def cohort(tmp_path):
    return make_cohort(tmp_path / "cohort")


# -- folders ----------------------------------------------------------------------------------


def test_a_folder_for_each_patient(cohort):
    data = load_image_bags(cohort)
    assert data.data.names.tolist() == ["p1", "p2", "p10"]
    assert data.data.sizes.tolist() == [1, 2, 3]
    assert data.target is None and data.target_names is None
    assert len(data.report) == 0
    assert [os.path.relpath(path, cohort) for path in data.image_paths] == [
        *("p1/x.png", "p2/a.png", "p2/b.png", "p10/1.png", "p10/2.png", "p10/10.png")
    ]
    assert data.data.dtype == np.uint8 and data.data.instance_shape == (3, 6, 8)
    for i, path in enumerate(data.image_paths):
        with Image.open(path) as image:
            expected = np.asarray(image)
        for channel in range(3):
            np.testing.assert_array_equal(data.data.instances[i, channel], expected[:, :, channel])
    np.testing.assert_array_equal(data.data.instance_data["image"], np.arange(6))
    np.testing.assert_array_equal(data.data.instance_data["box"], [[0, 0, 6, 8]] * 6)


def test_result_as_a_pair_and_in_a_file(cohort, tmp_path):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "sick": [1, 0, 1]})
    X, y = load_image_bags(cohort, table=table, label="sick", return_X_y=True)
    save_bags(tmp_path / "bags.npz", X, y)
    again = load_bags(tmp_path / "bags.npz")
    np.testing.assert_array_equal(again.data.instances, X.instances)
    np.testing.assert_array_equal(again.data.instance_data["box"], X.instance_data["box"])
    assert again.data.names.tolist() == X.names.tolist()


def test_names_in_natural_order():
    names = ["img10.png", "img2.png", "Img1.png", "2", "10", "1a", "a", "é2", "", "007", "7"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("img2.png") < ordered.index("img10.png")
    assert ordered.index("Img1.png") < ordered.index("img2.png")
    assert ordered.index("2") < ordered.index("10")
    assert sorted(ordered[1::2] + ordered[::2], key=natural_key) == ordered


def test_nested_folders_belong_to_the_patient(tmp_path):
    tree(tmp_path, ["p1/day1/a.png", "p1/day2/slide/a.png", "p1/z.png", "p2/a.png"])
    data = load_image_bags(tmp_path)
    assert data.data.sizes.tolist() == [3, 1]


def test_what_is_no_image_is_passed_over(tmp_path):
    tree(
        tmp_path, ["p1/a.png", "p1/.hidden.png", "p1/._a.png", ".cache/a.png", "__MACOSX/p1/a.png"]
    )
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "desktop.ini"):
        (tmp_path / "p1" / name).write_text("no image")
    (tmp_path / "readme.txt").write_text("no image")
    data = load_image_bags(tmp_path)
    assert [os.path.basename(path) for path in data.image_paths] == ["a.png"]


@pytest.mark.parametrize("ending", ["png", "PNG", "Jpg", "JPEG", "tif", "TIFF", "bmp"])
def test_endings(tmp_path, ending):
    save(tmp_path / "p" / f"a.{ending}", noise(0))
    assert one(tmp_path).shape == (1, 3, 6, 8)


def test_levels_with_labels(tmp_path):
    tree(tmp_path, ["sick/p10/a.png", "well/p2/a.png", "sick/p1/a.png", "sick/p1/b.png"])
    data = load_image_bags(tmp_path, levels=("label", "bag"))
    assert data.data.names.tolist() == ["p1", "p2", "p10"]  # not sorted by label
    assert data.target.tolist() == ["sick", "well", "sick"]
    assert data.target.dtype.kind == "U"
    assert data.target_names.tolist() == ["sick", "well"]


def test_levels_with_groups(tmp_path):
    tree(tmp_path, ["ann/s1/a.png", "ann/s2/a.png", "bob/s1/a.png"])
    data = load_image_bags(tmp_path, levels=("group", "bag"))
    assert data.data.names.tolist() == ["ann/s1", "ann/s2", "bob/s1"]
    assert data.data.groups.tolist() == ["ann", "ann", "bob"]


def test_all_levels_beside_a_table(tmp_path):
    tree(tmp_path, ["sick/ann/s1/a.png", "sick/ann/s1/b.png", "well/bob/s1/a.png"])
    table = pd.DataFrame({"bag": ["bob/s1", "ann/s1"], "age": [40.0, 50.0]})
    data = load_image_bags(
        tmp_path, levels=["label", "group", "bag"], table=table, covariates=["age"]
    )
    assert data.data.covariates["age"].tolist() == [50.0, 40.0]
    assert data.target.tolist() == ["sick", "well"]


def test_one_patient_in_the_folders_of_two_labels(tmp_path):
    tree(tmp_path, ["sick/p1/a.png", "well/p1/b.png", "well/p2/a.png"])
    with pytest.raises(ValueError, match=r"Bag 'p1' has several values in 'label' \(sick, well\)"):
        load_image_bags(tmp_path, levels=("label", "bag"))


@pytest.mark.parametrize("levels", [(), ("label",), ("bag", "label"), ("bag", "bag"), ("x", "bag")])
def test_wrong_levels(cohort, levels):
    with pytest.raises(ValueError, match="levels must name what the folders stand for"):
        load_image_bags(cohort, levels=levels)


def test_label_from_two_places(cohort):
    with pytest.raises(ValueError, match=r"comes from the folders .* and from the column 'sick'"):
        load_image_bags(cohort, levels=("label", "bag"), table="x.csv", label="sick")


def test_images_outside_of_a_patients_folder(cohort):
    save(cohort / "stray.png", noise(9))
    report = problems(cohort)
    assert report["kind"].tolist() == ["misplaced"]
    with pytest.warns(UserWarning, match=r"(?s)left out.*stray\.png.*lies in no folder of a bag"):
        assert len(load_image_bags(cohort, on_error="skip").data) == 3


def test_a_folder_of_images_without_folders_of_patients(tmp_path):
    save(tmp_path / "a.png", noise(0))
    with pytest.raises(ValueError, match="1 images lie in no folder of a bag: make one"):
        load_image_bags(tmp_path)


def test_a_folder_without_images(tmp_path):
    (tmp_path / "p1").mkdir()
    (tmp_path / "p1" / "slide.svs").write_text("x")
    with pytest.raises(ValueError, match=r"has no images .*There are other files: 1 \.svs"):
        load_image_bags(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.csv"])
def test_a_source_that_is_not_there(tmp_path, source):
    with pytest.raises(FileNotFoundError, match="There is no folder or file"):
        load_image_bags(tmp_path / source)


def test_a_source_of_another_type():
    with pytest.raises(TypeError, match=r"source must be a folder.* Got list"):
        load_image_bags(["a.png"])


def test_links_are_followed_but_not_in_circles(tmp_path):
    tree(tmp_path / "archive", ["ann/a.png"])
    cohort = tree(tmp_path / "cohort", ["bob/b.png"])
    save(cohort / "bob" / "b.png", noise(1))
    (cohort / "ann").symlink_to(tmp_path / "archive" / "ann", target_is_directory=True)
    (cohort / "bob" / "up").symlink_to(cohort, target_is_directory=True)
    (cohort / "bob" / "self").symlink_to("self")
    (cohort / "bob" / "self.png").symlink_to("self.png")
    (cohort / "cid").symlink_to(tmp_path / "disk that is away", target_is_directory=True)
    report = problems(cohort)
    lost = report.loc[report["problem"] == "is a broken link", "path"]
    names = {os.path.relpath(path, cohort) for path in lost}
    assert names == {os.path.join("bob", "self"), os.path.join("bob", "self.png"), "cid"}
    with (
        pytest.warns(UserWarning, match=r"self\.png': is a broken link"),
        pytest.warns(UserWarning, match="(?s)a folder above.*up': leads back to"),
    ):
        data = load_image_bags(cohort, on_error="skip")
    assert data.data.names.tolist() == ["ann", "bob"]
    assert data.data.sizes.tolist() == [1, 1]
    assert sorted(data.report["kind"]) == ["link", *["unreadable"] * 3]


def test_images_of_formats_that_are_not_read(cohort):
    """A patient half of whose images are left out must not look like a whole one."""
    for name in ("p10/3.webp", "p10/4.WEBP", "p10/5.heic", "p2/notes.txt"):
        (cohort / name).write_bytes(b"x")
    with pytest.warns(
        UserWarning, match="(?s)only png, jpg.*'p10': has 2 .webp, 1 .heic"
    ) as caught:
        data = load_image_bags(cohort)
    assert len(caught) == 1
    assert data.report["kind"].tolist() == ["unread"] and data.report["bag"].tolist() == ["p10"]


@pytest.mark.parametrize("name", ["p2 ", "é"])
def test_two_folders_with_one_name(cohort, name):
    save(cohort / name / "c.png", noise(9))
    save(cohort / unicodedata.normalize("NFD", name) / "d.png", noise(10))
    with pytest.warns(UserWarning, match="(?s)the same name but for spaces.*has the name of"):
        data = load_image_bags(cohort)
    assert data.report["bag"].tolist() == [name.strip()]


# -- tables of bags -------------------------------------------------------------------------------


@pytest.mark.parametrize("as_csv", [True, False])
def test_labels_groups_and_covariates_by_name(cohort, tmp_path, as_csv):
    table = pd.DataFrame(
        {
            "patient": ["p10", " p1", "p2"],
            "diagnosis": ["sick", "well", "sick"],
            "site": ["x", "y", "y"],
            "age": [60.0, np.nan, 45.0],
        }
    )
    if as_csv:
        table.to_csv(tmp_path / "clinic.csv", index=False)
        table = tmp_path / "clinic.csv"
    data = load_image_bags(
        cohort, table=table, bag="patient", label="diagnosis", group="site", covariates=["age"]
    )
    assert data.data.names.tolist() == ["p1", "p2", "p10"]
    assert data.target.tolist() == ["well", "sick", "sick"]
    assert data.target_names.tolist() == ["sick", "well"]
    assert data.data.groups.tolist() == ["y", "y", "x"]
    np.testing.assert_array_equal(data.data.covariates["age"], [np.nan, 45.0, 60.0])


def test_numbers_of_patients_keep_their_zeros(tmp_path):
    tree(tmp_path / "images", ["007/a.png", "7/a.png"])
    (tmp_path / "t.csv").write_text("bag,y\n007,1\n7,0\n")
    data = load_image_bags(tmp_path / "images", table=tmp_path / "t.csv", label="y")
    assert dict(zip(data.data.names, data.target, strict=True)) == {"007": 1, "7": 0}
    assert data.target.dtype.kind == "i"


def test_groups_in_csv_files_keep_their_zeros(cohort):
    """Read as numbers, three patients would be one, or 7 would be 7.0."""
    (cohort / "t.csv").write_text("bag,who\np1,007\np2,07\np10,7\n")
    data = load_image_bags(cohort, table=cohort / "t.csv", group="who")
    assert data.data.groups.tolist() == ["007", "07", "7"]
    rows = "path,bag,who\np1/x.png,p1,007\np2/a.png,p2,7\n"
    (cohort / "t.csv").write_text(rows)
    data = load_image_bags(cohort / "t.csv", group="who")
    assert data.data.groups.tolist() == ["007", "7"]


@pytest.mark.parametrize("as_csv", [True, False])
def test_spaces_around_labels_and_groups(cohort, as_csv):
    """With the spaces there would be three classes, and a patient in two folds."""
    table = pd.DataFrame(
        {"bag": ["p1", "p2", "p10"], "y": ["ill", "ill ", " well"], "who": ["ann", "bob ", "bob"]}
    )
    given = table.copy()
    if as_csv:
        table.to_csv(cohort / "t.csv", index=False)
        table = cohort / "t.csv"
    data = load_image_bags(cohort, table=table, label="y", group="who")
    assert data.target_names.tolist() == ["ill", "well"]
    assert data.data.groups.tolist() == ["ann", "bob", "bob"]
    if not as_csv:
        pd.testing.assert_frame_equal(table, given)


@pytest.mark.parametrize("column", ["y", "who"])
def test_labels_and_groups_of_spaces_are_missing(cohort, column):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "y": list("aba"), "who": list("stu")})
    table.loc[:1, column] = ["", " "]
    report = problems(cohort, table=table, label="y", group="who")
    assert report["bag"].tolist() == ["p1", "p2"] and set(report["kind"]) == {"unlabelled"}


def test_labels_keep_their_type_when_some_are_missing(cohort):
    """An object array of booleans is no target for scikit-learn."""
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "y": [True, False, None]})
    with pytest.warns(UserWarning, match="'p10': has no label"):
        data = load_image_bags(cohort, table=table, label="y", on_error="skip")
    assert data.target.dtype == bool and data.target.tolist() == [True, False]


def test_numbers_of_patients_that_pandas_made_floats(tmp_path):
    tree(tmp_path, ["1/a.png", "12/a.png"])
    table = pd.DataFrame({"bag": [12.0, 1.0], "y": [1, 0]})
    assert load_image_bags(tmp_path, table=table, label="y").target.tolist() == [0, 1]


def test_names_that_are_not_ascii(tmp_path):
    composed = unicodedata.normalize("NFC", "Zoë Ångström")
    decomposed = unicodedata.normalize("NFD", composed)
    assert composed != decomposed
    tree(tmp_path, [f"{decomposed}/bild ü.png", "李/图.png"])
    table = pd.DataFrame({"bag": [composed, "李"], "y": [1, 0]})
    data = load_image_bags(tmp_path, table=table, label="y")
    assert dict(zip(data.data.names, data.target, strict=True)) == {composed: 1, "李": 0}


def test_the_patient_as_group(cohort):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"]})
    data = load_image_bags(cohort, table=table, group="bag")
    assert data.data.groups.tolist() == ["p1", "p2", "p10"]


def test_rows_without_images_are_mentioned(cohort):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10", "p11"], "y": [0, 1, 0, 1]})
    with pytest.warns(UserWarning, match=r"(?s)have no images:.*'p11': has a row") as caught:
        data = load_image_bags(cohort, table=table, label="y")
    assert caught[0].filename == __file__
    assert data.report["bag"].tolist() == ["p11"] and data.report["kind"].tolist() == ["absent"]
    assert len(data.data) == 3


def test_folders_without_a_row_or_label(cohort):
    table = pd.DataFrame({"bag": ["p2", "p10"], "y": [1.0, np.nan]})
    report = problems(cohort, table=table, label="y")
    assert dict(zip(report["bag"], report["problem"], strict=True)) == {
        "p1": "has images, and no row in the table",
        "p10": "has no label: 'y' is missing",
    }
    with pytest.warns(UserWarning, match=r"(?s)2 files or bags.*'p1'.*'p10'") as caught:
        data = load_image_bags(cohort, table=table, label="y", on_error="skip")
    assert caught[0].filename == __file__
    assert data.data.names.tolist() == ["p2"] and data.target.tolist() == [1.0]


def test_a_bag_without_a_group(cohort):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "site": ["x", None, "y"]})
    assert problems(cohort, table=table, group="site")["bag"].tolist() == ["p2"]


def test_two_labels_in_the_table(cohort):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10", "p1"], "y": ["a", "b", "a", "b"]})
    with pytest.raises(ValueError, match=r"Bag 'p1' has several values in 'y' \(a, b\)"):
        load_image_bags(cohort, table=table, label="y", on_error="skip")
    table.loc[3, "y"] = None
    with pytest.raises(ValueError, match=r"Bag 'p1' has several values in 'y' \(a, "):
        load_image_bags(cohort, table=table, label="y")
    table.loc[3, "y"] = "a"  # the same row again does no harm
    assert load_image_bags(cohort, table=table, label="y").target.tolist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"label": "z"}, r"has no column 'z' \(label\); it has \['bag', 'y', 'age'\]"),
        ({"bag": "id", "label": "y"}, r"has no column 'id' \(bag\)"),
        ({"label": "y", "covariates": ["y"]}, "A column has two roles"),
        ({"label": "bag"}, "A column has two roles"),
        ({"covariates": ["age", "age"]}, "A column has two roles"),
        ({}, "no column of it is asked for"),
    ],
)
def test_columns_that_cannot_be(cohort, options, match):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "y": [0, 1, 0], "age": [1, 2, 3]})
    with pytest.raises(ValueError, match=match):
        load_image_bags(cohort, table=table, **options)


def test_labels_of_several_types(cohort):
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "y": [0, "sick", 1]})
    with pytest.raises(ValueError, match=r"labels in 'y' are of several types \(int, str\)"):
        load_image_bags(cohort, table=table, label="y")


def test_a_label_without_a_table(cohort):
    with pytest.raises(ValueError, match="label names the column 'y', and there is no table"):
        load_image_bags(cohort, label="y")


def test_a_table_of_other_patients(cohort):
    table = pd.DataFrame({"bag": ["P-1", "P-2"], "y": [0, 1]})
    with pytest.raises(ValueError, match=r"No bag of the table .*\['P-1', 'P-2'\].*\['p1', 'p2'"):
        load_image_bags(cohort, table=table, label="y", on_error="skip")


@pytest.mark.parametrize("value", [None, np.nan, pd.NA, " "])
def test_a_row_without_a_bag(cohort, value):
    table = pd.DataFrame({"bag": ["p1", value], "y": [0, 1]}, dtype=object)
    with pytest.raises(ValueError, match="The table names no bag in row 1"):
        load_image_bags(cohort, table=table, label="y")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("bag,y\nZoë,1\n".encode("latin-1"), "not encoded as UTF-8"),
        (b"", "is empty"),
        (b"bag,y\n1,2\n1,2,3,4\n", "is no csv file"),
        (b"bag;y\np1;1\np2;0\n", r"no column 'bag'.* separated by ';': pass .*sep=';'"),
        (b"bag;y;age\np1;1;1,5\np2;0;2,5\n", r"first line.* pass .*sep=';', decimal=','\)"),
        (b"bag\ty\np1\t1\np2\t0\n", r"no column 'bag'.* separated by '\\t'"),
        (b"bag,y\np1,0,\np2,1,\np10,0,\n", "more values in its rows than names in its first line"),
        (b"bag,y,y\np1,0,1\np2,1,0\np10,0,1\n", "has several columns 'y'"),
    ],
)
def test_broken_csv_files(cohort, tmp_path, content, match):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        load_image_bags(cohort, table=tmp_path / "t.csv", label="y")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_spaces_and_byte_order_marks_in_csv_files(cohort, encoding):
    text = "bag , y, who\np1 , 0, 07\n p2, 1, 7\np10, 0, 07\n"
    (cohort / "t.csv").write_text(text, encoding=encoding)
    data = load_image_bags(cohort, table=cohort / "t.csv", label="y", group="who")
    assert data.target.tolist() == [0, 1, 0] and data.data.groups.tolist() == ["07", "7", "07"]


def test_tables_that_are_none(cohort):
    options = {"label": "y"}
    with pytest.raises(TypeError, match=r"table must be a csv file or a DataFrame\. Got list"):
        load_image_bags(cohort, table=["p1"], **options)
    (cohort / "t.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(ValueError, match=r"t\.xlsx' is no csv file; pass pandas\.read_excel"):
        load_image_bags(cohort, table=cohort / "t.xlsx", **options)
    table = pd.DataFrame({"bag": ["p1"], "y": [1]}).set_index("bag")
    with pytest.raises(ValueError, match=r"index has that name: pass table\.reset_index\(\)"):
        load_image_bags(cohort, table=table, **options)
    with pytest.raises(ValueError, match=r"x\.png' is an image; source must be the folder"):
        load_image_bags(cohort / "p1" / "x.png")


def test_a_csv_file_that_is_not_there(cohort):
    with pytest.raises(FileNotFoundError, match=r"There is no file 'no\.csv'"):
        load_image_bags(cohort, table="no.csv", label="y")


# -- a table of images ----------------------------------------------------------------------------


def rows_of(cohort):
    return pd.DataFrame(
        {
            "file": ["p10/2.png", "p1/x.png", "p10/1.png", "p2/b.png"],
            "id": ["B", "A", "B", "C"],
            "y": [1, 0, 1, 0],
            "age": [50, 60, 50, 70],
        }
    )


@pytest.mark.parametrize("form", ["csv", "frame", "absolute"])
def test_a_row_for_each_image(cohort, monkeypatch, form):
    table, options = rows_of(cohort), {"path": "file", "bag": "id"}
    if form == "csv":  # paths begin where the file lies
        table.to_csv(cohort / "images.csv", index=False)
        source = cohort / "images.csv"
    elif form == "frame":
        source, options = table, {**options, "root": cohort}
    else:
        source = table.assign(file=[str(cohort / file) for file in table["file"]])
    data = load_image_bags(source, label="y", covariates=["age"], **options)
    assert data.data.names.tolist() == ["B", "A", "C"]
    assert data.data.sizes.tolist() == [2, 1, 1]
    assert data.target.tolist() == [1, 0, 0]
    assert data.data.covariates["age"].tolist() == [50, 60, 70]
    names = [os.path.relpath(path, cohort) for path in data.image_paths]
    assert names == ["p10/2.png", "p10/1.png", "p1/x.png", "p2/b.png"]


def test_paths_of_a_frame_begin_in_the_working_directory(cohort, monkeypatch):
    monkeypatch.chdir(cohort)
    assert len(load_image_bags(rows_of(cohort), path="file", bag="id").data) == 3


def test_labels_in_a_second_table(cohort):
    labels = pd.DataFrame({"id": ["A", "B", "C"], "grade": [3, 2, 1]})
    data = load_image_bags(
        rows_of(cohort), path="file", bag="id", root=cohort, table=labels, label="grade"
    )
    assert data.target.tolist() == [2, 3, 1]


def test_files_of_one_patient_under_two_labels(cohort):
    table = rows_of(cohort)
    table.loc[2, "y"] = 0
    with pytest.raises(ValueError, match=r"Bag 'B' has several values in 'y' \(1, 0\)"):
        load_image_bags(table, path="file", bag="id", root=cohort, label="y")


def test_rows_that_name_no_file(cohort):
    table = rows_of(cohort).astype(object)
    table.loc[0, "file"] = None
    table.loc[1, "file"] = "p1/gone.png"
    report = problems(table, path="file", bag="id", root=cohort)
    assert report["kind"].tolist() == ["unreadable", "unreadable", "empty"]
    assert report["problem"].tolist()[:2] == [
        "row 0 of the table names no file",
        "there is no such file",
    ]


def test_rows_that_repeat_a_file(cohort):
    table = pd.concat([rows_of(cohort), rows_of(cohort).iloc[:1]], ignore_index=True)
    with pytest.warns(UserWarning, match="(?s)listed several times.*row 4"):
        data = load_image_bags(table, path="file", bag="id", root=cohort)
    assert data.data.sizes.tolist() == [2, 1, 1]


def test_one_file_written_in_two_ways(cohort):
    table = pd.DataFrame({"path": ["p1/x.png", "./p1/x.png", "p1//../p1/x.png"], "bag": "ann"})
    with pytest.warns(UserWarning, match="(?s)listed several times.*row 1.*row 2"):
        assert load_image_bags(table, root=cohort).data.n_instances == 1


def test_problems_of_a_table_name_the_bag(cohort):
    (cohort / "p1" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"x\.png' of 'A': is empty"):
        load_image_bags(rows_of(cohort), path="file", bag="id", root=cohort)
    with pytest.raises(ValueError, match=r"p1.x\.png': is empty"):  # its folder is the bag
        load_image_bags(cohort)


def test_rows_none_of_which_names_a_file(cohort):
    with pytest.raises(ValueError, match=r"(?s)has no images .*'A': row 1 of the table names no"):
        load_image_bags(rows_of(cohort).assign(file=0), path="file", bag="id", root=cohort)


@pytest.mark.skipif(os.sep == "\\", reason="there they are paths")
def test_paths_from_windows(cohort):
    table = rows_of(cohort)
    table["file"] = table["file"].str.replace("/", "\\")
    report = problems(table, path="file", bag="id", root=cohort)
    assert report["problem"][0] == "there is no such file (it has backslashes, as Windows has it)"


def test_levels_are_about_folders(cohort):
    with pytest.raises(ValueError, match=r"levels=.* is about folders"):
        load_image_bags(rows_of(cohort), path="file", bag="id", levels=("label", "bag"))


# -- problems -------------------------------------------------------------------------------------


def test_all_problems_are_told_at_once(cohort):
    for i in range(14):
        (cohort / "p1" / f"bad{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match="14 problems") as caught:
        load_image_bags(cohort)
    message = str(caught.value)
    assert message.count("is empty (0 bytes)") == 10
    assert "bad9.png" in message and "bad10.png" not in message and "... and 4 more" in message
    assert len(caught.value.report) == 14
    assert list(caught.value.report.columns) == ["path", "bag", "kind", "problem"]


def test_images_of_other_sizes(cohort):
    save(cohort / "p1" / "small.png", noise(7, 5, 8))
    report = problems(cohort)
    assert report["kind"].tolist() == ["shape"]
    assert "is 5 × 8 pixels, where 6 of 7 have 6 × 8; image_size=" in report["problem"][0]
    with pytest.warns(UserWarning, match=r"(?s)left out.*small\.png"):
        assert load_image_bags(cohort, on_error="skip").data.sizes.tolist() == [1, 2, 3]
    assert one(cohort, image_size=(6, 8)).shape == (7, 3, 6, 8)


@pytest.mark.parametrize("shape", [(1, 1), (6, 30), (60, 80)])
def test_images_of_odd_proportions_are_mentioned(cohort, shape):
    save(cohort / "p1" / "odd.png", noise(7, *shape))
    with pytest.warns(UserWarning, match="(?s)size or proportions from the rest.*6 × 8") as caught:
        data = load_image_bags(cohort, image_size=(6, 8))
    assert len(caught) == 1
    assert data.report["path"].tolist() == [str(cohort / "p1" / "odd.png")]


def test_a_patient_without_images(cohort):
    (cohort / "p3").mkdir()
    (cohort / "p4").mkdir()
    (cohort / "p4" / "slide.svs").touch()
    report = problems(cohort)
    assert dict(zip(report["bag"], report["problem"], strict=True)) == {
        "p3": "has no images",
        "p4": "has no images, but 1 .svs",
    }
    with pytest.warns(UserWarning, match="(?s)left out.*'p3': has no images"):
        assert len(load_image_bags(cohort, on_error="skip").data) == 3


def test_a_patient_whose_images_are_all_unreadable(cohort):
    (cohort / "p1" / "x.png").write_bytes(b"")
    table = pd.DataFrame({"bag": ["p10", "p2", "p1"], "y": [10, 2, 1], "age": [30, 20, 40]})
    options = {"table": table, "label": "y", "group": "bag", "covariates": ["age"]}
    report = problems(cohort, **options)
    assert report["kind"].tolist() == ["unreadable", "empty"]
    with pytest.warns(UserWarning, match=r"(?s)'p1': has no instance: none of its images"):
        data = load_image_bags(cohort, on_error="skip", **options)
    # What remains is still matched by name.
    assert data.data.names.tolist() == ["p2", "p10"]
    assert data.target.tolist() == [2, 10]
    assert data.data.groups.tolist() == ["p2", "p10"]
    assert data.data.covariates["age"].tolist() == [20, 30]
    assert {os.path.basename(os.path.dirname(path)) for path in data.image_paths} == {"p2", "p10"}


def test_nothing_is_left(cohort):
    for path in cohort.glob("*/*.png"):
        path.write_bytes(b"")
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match=r"(?s)No bag is left to load: of 3 none.*0 bytes"),
    ):
        load_image_bags(cohort, on_error="skip")


# -- leaks ----------------------------------------------------------------------------------------


def test_the_same_image_for_two_patients(cohort):
    (cohort / "p2" / "copy.png").write_bytes((cohort / "p1" / "x.png").read_bytes())
    with pytest.warns(UserWarning, match="(?s)different patients have the same content") as caught:
        data = load_image_bags(cohort)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert data.report["kind"].tolist() == ["leak"]
    assert data.report["problem"][0].endswith("x.png' of p1")
    table = pd.DataFrame({"bag": ["p1", "p2", "p10"], "group": ["ann", "ann", "bob"]})
    assert len(load_image_bags(cohort, table=table, group="group").report) == 0


def test_the_same_image_in_another_format(cohort):
    save(cohort / "p2" / "copy.tif", Image.open(cohort / "p1" / "x.png"))
    with pytest.warns(UserWarning, match=r"(?s)the same content.*copy\.tif.*x\.png"):
        load_image_bags(cohort)


def test_one_file_for_two_patients_of_a_table(cohort):
    table = pd.DataFrame({"path": ["p1/x.png", "p1/x.png"], "bag": ["ann", "bob"]})
    with pytest.warns(UserWarning, match="the same content"):
        load_image_bags(table, root=cohort)


def test_copies_inside_a_patient_are_no_leak(cohort):
    (cohort / "p2" / "copy.png").write_bytes((cohort / "p2" / "a.png").read_bytes())
    assert len(load_image_bags(cohort).report) == 0


# -- instances on an image ------------------------------------------------------------------------


def corners(image):
    """Crops of 4 × 5 pixels at the first k corners, where k is coded in the first pixel."""
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    rows, columns = image.shape[0] - 4, image.shape[1] - 5
    boxes = np.array([[r, c, r + 4, c + 5] for r in (0, rows) for c in (0, columns)])
    boxes = boxes[: image[0, 0, 0] % 5]
    crops = [image[r0:r1, c0:c1] for r0, c0, r1, c1 in boxes]
    return np.array(crops, dtype=np.uint8).reshape(-1, 4, 5, 3), boxes.reshape(-1, 4)


@pytest.fixture
def cells(tmp_path):
    """Images with 1, 3, 2 and 4 cells, of different sizes, of two patients."""
    for i, (name, k) in enumerate({"p1/a": 1, "p1/b": 3, "p2/a": 2, "p2/b": 4}.items()):
        pixels = noise(i, 8 + i, 12)
        pixels[0, 0, 0] = k
        save(tmp_path / "cells" / f"{name}.png", pixels)
    return tmp_path / "cells"


@pytest.mark.parametrize("channels_last", [True, False])
def test_instances_by_a_function(cells, channels_last):
    def extract(image):
        crops, boxes = corners(image)
        return (crops if channels_last else np.moveaxis(crops, -1, 1)), boxes

    data = load_image_bags(cells, extract=extract)
    X = data.data
    assert X.sizes.tolist() == [4, 6] and X.instance_shape == (3, 4, 5)
    np.testing.assert_array_equal(X.instance_data["image"], [0, 1, 1, 1, 2, 2, 3, 3, 3, 3])
    for instance, number, box in zip(X.instances, *X.instance_data.values(), strict=True):
        with Image.open(data.image_paths[number]) as image:
            whole = np.asarray(image)
        cut = whole[box[0] : box[2], box[1] : box[3]]
        np.testing.assert_array_equal(instance, np.moveaxis(cut, -1, 0))


def test_crops_are_resized_and_made_grey(cells):
    data = load_image_bags(cells, extract=corners, image_size=(8, 10), color_mode="grey").data
    plain = load_image_bags(cells, extract=corners).data
    assert data.instance_shape == (1, 8, 10)
    expected = luma(np.moveaxis(plain.instances, 1, -1)).mean(axis=(1, 2))
    assert np.abs(data.instances.mean(axis=(1, 2, 3)) - expected).max() < 15
    np.testing.assert_array_equal(data.instance_data["box"], plain.instance_data["box"])


def test_grey_crops(cells):
    def extract(image):
        crops, boxes = corners(image)
        return crops[..., :1], boxes

    grey = load_image_bags(cells, extract=extract, color_mode="grey").data.instances
    three = load_image_bags(cells, extract=extract).data.instances
    assert grey.shape[1] == 1
    np.testing.assert_array_equal(three, np.repeat(grey, 3, axis=1))


def test_an_image_without_a_cell(cells):
    pixels = noise(9)
    pixels[0, 0, 0] = 5
    save(cells / "p1" / "blank.png", pixels)
    with pytest.warns(UserWarning, match=r"(?s)extract found nothing.*blank\.png"):
        data = load_image_bags(cells, extract=corners)
    assert data.data.sizes.tolist() == [4, 6]
    assert len(data.image_paths) == 4 and data.data.instance_data["image"].max() == 3


def test_a_patient_without_a_cell(cells):
    pixels = noise(9)
    pixels[0, 0, 0] = 5
    save(cells / "p3" / "blank.png", pixels)
    report = problems(cells, extract=corners)
    assert set(report["kind"]) == {"no cell", "empty"}
    assert "p3" in report.loc[report["kind"] == "empty", "bag"].tolist()
    with (
        pytest.warns(UserWarning, match="'p3': has no instance"),
        pytest.warns(UserWarning, match="extract found nothing"),
    ):
        data = load_image_bags(cells, extract=corners, on_error="skip")
    assert data.data.names.tolist() == ["p1", "p2"]


def test_crops_of_several_sizes(cells):
    def extract(image):
        crops, boxes = corners(image)
        return (crops[:, :2] if len(crops) == 1 else crops), boxes

    report = problems(cells, extract=extract)
    assert "gives crops of 2 × 5 pixels, where 3 of 4 have 4 × 5" in report["problem"][0]
    assert load_image_bags(cells, extract=extract, image_size=(4, 5)).data.n_instances == 10


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        (lambda crops, boxes: crops, TypeError, r"must return \(crops, boxes\)"),
        (lambda crops, boxes: (crops / 255, boxes), ValueError, "uint8.* Got float64"),
        (lambda crops, boxes: (crops[0], boxes), ValueError, r"uint8 .* Got uint8 and \(4, 5, 3\)"),
        (lambda crops, boxes: (crops, boxes[:, :2]), ValueError, "a box .* for each of its"),
        (lambda crops, boxes: (crops, boxes[1:]), ValueError, "a box .* for each of its"),
        (lambda crops, boxes: ([crops[0], crops[0, :2]], boxes), ValueError, "crops of one shape"),
        (lambda crops, boxes: (None, None), ValueError, "Got object .*return \\[\\], \\[\\]"),
        (lambda crops, boxes: (crops[:, :0], boxes), ValueError, r"Got uint8 and \(1, 0, 5, 3\)"),
        (lambda crops, boxes: (crops, boxes * np.nan), ValueError, r"box \[nan, .*not finite"),
    ],
)
def test_a_function_that_gives_something_else(cells, given, error, match):
    with pytest.raises(error, match=match) as caught:
        load_image_bags(cells, extract=lambda image: given(*corners(image)), on_error="skip")
    assert str(cells) in str(caught.value)


def test_an_error_of_the_function_names_the_image(cells):
    def extract(image):
        if image.shape[0] == 10:
            raise ZeroDivisionError("no cells to divide by")
        return corners(image)

    with pytest.raises(ZeroDivisionError, match="no cells to divide by") as caught:
        load_image_bags(cells, extract=extract, on_error="skip")
    assert "p2" in caught.value.__notes__[0] and "(10, 12, 3)" in caught.value.__notes__[0]


# -- memory, threads, the progress bar ------------------------------------------------------------


def test_images_are_never_all_in_memory(tmp_path):
    large = np.zeros((600, 800, 3), dtype=np.uint8)
    for i in range(12):
        large[0, 0] = i
        save(tmp_path / "p" / f"{i}.png", large)

    def extract(image):
        return image[:1, :1][np.newaxis], np.array([[0, 0, 1, 1]])

    load_image_bags(tmp_path, extract=extract)  # imports are not counted
    tracemalloc.start()
    try:
        load_image_bags(tmp_path, extract=extract)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * large.nbytes


def test_threads_give_the_same(cells):
    (cells / "p1" / "bad.png").write_bytes(b"")
    options = {"extract": corners, "on_error": "skip"}
    with pytest.warns(UserWarning, match="left out"):
        alone = load_image_bags(cells, **options)
    with pytest.warns(UserWarning, match="left out"):
        together = load_image_bags(cells, n_jobs=2, **options)
    np.testing.assert_array_equal(alone.data.instances, together.data.instances)
    assert alone.image_paths == together.image_paths
    assert alone.report.equals(together.report)


def test_progress_bar(cohort, capsys):
    load_image_bags(cohort)
    assert capsys.readouterr().err == ""
    load_image_bags(cohort, verbose=1)
    assert "images" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(0, 3), (3,), (2.5, 3)])
def test_wrong_sizes(cohort, size):
    with pytest.raises(ValueError, match="'image_size' parameter must be None or two positive"):
        load_image_bags(cohort, image_size=size)


@pytest.mark.parametrize("options", [{"color_mode": "hsv"}, {"on_error": "ignore"}, {"extract": 3}])
def test_wrong_parameters(cohort, options):
    with pytest.raises(ValueError, match=f"'{next(iter(options))}' parameter"):
        load_image_bags(cohort, **options)


def test_pillow_is_missing(cohort, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install milkit\[image\]"):
        load_image_bags(cohort)


def test_pillow_is_loaded_only_when_it_is_needed():
    assert not modules_after("from milkit.image import load_image_bags") & {"PIL", "skimage"}
