"""BagArray: construction, views, columns, round trips, pickles."""

import copy
import pickle
import tracemalloc

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.model_selection import GroupKFold, train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples

from milkit import BagArray
from milkit.exceptions import BagShapeError
from milkit.utils.validation import validate_bags

SIZES = [2, 4, 1, 3]


def make_list(sizes=SIZES, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, n_features)) for n in sizes]


@pytest.fixture
def bags():
    return make_list()


@pytest.fixture
def X(bags):
    """Bags with every kind of column; every number says which bag or instance it belongs to."""
    return BagArray.from_list(
        bags,
        names=["a", "b", "c", "d"],
        groups=["ann", "bob", "ann", "eve"],
        covariates=pd.DataFrame({"age": [10, 11, 12, 13], "sex": ["f", "m", "f", "m"]}),
        instance_data={"number": np.arange(10), "box": np.arange(20).reshape(10, 2)},
        feature_names=["u", "v", "w"],
    )


def assert_holds(view, X, bags, rows):
    """``view`` holds exactly these rows of X, in this order, with all columns cut along."""
    rows = np.asarray(rows, dtype=int)
    starts = np.cumsum([0, *SIZES])
    assert len(view) == len(rows)
    assert view.shape == (len(rows),)
    np.testing.assert_array_equal(view.rows, rows)
    np.testing.assert_array_equal(view.sizes, np.array(SIZES)[rows])
    for got, row in zip(view, rows, strict=True):
        np.testing.assert_array_equal(got, bags[row])
    np.testing.assert_array_equal(view.names, X.names[rows])
    np.testing.assert_array_equal(view.groups, X.groups[rows])
    assert view.covariates["age"].tolist() == (10 + rows).tolist()
    assert view.covariates.index.tolist() == list(range(len(rows)))
    number = [j for row in rows for j in range(starts[row], starts[row + 1])]
    np.testing.assert_array_equal(view.instance_data["number"], number)
    np.testing.assert_array_equal(view.instance_data["box"][:, 1], 2 * np.array(number) + 1)
    np.testing.assert_array_equal(view.feature_names, ["u", "v", "w"])
    flat, offsets = view.flat()
    assert view.n_instances == len(flat) == offsets[-1]
    np.testing.assert_array_equal(np.diff(offsets), view.sizes)
    if len(rows):
        np.testing.assert_array_equal(flat, np.concatenate([bags[row] for row in rows]))


# -- construction ----------------------------------------------------------------------------


def test_constructor_keeps_the_caller_s_array():
    store = np.arange(10.0).reshape(5, 2)
    X = BagArray(store, [0, 2, 5])
    assert np.shares_memory(X.instances, store)
    assert X.ndim == 1
    assert X.n_features == 2
    assert X.instance_shape == (2,)
    assert X.names is X.groups is X.covariates is X.feature_names is None
    assert X.instance_data == {}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64", "bool"])
def test_dtype_is_kept(dtype):
    bags = [np.ones((n, 3), dtype=dtype) for n in (2, 3)]
    X = BagArray.from_list(bags)
    assert X.dtype == X[0].dtype == X[::-1].flat()[0].dtype == X.compact().dtype == dtype


def test_tensors():
    bags = [np.full((n, 2, 4, 5), n, dtype=np.uint8) for n in (3, 1, 2)]
    X = BagArray.from_list(bags, instance_data={"box": [np.full((n, 4), n) for n in (3, 1, 2)]})
    assert X.instance_shape == (2, 4, 5)
    assert X.n_features == 40
    assert X[1].shape == (1, 2, 4, 5)
    flat, _ = X[[2, 0]].flat()
    assert flat.shape == (5, 2, 4, 5)
    assert flat[:, 0, 0, 0].tolist() == [2, 2, 3, 3, 3]
    assert X[[2, 0]].instance_data["box"][:, 0].tolist() == [2, 2, 3, 3, 3]
    with pytest.raises(ValueError, match="Only bags of vectors fit in a table"):
        X.to_dataframe()


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 4, 2, 5], "Bag 1 would end at 2 before it begins at 4"),
        ([0, 2, 2, 5], "Bag 1 is empty; every bag needs at least one instance"),
        ([0, 2, 9], "Bag 1 ends at 9, but there are only 5 instances"),
        ([0, 2, 4], "offsets end at 4, but there are 5 instances"),
        ([1, 2, 5], "offsets must begin with 0. Got 1"),
        ([0.0, 2.0, 5.0], "1-D array of integers .* Got dtype float64"),
        ([[0, 5]], r"1-D array of integers .* shape \(1, 2\)"),
        ([], "1-D array of integers"),
    ],
)
def test_bad_offsets(offsets, message):
    with pytest.raises(ValueError, match=message):
        BagArray(np.ones((5, 2)), offsets)


