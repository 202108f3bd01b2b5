"""CovariateEncoder: clinical columns of mixed types as numbers."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder

from milkit.fusion._covariates import CovariateEncoder


def make_table():
    return pd.DataFrame(
        {
            "age": [60.0, np.nan, 41.5, 70.0],
            "sex": ["f", "m", None, "f"],
            "smoker": [True, False, True, True],
            "stage": pd.Categorical([1, 2, 2, None]),
        }
    )


def test_numbers_pass_and_categories_are_one_hot():
    table = make_table()
    encoder = CovariateEncoder().fit(table)
    names = ["age", "smoker", "sex_f", "sex_m", "sex_missing"]
    names += ["stage_1", "stage_2", "stage_missing"]
    assert encoder.names() == names
    got = encoder.transform(table)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got[:, 0], table["age"])
    np.testing.assert_array_equal(got[:, 1], [1, 0, 1, 1])
    text = table["sex"].fillna("missing").to_numpy(dtype=object)[:, None]
    np.testing.assert_array_equal(
        got[:, 2:5], OneHotEncoder(sparse_output=False).fit_transform(text)
    )
    np.testing.assert_array_equal(got[:, 5:], np.eye(3)[[0, 1, 1, 2]])


def test_unknown_and_missing_categories():
    encoder = CovariateEncoder().fit(pd.DataFrame({"sex": ["f", "m", "f"]}))
    got = encoder.transform(pd.DataFrame({"sex": ["x", None, "m", np.nan]}))
    np.testing.assert_array_equal(got, [[0, 0], [0, 0], [0, 1], [0, 0]])


def test_columns_are_found_by_name():
    table = make_table()
    encoder = CovariateEncoder().fit(table)
    expected = encoder.transform(table)
    other = table[["stage", "smoker", "sex", "age"]].assign(more=1.0)
    np.testing.assert_array_equal(encoder.transform(other), expected)
    with pytest.raises(ValueError, match=r"lacks the covariates \['sex', 'stage'\]"):
        encoder.transform(table[["age", "smoker"]])
    with pytest.raises(ValueError, match=r"It has \[\]"):
        encoder.transform(None)


def test_numbers_as_strings():
    encoder = CovariateEncoder().fit(pd.DataFrame({"age": [60.0, 50.0]}))
    got = encoder.transform(pd.DataFrame({"age": ["41.5", None]}))
    np.testing.assert_array_equal(got, [[41.5], [np.nan]])
    with pytest.raises(ValueError, match="'age' held numbers in fit"):
        encoder.transform(pd.DataFrame({"age": ["old", "41"]}))
    # Text in fit is a category, and numbers at prediction are read as such.
    codes = CovariateEncoder().fit(pd.DataFrame({"centre": ["1", "2", "1"]}))
    assert codes.names() == ["centre_1", "centre_2"]
    np.testing.assert_array_equal(
        codes.transform(pd.DataFrame({"centre": [2, 1]})), np.eye(2)[::-1]
    )


@pytest.mark.parametrize("dtype", ["object", "Int64", "Float64", "float32"])
def test_numbers_of_other_types(dtype):
    column = pd.Series([1, None, 3], dtype=dtype)
    encoder = CovariateEncoder().fit(pd.DataFrame({"n": column}))
    assert encoder.names() == ["n"]
    np.testing.assert_array_equal(
        encoder.transform(pd.DataFrame({"n": column})).ravel(), [1, np.nan, 3]
    )


def test_booleans_with_missing_values():
    for column in (pd.Series([True, None, False], dtype=object), pd.array([True, None, False])):
        table = pd.DataFrame({"smoker": column})
        encoder = CovariateEncoder().fit(table)
        np.testing.assert_array_equal(encoder.transform(table).ravel(), [1, np.nan, 0])


def test_a_missing_value_elsewhere_does_not_change_a_category():
    encoder = CovariateEncoder().fit(pd.DataFrame({"stage": pd.Categorical([1, 2, 1])}))
    got = encoder.transform(pd.DataFrame({"stage": [2, np.nan, 1]}))  # 2.0, nan, 1.0
    np.testing.assert_array_equal(got, [[0, 1], [0, 0], [1, 0]])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1.0, 1.0, 1.0], r"\['dull'\] are constant, or"),
        (["a", "a", "a"], r"\['dull'\] are constant, or"),
        ([np.nan] * 3, r"\['dull'\] are all missing"),
        ([None] * 3, r"\['dull'\] are all missing"),
    ],
)
def test_dull_columns_warn(column, message):
    table = pd.DataFrame({"dull": column, "age": [1.0, 2.0, 3.0]})
    with pytest.warns(UserWarning, match=message):
        encoder = CovariateEncoder().fit(table)
    assert len(encoder.transform(table)) == 3


def test_a_column_without_values_in_fit_takes_any_at_prediction():
    with pytest.warns(UserWarning, match="all missing"):
        encoder = CovariateEncoder().fit(pd.DataFrame({"gene": [None, None]}))
    np.testing.assert_array_equal(
        encoder.transform(pd.DataFrame({"gene": ["wild", None]})), [[0], [1]]
    )


def test_a_number_read_as_text_warns():
    ages = [str(age) for age in range(40, 60)]
    with pytest.warns(UserWarning, match=r"\['age'\] are read as categories and have nearly"):
        CovariateEncoder().fit(pd.DataFrame({"age": ages}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CovariateEncoder().fit(pd.DataFrame({"centre": ages * 3}))


def test_names_that_are_no_strings():
    table = pd.DataFrame({0: [1.0, 2.0], "sex": ["f", "m"], 1: ["a", "b"]})
    encoder = CovariateEncoder().fit(table)
    assert list(map(str, encoder.names())) == ["0", "sex_f", "sex_m", "1_a", "1_b"]
    np.testing.assert_array_equal(encoder.transform(table), [[1, 1, 0, 1, 0], [2, 0, 1, 0, 1]])


DATES = pd.to_datetime(["1950-03-01", "1961-12-24", None])


@pytest.mark.parametrize(
    "column",
    [
        DATES,
        DATES.tz_localize("Europe/Paris"),
        DATES - DATES[0],
        DATES.to_period("M"),
        pd.Series([date.date() for date in DATES[:2]] + [None], dtype=object),
        pd.Series([DATES[0], None, DATES[1]], dtype=object),
        pd.Series([DATES[0].time(), None, DATES[1].time()], dtype=object),
        pd.Series([DATES[1] - DATES[0], None, DATES[1] - DATES[0]], dtype=object),
    ],
)
def test_times_are_refused(column):
    table = pd.DataFrame({"age": [60.0, 50.0, 40.0], "when": column})
    message = r"covariates \['when'\] hold dates or times. .* an age in years"
    with pytest.raises(ValueError, match=message):
        CovariateEncoder().fit(table)
    # pandas would read them as a number of nanoseconds.
    for known in ([1.0, 2.0, 3.0], ["a", "b", "c"]):
        encoder = CovariateEncoder().fit(table.assign(when=known))
        with pytest.raises(ValueError, match=message):
            encoder.transform(table)


def test_text_of_dates_is_a_category():
    encoder = CovariateEncoder().fit(pd.DataFrame({"year": ["1950", "1951", "1950"]}))
    assert encoder.names() == ["year_1950", "year_1951"]


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "object"])
def test_infinity_is_refused_and_its_bag_named(dtype):
    good = pd.Series([1.0, 2.0, 3.0], dtype=dtype)
    bad = pd.Series([1.0, -np.inf, None], dtype=dtype)
    message = "covariate 'iron' is infinite in bag 1"
    with pytest.raises(ValueError, match=message):
        CovariateEncoder().fit(pd.DataFrame({"iron": bad}))
    encoder = CovariateEncoder().fit(pd.DataFrame({"iron": good}))
    with pytest.raises(ValueError, match=message):
        encoder.transform(pd.DataFrame({"iron": bad}))
    # Of some rows of a table the row keeps its number.
    with pytest.raises(ValueError, match=message):
        CovariateEncoder().fit(pd.DataFrame({"iron": bad})[1:])


def test_categories_that_are_numbers_of_other_widths():
    stages = pd.Categorical(np.array([1, 2, 1], dtype=np.float32))
    encoder = CovariateEncoder().fit(pd.DataFrame({"stage": stages}))
    assert encoder.names() == ["stage_1", "stage_2"]
    for values in (["2", "1", "3"], [2, 1, 3], [2.0, 1.0, 3.0]):
        np.testing.assert_array_equal(
            encoder.transform(pd.DataFrame({"stage": values})), [[0, 1], [1, 0], [0, 0]]
        )


def test_numbers_beside_text_are_refused():
    ages = pd.Series([61, None, "unbekannt", 54.5], dtype=object, index=[4, 6, 7, 9])
    with pytest.raises(ValueError, match="'age' holds numbers and text: 'unbekannt' in bag 7"):
        CovariateEncoder().fit(pd.DataFrame({"age": ages}))
    smoker = pd.Series([True, "unknown", False], dtype=object)
    assert len(CovariateEncoder().fit(pd.DataFrame({"smoker": smoker})).names()) == 3


@pytest.mark.parametrize(
    "texts",
    [
        ["4,5", "6,1", "7"],
        ["4.5", "6.1", ".7"],
        ["<0.3", "> 12", "5", "6", "n/a"],
        ["-1.5e3", "2,000.5", " 3 "],
        ["1950-03-01", "1961-12-24", "1970-01-01 10:30"],
        ["24.12.1961", "1.3.50", "01.01.1970"],
    ],
)
@pytest.mark.parametrize("times", [1, 10])
def test_text_that_reads_as_numbers_or_dates_warns(texts, times):
    table = pd.DataFrame({"crp": [*texts, None] * times})
    with pytest.warns(UserWarning, match=r"\['crp'\] are text that reads as numbers") as found:
        CovariateEncoder().fit(table)
    assert len(found) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CovariateEncoder().fit(table.astype("category"))


@pytest.mark.parametrize(
    "texts",
    [["1", "2", "3"], ["-1", "0", "1"], ["<50", ">=50"], ["T1", "T2", "T1.5"], ["1", "2.5", "x"]],
)
def test_text_of_codes_is_silent(texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CovariateEncoder().fit(pd.DataFrame({"code": texts}))


def test_categories_that_are_all_unknown_warn():
    encoder = CovariateEncoder().fit(pd.DataFrame({"sex": ["F", "M", None]}))
    message = "No value of the covariate 'sex', '1', '2', was there in fit, which had 'F', 'M'"
    with pytest.warns(UserWarning, match=message):
        encoder.transform(pd.DataFrame({"sex": [1, 2, None]}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.transform(pd.DataFrame({"sex": ["x", "M", None]}))
        encoder.transform(pd.DataFrame({"sex": [None, None]}))


def test_categories_that_differ_by_case_or_spaces_warn():
    table = pd.DataFrame({"sex": ["F", "f", "m ", "m", "x"]})
    with pytest.warns(UserWarning, match=r"'sex' has .* case or spaces, \['F', 'f', 'm', 'm '\]"):
        CovariateEncoder().fit(table)


def test_columns_of_the_same_name_are_refused():
    table = pd.DataFrame({"sex_F": [1.0, 2.0], "sex": ["F", "M"]})
    with pytest.raises(ValueError, match=r"the columns \['sex_F'\] twice"):
        CovariateEncoder().fit(table)
    with pytest.raises(ValueError, match=r"the columns \['a_b_c'\] twice"):
        CovariateEncoder().fit(pd.DataFrame({"a": ["b_c", "x"], "a_b": ["c", "y"]}))
