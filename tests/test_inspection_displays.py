"""Displays draw the numbers that they are given, and bad input is shown or refused by name."""

import pickle
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.image import AxesImage
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from milkit import MISVM, AttentionMILClassifier, BagArray, BagStatistics, InstanceTransformer
from milkit.base import BagsToBagsMixin
from milkit.exceptions import BagShapeError
from milkit.inspection import (
    AttentionMapDisplay,
    BoxOverlayDisplay,
    InstanceScoreDisplay,
    TopInstancesDisplay,
    attention_weights,
    score_instances,
)
from milkit.inspection._pictures import as_pictures
from milkit.inspection._plotting import number, plain
from milkit.neural import AttentionMILRegressor
from milkit.utils.validation import as_bag_array

DISPLAYS = [InstanceScoreDisplay, TopInstancesDisplay, BoxOverlayDisplay, AttentionMapDisplay]
NASTY = "<b>ann</b> & $x_1$ \\frac{ 50% $"


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


class Given:
    """A fitted classifier whose evidence are the first columns of the instances."""

    def __init__(self, n_classes=3):
        self.classes_ = np.array([f"class {j}" for j in range(n_classes)])

    def score_instances(self, X):
        return [np.array(bag[:, : len(self.classes_)], dtype=float) for bag in X]

    def attention_weights(self, X):
        return [np.array(bag[:, 0], dtype=float) for bag in X]

    def predict(self, X):
        return self.classes_[[bag.mean(axis=0)[: len(self.classes_)].argmax() for bag in X]]


class DropFirst(BagsToBagsMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        bags = as_bag_array(X)
        return bags.select_instances([np.arange(len(bag)) > 0 for bag in bags])


@pytest.fixture(scope="module")
def bags():
    rng = np.random.default_rng(0)
    sizes = rng.integers(3, 9, size=12)
    n = sizes.sum()
    row, column = rng.uniform(0, 30, size=(2, n))
    return BagArray(
        rng.normal(size=(n, 5)),
        np.r_[0, np.cumsum(sizes)],
        names=[f"slide-{i:02d}" for i in range(12)],
        groups=[f"patient-{i // 3}" for i in range(12)],
        instance_data={
            "xy": rng.uniform(0, 100, size=(n, 2)),
            "label": rng.integers(0, 2, size=n),
            "image": np.repeat(np.arange(12), sizes) * 2 + rng.integers(0, 2, size=n),
            "box": np.column_stack([row, column, row + 5, column + 6]),
        },
    )


@pytest.fixture(scope="module")
def images():
    return [np.full((40, 50, 3), 8 * k, dtype=np.uint8) for k in range(24)]


@pytest.fixture(scope="module")
def model(bags):
    y = np.arange(12) % 2
    network = AttentionMILClassifier(max_iter=2, hidden_layer_sizes=(8,), random_state=0)
    return make_pipeline(InstanceTransformer(StandardScaler()), network).fit(bags, y)


def texts(figure):
    return [text.get_text() for text in figure.findobj(plt.Text)]


def from_estimator(display, estimator, X, images, **options):
    if display is BoxOverlayDisplay:
        return display.from_estimator(estimator, X, images, **options)
    return display.from_estimator(estimator, X, **options)


# -- what all have in common ----------------------------------------------------------------------


@pytest.mark.parametrize("display", DISPLAYS)
@pytest.mark.parametrize("kind", ["evidence", "attention"])
def test_through_a_pipeline(display, kind, model, bags, images):
    shown = from_estimator(display, model, bags, images, kind=kind)
    assert isinstance(shown, display)
    assert shown.figure_ is shown.ax_.figure
    assert plt.get_fignums() == [1]
    shown.figure_.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_on_axes_of_the_caller(display, model, bags, images):
    figure, axes = plt.subplots(1, 2)
    shown = from_estimator(display, model, bags, images, ax=axes[1])
    assert shown.figure_ is figure
    again = shown.plot(axes[0])
    assert again is shown
    assert plt.get_fignums() == [1]
    figure.canvas.draw()


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_is_no_axes(display, bags, images):
    figure, axes = plt.subplots(1, 2)
    for ax in (figure, axes):
        with pytest.raises(TypeError, match=f"single Matplotlib Axes. Got {type(ax).__name__}"):
            from_estimator(display, Given(), bags, images, ax=ax)


@pytest.mark.parametrize("display", DISPLAYS)
def test_pickled_and_drawn_again(display, bags, images):
    shown = from_estimator(display, Given(), bags, images)
    again = pickle.loads(pickle.dumps(shown))
    first = again.figure_
    again.plot()
    assert again.figure_ is not first
    again.figure_.canvas.draw()


def test_ends_of_long_names_are_kept():
    names = [plain(f"a very long name of a sample, number {i:02d}", 18) for i in range(12)]
    assert len(set(names)) == 12
    assert max(map(len, names)) == 18
    assert plain("short", 5) == "short"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.9996, "1.00"),
        (99.96, "100"),
        (0.0012, "0.00120"),
        (0.00099999, "0.00100"),
        (-2.5, "\N{MINUS SIGN}2.50"),
    ],
)
def test_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize("display", DISPLAYS)
def test_names_are_no_markup(display, bags, images):
    bags = bags.with_columns(names=[NASTY] * len(bags))
    estimator = Given(3)
    estimator.classes_ = np.array(["$a$", "_b$^{$", "<i>c</i>"])
    shown = from_estimator(display, estimator, bags, images)
    shown.figure_.canvas.draw()  # mathtext that cannot be read would raise
    found = shown.figure_.findobj(lambda artist: isinstance(artist, plt.Text) and artist.get_text())
    users = [text for text in found if "$" in text.get_text() or "<" in text.get_text()]
    assert users
    assert not any(text.get_parse_math() for text in users)
    if display is not TopInstancesDisplay:  # its tiles have room for less
        assert any(NASTY in text for text in texts(shown.figure_))