def test_unsigned_offsets():
    assert BagArray(np.ones((5, 2)), np.array([0, 2, 5], dtype=np.uint32)).sizes.tolist() == [2, 3]
    with pytest.raises(BagShapeError, match="Bag 1 would end at 1"):
        BagArray(np.ones((5, 2)), np.array([0, 2, 1, 5], dtype=np.uint64))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"names": ["a"]}, r"names must have one entry for each of the 2 bags. Got shape \(1,\)"),
        ({"groups": [1, 2, 3]}, "groups must have one entry for each of the 2 bags"),
        ({"groups": ["ann", None]}, r"Bag 1 has no group"),
        ({"groups": ["ann", np.nan]}, r"Bag 1 has no group"),
        ({"groups": [np.nan, 1.0], "names": ["p", "q"]}, r"Bag 0 \('p'\) has no group"),
        ({"groups": pd.Series(["ann", pd.NA], dtype="string")}, "Bag 1 has no group"),
        ({"groups": np.array(["2020-01-01", "NaT"], dtype="M8[D]")}, "Bag 1 has no group"),
        ({"covariates": np.ones((3, 2))}, "one row for each of the 2 bags. Got 3 rows"),
        ({"covariates": np.ones(2)}, r"a table of shape \(n_bags, n_covariates\)"),
        (
            {"covariates": pd.DataFrame(np.ones((2, 2)), columns=["age", "age"])},
            "a column name twice",
        ),
        ({"instance_data": {"box": np.ones(4)}}, r"instance_data\['box'\] must have one entry"),
        ({"feature_names": ["u", "u"]}, r"feature_names must be unique. Got \['u'\] twice"),
        ({"feature_names": ["u"]}, r"feature_names must name each feature .* Got 1 names"),
    ],
)
def test_bad_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        BagArray(np.ones((5, 2)), [0, 2, 5], **columns)


def test_columns_of_several_types_stay_what_they_are():
    X = BagArray(np.ones((3, 2)), [0, 1, 2, 3], groups=[1, "1", "ann"], names=["a", 2, "2"])
    assert X.groups.tolist() == [1, "1", "ann"]
    assert X.names.tolist() == ["a", 2, "2"]
    assert BagArray(np.ones((2, 2)), [0, 1, 2], groups=("a", "b")).groups.dtype.kind == "U"


def test_instance_data_must_be_a_dict():
    for make in (lambda **data: BagArray(np.ones((3, 2)), [0, 1, 3], **data),
                 lambda **data: BagArray.from_list(make_list([1, 2]), **data)):  # fmt: skip
        with pytest.raises(TypeError, match=r"instance_data must be a dict .* Got ndarray"):
            make(instance_data=np.ones(3))


def test_a_frame_of_instances_names_the_features():
    frame = pd.DataFrame(np.ones((5, 2)), columns=["u", "v"])
    assert BagArray(frame, [0, 2, 5]).feature_names.tolist() == ["u", "v"]
    assert BagArray(frame, [0, 2, 5], feature_names=["p", "q"]).feature_names[0] == "p"
    assert BagArray(pd.DataFrame(np.ones((5, 2))), [0, 2, 5]).feature_names is None


def test_covariates_of_a_list_keep_their_types():
    X = BagArray.from_list(make_list([1, 2]), covariates=[[63, "f"], [70, "m"]])
    assert X.covariates.columns.tolist() == ["covariate0", "covariate1"]
    assert X.covariates["covariate0"].dtype.kind == "i"
    assert X.covariates["covariate1"].tolist() == ["f", "m"]
    same = BagArray.from_list(make_list([1, 2]), covariates={"age": [63, 70]})
    assert same.covariates["age"].tolist() == [63, 70]


@pytest.mark.parametrize("column", ["names", "groups"])
def test_covariates_in_another_order_are_refused(column):
    bags, labels = make_list([1, 2, 1]), ["p3", "p1", "p2"]
    table = pd.DataFrame({"age": [10, 20, 30]}, index=["p1", "p2", "p3"])
    X = BagArray.from_list(bags, **{column: labels})
    message = rf"holds the {column} of the bags in another order.*table.loc\[X.{column}\]"
    with pytest.raises(ValueError, match=message):
        X.with_columns(covariates=table)
    with pytest.raises(ValueError, match=message):
        BagArray.from_list(bags, covariates=table, **{column: labels})
    right = table.loc[getattr(X, column)]
    assert X.with_columns(covariates=right).covariates["age"].tolist() == [30, 10, 20]
    plain = X.with_columns(covariates=table.reset_index(drop=True))
    assert plain.covariates["age"].tolist() == [10, 20, 30]
    # Another set of labels says nothing of the order, nor does one that agrees with the names.
    X.with_columns(covariates=table.rename({"p1": "q1"}))
    X.with_columns(names=["p1", "p2", "p3"], groups=labels, covariates=table)


def test_labels_of_covariates_are_compared_as_strings():
    X = BagArray.from_list(make_list([1, 2, 1]), names=["0", "2", "1"])
    with pytest.raises(ValueError, match="in another order"):
        X.with_columns(covariates=pd.DataFrame({"age": [1, 2, 3]}, index=[2, 1, 0]))
    counted = X.with_columns(covariates=pd.DataFrame({"age": [1, 2, 3]}))
    assert counted.covariates["age"].tolist() == [1, 2, 3]


