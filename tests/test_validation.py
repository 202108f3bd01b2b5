"""The door: containers of bags, bad input, y, weights and groups."""

from collections import deque

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from milkit import BagArray
from milkit.base import BagClassifierMixin, BagMixin
from milkit.exceptions import BagShapeError, GroupLeakageError
from milkit.utils.validation import (
    as_bag_array,
    check_bag_weight,
    reads_as_table,
    resolve_groups,
    validate_bags,
)


class MeanClassifier(BagMixin, BagClassifierMixin, BaseEstimator):
    """Nearest mean of the bag means."""

    def __init__(self, tensors=False, group=None, covariates=None):
        self.tensors = tensors
        self.group = group
        self.covariates = covariates

    def _validate(self, X, y="no_validation", *, reset):
        return validate_bags(
            self,
            X,
            y,
            reset=reset,
            tensors=self.tensors,
            group=self.group,
            covariates=self.covariates,
        )

    def _means(self, bags):
        flat, offsets = bags.flat()
        sums = np.add.reduceat(flat.reshape(len(flat), -1), offsets[:-1], axis=0, dtype=float)
        return sums / bags.sizes[:, None]

    def fit(self, X, y):
        bags, y = self._validate(X, y, reset=True)
        encoded = self._encode_labels(y)
        means = self._means(bags)
        self.centres_ = np.array([means[encoded == k].mean(axis=0) for k in np.unique(encoded)])
        return self

    def predict(self, X):
        means = self._means(self._validate(X, reset=False))
        distance = ((means[:, None] - self.centres_[None]) ** 2).sum(axis=2)
        return self.classes_[distance.argmin(axis=1)]


def make_bags(sizes=(2, 4, 1, 3), n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(loc=i % 2, size=(n, n_features)) for i, n in enumerate(sizes)]


def object_array(bags, column=False):
    array = np.empty(len(bags), dtype=object)
    for i, bag in enumerate(bags):
        array[i] = bag
    return array.reshape(-1, 1) if column else array


Y = np.array([0, 1, 0, 1])

CONTAINERS = {
    "list": lambda bags: list(bags),
    "tuple": lambda bags: tuple(bags),
    "object array": object_array,
    "object array of one column": lambda bags: object_array(bags, column=True),
    "BagArray": lambda bags: BagArray.from_list(bags),
    "view": lambda bags: BagArray.from_list(bags[::-1])[::-1],
    "DataFrame": lambda bags: pd.DataFrame({"bag": bags, "weight": 1.0, "note": "x"}),
    "Series": lambda bags: pd.Series(bags),
    "nested lists": lambda bags: [bag.tolist() for bag in bags],
    "list of DataFrames": lambda bags: [pd.DataFrame(bag) for bag in bags],
    "list of lists of rows": lambda bags: [list(bag) for bag in bags],
}
EQUAL_CONTAINERS = {
    **CONTAINERS,
    "3-D array": np.array,
    "3-D array of objects": lambda bags: np.array(bags, dtype=object),
}


# -- containers ------------------------------------------------------------------------------


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_give_the_same_bags(container):
    bags = make_bags()
    X = CONTAINERS[container](bags)
    assert not reads_as_table(X)
    Xb = as_bag_array(X)
    np.testing.assert_array_equal(Xb.flat()[0], np.concatenate(bags))
    np.testing.assert_array_equal(Xb.sizes, [2, 4, 1, 3])
    expected = MeanClassifier().fit(bags, Y).predict(bags)
    np.testing.assert_array_equal(MeanClassifier().fit(X, Y).predict(X), expected)


@pytest.mark.parametrize("container", EQUAL_CONTAINERS)
@pytest.mark.parametrize("size", [1, 3])
def test_bags_of_equal_size(container, size):
    bags = make_bags([size] * 4)
    X = as_bag_array(EQUAL_CONTAINERS[container](bags))
    np.testing.assert_array_equal(X.flat()[0], np.concatenate(bags))
    assert X.sizes.tolist() == [size] * 4


def test_bag_array_passes_through():
    X = BagArray.from_list(make_bags())
    assert as_bag_array(X) is X