@pytest.mark.parametrize("display", [InstanceScoreDisplay, BoxOverlayDisplay, AttentionMapDisplay])
def test_bag_by_position_or_name(display, bags, images):
    by_name = from_estimator(display, Given(), bags, images, index="slide-05")
    by_position = from_estimator(display, Given(), bags, images, index=5)
    from_the_end = from_estimator(display, Given(), bags, images, index=np.int64(-7))
    np.testing.assert_array_equal(by_name.values, by_position.values)
    np.testing.assert_array_equal(by_name.values, from_the_end.values)
    assert by_position.ax_.get_title().startswith("slide-05")


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (12, IndexError, "index=12 is out of range: X has 12 bags, at positions 0 to 11"),
        ("slide-99", ValueError, "No bag of X is called 'slide-99'.*'slide-00'"),
        (True, TypeError, "position of a bag or its name"),
        (1.5, TypeError, "position of a bag or its name"),
        (None, TypeError, "position of a bag or its name"),
    ],
)
def test_bags_that_are_not_there(index, error, message, bags):
    with pytest.raises(error, match=message):
        InstanceScoreDisplay.from_estimator(Given(), bags, index=index)
    assert plt.get_fignums() == []  # nothing is left behind


def test_names_that_do_not_tell(bags):
    with pytest.raises(ValueError, match="have no names"):
        InstanceScoreDisplay.from_estimator(Given(), list(bags), index="slide-01")
    with pytest.raises(ValueError, match=r"12 bags are called 'x'.*\[0, 1, 2"):
        InstanceScoreDisplay.from_estimator(Given(), bags.with_columns(names=["x"] * 12), index="x")


def test_numbers_that_are_positions_and_names(bags):
    numbered = bags.with_columns(names=np.arange(12)[::-1])
    with pytest.raises(ValueError, match=r"position of Bag 3 \(8\), but also the name of Bag 8"):
        InstanceScoreDisplay.from_estimator(Given(), numbered, index=3)
    shown = InstanceScoreDisplay.from_estimator(Given(), numbered, index="3")
    np.testing.assert_array_equal(shown.values, bags[8][:, :3])
    same = bags.with_columns(names=np.arange(12))
    assert InstanceScoreDisplay.from_estimator(Given(), same, index=3).bag_name == "3"


@pytest.mark.parametrize("form", [list, tuple, np.array, pd.Index])
def test_several_classes_in_any_container(form, bags):
    wanted = ["class 2", "class 1"]
    score = InstanceScoreDisplay.from_estimator(Given(), bags, class_label=form(wanted))
    assert score.classes.tolist() == wanted
    np.testing.assert_array_equal(score.values, bags[0][:, [2, 1]])
    gallery = TopInstancesDisplay.from_estimator(Given(), bags, class_label=form(wanted))
    assert gallery.classes.tolist() == wanted
    with pytest.raises(ValueError, match="must be a single class here"):
        AttentionMapDisplay.from_estimator(Given(), bags, class_label=form(wanted))
    with pytest.raises(ValueError, match="class_label has no classes"):
        TopInstancesDisplay.from_estimator(Given(), bags, class_label=form([]))


@pytest.mark.parametrize("display", DISPLAYS)
def test_a_table_is_no_collection_of_bags(display, images):
    with pytest.raises(BagShapeError, match=r"Pass \[bag\]"):
        from_estimator(display, Given(), np.ones((4, 5)), images)


@pytest.mark.parametrize("display", DISPLAYS)
def test_what_is_not_fitted(display, bags, images):
    with pytest.raises(NotFittedError):
        from_estimator(display, AttentionMILClassifier(), bags, images)


@pytest.mark.parametrize("display", DISPLAYS)
def test_unknown_kind_and_class(display, bags, images):
    with pytest.raises(ValueError, match="kind must be one of"):
        from_estimator(display, Given(), bags, images, kind="saliency")
    for kind in ("evidence", "attention"):
        with pytest.raises(ValueError, match="'class 7' is no class of the estimator"):
            from_estimator(display, Given(), bags, images, kind=kind, class_label="class 7")


@pytest.mark.parametrize("display", DISPLAYS)
def test_several_labels_for_each_bag(display, bags, images):
    labels = np.column_stack([np.arange(12) % 2, np.arange(12) < 6]).astype(int)
    model = OneVsRestClassifier(MISVM()).fit(bags, labels)
    with pytest.raises(TypeError, match="y of two dimensions and gives 2 labels"):
        from_estimator(display, model, bags, images, kind="evidence")


def cells(frame):
    return frame["cells"]


@pytest.mark.parametrize("display", DISPLAYS)
def test_steps_that_take_the_data_frame_alone(display, bags, images):
    X = bags.with_columns(names=None)
    rows = np.split(np.arange(X.n_instances), np.cumsum(X.sizes)[:-1])
    data = {name: [column[r] for r in rows] for name, column in X.instance_data.items()}
    frame = pd.DataFrame({"cells": pd.Series(X.to_list()), "age": np.arange(12.0)})
    model = make_pipeline(FunctionTransformer(cells), MISVM()).fit(frame, np.arange(12) % 2)
    options = {"kind": "evidence"}
    if display is not TopInstancesDisplay:
        options["index"] = 3
    if display is BoxOverlayDisplay:
        options |= {"boxes": data["box"][3], "image_of": data["image"][3]}
    if display is AttentionMapDisplay:
        options["coordinates"] = data["xy"][3]
    shown = from_estimator(display, model, frame, images, **options)
    expected = model[-1].score_instances(X)
    if display is TopInstancesDisplay:
        assert {tile["row"] for tile in shown.tiles} == {0, 1}
        for tile in shown.tiles:
            value = expected[tile["bag"]][tile["instance"]]
            assert tile["value"] == pytest.approx(value if tile["row"] else -value)
    else:
        assert np.isin(np.ravel(shown.values).round(4), expected[3].round(4)).all()


def test_estimator_without_attention(bags, images):
    svm = MISVM().fit(bags, np.arange(12) % 2)
    with pytest.raises(TypeError, match=r'MISVM has no attention_weights.*pass kind="evidence"'):
        BoxOverlayDisplay.from_estimator(svm, bags, images)
    shown = BoxOverlayDisplay.from_estimator(svm, bags, images, kind="evidence")
    assert shown.label == "evidence for 1"