def test_columns_are_not_the_caller_s_to_spoil(X):
    table = X.covariates
    table["age"] = 0
    assert X.covariates["age"].tolist() == [10, 11, 12, 13]


def test_from_list_takes_frames_lists_and_mixed_types(bags):
    frames = [pd.DataFrame(bag, columns=["u", "v", "w"]) for bag in bags]
    X = BagArray.from_list(frames)
    assert X.feature_names.tolist() == ["u", "v", "w"]
    np.testing.assert_array_equal(X.flat()[0], np.concatenate(bags))
    assert BagArray.from_list([pd.DataFrame(bag) for bag in bags]).feature_names is None
    nested = BagArray.from_list([bag.tolist() for bag in bags])
    np.testing.assert_array_equal(nested.flat()[0], np.concatenate(bags))
    assert BagArray.from_list([np.ones((1, 2), int), np.ones((1, 2))]).dtype == np.float64


def test_from_list_refuses_frames_with_other_columns():
    frames = [pd.DataFrame({"u": [1], "v": [2]}), pd.DataFrame({"v": [2], "u": [1]})]
    with pytest.raises(BagShapeError, match=r"Bag 1 has columns \['v', 'u'\], but bag 0 has"):
        BagArray.from_list(frames)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.empty((0, 3)), BagShapeError, r"Bag 1 \('b'\) is empty.*Drop the bag and its label"),
        ([], BagShapeError, r"Bag 1 \('b'\) is empty"),
        (np.ones((2, 4)), BagShapeError, r"Bag 1 \('b'\) has instances of shape \(4,\), but bag 0"),
        (np.ones((2, 3, 3)), BagShapeError, r"Bag 1 \('b'\) has instances of shape \(3, 3\)"),
        (np.ones(3), BagShapeError, r"Bag 1 \('b'\) has shape \(3,\).*bag.reshape\(1, -1\)"),
        (None, BagShapeError, r"Bag 1 \('b'\) is None; drop it and its label"),
        (np.nan, BagShapeError, r"Bag 1 \('b'\) is nan; drop it and its label"),
        ("b.png", BagShapeError, r"Bag 1 \('b'\) is 'b.png'; drop it and its label"),
        ({j: j for j in range(99)}, BagShapeError, r"Bag 1 \('b'\) is dict; drop it"),
        (
            BagArray(np.ones((2, 3)), [0, 2]),
            BagShapeError,
            r"Bag 1 \('b'\) is not an array.*ragged",
        ),
        ([[1, 2, 3], [4]], BagShapeError, r"Bag 1 \('b'\) is not an array"),
        (np.array([["x", "y", "z"]]), ValueError, r"Bag 1 \('b'\) must hold numbers.*encode it"),
        (np.array([["x", 1, 2]], dtype=object), ValueError, r"Bag 1 \('b'\) must hold numbers"),
        (np.ones((1, 3)) * 1j, ValueError, r"Complex data not supported: Bag 1 \('b'\)"),
        (np.ones((1, 3), dtype="M8[s]"), ValueError, r"Bag 1 \('b'\) must hold numbers"),
    ],
)
@pytest.mark.parametrize("names", [["a", "b", "c"], pd.Series(["a", "b", "c"], index=[7, 8, 9])])
def test_from_list_names_the_bad_bag(wrong, error, message, names):
    first, last = make_list([2, 3])
    with pytest.raises(error, match=message):
        BagArray.from_list([first, wrong, last], names=names)


def test_from_list_refuses_what_fits_no_bag(bags):
    with pytest.raises(BagShapeError, match="Got no bags"):
        BagArray.from_list([])
    with pytest.raises(ValueError, match="names must have one entry for each of the 4 bags"):
        BagArray.from_list([*bags[:3], np.empty((0, 3))], names=["only one"])
    with pytest.raises(ValueError, match=r"Bag 1 \('q'\) has 4 instances, but its 'box' has 5"):
        BagArray.from_list(
            bags[:2], names=["p", "q"], instance_data={"box": [np.ones(2), np.ones(5)]}
        )
    with pytest.raises(TypeError, match="clinical"):
        BagArray.from_list(bags, clinical=[1, 2, 3, 4])


def test_from_list_refuses_bags_with_their_names_beside_them():
    bags = dict(zip("abcd", make_list(), strict=True))
    with pytest.raises(TypeError, match=r"Got dict instead. Pass list\(X.values\(\)\)"):
        BagArray.from_list(bags)
    with pytest.raises(TypeError, match=r"pairs .* Pass \[bag for _, bag in X\], .* names="):
        BagArray.from_list(bags.items())
    # Two instances in a tuple are a bag, and no pair.
    pictures = [(np.ones((4, 4)), np.zeros((4, 4)))] * 3
    assert BagArray.from_list(pictures).sizes.tolist() == [2, 2, 2]


