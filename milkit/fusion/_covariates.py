"""Clinical columns of mixed types as numbers, fitted on the training bags."""

import re
import warnings
from collections import Counter
from numbers import Number

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NO_COVARIATES = (
    "X has no covariates, so that only the bags decide. Attach a table with one row for each bag, "
    "X.with_columns(covariates=table), or name columns of a DataFrame."
)


# What pandas calls the kinds of columns that hold a time; their numbers are nanoseconds or so.
_TIMES = {"date", "datetime", "datetime64", "period", "time", "timedelta", "timedelta64"}

# "4.5", "4,5", "2,000", "1e-3"; then "1950-03-01", "24.12.1961".
_NUMBER_TEXT = re.compile(r"[+-]?[.,]?\d[\d.,]*(e[+-]?\d+)?", re.IGNORECASE)
_DATE_TEXT = re.compile(
    r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{2}(\d{2})?)([ T]\d{1,2}:\S+)?"
)


class CovariateEncoder:
    """Numbers as they are, with their missing values; categories as one column each.

    Columns are found by name at prediction, in any order.
    """

    def fit(self, table, stacklevel=5):
        """Learn types and categories.

        Parameters
        ----------
        table : DataFrame of shape (n_bags, n_covariates)
        stacklevel : int, default=5
            Where warnings point: to the line that called an estimator's ``fit``.
        """
        self.columns = list(table.columns)
        _refuse_times(table)
        _refuse_numbers_beside_text(table)
        self.numbers = [name for name in self.columns if _is_number(table[name])]
        self.categories = [name for name in self.columns if name not in self.numbers]
        for name in self.numbers:
            _numbers(table[name], name)  # refuses infinity before anything is fitted
        dull = [name for name in self.columns if table[name].nunique(dropna=False) < 2]
        if dull:
            missing = [name for name in dull if table[name].isna().all()]
            what = "all missing" if missing == dull else "constant, or missing everywhere"
            warnings.warn(
                f"The covariates {dull} are {what} in the training bags and tell nothing of any "
                "bag. Leave them out, or look at how they were read.",
                UserWarning,
                stacklevel=stacklevel,
            )
        distinct = {name: set(_texts(table[name])) for name in self.categories}
        misread = [n for n in self.categories if _is_quantity(table[n].dtype, distinct[n])]
        if misread:
            warnings.warn(
                f"The covariates {misread} are text that reads as numbers or dates, such as "
                f"{_some(distinct[misread[0]])}, and each of their values becomes a category. "
                'Convert numbers, pandas.to_numeric(column.str.replace(",", ".").str.strip("<> ")),'
                " and turn dates into an age or a time. If they are categories, say "
                'column.astype("category").',
                UserWarning,
                stacklevel=stacklevel,
            )
        others = [name for name in self.categories if name not in misread]
        if many := [name for name in others if _has_many_values(table[name])]:
            warnings.warn(
                f"The covariates {many} are read as categories and have nearly as many values as "
                "there are bags. If they are numbers, convert them, pandas.to_numeric(column).",
                UserWarning,
                stacklevel=stacklevel,
            )
        for name in self.categories:
            if alike := _alike(distinct[name]):
                warnings.warn(
                    f"The covariate {name!r} has categories that differ only by case or spaces, "
                    f"{alike}, and each has a column of its own. Make them one, such as by "
                    "column.str.strip().str.lower().",
                    UserWarning,
                    stacklevel=stacklevel,
                )
        self.distinct = distinct
        self.encoder = None
        if self.categories:
            self.encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
            self.encoder.fit(_as_text(table[self.categories]))
        counts = Counter(map(str, self.names()))
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ValueError(
                f"The covariates give the columns {twice} twice: a category makes columns named "
                "column_category. Rename a covariate."
            )
        return self

    def names(self):
        """Names of the columns."""
        if self.encoder is None:
            return list(self.numbers)
        return [*self.numbers, *self.encoder.get_feature_names_out(list(map(str, self.categories)))]

    def transform(self, table, stacklevel=5):
        """Numbers, shape (n_bags, n_columns); an unknown category is none of the known.

        Warnings point to the line that called an estimator's ``predict``.
        """
        absent = [name for name in self.columns if table is None or name not in table.columns]
        if absent:
            have = [] if table is None else list(table.columns)
            raise ValueError(
                f"X lacks the covariates {absent}, which were there in fit. It has {have}. Attach "
                "them with X.with_columns(covariates=...), with missing values where unknown."
            )
        _refuse_times(table[self.columns])
        parts = [_numbers(table[name], name)[:, None] for name in self.numbers]
        for name in self.categories:
            known, found = self.distinct[name], set(_texts(table[name]))
            if len(known) > 1 and found and not known & found:
                warnings.warn(
                    f"No value of the covariate {name!r}, {_some(found)}, was there in fit, which "
                    f"had {_some(known)}. Is it coded in another way?",
                    UserWarning,
                    stacklevel=stacklevel,
                )
        if self.encoder is not None:
            parts.append(self.encoder.transform(_as_text(table[self.categories])))
        return np.hstack(parts)


