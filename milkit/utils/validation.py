"""The door: any container of bags becomes a BagArray here, once."""

from collections import Counter

import numpy as np
from sklearn.utils import get_tags
from sklearn.utils.validation import (
    _check_y,
    _num_samples,
    check_array,
    column_or_1d,
    validate_data,
)

from milkit.bags import BagArray
from milkit.exceptions import BagShapeError, GroupLeakageError, describe_bag
from milkit.utils._columns import (
    first_missing,
    read_column,
    refuse_missing_groups,
    string_names,
)
from milkit.utils._long_table import numeric_matrix
from milkit.utils._packing import refuse_masked, refuse_named, to_array

__all__ = [
    "as_bag_array",
    "check_bag_weight",
    "reads_as_table",
    "resolve_groups",
    "validate_bags",
]


def _is_frame(X):
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


def _array_columns(df):
    """Columns of a DataFrame that hold arrays; the first row alone may be the broken one."""
    return [
        column
        for j, (column, dtype) in enumerate(df.dtypes.items())
        if dtype.kind == "O" and _any_bag(df.iloc[:, j])
    ]


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
    if _is_frame(X):
        return not _array_columns(X)
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
    _refuse_no_container(X)
    if _is_frame(X):
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


def _refuse_no_container(X):
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
    _require_columns(table, names, "covariates")
    return X.with_columns(covariates=table[list(names)])


def _require_columns(df, names, what):
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
    found = _array_columns(df)
    named = [*([] if group is None else [group]), *(covariates or ())]
    _require_columns(df, named[:1] if group is not None else [], "group")
    _require_columns(df, covariates or (), "covariates")
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
        "covariates": df[list(covariates)] if covariates else None,
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


def validate_bags(
    estimator,
    X,
    y="no_validation",
    *,
    reset=True,
    group=None,
    covariates=None,
    tensors=False,
    instance_data=True,
    y_numeric=False,
    **check_params,
):
    """Validate bags for an estimator; its ``fit`` and ``predict`` begin with this.

    The instances of all bags are validated as one matrix by scikit-learn's own
    :func:`~sklearn.utils.validation.validate_data`, which sets ``n_features_in_`` and
    ``feature_names_in_``. ``instance_shape_`` and ``fitted_on_table_`` are set beside them.

    Parameters
    ----------
    estimator : estimator
        The estimator that is fitted or predicts.
    X : container of bags
        Any form that :func:`as_bag_array` takes.
    y : array-like of shape (n_bags,), default="no_validation"
        Bag labels or targets.
    reset : bool, default=True
        True in ``fit``, False elsewhere: then the features must be those of ``fit``.
    group, covariates : str and list of str, default=None
        The group column of a DataFrame, and covariates to keep; see :func:`as_bag_array`.
    tensors : bool, default=False
        Whether instances may have more than one dimension.
    instance_data : bool, default=True
        Whether the instance data come along. A step from bags to bags keeps them; an estimator
        that never looks at them saves a copy.
    y_numeric : bool, default=False
        Whether y must be numbers.
    **check_params
        Passed on to :func:`~sklearn.utils.validation.validate_data`, such as ``dtype``.

    Returns
    -------
    bags : BagArray of shape (n_bags,)
        Its instances are contiguous, so that ``bags.flat()`` is free. Fit and predict copy
        the caller's instances at most once, and never change them.
    y : ndarray of shape (n_bags,)
        Only if ``y`` was given.

    Raises
    ------
    ValueError
        With the bag named, and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator
    >>> from milkit.utils.validation import validate_bags
    >>> validate_bags(BaseEstimator(), [np.ones((2, 3)), np.array([[1.0, np.nan, 2.0]])])
    Traceback (most recent call last):
        ...
    ValueError: Bag 1 has NaN in instance 0. Input X contains NaN. Impute with
    InstanceTransformer(SimpleImputer()), or drop the instances.
    """
    _refuse_no_container(X)
    table = reads_as_table(X)
    if table and not reset and not getattr(estimator, "fitted_on_table_", True):
        raise BagShapeError(
            f"{type(estimator).__name__} was fitted on bags and got one 2-D array, which may be "
            "a single bag. Pass [bag] to predict one bag, or a list of bags."
        )
    no_y = isinstance(y, str) and y == "no_validation"
    if table and not _is_frame(X) and group is None and covariates is None:
        if no_y:
            flat = validate_data(estimator, X, reset=reset, **check_params)
        elif y is None:
            flat = validate_data(estimator, X, y, reset=reset, **check_params)
        else:
            y = _refuse_missing_labels(y)
            flat, y = validate_data(
                estimator, X, y, reset=reset, y_numeric=y_numeric, **check_params
            )
        bags = BagArray(flat, np.arange(len(flat) + 1))
    else:
        dtype = check_params.get("dtype")
        single = None if isinstance(dtype, (str, list, tuple)) else dtype
        bags = as_bag_array(X, group=group, covariates=covariates, dtype=single)
        bags = _validate_instances(
            estimator,
            bags,
            reset=reset,
            tensors=tensors,
            instance_data=instance_data,
            check_params=check_params,
        )
        if not no_y:
            y = _validate_target(estimator, y, bags, y_numeric)
    if reset:
        estimator.instance_shape_ = bags.instance_shape
        estimator.fitted_on_table_ = table
        if y is not None and not no_y:
            _refuse_leaking_covariates(bags, y)
    return bags if no_y else (bags, y)