def test_tensors_of_torch():
    torch = pytest.importorskip("torch")
    bags = [torch.ones(2, 3), torch.ones(4, 3)]
    assert BagArray.from_list(bags).sizes.tolist() == [2, 4]
    bags[1].requires_grad_()
    with pytest.raises(BagShapeError, match=r"Bag 1 is not an array.*\.detach\(\).cpu\(\).numpy"):
        BagArray.from_list(bags)


def test_instances_must_have_two_dimensions():
    with pytest.raises(BagShapeError, match=r"Got shape \(5,\)"):
        BagArray(np.ones(5), [0, 5])
    with pytest.raises(ValueError, match="instances must hold numbers"):
        BagArray(np.array([["x"]]), [0, 1])


# -- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (slice(None), [0, 1, 2, 3]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(2, 100), [2, 3]),
        (slice(3, 1), []),
        (np.array([3, 0]), [3, 0]),
        (np.array([1, 2], dtype=np.uint8), [1, 2]),
        ([-1, 0, 0], [3, 0, 0]),
        (range(2), [0, 1]),
        ([], []),
        (np.array([]), []),
        (np.array([2]), [2]),
        ([True, False, True, False], [0, 2]),
        (np.array([False, False, False, True]), [3]),
        (np.zeros(4, dtype=bool), []),
        (pd.Series([False, True, True, False], index=[9, 8, 7, 6]), [1, 2]),
        (pd.Series([True, False, False, True], dtype="boolean"), [0, 3]),
        (pd.Index([2, 1]), [2, 1]),
    ],
)
@pytest.mark.parametrize("ellipsis", [False, True])
def test_keys_give_views(X, bags, key, rows, ellipsis):
    view = X[key, ...] if ellipsis else X[key]
    assert isinstance(view, BagArray)
    assert view.instances is X.instances
    assert_holds(view, X, bags, rows)


@pytest.mark.parametrize("key", [0, 3, -1, -4, np.int32(2), np.uint8(1), np.array(1)])
def test_integer_keys_give_one_bag(X, bags, key):
    for got in (X[key], X[key, ...], X[::-1][::-1][key]):
        np.testing.assert_array_equal(got, bags[int(key)])
        assert np.shares_memory(got, X.instances)


def test_bags_are_read_only_whatever_the_store_is(X):
    store = np.arange(10.0).reshape(5, 2)
    for bags in (X, X[::-1], BagArray(store, [0, 2, 5])):
        given = [bags[0], bags[0, ...], *bags, *bags.to_list()]
        bags.map(lambda bag, given=given: given.append(bag) or bag)
        for bag in given:
            with pytest.raises(ValueError, match="read-only"):
                bag[0] = 0
    store[0] = 7  # the caller's own array stays his


def test_view_of_view(X, bags):
    view = X[[3, 1, 0]]
    assert_holds(view[1:], X, bags, [1, 0])
    assert_holds(view[[True, False, True]], X, bags, [3, 0])
    assert_holds(view[[2, 2]][::-1][:1], X, bags, [0])
    assert_holds(view[[]], X, bags, [])
    np.testing.assert_array_equal(view[-1], bags[0])
    assert view[[2, 1]].instances is X.instances


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (4, "Bag 4 is out of range: there are 4 bags"),
        (-5, "Bag -5 is out of range"),
        ([0, 4], "out of bounds"),
        ([True, False], "The mask has 2 entries for 4 bags"),
        (np.array([], dtype=bool), "The mask has 0 entries for 4 bags"),
        (1.0, "index it with an integer.* Got 1.0"),
        ([0.0, 1.0], "index it with an integer"),
        ("a", "index it with an integer.* Got 'a'"),
        (["a"], "index it with an integer"),
        (None, "index it with an integer"),
        (True, "index it with an integer"),
        (np.array([[0, 1]]), "A BagArray has one dimension"),
        ((0, 1), r"one bag with X\[i\]\[rows, columns\]"),
        ((slice(None), 0), "A BagArray has one dimension"),
    ],
)
def test_bad_keys(X, key, message):
    with pytest.raises(IndexError, match=message):
        X[key]


def test_iteration_gives_views(X, bags):
    for view in (X, X[::-1]):
        assert all(np.shares_memory(bag, X.instances) for bag in view)
        assert all(np.shares_memory(bag, X.instances) for bag in view.to_list())
    assert [len(bag) for bag in X[[2, 0]]] == [1, 2]
    assert list(X[[]]) == []


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 2], [3], [1]])
def test_flat_of_bags_side_by_side_is_a_view(X, rows):
    flat, offsets = X[rows].flat()
    assert np.shares_memory(flat, X.instances)
    assert offsets[0] == 0


@pytest.mark.parametrize("rows", [[3, 2], [0, 2], [1, 1], [0, 1, 3]])
def test_flat_of_scattered_bags_is_their_concatenation(X, bags, rows):
    flat, _ = X[rows].flat()
    assert not np.shares_memory(flat, X.instances)
    np.testing.assert_array_equal(flat, np.concatenate([bags[row] for row in rows]))