@pytest.mark.parametrize("error", [None, TypeError, ValueError, AttributeError])
def test_evidence_is_offered_after_one_bag_at_most(bags, monkeypatch, error):
    asked, score = [], MISVM.score_instances

    def score_instances(self, X):
        asked.append(len(X))
        if error is not None:
            raise error("evidence broke")
        return score(self, X)

    svm = MISVM().fit(bags, np.arange(12) % 2)
    monkeypatch.setattr(MISVM, "score_instances", score_instances)
    with pytest.raises(TypeError, match="MISVM has no attention_weights") as caught:
        TopInstancesDisplay.from_estimator(svm, bags, kind="attention")
    assert asked == [1]
    assert ('pass kind="evidence"' in str(caught.value)) == (error is None)


@pytest.mark.parametrize("display", DISPLAYS)
def test_estimator_without_attention_and_evidence(display, bags, images):
    table = make_pipeline(BagStatistics(), LogisticRegression(max_iter=1000))
    table.fit(bags, np.arange(12) % 2)
    with pytest.raises(TypeError, match="'bagstatistics'") as caught:
        from_estimator(display, table, bags, images, kind="attention")
    assert "kind=" not in str(caught.value)


@pytest.mark.parametrize("kind", ["evidence", "attention"])
def test_regressor(kind, bags, images):
    regressor = AttentionMILRegressor(max_iter=2, random_state=0).fit(bags, np.arange(12.0))
    reach = {"evidence": score_instances, "attention": attention_weights}[kind]
    expected = reach(regressor, bags)[4]
    for display in (InstanceScoreDisplay, AttentionMapDisplay):
        shown = display.from_estimator(regressor, bags, index=4, kind=kind)
        np.testing.assert_allclose(np.ravel(shown.values), expected, rtol=1e-5)
    shown = BoxOverlayDisplay.from_estimator(regressor, bags, images, index=4, kind=kind)
    assert np.isin(shown.values.round(4), expected.round(4)).all()
    with pytest.raises(TypeError, match="a regressor, has none"):
        TopInstancesDisplay.from_estimator(regressor, bags)
    with pytest.raises(ValueError, match="no classes: it is a regressor"):
        AttentionMapDisplay.from_estimator(regressor, bags, class_label=1)


@pytest.mark.parametrize("display", DISPLAYS)
def test_without_matplotlib(display, bags, images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install milkit\[plot\]"):
        from_estimator(display, Given(), bags, images)


def test_dataframe_of_bags(bags):
    df = pd.DataFrame({"bag": bags.to_list(), "age": np.arange(12)}, index=bags.names)
    shown = InstanceScoreDisplay.from_estimator(Given(), df, index="slide-02")
    np.testing.assert_array_equal(shown.values, bags[2][:, :3])


@pytest.mark.parametrize("n_instances", [1, 100_000])
@pytest.mark.parametrize("n_missing", [0, 10_000])
def test_one_and_very_many_instances(n_instances, n_missing):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_instances, 2))
    if n_instances > 1:
        values[:n_missing] = np.nan
    places = rng.uniform(0, 1000, size=(n_instances, 2))
    boxes = np.column_stack([places, places + 3])
    witness = rng.integers(0, 2, size=n_instances)
    shown = [
        InstanceScoreDisplay(values, witness=witness).plot(),
        AttentionMapDisplay(values[:, 0], places, kind="evidence").plot(),
        AttentionMapDisplay(values[:, 0], np.column_stack(np.divmod(range(n_instances), 300))),
        BoxOverlayDisplay(np.ones((1000, 1000)), boxes, values[:, 0]).plot(),
    ]
    assert shown[1].grid is None
    assert (shown[2].grid is not None) == (n_instances > 1)
    shown[2].plot()
    for display in shown:
        display.figure_.canvas.draw()


# -- the instances of one bag ---------------------------------------------------------------------


def test_lines_are_the_sorted_values(bags):
    shown = InstanceScoreDisplay.from_estimator(Given(), bags, index=2)
    assert len(shown.lines_) == len(shown.order_) == 3
    for j, (line, order) in enumerate(zip(shown.lines_, shown.order_, strict=True)):
        np.testing.assert_array_equal(line.get_ydata(), np.sort(bags[2][:, j])[::-1])
        np.testing.assert_array_equal(line.get_ydata(), bags[2][order, j])
        np.testing.assert_array_equal(line.get_xdata(), 1 + np.arange(len(order)))


def test_two_classes_show_the_second(model, bags):
    evidence = score_instances(model, bags)[1]
    shown = InstanceScoreDisplay.from_estimator(model, bags, index=1)
    np.testing.assert_allclose(shown.values[:, 0], evidence, rtol=1e-4, atol=1e-6)
    assert shown.classes.tolist() == [1]
    first = InstanceScoreDisplay.from_estimator(model, bags, index=1, class_label=0)
    np.testing.assert_array_equal(first.values, -shown.values)
    both = InstanceScoreDisplay.from_estimator(model, bags, index=1, class_label=[0, 1])
    assert both.values.shape == (bags.sizes[1], 2)


def test_attention_has_one_line_and_the_equal_share(model, bags):
    shown = InstanceScoreDisplay.from_estimator(model, bags, index=1, kind="attention")
    assert len(shown.lines_) == 1
    assert shown.values.sum() == pytest.approx(1)
    assert any(f"equal share, 1/{bags.sizes[1]}" in text for text in texts(shown.figure_))


@pytest.mark.parametrize("by_name", [True, False])
def test_witnesses_are_marked(by_name, bags):
    label = bags[[3]].instance_data["label"]
    witness = "label" if by_name else label
    shown = InstanceScoreDisplay.from_estimator(
        Given(), bags, index=3, class_label="class 1", witness=witness
    )
    marks = [line for line in shown.ax_.lines if line.get_marker() == "D"]
    np.testing.assert_array_equal(np.sort(marks[0].get_ydata()), np.sort(bags[3][label > 0, 1]))
    assert f"known witness ({label.sum()} of {len(label)})" in texts(shown.figure_)


