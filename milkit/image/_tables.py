"""Tables beside images: which image belongs to which bag, and what is known of each bag."""

import os
import re

import numpy as np

from milkit.image._files import same_text

__all__ = [
    "bag_facts",
    "bag_names",
    "images_of_table",
    "plain_values",
    "read_table",
    "require_columns",
    "tidied",
]

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods")


def read_table(table, text_columns):
    """A DataFrame from a DataFrame or a csv file; names stay text, so that "007" is not 7."""
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        return table
    if not isinstance(table, (str, os.PathLike)):
        raise TypeError(
            f"table must be a csv file or a DataFrame. Got {type(table).__name__} instead."
        )
    table = os.fspath(table)
    if not os.path.isfile(table):
        raise FileNotFoundError(f"There is no file {table!r}; expected a csv file or a DataFrame.")
    if table.lower().endswith(_SPREADSHEETS):
        raise ValueError(f"{table!r} is no csv file; pass pandas.read_excel({table!r}).")
    try:
        # The names by themselves, because pandas renames the second of two that are equal.
        header = pd.read_csv(table, header=None, nrows=1, dtype=str, keep_default_na=False)
        names = [name.strip() for name in header.iloc[0]]
        dtype = {i: str for i, name in enumerate(names) if name in text_columns}
        frame = pd.read_csv(table, header=0, names=range(len(names)), dtype=dtype)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{table!r} is not encoded as UTF-8 ({error}). Save it as 'CSV UTF-8', or pass "
            "pandas.read_csv(..., encoding=...)."
        ) from error
    except pd.errors.ParserError as error:
        raise ValueError(f"{table!r} is no csv file: {error}") from error
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{table!r} is empty.") from error
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(
            f"{table!r} has more values in its rows than names in its first line, {names}, so that "
            "it is not known which belong together. Give each column a name."
            f"{_other_separator(names, ', decimal=' + repr(','))}"
        )
    return frame.set_axis(names, axis=1)


def require_columns(table, columns, what):
    """Every column is there once, and has one role."""
    found = list(table.columns)
    for role, column in columns:
        if found.count(column) != 1:
            if column in table.index.names:
                hint = " The index has that name: pass table.reset_index()."
            else:
                hint = _other_separator(found)
            raise ValueError(
                f"{what} has {'several columns' if column in found else 'no column'} {column!r} "
                f"({role}); it has {found}.{hint}"
            )


def _other_separator(names, options=""):
    """Advice where the only name of a column looks like several."""
    separator = re.search("[;\t|]", str(names[0])) if len(names) == 1 else None
    if separator is None:
        return ""
    sep = repr(separator[0])
    return (
        f" Its values seem to be separated by {sep}: pass pandas.read_csv(..., sep={sep}{options})."
    )


def tidied(table, wanted):
    """Labels and groups without spaces around them; one of spaces alone is missing."""
    import pandas as pd

    table = table.copy(deep=False)
    for role, column in wanted:
        values = table[column].tolist()
        if role != "covariates" and any(isinstance(value, str) for value in values):
            values = [(same_text(v) or None) if isinstance(v, str) else v for v in values]
            table[column] = pd.Series(values, index=table.index, dtype=object)
    return table


def bag_names(table, bag, what):
    """The bag of each row as text; a missing one is refused."""
    names = [_bag_name(value) for value in table[bag].tolist()]
    missing = table[bag].isna().to_numpy() | np.array([not name for name in names], dtype=bool)
    if missing.any():
        row = int(np.argmax(missing))
        raise ValueError(f"{what} names no bag in row {row}: {bag!r} is missing there.")
    return names


def _bag_name(value):
    # A column of integers in which one is missing holds floats.
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return same_text(str(value))


def bag_facts(table, names, columns):
    """One row for each bag, from a table in which a bag may have several rows.

    Parameters
    ----------
    table : DataFrame
    names : list of str
        The bag of each row.
    columns : list
        Those to keep: label, group and covariates.

    Returns
    -------
    facts : DataFrame
        The index are the bags, in the order in which they first appear.
    """
    import pandas as pd

    codes, bags = pd.factorize(np.asarray(names, dtype=object))
    first = np.unique(codes, return_index=True)[1]
    for column in columns:
        values = pd.factorize(table[column])[0]  # missing is -1, as all other missing values
        differs = np.flatnonzero(values != values[first][codes])
        if len(differs):
            rows = np.flatnonzero(codes == codes[differs[0]])
            found = ", ".join(map(str, dict.fromkeys(table[column].iloc[rows].tolist())))
            raise ValueError(
                f"Bag {names[differs[0]]!r} has several values in {column!r} ({found}). A bag "
                "has one label, one group and one value of each covariate: mend the table or the "
                "folders, or give the parts names of their own."
            )
    facts = table.iloc[first][columns]
    return facts.set_axis(pd.Index(bags, dtype=object), axis=0)


def images_of_table(table, path, names, root, report):
    """(path, bag) of each row; what is listed twice for one bag is loaded once."""
    images, seen = [], set()
    for row, (value, name) in enumerate(zip(table[path].tolist(), names, strict=True)):
        if not isinstance(value, (str, os.PathLike)) or not os.fspath(value).strip():
            report.add("unreadable", "", name, f"row {row} of the table names no file")
            continue
        file = os.path.join(root, os.fspath(value).strip())
        if (os.path.normpath(file), name) in seen:
            report.add("repeated", file, name, f"listed again in row {row}")
            continue
        seen.add((os.path.normpath(file), name))
        images.append((file, name))
    return images


def plain_values(column):
    """A column as an array; text as fixed-width text, where pandas gives objects."""
    values = column.infer_objects().to_numpy()
    if len(values) and all(isinstance(value, str) for value in values.tolist()):
        return np.array(values.tolist())
    return values