def test_random_views_agree_with_lists():
    rng = np.random.default_rng(1)
    bags = make_list(rng.integers(1, 9, size=60), seed=2)
    X = BagArray.from_list(bags, instance_data={"row": [np.full(len(b), i) for i, b in
                                                        enumerate(bags)]})  # fmt: skip
    for _ in range(20):
        rows = rng.integers(0, 60, size=rng.integers(1, 40))
        flat, offsets = X[rows].flat()
        np.testing.assert_array_equal(flat, np.concatenate([bags[row] for row in rows]))
        np.testing.assert_array_equal(offsets[1:], np.cumsum([len(bags[row]) for row in rows]))
        expected = np.repeat(rows, X[rows].sizes)
        np.testing.assert_array_equal(X[rows].instance_data["row"], expected)


# -- bags to bags ----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 2], [3, 0]])
def test_with_instances_and_map_keep_the_columns(X, bags, rows):
    view = X[rows]
    flat, _ = view.flat()
    doubled = view.with_instances(2 * flat)
    mapped = view.map(lambda bag: 2 * bag)
    for result in (doubled, mapped):
        np.testing.assert_array_equal(result.flat()[0], 2 * flat)
        np.testing.assert_array_equal(result.sizes, view.sizes)
        assert result.names.tolist() == view.names.tolist()
        assert result.groups.tolist() == view.groups.tolist()
        pd.testing.assert_frame_equal(result.covariates, view.covariates)
        for key, value in view.instance_data.items():
            np.testing.assert_array_equal(result.instance_data[key], value)
        assert result.feature_names is None
    wide = view.with_instances(np.ones((len(flat), 2)), feature_names=["p", "q"])
    assert wide.feature_names.tolist() == ["p", "q"]
    assert view.map(lambda bag: bag[:, :1].astype("f4")).dtype == np.float32


def test_map_and_with_instances_refuse_other_lengths(X):
    with pytest.raises(BagShapeError, match=r"shape \(10, ...\). Got shape \(9, 3\)"):
        X.with_instances(np.ones((9, 3)))
    with pytest.raises(BagShapeError, match=r"Bag 0 \('a'\) has 2 instances.*select_instances"):
        X.map(lambda bag: bag[:1])
    with pytest.raises(BagShapeError, match=r"Bag 1 \('b'\) has instances of shape \(3,\), but"):
        X.map(lambda bag: bag[:, : len(bag)])
    with pytest.raises(BagShapeError, match="There are no bags"):
        X[[]].map(lambda bag: bag)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1]])
def test_select_instances(X, bags, rows):
    view = X[rows]
    masks = [np.arange(len(bag)) % 2 == 0 for bag in view]
    for mask in (np.concatenate(masks), masks, tuple(masks)):
        chosen = view.select_instances(mask)
        for bag, row in zip(chosen, rows, strict=True):
            np.testing.assert_array_equal(bag, bags[row][::2])
        kept = view.instance_data["number"][np.concatenate(masks)]
        np.testing.assert_array_equal(chosen.instance_data["number"], kept)
        assert chosen.groups.tolist() == view.groups.tolist()
        assert chosen.feature_names.tolist() == ["u", "v", "w"]


def test_select_instances_never_empties_a_bag(X):
    mask = np.ones(10, dtype=bool)
    mask[6] = False  # the only instance of bag 2
    with pytest.raises(BagShapeError, match=r"Bag 2 \('c'\) is empty after the selection"):
        X.select_instances(mask)
    with pytest.raises(ValueError, match=r"mask must be boolean .* 10 instances. Got dtype int"):
        X.select_instances(np.ones(10, dtype=int))
    with pytest.raises(ValueError, match=r"Got dtype bool and shape \(9,\)"):
        X.select_instances(mask[:9])
    with pytest.raises(ValueError, match=r"Bag 0 \('a'\) has 2 instances, but its 'mask' has 3"):
        X.select_instances([[True] * 3, [True] * 3, [True], [True] * 3])
    assert len(X[[]].select_instances(np.empty(0, dtype=bool))) == 0


@pytest.mark.parametrize("key", [slice(None), slice(1, 3), [3, 0], []])
def test_compact_is_an_own_copy(X, bags, key):
    view = X[key]
    own = view.compact()
    assert not np.shares_memory(own.instances, X.instances)
    assert len(own.instances) == view.n_instances
    assert_holds_same(own, view)


def assert_holds_same(one, other):
    np.testing.assert_array_equal(one.flat()[0], other.flat()[0])
    np.testing.assert_array_equal(one.flat()[1], other.flat()[1])
    np.testing.assert_array_equal(one.names, other.names)
    np.testing.assert_array_equal(one.groups, other.groups)
    pd.testing.assert_frame_equal(one.covariates, other.covariates)
    for key, value in other.instance_data.items():
        np.testing.assert_array_equal(one.instance_data[key], value)


def test_with_columns(X):
    changed = X[1:].with_columns(groups=[7, 8, 9], covariates=None)
    assert changed.groups.tolist() == [7, 8, 9]
    assert changed.covariates is None
    assert changed.names.tolist() == ["b", "c", "d"]
    assert np.shares_memory(changed.instances, X.instances)
    assert X.groups.tolist() == ["ann", "bob", "ann", "eve"]
    with pytest.raises(TypeError, match=r"Unknown columns \['group'\]; expected any of"):
        X.with_columns(group=[1, 2, 3, 4])