def test_witnesses_that_cannot_be_read(bags):
    with pytest.raises(ValueError, match=r"witness is 'truth'.*X has \['box', 'image', 'label'"):
        InstanceScoreDisplay.from_estimator(Given(), bags, witness="truth")
    with pytest.raises(ValueError, match=r"Bag 3 \('slide-03'\) has .* witness must have shape"):
        InstanceScoreDisplay.from_estimator(Given(), bags, index=3, witness=np.ones(99))
    with pytest.raises(ValueError, match="must be boolean, or numbers"):
        InstanceScoreDisplay([[1.0], [2.0]], witness=["sick", "well"])


def test_dropped_instances_are_no_zeros(bags):
    y = np.arange(12) % 2
    network = AttentionMILClassifier(max_iter=2, random_state=0)
    dropping = make_pipeline(DropFirst(), network).fit(bags, y)
    shown = InstanceScoreDisplay.from_estimator(dropping, bags, index=0)
    n = bags.sizes[0]
    assert np.isnan(shown.values[0, 0])
    assert len(shown.lines_[0].get_ydata()) == n - 1
    assert 0 not in shown.order_[0]
    assert "1 instance without a value" in texts(shown.figure_)
    located = AttentionMapDisplay.from_estimator(dropping, bags)
    assert len(located.map_.get_array()) == n - 1
    assert "1 instance without a value (grey)" in located.ax_.get_title()


@pytest.mark.parametrize("kind", ["evidence", "attention"])
@pytest.mark.parametrize("value", [0.0, 0.25, np.nan])
def test_all_values_the_same(kind, value):
    n = 4
    values = np.full(n, value)
    score = InstanceScoreDisplay(values[:, None], kind=kind).plot()
    assert len(score.order_[0]) == (0 if np.isnan(value) else n)
    places = [[0, 0], [0, 5], [5, 0], [5, 5]]
    for shown in (
        AttentionMapDisplay(values, places, kind=kind),
        BoxOverlayDisplay(
            np.ones((9, 9)),
            np.column_stack([places, [[4, 4]] * 4 + np.array(places)]),
            values,
            kind=kind,
        ),
    ):
        shown.plot().figure_.canvas.draw()
        if kind == "attention":
            expected = np.full(n, np.nan if np.isnan(value) else 0.5)
            np.testing.assert_array_equal(shown.scaled, expected)
    score.figure_.canvas.draw()


@pytest.mark.parametrize(("n_classes", "n_named"), [(10, 10), (12, 12), (60, 20)])
def test_more_classes_than_colors(n_classes, n_named):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, n_classes))
    names = [f"_{j}" for j in range(n_classes)]  # labels with _ are no secret
    shown = InstanceScoreDisplay(values, classes=names).plot()
    listed = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    named = [name for name in listed if name in names]
    assert len(named) == n_named
    highest = np.argsort(-values.max(axis=0))[:n_named]
    assert set(named) == {names[j] for j in highest}
    assert (f"{n_classes - n_named} other classes" in listed) == (n_classes > n_named)
    styles = {(str(shown.lines_[names.index(n)].get_color())) for n in named}
    assert len(styles) == n_named


def test_values_that_cannot_be_drawn():
    with pytest.raises(ValueError, match="infinite"):
        InstanceScoreDisplay([[np.inf]])
    with pytest.raises(ValueError, match=r"must have shape \(n_instances, n_classes\)"):
        InstanceScoreDisplay([1.0, 2.0])
    with pytest.raises(ValueError, match="one label for each of the 1 columns"):
        InstanceScoreDisplay([[1.0]], classes=["a", "b"])


# -- boxes on an image ----------------------------------------------------------------------------


def test_boxes_and_their_scale(bags, images):
    shown = BoxOverlayDisplay.from_estimator(Given(), bags, images, index=4)
    raw, on = bags[4][:, 0], bags[[4]].instance_data["image"]
    assert shown.image_index_ == on[raw.argmax()]  # the strongest instance is on it
    here = on == shown.image_index_
    np.testing.assert_array_equal(shown.values, raw[here])
    expected = (raw - raw.min()) / (raw.max() - raw.min())  # over the bag
    np.testing.assert_allclose(shown.scaled, expected[here])
    np.testing.assert_allclose(np.sort(shown.boxes_.get_array()), np.sort(expected[here]))
    assert np.all(np.diff(shown.boxes_.get_array()) >= 0)  # the strongest on top
    corners = [path.vertices for path in shown.boxes_.get_paths()]
    box = bags[[4]].instance_data["box"][here][np.argsort(expected[here])]
    for corner, (row_min, col_min, row_max, col_max) in zip(corners, box, strict=True):
        np.testing.assert_allclose(corner.min(axis=0), [col_min - 0.5, row_min - 0.5])
        np.testing.assert_allclose(corner.max(axis=0), [col_max - 0.5, row_max - 0.5])
    bar = [text.get_text() for text in shown.colorbar_.ax.get_yticklabels()]
    assert len(bar) == 3
    assert all("raw" in text for text in bar)


def test_the_image_asked_for(bags, images):
    numbers = np.unique(bags[[4]].instance_data["image"])
    for k in numbers:
        shown = BoxOverlayDisplay.from_estimator(Given(), bags, images, index=4, image=k)
        assert shown.image[0, 0, 0] == 8 * k
        assert set(shown.images_) == set(numbers)
    with pytest.raises(ValueError, match=r"Bag 4 \('slide-04'\) has no image 0; it has \[\d+"):
        BoxOverlayDisplay.from_estimator(Given(), bags, images, index=4, image=0)


def test_evidence_is_centred_on_zero(bags, images):
    shown = BoxOverlayDisplay.from_estimator(Given(), bags, images, index=4, kind="evidence")
    predicted = Given().predict(bags[[4]])[0]
    assert shown.label == f"evidence for {predicted}"
    column = bags[4][:, int(predicted[-1])]
    low, high = shown.boxes_.get_clim()
    assert (low, high) == (-np.abs(column).max(), np.abs(column).max())
    assert np.isin(shown.boxes_.get_array(), column).all()