class StandardCovariates:
    """Columns for a network: encoded, missing values imputed and told, standardised.

    A missing number becomes the median, and a column of its own says so. A column that is constant
    in the training bags is 0 in all bags.

    Parameters
    ----------
    table : DataFrame of shape (n_bags, n_covariates)
        Covariates of the training bags.
    stacklevel : int
        Where warnings point.
    """

    def __init__(self, table, stacklevel):
        self.encoder = CovariateEncoder().fit(table, stacklevel)
        # A column that is missing everywhere stays, as a constant.
        imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        self.scaler = make_pipeline(imputer, StandardScaler())
        columns = self.scaler.fit_transform(self.encoder.transform(table))
        # Nothing is learned of a constant, so another value later must not count.
        self.varies = np.ptp(columns, axis=0) > 0

    def __len__(self):
        return len(self.varies)

    def __call__(self, table):
        """Standardised columns, float32 array of shape (n_bags, n_columns)."""
        columns = self.scaler.transform(self.encoder.transform(table, stacklevel=8))
        return np.where(self.varies, columns, 0.0).astype(np.float32)


def _refuse_times(table):
    times = [n for n in table if pd.api.types.infer_dtype(table[n], skipna=True) in _TIMES]
    if times:
        raise ValueError(
            f"The covariates {times} hold dates or times. Turn them into numbers, such as an age "
            "in years, (visit - birth).dt.days / 365.25."
        )


def _refuse_numbers_beside_text(table):
    for name in table:
        column = table[name]
        if column.dtype != object:
            continue
        is_text = np.array([isinstance(value, str) for value in column], dtype=bool)
        known = column[~is_text].dropna()
        if not is_text.any() or not any(_is_plain_number(value) for value in known):
            continue
        text = column[is_text]
        where = ", ".join(f"{value!r} in bag {bag}" for bag, value in text[:3].items())
        more = ", ..." * (len(text) > 3)
        raise ValueError(
            f"The covariate {name!r} holds numbers and text: {where}{more}. If it is a "
            "number, give numbers and missing values; if it is a category, make all of it text."
        )


def _is_plain_number(value):
    return isinstance(value, Number) and not isinstance(value, bool)


def _is_number(column):
    if column.dtype != object:  # also bool
        return pd.api.types.is_numeric_dtype(column)
    # Numbers in a table of mixed types; text that reads as a number is a category.
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind in ("integer", "floating", "mixed-integer-float", "decimal", "boolean")


def _texts(column):
    """The values that are not missing, as the encoder sees them."""
    return [_text(value) for value in column.dropna().unique()]


def _is_quantity(dtype, texts):
    """Are most of the texts decimals or dates? Whole numbers alone may be codes."""
    if isinstance(dtype, pd.CategoricalDtype) or len(texts) < 3:
        return False
    texts = [text.strip() for text in texts]
    dates = [text for text in texts if _DATE_TEXT.fullmatch(text)]
    numbers = [text for text in texts if _NUMBER_TEXT.fullmatch(text.lstrip("<>=≤≥ "))]
    decimals = [text for text in numbers if not text.lstrip("+-").isdecimal()]
    n_read = len(set(dates) | set(numbers))
    return n_read >= 0.8 * len(texts) and bool(dates or decimals)


def _alike(texts):
    """Those that differ only by case or spaces."""
    counts = Counter(text.strip().casefold() for text in texts)
    return sorted(text for text in texts if counts[text.strip().casefold()] > 1)


def _some(texts):
    """The first three of them, for a message."""
    return ", ".join(map(repr, sorted(texts)[:3])) + ", ..." * (len(texts) > 3)


def _has_many_values(column):
    n_values = column.nunique()
    return n_values > 10 and n_values > 0.5 * len(column)


def _numbers(column, name):
    try:
        values = pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The covariate {name!r} held numbers in fit, and now: {error}."
        ) from error
    if np.isinf(values).any():
        bag = column.index[np.isinf(values).argmax()]
        raise ValueError(
            f"The covariate {name!r} is infinite in bag {bag}. Correct it, or give a missing value."
        )
    return values


def _as_text(table):
    """Categories as strings, shape (n_bags, n_columns), a missing one as one of its own."""
    columns = [[_text(value) for value in table[name]] for name in table.columns]
    return np.array(columns, dtype=object).T


def _text(value):
    if pd.isna(value):
        return "missing"
    # A missing value elsewhere in the column makes 1.0 of 1.
    whole = isinstance(value, (float, np.floating)) and value.is_integer()
    return str(int(value)) if whole else str(value)