def test_views_of_a_subclass():
    class Slides(BagArray):
        pass

    X = Slides.from_list(make_list())
    assert isinstance(X[1:][[0]], Slides)


# -- the long table --------------------------------------------------------------------------


@pytest.fixture
def table():
    """Bags "q", "p", "r" whose rows lie apart."""
    return pd.DataFrame(
        {
            "slide": ["q", "p", "q", "r", "p", "q"],
            "sick": ["yes", "no", "yes", "no", "no", "yes"],
            "patient": [5, 4, 5, 4, 4, 5],
            "age": [50.0, np.nan, 50.0, 30.0, np.nan, 50.0],
            "area": [1, 2, 3, 4, 5, 6],
            "shape": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        }
    )


ROLES = {"label": "sick", "group": "patient", "covariates": ["age"]}


def test_from_dataframe_gathers_rows_that_lie_apart(table):
    before = table.copy()
    X, y = BagArray.from_dataframe(table, "slide", **ROLES)
    assert X.names.tolist() == ["q", "p", "r"]
    assert X.sizes.tolist() == [3, 2, 1]
    assert X[0].tolist() == [[1, 0.1], [3, 0.3], [6, 0.6]]
    assert X[1].tolist() == [[2, 0.2], [5, 0.5]]
    assert y.tolist() == ["yes", "no", "no"]
    assert X.groups.tolist() == [5, 4, 4]
    np.testing.assert_array_equal(X.covariates["age"], [50, np.nan, 30])
    assert X.feature_names.tolist() == ["area", "shape"]
    assert X.flat()[0].flags.c_contiguous
    pd.testing.assert_frame_equal(table, before)


@pytest.mark.parametrize("dtype", ["category", "string", object])
def test_from_dataframe_string_labels(table, dtype):
    _, y = BagArray.from_dataframe(table.astype({"sick": dtype}), "slide", **ROLES)
    assert y.tolist() == ["yes", "no", "no"]


def test_from_dataframe_without_label_and_with_named_features(table):
    X = BagArray.from_dataframe(table, "slide", features=pd.Index(["area"]))
    assert isinstance(X, BagArray)
    assert X.flat()[0].ravel().tolist() == [1, 3, 6, 2, 5, 4]
    assert X.dtype.kind == "i"
    same = BagArray.from_dataframe(table, "slide", covariates=None, features=["area"])
    assert same.covariates is None
    X = BagArray.from_dataframe(table, "slide", features=["shape"], instance_data=["area"])
    assert X.instance_data["area"].tolist() == [1, 3, 6, 2, 5, 4]


def test_from_dataframe_reads_mixed_and_nullable_numbers(table):
    flags = [True, False, True, True, False, False]
    counts = pd.array([1, None, 2, 3, 4, 5], dtype="Int64")
    X, _ = BagArray.from_dataframe(table.assign(flag=flags, count=counts), "slide", **ROLES)
    assert X.dtype == np.float64
    np.testing.assert_array_equal(X[1], [[2, 0.2, 0, np.nan], [5, 0.5, 0, 4]])


@pytest.mark.parametrize("column", ["sick", "patient", "age"])
def test_from_dataframe_refuses_what_varies_in_a_bag(table, column):
    table.loc[4, column] = {"sick": "yes", "patient": 9, "age": 31.0}[column]
    with pytest.raises(ValueError, match=rf"Bag 1 \('p'\) has several values in column '{column}'"):
        BagArray.from_dataframe(table, "slide", **ROLES)


@pytest.mark.parametrize(
    ("change", "roles", "error", "message"),
    [
        ({}, {"label": "ill"}, ValueError, "Unknown label column 'ill'; the table has"),
        ({}, {"covariates": ["weight"]}, ValueError, "Unknown covariates column 'weight'"),
        ({}, {"features": ["volume"]}, ValueError, "Unknown features column 'volume'"),
        ({}, {"label": "sick", "covariates": ["sick"]}, ValueError, r"\['sick'\] have two roles"),
        ({}, {"label": "sick", "features": ["sick"]}, ValueError, r"\['sick'\] have two roles"),
        ({}, {"features": ["area", "area"]}, ValueError, r"\['area'\] have two roles"),
        ({}, {"covariates": "age"}, TypeError, "covariates must be a list .* string 'age'"),
        ({}, {"features": "area"}, TypeError, "features must be a list .* string 'area'"),
        ({}, {"label": ["sick"]}, TypeError, r"label must be one column name. Got \['sick'\]"),
        ({}, {"group": ["patient"]}, TypeError, "group must be one column name"),
        ({}, {"features": []}, ValueError, "No columns are left for the features"),
        ({}, {"label": "sick"}, ValueError, "Column 'patient' has one value per bag"),
        ({}, {"features": ["area", "sick"]}, ValueError, r"must be numbers; \['sick'\] are not"),
        (
            {"slide": ["q", None, "q", "r", "p", "q"]},
            ROLES,
            ValueError,
            "Row 1 has no bag: column 'slide' is missing",
        ),
        (
            {"sick": ["yes", None, "yes", "no", None, "yes"]},
            ROLES,
            ValueError,
            r"Bag 1 \('p'\) has no label",
        ),
        (
            {"patient": [5, None, 5, 4, None, 5]},
            ROLES,
            ValueError,
            r"Bag 1 \('p'\) has no group",
        ),
    ],
)
def test_from_dataframe_refuses(table, change, roles, error, message):
    with pytest.raises(error, match=message):
        BagArray.from_dataframe(table.assign(**change), "slide", **roles)


