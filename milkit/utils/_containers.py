"""Reading any container of bags as a BagArray."""

import numpy as np
from sklearn.utils.validation import check_array

from milkit.bags import BagArray
from milkit.exceptions import BagShapeError
from milkit.utils._columns import string_names
from milkit.utils._long_table import numeric_matrix
from milkit.utils._packing import refuse_masked, refuse_named, to_array


def is_frame(X):
    return hasattr(X, "columns") and hasattr(X, "iloc")


def _is_series(X):
    return hasattr(X, "iloc") and not hasattr(X, "columns")


def _is_bag(item):
    """Is an element of a list a bag (two dimensions or more) rather than a row?"""
    if hasattr(item, "ndim"):
        return item.ndim >= 2
    if isinstance(item, (list, tuple)) and len(item):
        first = item[0]
        return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) >= 1
    return False


def array_columns(df):
    """Columns of a DataFrame that hold arrays; the first row alone may be the broken one."""
    return [
        column
        for j, (column, dtype) in enumerate(df.dtypes.items())
        if dtype.kind == "O" and _any_bag(df.iloc[:, j])
    ]


def columns_beside_bags(X):
    """Columns of a DataFrame with bags that an estimator may name; None where there are no such."""
    if not is_frame(X) or not (bags := array_columns(X)):
        return None
    return [name for name in X.columns[~X.columns.duplicated(keep=False)] if name not in bags]


def reads_as_table(X):
    """Is ``X`` one row per sample (2-D) rather than bags?

    Parameters
    ----------
    X : any container

    Returns
    -------
    table : bool
        True for a 2-D array, a list of rows or a DataFrame of numbers, which are read as
        bags with one instance each; also for anything that is no container of bags, so
        that scikit-learn's own validation says what is wrong with it.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.utils.validation import reads_as_table
    >>> reads_as_table(np.ones((4, 3))), reads_as_table([np.ones((4, 3))])
    (True, False)
    """
    if isinstance(X, BagArray):
        return False
    if is_frame(X):
        return not array_columns(X)
    if _is_series(X):
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        if X.dtype == object and X.ndim in (1, 2):
            if len(X) == 0:
                return False
            return not ((X.ndim == 1 or X.shape[1] == 1) and _any_bag(X.ravel()))
        return X.ndim < 3
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and not _any_bag(X)
    return getattr(X, "ndim", 0) < 3  # a tensor of another library


def _any_bag(items):
    # A list is read as bags if any element is one, so that the element that is not can be named.
    return any(_is_bag(item) for item in items)


def as_bag_array(X, *, group=None, covariates=None, dtype=None):
    """Convert any supported container of bags into a ``BagArray``.

    Parameters
    ----------
    X : BagArray, list, tuple, ndarray, Series or DataFrame
        A list, tuple or 1-D object array of arrays of shape (n_i, n_features) or
        (n_i, ...); a 3-D array (bags of equal size); a DataFrame or Series with one
        column that holds the arrays; a 2-D array or a DataFrame of numbers (one instance
        in each bag).
    group : str, default=None
        Column of a DataFrame that holds the group of each bag.
    covariates : list of str, default=None
        Columns of a DataFrame that hold per-bag tabular data. Other columns are never
        used. For a BagArray: which of its covariates to keep, None keeps all.
    dtype : dtype, default=None
        Type to convert to where instances are copied anyway, because X is a list or holds
        one array for each bag.

    Returns
    -------
    bags : BagArray of shape (n_bags,)
        ``X`` itself where it is a BagArray already.

    Raises
    ------
    ValueError
        If there are no bags, a bag is empty or its shape differs (it is named), or a
        DataFrame has no or several columns with arrays, or a column is unknown.
    TypeError
        If X is sparse or no container.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit.utils.validation import as_bag_array
    >>> as_bag_array(np.zeros((4, 3, 2)))
    BagArray(4 bags, 12 instances, sizes 3/3/3 (min/median/max), 2 features, float64)
    """
    if isinstance(X, BagArray):
        return _choose_covariates(X, covariates)
    refuse_no_container(X)
    if is_frame(X):
        return _from_wide_frame(X, group, covariates, dtype)
    if group is not None or covariates is not None:
        raise ValueError(
            f"group={group!r} and covariates={covariates!r} name columns of a DataFrame, but X "
            f"is a {type(X).__name__}. Pass a DataFrame, or a BagArray with groups= and "
            "covariates=."
        )
    if reads_as_table(X):
        table = check_array(X, ensure_all_finite=False)
        return BagArray(table, np.arange(len(table) + 1))
    if hasattr(X, "__array__") and not isinstance(X, np.ndarray) and not _is_series(X):
        X = to_array(X, "X")
    if _is_series(X):
        return BagArray.from_list(X, dtype=dtype, names=_names_from_index(X.index))
    if isinstance(X, np.ndarray) and X.ndim >= 3:  # also of objects: numpy stacks equal bags
        if X.ndim > 3:
            raise BagShapeError(
                f"A bare array of shape {X.shape} is ambiguous. Pass bags of tensors as a list "
                "of arrays of shape (n_instances, channels, height, width), or as a BagArray."
            )
        if 0 in X.shape[:2]:
            raise BagShapeError(f"Got an array of shape {X.shape}: no bags, or empty bags.")
        flat = X.reshape(X.shape[0] * X.shape[1], X.shape[2])
        return BagArray(flat, np.arange(0, len(flat) + 1, X.shape[1]))
    return BagArray.from_list(X.ravel() if isinstance(X, np.ndarray) else X, dtype=dtype)