def _validate_instances(estimator, bags, *, reset, tensors, instance_data, check_params):
    if len(bags) == 0:
        raise BagShapeError(f"Got no bags; {type(estimator).__name__} needs at least one.")
    shape = bags.instance_shape
    if len(shape) > 1 and not tensors:
        raise BagShapeError(
            f"{type(estimator).__name__} works on vectors, but the instances have shape {shape}. "
            "Flatten them with InstanceTransformer(..., flatten=True) in front of it, or extract "
            "features first."
        )
    fitted = shape if reset else getattr(estimator, "instance_shape_", shape)
    if fitted != shape and max(len(fitted), len(shape)) > 1:  # scikit-learn compares vectors
        raise BagShapeError(
            f"The instances have shape {shape}, but {type(estimator).__name__} was fitted on "
            f"instances of shape {fitted}."
        )
    # Converted while it is gathered, so that the fold is copied once.
    flat, offsets = bags.flat(_wanted_dtype(check_params.get("dtype"), bags.dtype))
    matrix = flat.reshape(len(flat), bags.n_features)
    try:
        checked = validate_data(
            estimator, _named_matrix(matrix, bags.feature_names), reset=reset, **check_params
        )
    except ValueError as error:
        where = _locate(error, matrix, bags)
        if where is None:
            raise
        message = str(error)
        if "contains NaN" in message:  # scikit-learn's recommends what takes no bags
            message = (
                "Input X contains NaN. Impute with InstanceTransformer(SimpleImputer()), or drop "
                "the instances."
            )
        raise ValueError(f"{where} {message}") from None
    return BagArray(
        checked.reshape(flat.shape),
        offsets,
        names=bags.names,
        groups=bags.groups,
        covariates=bags.covariates,
        instance_data=bags.instance_data if instance_data else None,
        feature_names=bags.feature_names,
    )


def _wanted_dtype(wanted, given):
    """What check_array would convert to: the wanted type, or the first of several."""
    if wanted is None or isinstance(wanted, str):
        return None
    if isinstance(wanted, (list, tuple)):
        return None if given in wanted else wanted[0]
    return wanted


def _named_matrix(matrix, feature_names):
    """The matrix as scikit-learn wants it: with feature names if the bags have them."""
    if feature_names is None:
        return matrix
    import pandas as pd

    return pd.DataFrame(matrix, columns=feature_names, copy=False)


def _locate(error, matrix, bags):
    """Which bag has the NaN or infinity that scikit-learn complains of, or None."""
    if "contains NaN" in str(error):
        what, bad = "NaN", np.isnan(matrix)
    elif "contains infinity" in str(error):
        dtype = np.float32 if "float32" in str(error) else matrix.dtype
        what, bad = "infinity or a value too large", np.abs(matrix) > np.finfo(dtype).max
    else:
        return None
    position = int(np.argmax(bad.any(axis=1)))
    _, offsets = bags.flat()
    bag = int(np.searchsorted(offsets, position, side="right") - 1)
    return f"{describe_bag(bag, bags.names)} has {what} in instance {position - offsets[bag]}."


def _validate_target(estimator, y, bags, y_numeric):
    if y is None:
        if get_tags(estimator).target_tags.required:
            raise ValueError(
                f"This {type(estimator).__name__} estimator requires y to be passed, but the "
                "target y is None."
            )
        return None
    y = _refuse_missing_labels(y, bags.names)
    # Not validate_data(X="no_validation"), which would delete feature_names_in_.
    try:
        y = _check_y(y, y_numeric=y_numeric, estimator=estimator)
    except ValueError as error:
        if "could not convert" in str(error):
            raise ValueError(
                f"y must hold numbers for {type(estimator).__name__}: {error}"
            ) from error
        raise
    if len(y) != len(bags):
        hint = " y must have one label per bag, not per instance." * (len(y) == bags.n_instances)
        raise ValueError(
            f"y has {len(y)} labels, but X has {len(bags)} bags; they must agree.{hint}"
        )
    return y


def _refuse_missing_labels(y, names=None):
    """y itself, or an array in which a list of several types keeps them."""
    column = read_column(y)
    if column.ndim == 0 or column.size != len(column):
        return y  # refused by scikit-learn
    i = first_missing(column.ravel())
    if i is not None:
        known = names if names is not None and len(names) == len(column) else None
        raise ValueError(
            f"{describe_bag(i, known)} has no label; drop the bag, or give it one. Input y "
            "contains NaN or None."
        )
    return column if isinstance(y, (list, tuple)) else y