def test_from_dataframe_refuses_other_tables(table):
    with pytest.raises(ValueError, match="Unknown bag column 'image'"):
        BagArray.from_dataframe(table, "image")
    with pytest.raises(TypeError, match="bag must be one column name"):
        BagArray.from_dataframe(table, ["slide"])
    with pytest.raises(ValueError, match=r"several columns named \['area'\]"):
        BagArray.from_dataframe(table.rename(columns={"shape": "area"}), "slide")
    with pytest.raises(ValueError, match="The table has no rows"):
        BagArray.from_dataframe(table[:0], "slide")
    with pytest.raises(TypeError, match=r"must be a pandas DataFrame. Got dict"):
        BagArray.from_dataframe({"slide": [1]}, "slide")


@pytest.mark.parametrize("key", [slice(None), [3, 0, 1]])
def test_round_trip_through_a_table(X, key):
    view = X[key].with_columns(instance_data={"number": X[key].instance_data["number"]})
    table = view.to_dataframe()
    assert len(table) == view.n_instances
    back = BagArray.from_dataframe(
        table, "bag", group="group", covariates=["age", "sex"], instance_data=["number"]
    )
    assert_holds_same(back, view)
    assert back.feature_names.tolist() == ["u", "v", "w"]


def test_to_dataframe_without_columns(bags):
    table = BagArray.from_list(bags).to_dataframe()
    assert table.columns.tolist() == ["bag", "x0", "x1", "x2"]
    assert table["bag"].value_counts().sort_index().tolist() == SIZES


def test_to_dataframe_refuses_what_it_could_not_tell_apart(X):
    with pytest.raises(ValueError, match="Two bags have the same name"):
        X[[0, 0]].to_dataframe()
    with pytest.raises(ValueError, match=r"would have the same name: \['u'\]"):
        X.with_columns(instance_data={"u": np.arange(10)}).to_dataframe()


