"""Bags in npz files."""

import os

import numpy as np
import pytest

from milkit.bags import BagArray
from milkit.datasets import (
    load_bags,
    load_digit_bags,
    make_blood_smear_cohort,
    make_mil_classification,
    save_bags,
)
from milkit.exceptions import BagShapeError

FOLDER = os.environ.get("MILKIT_DATA")
needs_data = pytest.mark.skipif(
    not FOLDER, reason="needs real bags: set MILKIT_DATA to a folder of npz files"
)


def minimal(**changes):
    arrays = {
        "instances": np.arange(12.0).reshape(6, 2),
        "bag_offsets": np.array([0, 2, 6]),
        "bag_labels": np.array([0, 1]),
    }
    return {**arrays, **changes}


def write(path, arrays):
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    return path


def test_a_minimal_file(tmp_path):
    bags = load_bags(write(tmp_path / "a.npz", minimal()))
    assert bags.data.sizes.tolist() == [2, 4] and bags.target.tolist() == [0, 1]
    assert bags.target_names.tolist() == ["negative", "positive"]
    assert bags.feature_names is None and "2 bags" in bags.DESCR
    X, y = load_bags(str(tmp_path / "a.npz"), return_X_y=True)
    assert np.array_equal(X.flat()[0], bags.data.flat()[0]) and y.dtype == np.int64


def test_everything_that_belongs_to_bags_and_instances_is_read(tmp_path):
    path = write(
        tmp_path / "a.npz",
        minimal(
            bag_names=np.array(["a", "b"]),
            groups=np.array(["p", "q"]),
            covariates=np.array([[1.0, np.nan], [3.0, 4.0]]),
            covariate_names=np.array(["age", "count"]),
            feature_names=np.array(["u", "v"]),
            instance_labels=np.arange(6) % 3 - 1,
            instance_boxes=np.arange(24).reshape(6, 4),
            instance_xy=np.arange(12).reshape(6, 2),
            instance_names=np.array(list("uvwxyz")),
            bag_targets=np.array([0.5, 1.5]),
            bag_labels_multi=np.array([[1, 0], [1, 1]], dtype=np.uint8),
        ),
    )
    bags = load_bags(path)
    X = bags.data[[1]]
    assert X.names.tolist() == ["b"] and X.groups.tolist() == ["q"]
    assert X.covariates.to_dict("list") == {"age": [3.0], "count": [4.0]}
    assert set(X.instance_data) == {"label", "box", "xy", "name"}
    assert X.instance_data["box"].shape == (4, 4)
    assert bags.bag_targets.tolist() == [0.5, 1.5] and bags.bag_labels_multi.shape == (2, 2)
    assert bags.feature_names == ["u", "v"]


@pytest.mark.parametrize(("stored", "loaded"), [((6, 5, 4), (1, 5, 4)), ((6, 5, 4, 3), (3, 5, 4))])
def test_pictures_get_their_channels_first(tmp_path, stored, loaded):
    pixels = np.random.RandomState(0).randint(256, size=stored).astype(np.uint8)
    X = load_bags(write(tmp_path / "a.npz", minimal(instances=pixels))).data
    assert X.instance_shape == loaded and X.dtype == np.uint8
    assert np.array_equal(X.flat()[0][2, -1, 1, 3], pixels.reshape(6, 5, 4, -1)[2, 1, 3, -1])