def test_three_dimensions_are_not_copied():
    array = np.zeros((4, 3, 2))
    assert np.shares_memory(as_bag_array(array).instances, array)


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        np.ndarray.tolist,
        lambda table: table.astype(object),
        lambda table: list(table),
        lambda table: pd.DataFrame(table, columns=["u", "v", "w"]),
        lambda table: pd.DataFrame(table),
    ],
)
def test_tables_are_bags_of_one_instance(make):
    table = np.arange(12.0).reshape(4, 3)
    X = make(table)
    assert reads_as_table(X)
    Xb = as_bag_array(X)
    assert Xb.sizes.tolist() == [1, 1, 1, 1]
    np.testing.assert_array_equal(Xb.flat()[0], table)
    model = MeanClassifier().fit(X, Y)
    assert model.fitted_on_table_
    assert model.predict(X).shape == (4,)


def test_a_frame_of_mixed_numbers_is_a_table():
    frame = pd.DataFrame({"n": [1, 2], "flag": [True, False], "x": [0.5, 1.5]})
    frame["count"] = pd.array([3, None], dtype="Int64")
    X = as_bag_array(frame)
    np.testing.assert_array_equal(X.flat()[0], [[1, 1, 0.5, 3], [2, 0, 1.5, np.nan]])
    assert X.feature_names.tolist() == ["n", "flag", "x", "count"]
    with pytest.raises(ValueError, match=r"Bag 1 has NaN in instance 0"):
        MeanClassifier().fit(frame, [0, 1])


def test_other_columns_are_taken_only_if_named():
    frame = pd.DataFrame({"bag": make_bags(), "y": Y, "patient": list("abca"), "age": range(4)})
    X = as_bag_array(frame)
    assert X.covariates is None
    assert X.groups is None
    assert X.n_features == 3
    X = as_bag_array(frame, group="patient", covariates=["age"])
    assert X.groups.tolist() == list("abca")
    assert X.covariates.columns.tolist() == ["age"]
    # Also in a table of numbers a named column is no feature.
    table = pd.DataFrame({"x": [1.0, 2.0], "patient": [7, 8], "age": [30, 40]})
    X = as_bag_array(table, group="patient", covariates=["age"])
    assert X.feature_names.tolist() == ["x"]
    assert X.groups.tolist() == [7, 8]
    model = MeanClassifier(group="patient", covariates=["age"]).fit(table, [0, 1])
    assert model.n_features_in_ == 1


def test_the_index_names_the_bags_unless_it_counts_them():
    bags = make_bags()
    assert as_bag_array(pd.DataFrame({"bag": bags})).names is None
    named = pd.DataFrame({"bag": bags}, index=["p1", "p2", "p3", "p4"])
    assert as_bag_array(named).names.tolist() == ["p1", "p2", "p3", "p4"]
    assert as_bag_array(pd.Series(bags, index=[4, 2, 9, 1])).names.tolist() == [4, 2, 9, 1]
    named["bag"].iloc[2][0, 1] = np.nan
    with pytest.raises(ValueError, match=r"Bag 2 \('p3'\) has NaN in instance 0"):
        MeanClassifier().fit(named, Y)


def test_covariates_are_chosen_by_name():
    X = BagArray.from_list(make_bags(), covariates={"age": [1, 2, 3, 4], "sex": list("fmfm")})
    assert as_bag_array(X, covariates=["sex"]).covariates.columns.tolist() == ["sex"]
    assert as_bag_array(X).covariates.columns.tolist() == ["age", "sex"]
    with pytest.raises(ValueError, match="Unknown covariates column 'weight'"):
        as_bag_array(X, covariates=["weight"])
    with pytest.raises(TypeError, match=r"must be a list of column names. Got the string 'age'"):
        as_bag_array(X, covariates="age")
    with pytest.raises(ValueError, match="are asked for, but X has none"):
        as_bag_array(BagArray.from_list(make_bags()), covariates=["age"])


@pytest.mark.parametrize("X", [make_bags(), np.ones((4, 3)), pd.Series(make_bags())])
def test_columns_are_not_silently_ignored(X):
    for params in ({"covariates": ["age"]}, {"group": "patient"}):
        with pytest.raises(ValueError, match=r"name columns of a DataFrame, but X is a"):
            MeanClassifier(**params).fit(X, Y)


# -- what must be refused --------------------------------------------------------------------


def with_bag(wrong, at=1):
    bags = make_bags()
    bags[at] = wrong
    return bags