@pytest.mark.parametrize(
    "form",
    [list, tuple, lambda images: dict(enumerate(images)), np.stack, lambda x: np.stack(x)[..., 0]],
)
def test_forms_of_many_images(form, bags, images):
    shown = BoxOverlayDisplay.from_estimator(Given(), bags, form(images), index=4)
    assert shown.image.flat[0] == 8 * shown.image_index_


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64, np.float32, np.float64, bool])
@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 1), (40, 50, 3), (40, 50, 4), (3, 40, 50)])
def test_types_of_one_image(dtype, shape, bags):
    image = np.ones(shape, dtype=dtype)
    shown = BoxOverlayDisplay.from_estimator(
        Given(), bags.with_columns(instance_data={"box": bags.instance_data["box"]}), image
    )
    assert len(shown.values) == bags.sizes[0]
    assert shown.image.shape[:2] == (40, 50)
    shown.figure_.canvas.draw()


def test_images_in_files(bags, images, tmp_path):
    from PIL import Image

    paths = [tmp_path / f"{k}.png" for k in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    for files in (paths, list(map(str, paths))):
        shown = BoxOverlayDisplay.from_estimator(Given(), bags, files, index=4)
        np.testing.assert_array_equal(shown.image, images[shown.image_index_])
    single = BoxOverlayDisplay.from_estimator(Given(), bags, paths[3])
    np.testing.assert_array_equal(single.image, images[3])
    in_array = BoxOverlayDisplay.from_estimator(Given(), bags, np.array(list(map(str, paths))))
    np.testing.assert_array_equal(in_array.image, images[in_array.image_index_])
    opened = list(map(Image.fromarray, images))
    shown = BoxOverlayDisplay.from_estimator(Given(), bags, opened, index=4)
    np.testing.assert_array_equal(shown.image, images[shown.image_index_])
    single = BoxOverlayDisplay.from_estimator(Given(), bags, opened[3])
    np.testing.assert_array_equal(single.image, images[3])
    with pytest.raises(
        ValueError, match=r"Image \d of Bag 0 .*nothing.png': there is no such file"
    ):
        BoxOverlayDisplay.from_estimator(Given(), bags, [tmp_path / "nothing.png"] * 24)


def test_files_look_as_the_loader_reads_them(tmp_path):
    """16 bits are not cut off at 255, and what is transparent is white."""
    from PIL import Image

    deep = np.linspace(0, 65535, 30 * 40).astype(np.uint16).reshape(30, 40)
    clear = np.full((30, 40, 4), [255, 0, 0, 0], dtype=np.uint8)
    for pixels, expected in ((deep, np.rint(deep / 257)), (clear, np.full((30, 40), 255))):
        image = Image.fromarray(pixels)
        image.save(tmp_path / "image.png")
        for form in (tmp_path / "image.png", image):
            shown = BoxOverlayDisplay(form, [[0, 0, 5, 5]], [1.0]).plot()
            drawn = np.asarray(shown.ax_.images[0].get_array())
            np.testing.assert_allclose(drawn, np.repeat(expected[..., None], 3, axis=2), atol=1)


def test_images_that_do_not_fit(bags, images):
    with pytest.raises(ValueError, match=r"Bag 4 \('slide-04'\) has instances on image [89]"):
        BoxOverlayDisplay.from_estimator(Given(), bags, images[:3], index=4)
    with pytest.raises(ValueError, match="images is None"):
        BoxOverlayDisplay.from_estimator(Given(), bags, None)
    with pytest.raises(ValueError, match=r"Image [89] of Bag 4 .* must have shape \(height"):
        BoxOverlayDisplay.from_estimator(Given(), bags, [np.ones((4, 5, 6, 7))] * 24, index=4)
    with pytest.raises(ValueError, match=r"\(3, 40, 50\) may be one image, .* or 3 grey ones"):
        BoxOverlayDisplay.from_estimator(Given(), bags, np.ones((3, 40, 50)))
    with pytest.raises(ValueError, match="image=7 chooses one of several images"):
        BoxOverlayDisplay.from_estimator(Given(), bags, images[0], image=7)
    without = bags.with_columns(instance_data={})
    with pytest.raises(ValueError, match=r"boxes is 'box', .* of bag 0 \('slide-00'\)"):
        BoxOverlayDisplay.from_estimator(Given(), without, images)


def test_boxes_that_do_not_fit():
    image = np.ones((40, 50))
    with pytest.raises(ValueError, match=r"No box of 'ann' is on the image of 40 rows"):
        BoxOverlayDisplay(image, [[50, 10, 60, 20]], [1.0], bag_name="ann")
    with pytest.raises(ValueError, match=r"A box of 'ann' is \[9\.0, 0\.0, 5\.0, 5\.0\]"):
        BoxOverlayDisplay(image, [[0, 0, 5, 5], [9, 0, 5, 5]], [1.0, 2.0], bag_name="ann")
    with pytest.raises(ValueError, match="all are NaN"):
        BoxOverlayDisplay(image, [[np.nan] * 4], [1.0])
    with pytest.raises(ValueError, match="Boxes of 'ann' are infinite"):
        BoxOverlayDisplay(image, [[0, 0, 5, np.inf]], [1.0], bag_name="ann")
    with pytest.raises(ValueError, match=r"must have shape \(2, 4\)"):
        BoxOverlayDisplay(image, [[0, 0, 5, 5]], [1.0, 2.0])


def test_boxes_without_a_value_or_a_place():
    boxes = [[0, 0, 5, 5], [np.nan] * 4, [9, 9, 15, 15], [9, 0, 15, 9]]
    shown = BoxOverlayDisplay(np.ones((20, 20)), boxes, [0.5, 0.2, np.nan, 0.3]).plot()
    np.testing.assert_allclose(shown.boxes_.get_array(), [1 / 3, 1])
    title = shown.ax_.get_title()
    assert "3 boxes" in title
    assert "1 without a value (grey)" in title
    assert "1 instance without a box" in title
    assert "outside" not in title
    shown = BoxOverlayDisplay(np.ones((20, 20)), [[0, 0, 5, 5], [20, 0, 25, 5]], [1.0, 2.0]).plot()
    assert "2 boxes, 1 outside the image" in shown.ax_.get_title()


@pytest.mark.parametrize("limits", [3, (0, 1, 2), (0, np.nan)])
def test_limits_that_are_none(limits):
    with pytest.raises(ValueError, match=r"limits must be \(least, greatest\)"):
        BoxOverlayDisplay(np.ones((9, 9)), [[0, 0, 5, 5]], [1.0], limits=limits)


def test_the_image_with_the_highest_evidence_is_shown(images):
    """And not one with strong evidence against the class."""
    bag = BagArray(
        np.array([[-9.0], [1.0], [2.0], [-8.0]]),
        [0, 4],
        instance_data={"image": [0, 1, 2, 0], "box": [[0, 0, 5, 5]] * 4},
    )
    estimator = Given(1)
    shown = BoxOverlayDisplay.from_estimator(estimator, bag, images, kind="evidence")
    assert shown.image_index_ == 2


def test_opacity_is_not_a_colour():
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 4096, size=(20, 30))
    colours = np.dstack([grey] * 3)
    expected = BoxOverlayDisplay(colours, [[1, 1, 5, 5]], [1.0]).plot().ax_.images[0].get_array()
    assert np.ptp(expected) == 255
    for opaque, dtype in [(1, float), (1.0001, float), (255, int), (65535, np.uint16)]:
        image = np.dstack([colours, np.full_like(grey, opaque, dtype=float)]).astype(dtype)
        shown = BoxOverlayDisplay(image, [[1, 1, 5, 5]], [1.0]).plot()
        np.testing.assert_array_equal(shown.ax_.images[0].get_array(), expected)


