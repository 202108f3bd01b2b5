"""Checks of the columns that travel with bags: names, groups, covariates, instance data."""

import numpy as np

from milkit.exceptions import BagShapeError, describe_bag


def check_column(values, n_bags, what):
    """One entry per bag, shape (n_bags,), or None."""
    if values is None:
        return None
    column = read_column(values)
    if column.shape != (n_bags,):
        raise ValueError(
            f"{what} must have one entry for each of the {n_bags} bags. Got shape "
            f"{column.shape} instead."
        )
    return column


def read_column(values):
    """The values as an array; numpy would write NaN as the string "nan", and 1 as "1"."""
    column = np.asarray(values)
    if column.dtype.kind in "US" and not all(isinstance(value, (str, bytes)) for value in values):
        column = np.array(values, dtype=object)
    return column


def refuse_missing_groups(groups, names=None):
    """Bags without a group would fall into one group, or each into its own, unseen."""
    if groups is not None and (i := first_missing(groups)) is not None:
        raise ValueError(
            f"{describe_bag(i, names)} has no group (missing value); give it one, for example "
            "a group of its own."
        )


def first_missing(column):
    """Index of the first missing value, or None."""
    if column.dtype.kind == "O":
        missing = np.array([_is_missing(value) for value in column], dtype=bool)
    else:
        missing = column != column
    return int(np.argmax(missing)) if np.any(missing) else None


def _is_missing(value):
    # NaN and NaT differ from themselves, and what pandas' NA answers is no boolean.
    if value is None:
        return True
    same = value == value
    return np.ndim(same) == 0 and (not isinstance(same, (bool, np.bool_)) or not same)


def covariate_table(covariates, n_bags, names=None, groups=None):
    """Covariates as a DataFrame of shape (n_bags, n_covariates); None where there are none."""
    if covariates is None:
        return None
    import pandas as pd

    if isinstance(covariates, pd.DataFrame):
        table = covariates.reset_index(drop=True)
    elif isinstance(covariates, dict):
        table = pd.DataFrame({key: np.asarray(value) for key, value in covariates.items()})
    else:
        if np.ndim(covariates) != 2:
            raise ValueError(
                "covariates must be a table of shape (n_bags, n_covariates). Got "
                f"{np.ndim(covariates)} dimension(s) instead."
            )
        table = pd.DataFrame(covariates)  # finds the type of each column in a list of rows
        table.columns = [f"covariate{j}" for j in range(table.shape[1])]
    if len(table) != n_bags:
        raise ValueError(
            f"covariates must have one row for each of the {n_bags} bags. Got {len(table)} "
            "rows instead."
        )
    if isinstance(covariates, pd.DataFrame):
        _refuse_another_order(covariates.index, names, groups)
    if not table.columns.is_unique:
        raise ValueError(f"covariates have a column name twice: {list(table.columns)}.")
    return table if len(table.columns) else None


def _refuse_another_order(index, names, groups):
    """Rows with the labels of the bags, in another order, would fall to the wrong bags unseen."""
    counts = list(range(len(index)))
    if index.nlevels == 1 and index.dtype.kind in "iu" and index.tolist() == counts:
        return  # rows without labels
    labels = list(map(str, index))
    for what, column in (("names", names), ("groups", groups)):
        if column is None:
            continue
        wanted = list(map(str, column))
        if wanted == labels:
            return
        if sorted(wanted) == sorted(labels) and len(set(labels)) == len(labels):
            raise ValueError(
                f"The index of the covariates holds the {what} of the bags in another order, and "
                "covariates are attached by position: the first row to the first bag. Bring the "
                f"rows into the order of the bags, table.loc[X.{what}]. If they are in that order, "
                "drop the index, table.reset_index(drop=True)."
            )


def flat_instance_column(key, value, sizes, names):
    """One flat array from a flat array, or from a list with one array for each bag."""
    per_bag = isinstance(value, (list, tuple)) and len(value) == len(sizes) > 0
    if not per_bag or np.ndim(value[0]) == 0:
        return np.asarray(value)
    for i, (part, size) in enumerate(zip(value, sizes, strict=True)):
        if len(part) != size:
            raise ValueError(
                f"{describe_bag(i, names)} has {size} instances, but its {key!r} has "
                f"{len(part)} entries; there must be one for each instance."
            )
    return np.concatenate([np.asarray(part) for part in value])


def instance_columns(instance_data):
    """The instance data as a dict."""
    if instance_data is None:
        return {}
    if not isinstance(instance_data, dict):
        raise TypeError(
            "instance_data must be a dict of name to values, such as {'box': boxes}. Got "
            f"{type(instance_data).__name__} instead."
        )
    return instance_data


def check_instance_columns(instance_data, n_instances):
    """Every column as an array of shape (n_instances, ...)."""
    columns = {}
    for key, value in instance_columns(instance_data).items():
        value = np.asarray(value)
        if value.ndim < 1 or len(value) != n_instances:
            raise ValueError(
                f"instance_data[{key!r}] must have one entry for each of the {n_instances} "
                f"instances. Got shape {value.shape} instead."
            )
        columns[key] = value
    return columns


def check_feature_names(names, shape):
    """One name per feature, shape (n_features,), or None."""
    if names is None:
        return None
    names = np.asarray(names, dtype=object)
    if len(shape) != 2 or names.shape != (shape[1],):
        raise ValueError(
            f"feature_names must name each feature of instances of shape {shape[1:]}. Got "
            f"{names.size} names instead."
        )
    seen = set()
    if twice := {name for name in names.tolist() if name in seen or seen.add(name)}:
        raise ValueError(f"feature_names must be unique. Got {sorted(map(str, twice))} twice.")
    return names


def shared_columns(bags, names):
    """Feature names of bags that are DataFrames; columns in another order would be mixed up."""
    frames = [(i, list(bag.columns)) for i, bag in enumerate(bags) if hasattr(bag, "columns")]
    if not frames:
        return None
    first, columns = frames[0]
    for i, found in frames:
        if found != columns:
            raise BagShapeError(
                f"{describe_bag(i, names)} has columns {found}, but bag {first} has {columns}; "
                "all bags must have the same columns in the same order."
            )
    return string_names(columns)


def string_names(columns):
    """Feature names as scikit-learn sees them: only where every name is a string."""
    return list(columns) if len(columns) and all(isinstance(c, str) for c in columns) else None