def test_large_table_is_read_right():
    rng = np.random.default_rng(0)
    n_rows, n_features = 100_000, 50
    bag = rng.integers(0, 500, size=n_rows)
    values = rng.normal(size=(n_rows, n_features))
    table = pd.DataFrame(values, columns=[f"f{j}" for j in range(n_features)])
    table = table.assign(bag=bag, sick=bag % 2, patient=bag // 3)
    X, y = BagArray.from_dataframe(table, "bag", label="sick", group="patient")
    np.testing.assert_array_equal(y, X.names % 2)
    np.testing.assert_array_equal(X.groups, X.names // 3)
    for i in (0, 17, 499):
        np.testing.assert_array_equal(X[i], values[bag == X.names[i]])


# -- pickles, copies and workers -------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("key", [slice(None), [3, 0]])
def test_pickle(X, key, protocol):
    back = pickle.loads(pickle.dumps(X[key], protocol=protocol))
    assert_holds_same(back, X[key])
    assert back.instances.flags.writeable


def test_compact_makes_a_small_pickle():
    X = BagArray.from_list(make_list([500, 1, 500]))
    assert len(pickle.dumps(X[[1]].compact())) < 3000 < len(pickle.dumps(X[[1]]))


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_copies(X, copier):
    same = copier(X[[3, 0]])
    assert_holds_same(same, X[[3, 0]])
    assert np.shares_memory(same.instances, X.instances) == (copier is copy.copy)


def _look(view):
    return {
        "memmap": isinstance(view.instances, np.memmap),
        "writeable": view.instances.flags.writeable,
        "one": view[0].flags.writeable,
        "sum": float(view.flat()[0].sum()),
        "numbers": view.instance_data["number"].tolist(),
        "groups": view.groups.tolist(),
    }


def test_workers_share_one_read_only_store(X):
    keys = [[3, 0], [1, 2]]
    # 240 bytes of instances: the limit stands for joblib's own of one megabyte.
    looks = joblib.Parallel(n_jobs=2, max_nbytes=100)(joblib.delayed(_look)(X[k]) for k in keys)
    for look, key in zip(looks, keys, strict=True):
        view = X[key]
        assert look["memmap"]
        assert not look["writeable"]
        assert not look["one"]
        assert look["sum"] == float(view.flat()[0].sum())
        assert look["numbers"] == view.instance_data["number"].tolist()
        assert look["groups"] == view.groups.tolist()


def test_read_only_memmap(tmp_path, bags):
    flat = np.concatenate(bags)
    flat.tofile(tmp_path / "store")
    store = np.memmap(tmp_path / "store", dtype=flat.dtype, mode="r", shape=flat.shape)
    X = BagArray(store, np.cumsum([0, *SIZES]))
    assert np.shares_memory(X.instances, store)
    np.testing.assert_array_equal(X[[3, 1]].flat()[0], np.concatenate([bags[3], bags[1]]))
    np.testing.assert_array_equal(X.map(lambda bag: bag + 1).flat()[0], flat + 1)
    assert X.compact().instances.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        X[0][0] = 0


def test_nothing_of_the_caller_s_changes(bags):
    before = copy.deepcopy(bags)
    groups, frame = np.array([1, 1, 2, 2]), pd.DataFrame({"age": [1, 2, 3, 4]}, index=[9, 8, 7, 6])
    X = BagArray.from_list(bags, groups=groups, covariates=frame)
    X[[3, 0]].compact().map(lambda bag: bag * 2)
    X.select_instances(np.ones(10, dtype=bool)).to_dataframe()
    for bag, old in zip(bags, before, strict=True):
        np.testing.assert_array_equal(bag, old)
    assert frame.index.tolist() == [9, 8, 7, 6]
    assert groups.tolist() == [1, 1, 2, 2]


# -- as an array -----------------------------------------------------------------------------


def test_it_does_not_become_one_array(X):
    with pytest.raises(TypeError, match=r"ragged .* Use X.flat\(\) .* X.to_list\(\) .*BagStatist"):
        np.asarray(X)
    with pytest.raises(TypeError, match="unsupported operand"):
        np.ones(4) * X
    for name in ("iloc", "fit", "columns", "__array_namespace__"):
        assert not hasattr(X, name)


def test_repr(X):
    assert repr(X[[]]) == "BagArray(0 bags, 3 features, float64)"
    one = "BagArray(1 bag, 1 instance, sizes 1/1/1 (min/median/max), 3 features, float64)"
    assert repr(X[[2]]) == one
    many = "BagArray(4 bags, 10 instances, sizes 1/2.5/4 (min/median/max), 3 features, float64)"
    assert repr(X) == many
    tensors = BagArray.from_list([np.ones((2, 1, 4, 4), dtype=np.uint8)])
    assert "instance shape (1, 4, 4), uint8" in repr(tensors)
    big = BagArray(np.zeros((2_000_001, 1), dtype=bool), [0, 2_000_001])
    assert "sizes 2000001/2000001/2000001" in repr(big)


def test_scikit_learn_s_tools_take_it(X, bags):
    assert _num_samples(X) == 4
    assert_holds(_safe_indexing(X, [2, 0]), X, bags, [2, 0])
    assert_holds(_safe_indexing(X, np.array([True, False, False, True])), X, bags, [0, 3])
    assert_holds(_safe_indexing(X, slice(1, 3)), X, bags, [1, 2])
    train, test, y_train, y_test = train_test_split(X, np.arange(4), test_size=2, random_state=0)
    assert_holds(train, X, bags, y_train)
    assert_holds(test, X, bags, y_test)
    assert train.instances is X.instances
    for train, test in GroupKFold(3).split(X, groups=X.groups):
        assert not set(X[train].groups) & set(X[test].groups)


def test_flat_converts_in_one_copy():
    rng = np.random.default_rng(0)
    X = BagArray.from_list([rng.normal(size=(n, 40)) for n in rng.integers(20, 60, size=200)])
    for view in [X[::-1], X[20:100], X]:
        expected = view.flat()[0].astype(np.float32)
        tracemalloc.start()
        flat, _ = view.flat(np.float32)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(flat, expected)
        assert peak < 1.3 * flat.nbytes + 3_000_000
    assert np.shares_memory(X.flat(np.float64)[0], X.instances)


def test_lists_are_packed_in_c_order_and_may_be_converted():
    bags = [np.asfortranarray(np.arange(6.0).reshape(3, 2)), np.ones((1, 2), dtype=np.float32)]
    X = BagArray.from_list(bags)
    assert X.dtype == np.float64
    assert X.instances.flags.c_contiguous
    assert BagArray.from_list(bags, dtype=np.float32).dtype == np.float32


def test_masked_bags_are_refused():
    with pytest.raises(ValueError, match="Bag 1 is a masked array"):
        BagArray.from_list([np.ones((1, 2)), np.ma.masked_equal([[1.0, 2.0]], 2.0)])
    with pytest.raises(ValueError, match="instances is a masked array"):
        BagArray(np.ma.masked_equal([[1.0, 2.0]], 2.0), [0, 1])


def test_views_do_not_gather_instance_data_that_nobody_asked_for():
    X = BagArray.from_list([np.ones((50, 2))] * 50, instance_data={"box": np.ones((2500, 400))})
    tracemalloc.start()
    validate_bags(BaseEstimator(), X[::-1], instance_data=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < X.instance_data["box"].nbytes / 4