@pytest.mark.parametrize("bits", [1, 8, 10, 12, 14, 16, 24])
def test_opacity_of_few_bits(bits):
    full = 2**bits - 1
    rng = np.random.default_rng(0)
    for dtype in (np.uint16, np.int32, np.int64):
        if full > np.iinfo(dtype).max:
            continue
        pictures = rng.integers(0, full + 1, size=(2, 4, 6, 6)).astype(dtype)
        pictures[:, 3] = full
        np.testing.assert_array_equal(as_pictures(pictures), as_pictures(pictures[:, :3]))
        pictures[0, 3] = 0
        assert (as_pictures(pictures)[0] == 255).all()


@pytest.mark.parametrize("full", [1, 255, 65535, 10**6])
def test_half_opacity_is_half_white(full):
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-2, 5, size=(3, 4, 6, 6))
    opacity = rng.choice([0, 0.5, 1], size=(3, 6, 6))
    pictures[:, 3] = full * opacity
    plain_colours = as_pictures(pictures[:, :3]).astype(float)
    opacity = opacity[..., None]
    expected = opacity * plain_colours + (1 - opacity) * 255
    np.testing.assert_allclose(as_pictures(pictures), expected, atol=1)


def test_settings_of_matplotlib_turn_no_picture(bags, images):
    xy = [[x, y] for x in range(3) for y in range(4)]
    values = np.arange(12.0)
    values[5] = np.nan  # drawn in an image of its own
    pictures = np.random.default_rng(0).uniform(size=(bags.n_instances, 8, 6))

    def draw():
        figures = [
            BoxOverlayDisplay.from_estimator(Given(), bags, images).figure_,
            AttentionMapDisplay(values, xy, background=images[3]).plot().figure_,
            TopInstancesDisplay.from_estimator(Given(), bags, k=2, images=pictures).figure_,
        ]
        found = [image for figure in figures for image in figure.findobj(AxesImage)]
        return [(image.origin, image.get_extent(), image.axes.get_aspect()) for image in found]

    expected = draw()
    with plt.rc_context({"image.origin": "lower", "image.aspect": "auto"}):
        turned = draw()
    assert len(turned) >= 10
    assert turned == expected


# -- instances where they lie ---------------------------------------------------------------------