GOOD = make_bags()
BAD = {
    "empty list": ([], ValueError, "Got no bags"),
    "empty tuple": ((), ValueError, "Got no bags"),
    "empty object array": (np.empty(0, dtype=object), ValueError, "Got no bags"),
    "empty frame": (pd.DataFrame({"bag": []}), ValueError, "Got no bags"),
    "empty view": (BagArray.from_list(GOOD)[[]], ValueError, "Got no bags; MeanClassifier"),
    "empty bag": (with_bag(np.empty((0, 3))), BagShapeError, "Bag 1 is empty; .* Drop the bag"),
    "empty bags": (np.empty((4, 0, 3)), BagShapeError, r"shape \(4, 0, 3\): no bags, or empty"),
    "no features": (np.empty((4, 2, 0)), ValueError, r"0 feature\(s\)"),
    "no features in a list": ([np.empty((2, 0))] * 4, ValueError, r"0 feature\(s\)"),
    "width": (with_bag(np.ones((2, 4))), BagShapeError, r"Bag 1 has instances of shape \(4,\)"),
    "tensor among vectors": (
        with_bag(np.ones((2, 3, 4, 4))),
        BagShapeError,
        r"Bag 1 has instances of shape \(3, 4, 4\), but bag 0 has",
    ),
    "row among bags": (with_bag(np.ones(3)), BagShapeError, r"Bag 1 .* bag.reshape\(1, -1\)"),
    "None among bags": (with_bag(None), BagShapeError, "Bag 1 is None; drop it and its label"),
    "None first": (with_bag(None, at=0), BagShapeError, "Bag 0 is None; drop it"),
    "NaN among bags": (with_bag(np.nan), BagShapeError, "Bag 1 is nan; drop it"),
    "None first in a frame": (
        pd.DataFrame({"bag": with_bag(None, at=0)}),
        BagShapeError,
        "Bag 0 is (None|nan); drop it and its label",
    ),
    "NaN": (with_bag([[1, 2, 3], [1, np.nan, 3]]), ValueError, "Bag 1 has NaN in instance 1"),
    "infinity": (with_bag([[1, -np.inf, 3]]), ValueError, "Bag 1 has infinity .* in instance 0"),
    "strings": (with_bag(np.array([["a", "b", "c"]])), ValueError, "Bag 1 must hold numbers"),
    "complex": (with_bag(np.ones((1, 3)) * 1j), ValueError, "Complex data not supported: Bag 1"),
    "complex table": (np.ones((4, 3)) * 1j, ValueError, "Complex data not supported"),
    "sparse": (sp.csr_array(np.eye(4)), TypeError, "dense data is required. Use '.toarray"),
    "sparse bag": (with_bag(sp.csr_matrix(np.eye(3))), TypeError, r"Bag 1 is sparse .*\.toarray"),
    "ragged": (
        [[[1, 2], [3]], [[1, 2]], [[3, 4]], [[5, 6]]],
        BagShapeError,
        "Bag 0 is not an array",
    ),
    "4-D array": (np.ones((4, 3, 8, 8)), BagShapeError, "is ambiguous. Pass bags of tensors as a"),
    "tensors": ([np.ones((2, 1, 4, 4))] * 4, BagShapeError, "works on vectors, .* Flatten them"),
    "one row": (np.ones(4), ValueError, "Expected 2D array, got 1D array"),
    "numeric Series": (pd.Series(np.ones(4)), ValueError, "2-dimensional container"),
    "dict": (dict(enumerate(GOOD)), TypeError, r"Got dict instead. Pass list\(X.values\(\)\)"),
    "values of a dict": (dict(enumerate(GOOD)).values(), TypeError, r"Pass list\(X\)"),
    "deque": (deque(GOOD), TypeError, r"Got deque instead. Pass list\(X\)"),
    "groupby": (
        pd.DataFrame({"slide": list("abcd"), "x": 1.0}).groupby("slide"),
        TypeError,
        r"Got DataFrameGroupBy instead. Pass list\(X\)",
    ),
    "list of a groupby": (
        list(pd.DataFrame({"slide": list("abcd"), "x": 1.0}).groupby("slide")),
        TypeError,
        r"Pass \[bag for _, bag in X\]",
    ),
    "list of a groupby of a list": (
        list(pd.DataFrame({"slide": list("abcd"), "x": 1.0}).groupby(["slide"])),
        TypeError,
        r"Pass \[bag for _, bag in X\]",
    ),
    "pairs": ([(f"s{i}", bag) for i, bag in enumerate(GOOD)], TypeError, "pairs of a name and a"),
    "class": (BagArray, TypeError, "must be a collection of bags.* Got type instead"),
    "empty column of objects": (np.empty((0, 1), dtype=object), ValueError, "Got no bags"),
    "one object": (np.array(None, dtype=object), ValueError, "Expected 2D array"),
    "masked table": (np.ma.masked_equal(np.eye(4), 0), ValueError, "X is a masked array"),
    "masked bags": (np.ma.masked_equal(np.zeros((4, 2, 3)), 0), ValueError, "X is a masked array"),
    "string": ("bags", TypeError, "must be a collection of bags.* Got str instead"),
    "bytes": (b"bags", TypeError, "Got bytes instead"),
    "generator": ((bag for bag in GOOD), TypeError, r"Got generator instead. Pass list\(X\)"),
    "None": (None, TypeError, "must be a collection of bags.* Got NoneType instead"),
    "number": (4, TypeError, "must be a collection of bags.* Got int instead"),
    "frame without arrays": (
        pd.DataFrame({"bag": ["a", "b", "c", "d"], "x": 1.0}),
        ValueError,
        r"No column .* holds arrays .* \['bag'\] are not numbers.*from_dataframe",
    ),
    "frame of rows": (
        pd.DataFrame({"bag": list(np.ones((4, 3)))}),
        ValueError,
        "No column of the DataFrame holds arrays of shape",
    ),
    "frame with two arrays": (
        pd.DataFrame({"left": GOOD, "right": GOOD}),
        ValueError,
        r"2 columns with arrays, \['left', 'right'\]; exactly one .* Drop the others",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bags(case):
    X, error, message = BAD[case]
    with pytest.raises(error, match=message):
        MeanClassifier().fit(X, Y)


@pytest.mark.parametrize("case", sorted(set(BAD) - {"NaN", "infinity", "generator"}))
def test_bad_bags_are_refused_in_predict(case):
    X, _, _ = BAD[case]
    model = MeanClassifier().fit(GOOD, Y)
    with pytest.raises((ValueError, TypeError), match=r"\w"):
        model.predict(X)


@pytest.mark.parametrize("container", EQUAL_CONTAINERS)
def test_nan_is_named_in_every_container(container):
    bags = make_bags([3] * 4)
    bags[2][1, 0] = np.nan
    X = EQUAL_CONTAINERS[container](bags)
    with pytest.raises(ValueError, match=r"Bag 2 has NaN in instance 1\. Input X contains NaN"):
        MeanClassifier().fit(X, Y)


def test_nan_is_named_in_the_view_s_own_order():
    X = BagArray.from_list(with_bag([[1, 2, 3], [1, np.nan, 3]]), names=list("abcd"))
    with pytest.raises(ValueError, match=r"Bag 2 \('b'\) has NaN in instance 1"):
        MeanClassifier().fit(X[[3, 0, 1]], [0, 1, 0])
    MeanClassifier().fit(X[[3, 0]], [0, 1])  # the NaN is not in this view


def test_the_message_on_nan_is_short_and_for_bags():
    with pytest.raises(ValueError, match=r"InstanceTransformer\(SimpleImputer\(\)\)") as caught:
        MeanClassifier().fit(with_bag([[1, np.nan, 3]]), Y)
    assert "HistGradient" not in str(caught.value)


def test_three_dimensional_tensor_of_torch():
    torch = pytest.importorskip("torch")
    X = torch.ones(4, 3, 2)
    assert not reads_as_table(X)
    assert as_bag_array(X).sizes.tolist() == [3, 3, 3, 3]
    assert MeanClassifier().fit(X, [0, 1, 0, 1]).instance_shape_ == (2,)
    with pytest.raises(BagShapeError, match=r"is ambiguous"):
        as_bag_array(torch.ones(4, 3, 2, 2))
    with pytest.raises(BagShapeError, match=r"X is not an array.*detach\(\)"):
        as_bag_array(X.requires_grad_())


def test_infinity_behind_allowed_nan_is_named():
    bags = with_bag([[np.nan, 1, 2]])
    assert len(validate_bags(MeanClassifier(), bags, ensure_all_finite="allow-nan")) == 4
    bags[3][2, 0] = np.inf
    with pytest.raises(ValueError, match=r"Bag 3 has infinity .* in instance 2"):
        validate_bags(MeanClassifier(), bags, ensure_all_finite="allow-nan")


# NumPy warns of the overflow before scikit-learn finds the infinity.
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_what_overflows_in_float32_is_named():
    with pytest.raises(ValueError, match=r"Bag 1 has infinity or a value too large in instance 0"):
        validate_bags(MeanClassifier(), with_bag([[1, 1e300, 2]]), dtype=np.float32)


def test_a_bare_bag_is_refused_after_fitting_on_bags():
    model = MeanClassifier().fit(GOOD, Y)
    for bag in (GOOD[1], GOOD[1].tolist(), pd.DataFrame(GOOD[1])):
        with pytest.raises(BagShapeError, match=r"may be a single bag. Pass \[bag\]"):
            model.predict(bag)
        assert model.predict([bag]).shape == (1,)
    assert MeanClassifier().fit(np.eye(4), Y).predict(np.eye(4)).shape == (4,)


def test_features_must_be_those_of_fit():
    model = MeanClassifier().fit(GOOD, Y)
    with pytest.raises(ValueError, match="X has 2 features, but MeanClassifier is expecting 3"):
        model.predict([bag[:, :2] for bag in GOOD])


def test_feature_names():
    X = BagArray.from_list(GOOD, feature_names=["u", "v", "w"])
    model = MeanClassifier().fit(X, Y)
    assert model.feature_names_in_.tolist() == ["u", "v", "w"]
    assert model.n_features_in_ == 3
    assert model.predict(X[1:]).shape == (3,)
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        model.predict(X.with_columns(feature_names=["w", "v", "u"]))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(GOOD)
    # A wrong name and a NaN elsewhere: the message is about the names.
    nan = BagArray.from_list(with_bag([[np.nan, 1, 2]]), feature_names=["w", "v", "u"])
    with pytest.raises(ValueError, match=r"^The feature names should match"):
        model.predict(nan)
    assert not hasattr(model.fit(GOOD, Y), "feature_names_in_")


def test_feature_names_of_a_table():
    frame = pd.DataFrame(np.eye(4), columns=list("abcd"))
    assert MeanClassifier().fit(frame, Y).feature_names_in_.tolist() == list("abcd")


def test_tensors():
    bags = [np.full((n, 1, 4, 4), n, dtype=np.uint8) for n in (2, 4, 1, 3)]
    for X in (bags, object_array(bags), BagArray.from_list(bags), BagArray.from_list(bags)[::-1]):
        model = MeanClassifier(tensors=True).fit(X, Y)
        assert model.instance_shape_ == (1, 4, 4)
        assert model.n_features_in_ == 16
        assert model.predict(X).shape == (4,)
        assert validate_bags(model, X, reset=False, tensors=True).dtype == np.uint8
    for other in (np.ones((2, 4, 4, 1)), np.ones((2, 16)), np.ones((2, 1, 4, 5))):
        with pytest.raises(BagShapeError, match=r"was fitted on instances of shape \(1, 4, 4\)"):
            model.predict([other])


# -- y ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("X", [GOOD, BagArray.from_list(GOOD), pd.DataFrame({"bag": GOOD})])
def test_bad_y(X):
    model = MeanClassifier()
    with pytest.raises(ValueError, match="y has 3 labels, but X has 4 bags; they must agree"):
        model.fit(X, Y[:3])
    with pytest.raises(ValueError, match="y must have one label per bag, not per instance"):
        model.fit(X, np.repeat(Y, [2, 4, 1, 3]))
    with pytest.raises(ValueError, match="y has only one class, 'sick'"):
        model.fit(X, ["sick"] * 4)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, [0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        model.fit(X, None)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        model.fit(X, [0, 1, np.nan, 1])
    with pytest.raises(ValueError, match="y should be a 1d array"):
        model.fit(X, np.ones((4, 2)))


@pytest.mark.parametrize(
    "y",
    [
        ["no", "yes", np.nan, "yes"],
        ["no", "yes", None, "yes"],
        [0, 1, pd.NA, 1],
        [0, 1, np.nan, 1],
        np.array(["no", "yes", np.nan, "yes"], dtype=object),
        np.array(["no", "yes", None, "yes"], dtype=object),
        pd.Series(["no", "yes", pd.NA, "yes"], dtype="string"),
        pd.Series(["no", "yes", None, "yes"], dtype="category"),
        pd.Series([0, 1, pd.NA, 1], dtype="Int64"),
    ],
)
def test_missing_labels_are_named(y):
    for X in (GOOD, np.eye(4)):
        with pytest.raises(ValueError, match=r"Bag 2 has no label; drop the bag, or"):
            MeanClassifier().fit(X, y)
    with pytest.raises(ValueError, match=r"Bag 2 \('c'\) has no label"):
        MeanClassifier().fit(pd.Series(GOOD, index=list("abcd")), y)


def test_labels_of_several_types_are_refused():
    with pytest.raises(ValueError, match=r"Unknown label type|labels of several kinds"):
        MeanClassifier().fit(GOOD, [0, "0", 0, "0"])


def test_bad_y_for_a_table():
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        MeanClassifier().fit(np.eye(4), Y[:3])
    with pytest.raises(ValueError, match="requires y to be passed"):
        MeanClassifier().fit(np.eye(4), None)


@pytest.mark.parametrize("labels", [["no", "yes"], [1, 2], [False, True], [-1.0, 1.0]])
def test_any_labels(labels):
    y = np.array(labels)[Y]
    model = MeanClassifier().fit(GOOD, y)
    assert model.classes_.tolist() == labels
    assert model.predict(GOOD).dtype == y.dtype


def test_y_numeric_and_absent_y():
    class Regressor(BaseEstimator):
        pass

    _, y = validate_bags(Regressor(), GOOD, np.array([1, 2, 3, 4], dtype=object), y_numeric=True)
    assert y.dtype == np.float64
    bags, y = validate_bags(Regressor(), GOOD, None)
    assert y is None
    bags, y = validate_bags(Regressor(), np.eye(4), None)
    assert len(bags) == 4
    assert y is None


@pytest.mark.parametrize(
    ("leak", "y"),
    [
        ([0, 1] * 5, [0, 1] * 5),
        ([0.0, 1.0] * 5, [0, 1] * 5),
        ([False, True] * 5, [0, 1] * 5),
        (["no", "yes"] * 5, np.array(["no", "yes"] * 5)),
        (pd.Categorical(["no", "yes"] * 5), ["no", "yes"] * 5),
        (pd.array([0, 1] * 5, dtype="Int64"), [0, 1] * 5),
    ],
)
def test_y_as_a_covariate_is_refused(leak, y):
    bags = make_bags([2] * 10)
    frame = pd.DataFrame({"bag": bags, "age": np.arange(10), "leak": leak})
    with pytest.raises(ValueError, match=r"Covariate 'leak' is identical to y.* Remove it"):
        MeanClassifier(covariates=["age", "leak"]).fit(frame, y)
    MeanClassifier(covariates=["age"]).fit(frame, y)
    X = BagArray.from_list(bags, covariates=frame[["leak"]])
    with pytest.raises(ValueError, match="Covariate 'leak' is identical to y"):
        MeanClassifier().fit(X, y)


@pytest.mark.parametrize("y", [[0, 1] * 3, [0, 1] * 2, [0] * 19 + [1], [0] * 20])
def test_a_covariate_may_be_y_by_chance(y):
    X = BagArray.from_list(make_bags([2] * len(y)), covariates={"sex": y})
    validate_bags(BaseEstimator(), X, y)


def test_few_real_numbers_are_not_y_by_chance():
    y = [0.5, 1.5, 3.0, 2.0, 7.0]
    X = BagArray.from_list(make_bags([2] * 5), covariates={"size": y})
    with pytest.raises(ValueError, match="Covariate 'size' is identical to y"):
        validate_bags(BaseEstimator(), X, y, y_numeric=True)


@pytest.mark.parametrize("dtype", ["float", "object", "Int64"])
def test_missing_values_do_not_hide_a_leak(dtype):
    bags, y = make_bags([2] * 26), np.array([0, 1] * 13)

    def fit(values, known):
        column = pd.Series(values, dtype=object).where(known, None).astype(dtype)
        MeanClassifier().fit(BagArray.from_list(bags, covariates={"leak": column}), y)

    number = np.arange(26)
    with pytest.raises(ValueError, match="Covariate 'leak' is identical to y:"):
        fit(y, number < 10)
    with pytest.raises(ValueError, match="Covariate 'leak' is identical to y but"):
        fit(2 - y, number >= 5)
    fit(y, number < 6)
    fit(y, number < 0)
    fit(y, (y == 1) & (number < 12))  # of one class


def test_recoded_y_as_a_covariate_is_refused():
    bags, y = make_bags([2] * 20), np.array(["no", "yes"] * 10)

    def fit(covariate, y=y, n=20):
        X = BagArray.from_list(bags[:n], covariates={"leak": covariate[:n]})
        return MeanClassifier().fit(X, y[:n])

    sick = (y == "yes").astype(int)
    for leak in (sick, 1.0 - sick, np.where(sick, "M", "B"), np.where(sick, 7.0, np.nan)):
        with pytest.raises(ValueError, match=r"identical to y but for its coding.*X.with_columns"):
            fit(leak)
    three = np.arange(20) % 3
    with pytest.raises(ValueError, match="identical to y but for its coding"):
        fit(np.array(["a", "b", "c"])[three], y=three)
    fit(sick, n=18)  # so few bags may agree by chance
    rare = np.array([1, 1] + [0] * 18)
    fit(rare, y=np.where(rare, "yes", "no"))
    fit(np.arange(20))  # more values than labels
    other = sick.copy()
    other[0] = 1
    fit(other)
    fit(np.ones(20))
    # Every real number has a value of its own, and so has every target.
    X = BagArray.from_list(bags, covariates={"age": np.arange(20.0)})
    validate_bags(BaseEstimator(), X, 2 * np.arange(20.0) + 1, y_numeric=True)


def test_covariates_with_missing_values_are_no_leak():
    table = pd.DataFrame({"stage": pd.array(["i", None, "ii", "i"], dtype="string"),
                          "age": pd.array([1, None, 2, 3], dtype="Int64"),
                          "size": [0.0, np.nan, 0.0, 1.0]})  # fmt: skip
    X = BagArray.from_list(GOOD, covariates=table)
    MeanClassifier().fit(X, Y)
    MeanClassifier().fit(X, ["no", "yes", "no", "yes"])


def test_bad_covariates_of_a_frame():
    frame = pd.DataFrame({"bag": GOOD, "age": [1, 2, 3, 4]})
    with pytest.raises(ValueError, match=r"Unknown covariates column 'size'; there are"):
        MeanClassifier(covariates=["size"]).fit(frame, Y)
    with pytest.raises(ValueError, match=r"Unknown group column 'patient'; there are"):
        MeanClassifier(group="patient").fit(frame, Y)
    with pytest.raises(ValueError, match="Column 'bag' holds the bags"):
        MeanClassifier(covariates=["bag"]).fit(frame, Y)
    with pytest.raises(ValueError, match=r"one row for each of the 4 bags. Got 3 rows"):
        BagArray.from_list(GOOD, covariates=frame[["age"]][:3])


# -- copies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("feature_names", [None, ["u", "v", "w"]])
def test_contiguous_bags_are_never_copied(dtype, feature_names):
    store = np.concatenate(GOOD).astype(dtype)
    X = BagArray(store, [0, 2, 6, 7, 10], feature_names=feature_names)
    for view in (X, X[1:], X[[0, 1]]):
        bags = validate_bags(BaseEstimator(), view)
        assert np.shares_memory(bags.instances, store)
        assert np.shares_memory(bags.flat()[0], store)
        assert bags.dtype == dtype
        assert len(bags.instances) == view.n_instances


def test_arrays_are_never_copied():
    for array in (np.zeros((4, 3)), np.zeros((4, 3, 2))):
        assert np.shares_memory(validate_bags(BaseEstimator(), array).instances, array)


def test_scattered_bags_are_copied_once():
    X = BagArray.from_list(GOOD)[[3, 0]]
    bags = validate_bags(BaseEstimator(), X)
    assert not np.shares_memory(bags.instances, X.instances)
    flat, _ = bags.flat()
    assert np.shares_memory(flat, bags.instances)  # so the algorithm copies nothing more


def test_input_is_read_only_safe_and_unchanged():
    bags = make_bags()
    for bag in bags:
        bag.setflags(write=False)
    store = np.concatenate(bags)
    store.setflags(write=False)
    X = BagArray(store, [0, 2, 6, 7, 10])
    for container in (bags, X, X[::-1], pd.DataFrame({"bag": bags})):
        MeanClassifier().fit(container, Y).predict(container)
    for bag, same in zip(bags, make_bags(), strict=True):
        np.testing.assert_array_equal(bag, same)
    frame = pd.DataFrame({"bag": bags, "age": [1, 2, 3, 4]})
    MeanClassifier(covariates=["age"]).fit(frame, Y)
    assert frame.columns.tolist() == ["bag", "age"]


# -- weights and groups ----------------------------------------------------------------------


def test_check_bag_weight():
    X = BagArray.from_list(GOOD)
    assert check_bag_weight(None, X).tolist() == [1, 1, 1, 1]
    assert check_bag_weight(2.0, X).tolist() == [2, 2, 2, 2]
    weight = check_bag_weight([1, 0, 2, 3], X)
    assert weight.dtype == np.float64
    assert weight.tolist() == [1, 0, 2, 3]
    assert check_bag_weight([1, 0, 2, 3], X, dtype=np.float32).dtype == np.float32
    with pytest.raises(ValueError, match=r"Negative values in .*sample_weight.*bag 1"):
        check_bag_weight([1, -1, 1, 1], X)
    with pytest.raises(ValueError, match="at least one non-zero"):
        check_bag_weight([0, 0, 0, 0], X)
    with pytest.raises(ValueError, match="sample_weight has 3 entries, but X has 4 bags"):
        check_bag_weight([1, 1, 1], X)
    with pytest.raises(ValueError, match="one weight per bag, not per instance"):
        check_bag_weight(np.ones(10), X)
    with pytest.raises(ValueError, match="contains NaN"):
        check_bag_weight([1, np.nan, 1, 1], X)


def test_resolve_groups():
    X = BagArray.from_list(GOOD, groups=list("abca"))
    assert resolve_groups(X).tolist() == list("abca")
    assert resolve_groups(X[[3, 1]]).tolist() == ["a", "b"]
    # What groups are called does not matter, only which bags belong together.
    assert resolve_groups(X, [7, 8, 9, 7]).tolist() == [7, 8, 9, 7]
    assert resolve_groups(GOOD) is None
    assert resolve_groups(GOOD, pd.Series([1, 2, 3, 1])).tolist() == [1, 2, 3, 1]
    assert resolve_groups(GOOD, [1, "1", "a", 1]).tolist() == [1, "1", "a", 1]
    frame = pd.DataFrame({"bag": GOOD, "patient": [1, 2, 3, 1]})
    assert resolve_groups(frame, group="patient").tolist() == [1, 2, 3, 1]
    assert resolve_groups(frame) is None


def test_resolve_groups_refuses():
    X = BagArray.from_list(GOOD, groups=list("abca"))
    with pytest.raises(GroupLeakageError, match="disagree about which bags belong together"):
        resolve_groups(X, [1, 1, 2, 3])
    with pytest.raises(GroupLeakageError, match="No groups: pass groups=, or put them into X"):
        resolve_groups(GOOD, required=True)
    with pytest.raises(ValueError, match="groups has 3 entries, but X has 4 bags"):
        resolve_groups(GOOD, [1, 2, 3])
    with pytest.raises(ValueError, match="Bag 2 has no group"):
        resolve_groups(GOOD, [1, 2, np.nan, 3])
    for missing in (np.nan, None, pd.NA):
        with pytest.raises(ValueError, match="Bag 2 has no group"):
            resolve_groups(GOOD, ["a", "b", missing, "a"])
    with pytest.raises(ValueError, match=r"Bag 1 \('q'\) has no group"):
        resolve_groups(X.with_columns(names=list("pqrs")), ["a", None, "b", "a"])
    with pytest.raises(ValueError, match="names a column of a DataFrame, but X is a list"):
        resolve_groups(GOOD, group="patient")
    frame = pd.DataFrame({"bag": GOOD, "patient": ["a", None, "b", "a"]})
    with pytest.raises(ValueError, match="Unknown group column 'doctor'"):
        resolve_groups(frame, group="doctor")
    with pytest.raises(ValueError, match="Bag 1 has no group"):
        resolve_groups(frame, group="patient")
