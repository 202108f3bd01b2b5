"""make_blood_smear_cohort(render=True): images of cells whose boxes are known."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from milkit.datasets import make_blood_smear_cohort
from milkit.datasets._smear import _Slide

COHORTS = ["red_cell", "lymphocytosis"]


def rendered(cohort="red_cell", **options):
    defaults = {"scale": 0.02, "bag_scale": 0.2, "crop_size": 24, "random_state": 0}
    return make_blood_smear_cohort(cohort, render=True, **{**defaults, **options})


@pytest.fixture(scope="module", params=COHORTS)
def data(request):
    return rendered(request.param)


@pytest.fixture(scope="module")
def red_cell():
    return rendered(bag_scale=0.4)


# -- the cohort is the same --------------------------------------------------------------------


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("options", [{}, {"class_sep": 0.0, "patient_effect": 0.0}])
def test_patients_labels_and_covariates_are_those_without_images(cohort, options):
    images = rendered(cohort, **options)
    features = make_blood_smear_cohort(cohort, scale=0.02, bag_scale=0.2, random_state=0, **options)
    np.testing.assert_array_equal(images.target, features.target)
    np.testing.assert_array_equal(images.target_names, features.target_names)
    np.testing.assert_array_equal(images.cell_names, features.cell_names)
    first, second = images.data, features.data
    for column in ("names", "groups", "sizes"):
        np.testing.assert_array_equal(getattr(first, column), getattr(second, column))
    assert first.covariates.equals(second.covariates)
    np.testing.assert_array_equal(first.instance_data["label"], second.instance_data["label"])
    # The number of the image inside the sample has become that among all images.
    image = first.instance_data["image"]
    start = np.repeat(image[first.offsets[:-1]], first.sizes)
    np.testing.assert_array_equal(image - start, second.instance_data["image"])


def test_what_is_returned(data):
    X = data.data
    assert X.instance_shape == (3, 24, 24) and X.dtype == np.uint8
    image = X.instance_data["image"]
    np.testing.assert_array_equal(np.unique(image), np.arange(len(data.images)))
    assert all(im.ndim == 3 and im.shape[2] == 3 and im.dtype == np.uint8 for im in data.images)
    assert [len(boxes) for boxes in data.boxes] == np.bincount(image).tolist()
    np.testing.assert_array_equal(np.concatenate(data.boxes), X.instance_data["box"])
    for im, boxes in zip(data.images, data.boxes, strict=True):
        assert np.all(boxes[:, :2] >= 0) and np.all(boxes[:, 2:] <= im.shape[:2])
        assert np.all(boxes[:, 2:] - boxes[:, :2] > 3)
    assert "simulated" in data.DESCR and "an image of one cell" in data.DESCR
    assert "feature" not in data.DESCR


def test_instances_of_red_cells_are_the_windows_around_their_boxes(red_cell):
    X = red_cell.data
    for crop, box, image in zip(
        X.instances, X.instance_data["box"], X.instance_data["image"], strict=True
    ):
        wide = np.pad(red_cell.images[image], ((24, 24), (24, 24), (0, 0)), mode="edge")
        row, column = (round((box[i] + box[i + 2]) / 2 - 12) + 24 for i in (0, 1))
        expected = wide[row : row + 24, column : column + 24].transpose(2, 0, 1)
        np.testing.assert_array_equal(crop, expected)


def test_instances_of_lymphocytosis_are_the_images_themselves():
    data = rendered("lymphocytosis")
    for crop, image, (box,) in zip(data.data.instances, data.images, data.boxes, strict=True):
        np.testing.assert_array_equal(crop, image.transpose(2, 0, 1))
        assert np.shares_memory(image, data.data.instances)
        assert np.all(np.abs((box[:2] + box[2:]) / 2 - 12) < 4)  # near the middle


def test_repeatability_and_the_size_of_crops(data):
    cohort = "lymphocytosis" if "malignant" in data.target_names else "red_cell"
    again, other = rendered(cohort), rendered(cohort, random_state=1)
    np.testing.assert_array_equal(again.data.instances, data.data.instances)
    for first, second in zip(again.images, data.images, strict=True):
        np.testing.assert_array_equal(first, second)
    n = min(len(other.data.instances), len(data.data.instances))
    assert not np.array_equal(other.data.instances[:n], data.data.instances[:n])
    X, y = rendered(cohort, crop_size=40, return_X_y=True)
    assert X.instance_shape == (3, 40, 40) and len(y) == len(X)
    # Cells grow with the crops.
    heights = [(b[:, 2] - b[:, 0]).mean() for b in (X.instance_data["box"], np.vstack(data.boxes))]
    assert heights[0] / heights[1] == pytest.approx(40 / 24, rel=0.1)
    with pytest.raises(ValueError, match="crop_size"):
        rendered(cohort, crop_size=8)


# -- the images --------------------------------------------------------------------------------


def test_boxes_hold_the_cells(red_cell):
    """Of cells that no other one overlaps, the dark pixels in and around the box fill it."""
    errors = []
    for image, boxes in zip(red_cell.images, red_cell.boxes, strict=True):
        green = ndimage.gaussian_filter(image[:, :, 1].astype(float), 0.5)
        dark = green < 0.5 * (np.quantile(green, 0.9) + np.quantile(green, 0.1))
        labels, _ = ndimage.label(ndimage.binary_fill_holes(dark))
        found = np.array(
            [[*(s.start for s in f), *(s.stop for s in f)] for f in ndimage.find_objects(labels)]
        )
        for box in boxes:
            distance = np.abs(found - box).max(axis=1)
            errors.append(distance.min())
    errors = np.array(errors)
    # Many cells touch others or are pale; the boxes of the rest are right to a pixel.
    assert np.mean(errors <= 1) > 0.5
    assert np.median(errors) <= 1


def test_cells_lie_inside_may_touch_and_are_hardly_hidden(red_cell):
    touching = n_cells = 0
    for boxes in red_cell.boxes:
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        radius = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2
        distance = np.linalg.norm(middle[:, None] - middle, axis=2)
        ratio = distance / (radius[:, None] + radius) + 9 * np.eye(len(boxes))
        assert ratio.min() > 0.6
        touching += (ratio.min(axis=1) < 1.02).sum()
        n_cells += len(boxes)
    assert 0.1 < touching / n_cells < 0.6


def test_light_is_absorbed_by_what_lies_above_each_other():
    rng = np.random.default_rng(0)
    slide = _Slide(rng, 0.4)
    one = np.zeros((60, 60, 3), dtype=np.float32)
    one[..., 0] = 0.7
    images = [
        np.mean([slide.photograph(np.random.default_rng(1), k * one) for _ in range(3)], axis=0)
        for k in (0, 1, 2)
    ]
    light, single, double = (image.mean(axis=(0, 1)) for image in images)
    np.testing.assert_allclose(double / light, (single / light) ** 2, rtol=0.01)


def test_patients_of_any_effect_can_be_drawn():
    """Sizes of cells stay bounded; without it these images would fill the memory."""
    data = make_blood_smear_cohort(
        scale=0.02, bag_scale=0.03, render=True, crop_size=16, patient_effect=40, random_state=0
    )
    assert max(image.shape[0] for image in data.images) < 400


def test_light_and_stain_differ_between_patients():
    def shares(effect):
        """Of the variance of the colours of images, that between patients."""
        data = rendered(patient_effect=effect, bag_scale=0.1)
        X = data.data
        image, first = np.unique(X.instance_data["image"], return_index=True)
        patient = np.repeat(X.groups, X.sizes)[first]
        colour = np.array([data.images[i].mean(axis=(0, 1)) for i in image])
        groups = [colour[patient == p] for p in np.unique(patient)]
        within = sum(((g - g.mean(axis=0)) ** 2).sum(axis=0) for g in groups)
        return 1 - within / ((colour - colour.mean(axis=0)) ** 2).sum(axis=0)

    assert np.all(shares(0.8) > 0.6)
    assert np.all(shares(0.0) < 0.35)


def test_sizes_and_shapes_of_cells_follow_their_kind():
    data = rendered(scale=0.1, bag_scale=0.4, witness_rate=0.4)
    X = data.data
    label = X.instance_data["label"]
    height, width = (X.instance_data["box"][:, 2:] - X.instance_data["box"][:, :2]).T
    longer, area = np.maximum(height, width), height * width
    kind = {name: label == 1 + i for i, name in enumerate(data.cell_names)}
    ordinary = label == 0
    assert np.median(area[kind["spherocytosis"]]) < 0.8 * np.median(area[ordinary])
    assert np.median(longer[kind["sickle_cell"]]) > 1.1 * np.median(longer[ordinary])
    ratio = longer / np.minimum(height, width)
    assert np.median(ratio[ordinary]) < 1.15 < np.median(ratio[kind["sickle_cell"]])

    lymph = rendered("lymphocytosis", scale=0.1, witness_rate=0.4, crop_size=48).data
    sides = np.diff(lymph.instance_data["box"].reshape(-1, 2, 2), axis=1)[:, 0].mean(axis=1)
    large = lymph.instance_data["label"] == 1
    assert np.median(sides[large]) > 1.25 * np.median(sides[~large])


def darkness_of_cells(X):
    """What pixels say of each cell, wherever it is turned: sorted darkness around the middle."""
    row, column = np.mgrid[:24, :24]
    rings = np.minimum(np.hypot(row - 11.5, column - 11.5).astype(int), 12)
    green = X.instances[:, 1].reshape(len(X.instances), -1).astype(float)
    means = np.stack([green[:, rings.ravel() == r].mean(axis=1) for r in range(13)], axis=1)
    spread = np.stack([green[:, rings.ravel() == r].std(axis=1) for r in range(13)], axis=1)
    return np.c_[means, spread]


def auc_of_ill_cells(class_sep):
    """Of a linear model for the cells of sick patients that it has not seen."""
    data = rendered(bag_scale=0.4, class_sep=class_sep, witness_rate=0.4)
    X = data.data[np.isin(data.target, ["sickle_cell", "spherocytosis"])].compact()
    Z, ill = darkness_of_cells(X), X.instance_data["label"] > 0
    patient = np.repeat(X.groups, X.sizes)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    scores = cross_val_predict(
        model, Z, ill, groups=patient, cv=GroupKFold(3), method="decision_function"
    )
    return roc_auc_score(ill, scores)


def test_ill_cells_look_ill_as_far_as_class_sep_says():
    assert auc_of_ill_cells(3.0) > 0.9
    assert 0.4 < auc_of_ill_cells(0.0) < 0.6