def test_heat_map_of_a_grid():
    rng = np.random.default_rng(0)
    column, row = np.meshgrid(np.arange(7), np.arange(5))
    kept = rng.permutation(35)[:20]
    xy = np.column_stack([1000 + 256 * column.ravel(), 512 * row.ravel()])[kept]
    values = rng.uniform(size=20)
    values[3] = np.nan
    shown = AttentionMapDisplay(values, xy, kind="evidence").plot()
    drawn = shown.map_.get_array()
    assert drawn.shape == (5, 7)
    assert drawn.count() == 19
    for (x, y), value in zip(xy, values, strict=True):
        place = drawn[y // 512, (x - 1000) // 256]
        assert np.ma.is_masked(place) if np.isnan(value) else place == value
    left, right, bottom, top = shown.map_.get_extent()
    assert (left, right) == (1000 - 128, 1000 + 6 * 256 + 128)
    assert (top, bottom) == (-256, 4 * 512 + 256)
    assert shown.ax_.yaxis_inverted()  # y downwards


@pytest.mark.parametrize(
    "xy",
    [
        np.random.default_rng(0).uniform(size=(50, 2)),
        [[0, 0], [0, 0], [1, 1]],  # two at one place
        [[0, 0], [1000, 3], [7, 1000]],  # a grid with few places taken
        [[5, 5]],
        [[0, 0], [1, 0], [2.5, 0]],
    ],
)
def test_points_that_are_no_grid(xy):
    values = np.arange(len(xy)) + 1.0
    shown = AttentionMapDisplay(values, xy).plot()
    assert shown.grid is None
    np.testing.assert_array_equal(shown.map_.get_offsets(), xy)  # values rise, so do the points
    np.testing.assert_array_equal(shown.map_.get_array(), shown.scaled)


@pytest.mark.parametrize("step", [0.1, 1 / 3, 224.0, 1e-7, 1e9])
def test_a_grid_of_rounded_numbers(step):
    place = np.random.default_rng(0).permutation(400)
    xy = np.column_stack([place % 20, place // 20]) * step + 0.7 * step
    shown = AttentionMapDisplay(np.arange(400.0), xy)
    np.testing.assert_array_equal(shown.grid, np.column_stack([place // 20, place % 20]))


def test_instances_without_a_place():
    xy = [[0, 0], [np.nan, 1], [1, 1], [2, 5.5]]
    shown = AttentionMapDisplay([1.0, 2.0, 3.0, 4.0], xy).plot()
    assert len(shown.map_.get_offsets()) == 3
    assert "1 instance without coordinates" in shown.ax_.get_title()
    on_grid = AttentionMapDisplay([1.0, 2.0, 3.0], [[0, 0], [np.nan, 1], [1, 1]]).plot()
    assert on_grid.grid.tolist() == [[0, 0], [-1, -1], [1, 1]]
    with pytest.raises(ValueError, match="No instance of 'ann' has coordinates"):
        AttentionMapDisplay([1.0], [[np.nan, np.nan]], bag_name="ann")
    with pytest.raises(ValueError, match="'ann' are infinite"):
        AttentionMapDisplay([1.0], [[np.inf, 0]], bag_name="ann")


def test_coordinates_of_boxes(bags):
    box = bags[[2]].instance_data["box"]
    shown = AttentionMapDisplay.from_estimator(Given(), bags, index=2, coordinates="box")
    np.testing.assert_allclose(shown.coordinates[:, 0], (box[:, 1] + box[:, 3] - 1) / 2)
    np.testing.assert_allclose(shown.coordinates[:, 1], (box[:, 0] + box[:, 2] - 1) / 2)
    with pytest.raises(ValueError, match=r"Bag 2 \('slide-02'\) .* coordinates must have shape"):
        AttentionMapDisplay.from_estimator(Given(), bags, index=2, coordinates=[[1, 2]])


def test_background(bags):
    image = np.zeros((20, 30))
    shown = AttentionMapDisplay.from_estimator(
        Given(), bags, background=image, extent=(0, 100, 100, 0)
    )
    assert shown.ax_.images[0].get_extent() == [0, 100, 100, 0]
    assert shown.map_.get_alpha() == 0.6
    with pytest.raises(ValueError, match=r"extent must be \(left, right, bottom, top\)"):
        AttentionMapDisplay.from_estimator(Given(), bags, background=image, extent=(0, 1))
    with pytest.raises(ValueError, match=r"extent must be \(left, right, bottom, top\)"):
        AttentionMapDisplay.from_estimator(Given(), bags, background=image, extent=3)


# -- the strongest of many bags -------------------------------------------------------------------


def greedy(values, bags, k, max_per_bag, max_per_group):
    """The k strongest, one by one."""
    bag_of = np.repeat(np.arange(len(bags)), bags.sizes)
    chosen = []
    for i in np.argsort(-values):
        bag, group = bag_of[i], bags.groups[bag_of[i]]
        in_bag = sum(bag_of[j] == bag for j in chosen)
        in_group = sum(bags.groups[bag_of[j]] == group for j in chosen)
        if len(chosen) < k and in_bag < max_per_bag and in_group < max_per_group:
            chosen.append(i)
    return chosen


@pytest.mark.parametrize(("per_bag", "per_group"), [(None, None), (1, None), (None, 2), (2, 3)])
def test_the_strongest_of_each_class(per_bag, per_group, bags):
    shown = TopInstancesDisplay.from_estimator(
        Given(), bags, k=7, max_per_bag=per_bag, max_per_group=per_group
    )
    flat, _ = bags.flat()
    starts = np.cumsum(bags.sizes) - bags.sizes
    for row in range(3):
        tiles = [tile for tile in shown.tiles if tile["row"] == row]
        expected = greedy(flat[:, row], bags, 7, per_bag or 99, per_group or 99)
        found = [starts[tile["bag"]] + tile["instance"] for tile in tiles]
        assert found == expected
        assert [tile["value"] for tile in tiles] == flat[expected, row].tolist()
        for ax, tile in zip(shown.axes_[row], tiles, strict=False):
            assert ax.get_title().startswith(bags.names[tile["bag"]])


def test_attention_is_compared_with_the_mean_of_the_bag(model, bags):
    y = np.arange(12) % 2
    shown = TopInstancesDisplay.from_estimator(model, bags, y, kind="attention", k=4)
    weights = attention_weights(model, bags)
    for tile in shown.tiles:
        assert y[tile["bag"]] == tile["row"]
        expected = weights[tile["bag"]][tile["instance"]] * bags.sizes[tile["bag"]]
        assert tile["value"] == pytest.approx(expected, rel=1e-4)
    predicted = TopInstancesDisplay.from_estimator(model, bags, kind="attention", k=4)
    (head,) = [text for text in texts(predicted.figure_) if "most attention" in text]
    assert "classes as predicted" in head
    assert not any("as predicted" in text for text in texts(shown.figure_))
    labels = model.predict(bags)
    assert all(labels[tile["bag"]] == tile["row"] for tile in predicted.tiles)


def test_a_class_without_an_instance(bags):
    y = np.array(["class 0", "class 1"] * 6)
    shown = TopInstancesDisplay.from_estimator(Given(), bags, y, kind="attention", k=2)
    assert "no instance" in texts(shown.figure_)
    assert {tile["row"] for tile in shown.tiles} == {0, 1}


def test_labels_of_other_classes_are_noted(bags):
    y = np.array(["class 0", "class 1"] * 6)
    shown = TopInstancesDisplay.from_estimator(Given(), bags, y, k=5)
    for tile in shown.tiles:
        label = y[tile["bag"]]
        assert tile["note"] == ("" if label == f"class {tile['row']}" else label)
    with pytest.raises(ValueError, match=r"labels that the estimator does not know: \['x'\]"):
        TopInstancesDisplay.from_estimator(Given(), bags, ["x"] * 12)
    with pytest.raises(ValueError, match="one label for each of the 12 bags"):
        TopInstancesDisplay.from_estimator(Given(), bags, ["class 0"])


@pytest.mark.parametrize(
    "form", ["flat", "channels last", "grey", "list", "bags", "name", "instances"]
)
def test_tiles_are_the_pictures_of_the_instances(form, bags):
    n = bags.n_instances
    pictures = np.random.default_rng(0).integers(0, 255, size=(n, 3, 8, 9)).astype(np.uint8)
    expected, options, X, estimator = np.moveaxis(pictures, 1, -1), {}, bags, Given()
    if form == "channels last":
        options["images"] = expected
    elif form == "grey":
        options["images"] = pictures[:, 0]
        expected = np.repeat(pictures[:, 0, :, :, None], 3, axis=-1)
    elif form == "list":
        options["images"] = [pictures[a:b] for a, b in zip(X.offsets, X.offsets[1:], strict=False)]
    elif form == "bags":
        options["images"] = bags.with_instances(pictures)
    elif form == "name":
        options["images"] = "crop"
        X = X.with_columns(instance_data={"crop": pictures})
    elif form == "instances":
        X, values = X.with_instances(pictures), Given().score_instances(bags)
        estimator = type("Of", (Given,), {"score_instances": lambda self, X: values})()
    else:
        options["images"] = pictures
    shown = TopInstancesDisplay.from_estimator(estimator, X, k=3, **options)
    starts = np.cumsum(bags.sizes) - bags.sizes
    for tile, content in zip(shown.tiles, shown.contents, strict=True):
        np.testing.assert_array_equal(content, expected[starts[tile["bag"]] + tile["instance"]])
    drawn = np.asarray(shown.axes_[1, 2].images[0].get_array())
    np.testing.assert_array_equal(drawn, shown.contents[5])


def test_features_are_deviations_from_the_mean_instance(bags):
    shown = TopInstancesDisplay.from_estimator(Given(), bags, k=2, max_features=3)
    flat, _ = bags.flat()
    deviation = (flat - flat.mean(axis=0)) / flat.std(axis=0)
    starts = np.cumsum(bags.sizes) - bags.sizes
    for tile, content in zip(shown.tiles, shown.contents, strict=True):
        np.testing.assert_allclose(content, deviation[starts[tile["bag"]] + tile["instance"]])
    strongest = np.abs(shown.contents[:2]).mean(axis=0).argsort()[::-1][:3]
    np.testing.assert_array_equal(shown.features_[0], strongest)
    widths = [patch.get_width() for patch in shown.axes_[0, 0].patches]
    np.testing.assert_allclose(widths, shown.contents[0][strongest])
    ticks = [text.get_text() for text in shown.axes_[0, 0].get_yticklabels()]
    assert ticks == [f"x{j}" for j in strongest]


def test_features_that_are_constant_or_missing(bags):
    flat = bags.flat()[0].copy()
    flat[:, 3], flat[::2, 4] = 7.0, np.nan
    shown = TopInstancesDisplay.from_estimator(Given(), bags.with_instances(flat), k=2)
    assert np.all(shown.contents[:, 3] == 0)
    shown.figure_.canvas.draw()


def test_witnesses_have_a_frame(bags):
    shown = TopInstancesDisplay.from_estimator(Given(), bags, k=4, witness="label")
    label = bags.instance_data["label"]
    starts = np.cumsum(bags.sizes) - bags.sizes
    for tile, ax in zip(shown.tiles, shown.axes_.ravel(), strict=True):
        assert tile["witness"] == bool(label[starts[tile["bag"]] + tile["instance"]])
        assert (ax.spines["left"].get_linewidth() > 2) == tile["witness"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be an integer of at least 1. Got 0"),
        ({"k": None}, "k must be an integer of at least 1. Got None"),
        ({"k": 2.0}, "k must be an integer of at least 1. Got 2.0"),
        ({"k": "3"}, "k must be an integer of at least 1. Got '3'"),
        ({"max_features": 0}, "max_features must be an integer of at least 1. Got 0"),
        ({"k": 200}, "make 600 tiles, and 400 is the most"),
        ({"max_per_bag": 1.5}, "max_per_bag must be an integer"),
        ({"images": np.ones((3, 8, 8))}, "images must have one entry for each of the"),
        ({"images": "crop"}, "images is 'crop', the name of an instance_data column"),
        ({"images": [np.ones((8 + i % 2, 9)) for i in range(99)]}, "have different shapes"),
        ({"images": [np.ones((2, 8 + i, 9)) for i in range(12)]}, "have different shapes"),
        ({"witness": [True]}, "witness must have one entry for each"),
    ],
)
def test_galleries_that_cannot_be_made(options, message, bags):
    with pytest.raises(ValueError, match=message):
        TopInstancesDisplay.from_estimator(Given(), bags, **options)
    assert plt.get_fignums() == []


def test_tiles_that_do_not_fit():
    tile = {"row": 0, "value": 1.0, "bag": 0, "instance": 0, "title": "", "witness": 0, "note": ""}
    with pytest.raises(ValueError, match="one name for each of the 4 features"):
        TopInstancesDisplay([tile], np.ones((1, 4)), ["a"], feature_names=["x"])
    with pytest.raises(ValueError, match=r"Rows of tiles must be from 0 to 0, .* Got \[2\]"):
        TopInstancesDisplay([{**tile, "row": 2}], np.ones((1, 4)), ["a"])


def test_infinite_evidence_and_features(bags):
    flat = bags.flat()[0].copy()
    flat[3, 4] = np.inf
    with_feature = TopInstancesDisplay.from_estimator(Given(), bags.with_instances(flat), k=60)
    with_feature.figure_.canvas.draw()
    flat[3, 0] = np.inf
    with pytest.raises(ValueError, match="evidence must be finite"):
        TopInstancesDisplay.from_estimator(Given(), bags.with_instances(flat))


@pytest.mark.parametrize("layout", ["constrained", "tight", None])
def test_a_gallery_inside_a_figure(layout, bags):
    figure, axes = plt.subplots(2, 2, figsize=(10, 8), layout=layout)
    shown = TopInstancesDisplay.from_estimator(Given(), bags, k=3, max_features=4, ax=axes[0, 1])
    figure.canvas.draw()  # a layout that collapses would warn
    assert all(ax.get_position().width > 0.05 for ax in shown.axes_.ravel())


def test_galleries_of_what_cannot_be_shown(bags):
    tensors = bags.with_instances(np.ones((bags.n_instances, 7, 4, 4)))
    with pytest.raises(ValueError, match=r"shape \(7, 4, 4\) are neither pictures"):
        TopInstancesDisplay.from_estimator(Given(), tensors)
    with pytest.raises(ValueError, match="have no groups"):
        TopInstancesDisplay.from_estimator(Given(), list(bags), max_per_group=1)
    with pytest.raises(ValueError, match=r"images must have shape"):
        TopInstancesDisplay.from_estimator(Given(), bags, images=np.ones((bags.n_instances, 3)))
