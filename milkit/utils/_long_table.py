"""BagArray from and to a long table with one row per instance."""

from collections.abc import Hashable

import numpy as np

from milkit.exceptions import describe_bag


def read_long_table(cls, df, bag, label, group, covariates, features, instance_data):
    """See ``BagArray.from_dataframe``."""
    import pandas as pd

    if not isinstance(df, pd.DataFrame):
        raise TypeError(f"df must be a pandas DataFrame. Got {type(df).__name__} instead.")
    for role, column in (("bag", bag), ("label", label), ("group", group)):
        if not isinstance(column, Hashable):
            raise TypeError(f"{role} must be one column name. Got {column!r} instead.")
    roles = {
        "bag": [bag],
        "label": [] if label is None else [label],
        "group": [] if group is None else [group],
        "covariates": _column_list(covariates, "covariates"),
        "instance_data": _column_list(instance_data, "instance_data"),
        "features": [] if features is None else _column_list(features, "features"),
    }
    _check_roles(df, roles)
    if len(df) == 0:
        raise ValueError("The table has no rows; at least one instance is required.")

    codes, names = pd.factorize(df[bag])
    if np.any(codes < 0):
        raise ValueError(
            f"Row {int(np.argmax(codes < 0))} has no bag: column {bag!r} is missing there."
        )
    names = np.asarray(names)
    if np.any(np.diff(codes) < 0):
        order = np.argsort(codes, kind="stable")
        df, codes = df.iloc[order], codes[order]
    sizes = np.bincount(codes, minlength=len(names))
    first = np.cumsum(sizes) - sizes

    for column in [*roles["label"], *roles["group"], *roles["covariates"]]:
        _refuse_varying(df[column], column, codes, first, names)
    if features is None:
        roles["features"] = _remaining_features(df, roles, codes, first)
    if not roles["features"]:
        raise ValueError("No columns are left for the features of the instances.")

    per_bag = df.iloc[first]
    X = cls(
        _feature_matrix(df[roles["features"]]),
        np.append(first, len(df)),
        names=names,
        groups=None if group is None else per_bag[group].to_numpy(),
        covariates=per_bag[roles["covariates"]].reset_index(drop=True)
        if roles["covariates"]
        else None,
        instance_data={column: df[column].to_numpy() for column in roles["instance_data"]},
        feature_names=[str(name) for name in roles["features"]],
    )
    if label is None:
        return X
    y = per_bag[label].to_numpy()
    if np.any(pd.isna(y)):
        i = int(np.argmax(pd.isna(y)))
        raise ValueError(f"{describe_bag(i, names)} has no label: column {label!r} is missing.")
    return X, y


def write_long_table(X):
    """See ``BagArray.to_dataframe``."""
    import pandas as pd

    if len(X.instance_shape) != 1:
        raise ValueError(
            f"Only bags of vectors fit in a table; these instances have shape {X.instance_shape}."
        )
    instances, _ = X.flat()
    sizes = X.sizes
    names = np.arange(len(X)) if X.names is None else X.names
    if len(set(names.tolist())) < len(names):
        raise ValueError("Two bags have the same name, so a table could not tell them apart.")
    columns = [("bag", np.repeat(names, sizes))]
    if X.groups is not None:
        columns.append(("group", np.repeat(X.groups, sizes)))
    if X.covariates is not None:
        repeated = X.covariates.iloc[np.repeat(np.arange(len(X)), sizes)].reset_index(drop=True)
        columns.extend(repeated.items())
    columns.extend((key, value) for key, value in X.instance_data.items() if value.ndim == 1)
    features = X.feature_names
    if features is None:
        features = [f"x{j}" for j in range(X.n_features)]
    taken = [name for name, _ in columns] + list(features)
    if twice := _repeated(taken):
        raise ValueError(f"Two columns of the table would have the same name: {twice}.")
    table = pd.DataFrame(dict(columns))
    return pd.concat([table, pd.DataFrame(instances, columns=list(features))], axis=1)


def _column_list(columns, what):
    if isinstance(columns, str):
        raise TypeError(f"{what} must be a list of columns. Got the string {columns!r}.")
    return [] if columns is None else list(columns)


def _repeated(names):
    seen = set()
    return sorted({str(name) for name in names if name in seen or seen.add(name)})


def _check_roles(df, roles):
    if twice := _repeated(df.columns):
        raise ValueError(f"The table has several columns named {twice}; names must be unique.")
    for role, columns in roles.items():
        for column in columns:
            if column not in df.columns:
                raise ValueError(
                    f"Unknown {role} column {column!r}; the table has {list(df.columns)}."
                )
    if twice := _repeated(column for columns in roles.values() for column in columns):
        raise ValueError(
            f"Columns {twice} have two roles; a label, group or bag number must never be a "
            "covariate or a feature."
        )


def _varies(values, codes, first):
    """For every row: does it differ from the first row of its bag (missing equals missing)?"""
    import pandas as pd

    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "buif":
        found = values.to_numpy()
        expected = found[first][codes]
        return (found != expected) & ((found == found) | (expected == expected))
    numbers, _ = pd.factorize(values, use_na_sentinel=True)
    return numbers != numbers[first][codes]


def _refuse_varying(values, column, codes, first, names):
    varies = _varies(values, codes, first)
    if np.any(varies):
        i = int(codes[np.argmax(varies)])
        found = list(values[codes == i].unique()[:3])
        raise ValueError(
            f"{describe_bag(i, names)} has several values in column {column!r} "
            f"({', '.join(map(str, found))}, ...); a label, group or covariate must have one "
            "value per bag."
        )


def _remaining_features(df, roles, codes, first):
    named = {column for columns in roles.values() for column in columns}
    features = [column for column in df.columns if column not in named]
    if len(df) > len(first) > 1:
        for column in features:
            if (
                not np.any(_varies(df[column], codes, first))
                and df[column].iloc[first].nunique(dropna=False) > 1
            ):
                raise ValueError(
                    f"Column {column!r} has one value per bag, so it is not a feature of the "
                    "instances. Name it as label=, group= or covariates=, or list the features "
                    "explicitly with features=[...]."
                )
    return features


def _feature_matrix(table):
    if bad := [c for c, dtype in table.dtypes.items() if dtype.kind not in "buif"]:
        raise ValueError(
            f"Feature columns must be numbers; {bad} are not. Name them as covariates=, or leave "
            "them out with features=[...]."
        )
    return np.ascontiguousarray(numeric_matrix(table))


def numeric_matrix(table):
    """A DataFrame of numbers as one array; pandas gives objects for mixed or nullable columns."""
    matrix = table.to_numpy()
    return table.to_numpy(dtype=np.float64, na_value=np.nan) if matrix.dtype == object else matrix