def test_class_names_name_bags_or_instances(tmp_path):
    three = np.array(["a", "b", "c"])
    bags = load_bags(write(tmp_path / "a.npz", minimal(class_names=three)))
    assert bags.target_names.tolist() == ["a", "b", "c"]
    bags = load_bags(
        write(tmp_path / "b.npz", minimal(class_names=three, instance_labels=np.arange(6) % 3))
    )
    assert bags.target_names.tolist() == ["negative", "positive"]
    assert bags.class_names.tolist() == ["a", "b", "c"]
    bags = load_bags(write(tmp_path / "c.npz", minimal(bag_labels=np.array([2, 0]))))
    assert bags.target_names.tolist() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"bag_offsets": None}, ValueError, "lacks the arrays \\['bag_offsets'\\]"),
        ({"bag_offsets": np.array([0, 2, 7])}, BagShapeError, "a.npz.*ends at 7"),
        ({"bag_offsets": np.array([0, 0, 6])}, BagShapeError, "Bag 0 is empty"),
        ({"bag_offsets": np.array([0.0, 2.0, 6.0])}, ValueError, "a.npz.*integers"),
        ({"bag_labels": np.array([0, 1, 1])}, ValueError, "must be 2 integers"),
        ({"bag_labels": np.array(["x", "y"])}, ValueError, "go into class_names"),
        ({"bag_labels": np.array([0, None])}, ValueError, "'bag_labels'.*without pickle"),
        ({"groups": np.array(["p", "q", "r"])}, ValueError, "a.npz.*groups"),
        (
            {"covariates": np.ones((2, 2)), "covariate_names": np.array(["age"])},
            ValueError,
            "must name each column",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(tmp_path, changes, error, message):
    path = write(tmp_path / "a.npz", minimal(**changes))
    with pytest.raises(error, match=message):
        load_bags(path)


def test_no_file_and_no_npz(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_bags(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("bags")
    with pytest.raises(ValueError, match="not an npz file"):
        load_bags(tmp_path / "text.npz")


def test_round_trip_of_vectors(tmp_path):
    digits = load_digit_bags(n_bags=24, random_state=0)
    X = digits.data
    save_bags(tmp_path / "a.npz", X, digits.target, class_names=digits.target_names)
    back = load_bags(tmp_path / "a.npz")
    assert np.array_equal(back.data.flat()[0], X.flat()[0])
    assert back.data.dtype == X.dtype
    assert np.array_equal(back.data.sizes, X.sizes)
    assert np.array_equal(back.data.names, X.names)
    assert np.array_equal(back.data.groups, X.groups)
    assert np.array_equal(back.data.feature_names, X.feature_names)
    assert np.array_equal(back.target, digits.target)
    for key, value in X.instance_data.items():
        assert np.array_equal(back.data.instance_data[key], value)


def test_round_trip_of_text_labels_and_covariates(tmp_path):
    X, y = make_blood_smear_cohort(scale=0.05, bag_scale=0.1, return_X_y=True, random_state=0)
    with pytest.raises(ValueError, match=r"\['sex'\] are not numbers.*Encode"):
        save_bags(tmp_path / "a.npz", X, y)
    X = X.with_columns(covariates=X.covariates[["age", "lymphocyte_count"]])
    save_bags(tmp_path / "a.npz", X, y, bag_targets=X.covariates["age"])
    back = load_bags(tmp_path / "a.npz")
    assert np.array_equal(back.target_names[back.target], y)
    assert back.data.covariates.equals(X.covariates)
    assert np.array_equal(back.bag_targets, X.covariates["age"], equal_nan=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_of_a_view_of_pictures(tmp_path, channels):
    pixels = np.random.RandomState(0).randint(256, size=(9, channels, 5, 4)).astype(np.uint8)
    X = BagArray(pixels, [0, 2, 5, 9], instance_data={"box": np.arange(36).reshape(9, 4)})
    save_bags(tmp_path / "a.npz", X[[2, 0]], [1, 0])
    back = load_bags(tmp_path / "a.npz")
    assert np.array_equal(back.data.flat()[0], np.concatenate([X[2], X[0]]))
    assert np.array_equal(back.data.instance_data["box"], X[[2, 0]].instance_data["box"])
    assert back.target.tolist() == [1, 0]


def test_what_cannot_be_saved_is_refused(tmp_path):
    X, y = make_mil_classification(4, random_state=0)
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="must be a BagArray"):
        save_bags(path, X.to_list(), y)
    with pytest.raises(ValueError, match="one label for each"):
        save_bags(path, X, y[:2])
    with pytest.raises(ValueError, match="channels first"):
        save_bags(path, BagArray(np.ones((4, 2, 2)), [0, 4]), [0])
    with pytest.raises(ValueError, match="cannot be given again"):
        save_bags(path, X, y, groups=y)
    with pytest.raises(ValueError, match="'extra' holds Python objects"):
        save_bags(path, X, y, extra=[{}, None])
    with pytest.raises(ValueError, match="integers from 0 on"):
        save_bags(path, X, ["a", "b", "a", "b"], class_names=["a", "b"])
    assert not path.exists()


# name: bags, instances, shape of an instance, count of each class
FIGURES = {
    "musk1": (92, 476, (166,), [45, 47]),
    "musk2": (102, 6598, (166,), [63, 39]),
    "elephant": (200, 1391, (230,), [100, 100]),
    "fox": (200, 1320, (230,), [100, 100]),
    "tiger": (200, 1220, (230,), [100, 100]),
    "corel8": (800, 3957, (9,), [100] * 8),
    "newsgroups_rec_sport_hockey": (100, 1982, (200,), [50, 50]),
    "mutagenesis_atoms": (188, 4893, (50,), [63, 125]),
    "parkinsons_telemonitoring": (990, 5875, (16,), [495, 495]),
    "mnist_bags_t10k": (998, 10000, (1, 28, 28), None),
    "chula_rbc12": (621, 22106, (3, 24, 24), [357, 264]),
    "bccd_cells": (364, 4886, (3, 28, 28), [163, 201]),
}


@needs_data
@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_real_bags(name):
    path = os.path.join(FOLDER, f"{name}.npz")
    if not os.path.exists(path):
        pytest.skip(f"{name}.npz is not in MILKIT_DATA")
    n_bags, n_instances, shape, counts = FIGURES[name]
    bags = load_bags(path)
    X, y = bags.data, bags.target
    assert (len(X), X.n_instances, X.instance_shape) == (n_bags, n_instances, shape)
    if counts is not None:
        assert np.bincount(y).tolist() == counts
    assert len(bags.target_names) == len(np.unique(y))
    if name == "musk2":
        assert (X.sizes.min(), np.median(X.sizes), X.sizes.max()) == (1, 12, 1044)
    if name == "parkinsons_telemonitoring":
        assert len(np.unique(X.groups)) == 42
        assert len(bags.bag_targets) == len(bags.bag_targets_motor) == 990
    if name == "mutagenesis_atoms":
        assert list(X.covariates.columns) == ["ind1", "inda", "logp", "lumo"]
    if name in ("mnist_bags_t10k", "newsgroups_rec_sport_hockey"):
        wanted = 9 if name.startswith("mnist") else 1
        is_witness = X.instance_data["label"] == wanted
        assert np.array_equal(np.maximum.reduceat(is_witness, X.offsets[:-1]), y == 1)
    if name == "chula_rbc12":
        assert len(bags.class_names) == 13 and X.instance_data["xy"].shape == (22106, 2)
    if name == "bccd_cells":
        assert X.instance_data["box"].shape == (4886, 4)