def _refuse_leaking_covariates(bags, y):
    if bags.covariates is None:
        return
    for name, column in bags.covariates.items():
        values = column.to_numpy()
        if values.dtype.kind in "buif" and y.dtype.kind in "buif":
            same = np.array_equal(values, y)
        else:
            same = list(map(str, values)) == list(map(str, y))
        if same or _is_recoded(values, y):
            raise ValueError(
                f"Covariate {name!r} is identical to y{' but for its coding' * (not same)}: the "
                "label must not be a feature. Remove it from the covariates, in a BagArray with "
                f"X.with_columns(covariates=X.covariates.drop(columns=[{name!r}]))."
            )


def _is_recoded(values, y):
    """Does each value stand for one label? In few bags, or with rare labels, that is chance."""
    if len(y) < 20:
        return False
    pairs = Counter(zip(map(str, values), map(str, y), strict=True))
    n_values, n_labels = (len(set(side)) for side in zip(*pairs, strict=True))
    return len(pairs) == n_values == n_labels > 1 and min(pairs.values()) >= 3


def check_bag_weight(sample_weight, bags, *, dtype=np.float64):
    """Validate one weight per bag; None means that all bags count the same.

    Parameters
    ----------
    sample_weight : array-like of shape (n_bags,), float or None
        Weights of the bags, not negative.
    bags : BagArray of shape (n_bags,)
        The bags that are weighed.
    dtype : dtype, default=float64
        Type of the result.

    Returns
    -------
    sample_weight : ndarray of shape (n_bags,)

    Raises
    ------
    ValueError
        If there is not one weight per bag, one is negative, or all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.utils.validation import check_bag_weight
    >>> check_bag_weight(None, BagArray.from_list([np.ones((2, 3)), np.ones((4, 3))]))
    array([1., 1.])
    """
    from sklearn.utils.validation import _check_sample_weight

    shape = np.asarray(sample_weight).shape
    if len(shape) == 1 and shape[0] != len(bags):
        hint = " There must be one weight per bag, not per instance." * (
            shape[0] == bags.n_instances
        )
        raise ValueError(f"sample_weight has {shape[0]} entries, but X has {len(bags)} bags.{hint}")
    # Its other arguments changed their names between versions of scikit-learn.
    weight = _check_sample_weight(sample_weight, bags, dtype=dtype)
    if np.any(weight < 0):
        raise ValueError(f"Negative values in sample_weight: bag {np.argmin(weight)}.")
    if not np.any(weight > 0):
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def resolve_groups(X, groups=None, *, group=None, required=False):
    """The group of each bag, from the argument or from X itself.

    Parameters
    ----------
    X : container of bags
        A BagArray may carry ``groups``; a DataFrame may have a group column.
    groups : array-like of shape (n_bags,), default=None
        Groups that the caller passed.
    group : str, default=None
        Column of X that holds the groups if X is a DataFrame.
    required : bool, default=False
        Whether groups must be found.

    Returns
    -------
    groups : ndarray of shape (n_bags,) or None

    Raises
    ------
    GroupLeakageError
        If ``groups`` and those of X disagree, or none are found where they are required.

    Examples
    --------
    >>> import numpy as np
    >>> from milkit import BagArray
    >>> from milkit.utils.validation import resolve_groups
    >>> X = BagArray.from_list([np.ones((2, 3)), np.ones((4, 3))], groups=["ann", "bob"])
    >>> resolve_groups(X)
    array(['ann', 'bob'], dtype='<U3')
    """
    inside = getattr(X, "groups", None) if isinstance(X, BagArray) else None
    if group is not None and not isinstance(X, BagArray):
        if not _is_frame(X):
            raise ValueError(
                f"group={group!r} names a column of a DataFrame, but X is a {type(X).__name__}."
            )
        _require_columns(X, [group], "group")
        inside = X[group].to_numpy()
        refuse_missing_groups(inside)
    if groups is None:
        if inside is None and required:
            raise GroupLeakageError(
                "No groups: pass groups=, or put them into X with BagArray(..., groups=...). "
                "Without them one patient's bags could fall on both sides of a split."
            )
        return inside
    groups = column_or_1d(read_column(groups))
    n_bags = _num_samples(X)
    if len(groups) != n_bags:
        raise ValueError(f"groups has {len(groups)} entries, but X has {n_bags} bags.")
    refuse_missing_groups(groups, X.names if isinstance(X, BagArray) else None)
    if inside is not None and _partition(groups) != _partition(inside):
        raise GroupLeakageError(
            "groups= and the groups inside X disagree about which bags belong together. Pass "
            "only one of them, or make them agree."
        )
    return groups


def _partition(groups):
    """The division into groups, whatever the groups are called."""
    first = {}
    return [first.setdefault(g, len(first)) for g in groups.tolist()]