def refuse_no_container(X):
    if hasattr(X, "tocsr"):
        return  # scikit-learn says it better
    refuse_named(X)
    refuse_masked(X, "X")
    if isinstance(X, type) or not (
        isinstance(X, (BagArray, list, tuple))
        or hasattr(X, "__array__")
        or hasattr(X, "__dataframe__")
    ):
        iterable = hasattr(X, "__iter__") and not isinstance(X, (str, bytes, type))
        hint = " Pass list(X)." * iterable
        raise TypeError(
            "X must be a collection of bags: a list of arrays of shape (n_instances, "
            "n_features), a BagArray, or a DataFrame with one column of arrays. Got "
            f"{type(X).__name__} instead.{hint}"
        )


def _choose_covariates(X, names):
    if names is None:
        return X
    table = X.covariates
    if table is None:
        raise ValueError(f"covariates={names!r} are asked for, but X has none.")
    require_columns(table, names, "covariates")
    return X.with_columns(covariates=table[list(names)])


def require_columns(df, names, what):
    if isinstance(names, str):
        raise TypeError(f"{what} must be a list of column names. Got the string {names!r}.")
    for name in names:
        if name not in df.columns:
            raise ValueError(f"Unknown {what} column {name!r}; there are {list(df.columns)}.")


def _names_from_index(index):
    """The index names the bags unless it only counts them."""
    names = np.asarray(index)
    return None if np.array_equal(names, np.arange(len(names))) else names


def _from_wide_frame(df, group, covariates, dtype):
    if len(df) == 0:
        raise BagShapeError("Got no bags: the DataFrame has no rows.")
    found = array_columns(df)
    named = [*([] if group is None else [group]), *(covariates or ())]
    require_columns(df, named[:1] if group is not None else [], "group")
    require_columns(df, covariates or (), "covariates")
    if group is not None and group in (covariates or ()):
        raise ValueError(
            f"Column {group!r} is the group and a covariate: a patient number is no covariate."
        )
    if len(found) > 1:
        raise ValueError(
            f"The DataFrame has {len(found)} columns with arrays, {found}; exactly one column "
            "must hold the bags. Drop the others."
        )
    columns = {
        "groups": None if group is None else df[group].to_numpy(),
        "covariates": df[list(covariates)].reset_index(drop=True) if covariates else None,
    }
    if found:
        if set(named) & set(found):
            raise ValueError(f"Column {found[0]!r} holds the bags; it cannot be a covariate.")
        names = _names_from_index(df.index)
        return BagArray.from_list(df[found[0]], dtype=dtype, names=names, **columns)
    features = df.drop(columns=named)
    if odd := [c for c, dtype in features.dtypes.items() if dtype.kind not in "buif"]:
        raise ValueError(
            f"No column of the DataFrame holds arrays of shape (n_instances, n_features), and "
            f"columns {odd} are not numbers. For a table with one row per instance use "
            "BagArray.from_dataframe(df, bag=...)."
        )
    return BagArray(
        numeric_matrix(features),
        np.arange(len(df) + 1),
        feature_names=string_names(features.columns),
        **columns,
    )


def read_only(instances):
    """The instances, safe from a step with copy=False: they may be the caller's own."""
    view = instances.view()
    view.flags.writeable = False
    return view
