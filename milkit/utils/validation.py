"""The door: what estimators are given becomes a validated BagArray here, once."""

from collections import Counter
from math import lgamma, log

import numpy as np
from sklearn.utils import check_array, get_tags
from sklearn.utils.validation import (
    _check_y,
    _num_samples,
    column_or_1d,
    validate_data,
)

from milkit.bags import BagArray
from milkit.exceptions import BagShapeError, GroupLeakageError, describe_bag
from milkit.utils._columns import (
    first_missing,
    read_column,
    refuse_missing_groups,
)
from milkit.utils._containers import (
    as_bag_array,
    is_frame,
    reads_as_table,
    refuse_no_container,
    require_columns,
)

__all__ = [
    "as_bag_array",
    "check_bag_weight",
    "reads_as_table",
    "resolve_groups",
    "validate_bags",
]


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
    refuse_no_container(X)
    table = reads_as_table(X)
    if table and not reset and not getattr(estimator, "fitted_on_table_", True):
        raise BagShapeError(
            f"{type(estimator).__name__} was fitted on bags and got one 2-D array, which may be "
            "a single bag. Pass [bag] to predict one bag, or a list of bags."
        )
    no_y = isinstance(y, str) and y == "no_validation"
    if table and not is_frame(X) and group is None and covariates is None:
        if no_y:
            flat = validate_data(estimator, X, reset=reset, **check_params)
        elif y is None:
            flat = validate_data(estimator, X, y, reset=reset, **check_params)
        else:
            y = refuse_missing_labels(y)
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
        checked = _checked_matrix(estimator, matrix, bags.feature_names, reset, check_params)
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


def _checked_matrix(estimator, matrix, feature_names, reset, check_params):
    if feature_names is None:
        return validate_data(estimator, matrix, reset=reset, **check_params)
    import pandas as pd

    # scikit-learn looks at each column of a DataFrame by itself; one without rows has the names.
    header = pd.DataFrame(matrix[:0], columns=feature_names)
    validate_data(estimator, header, reset=reset, skip_check_array=True)
    return check_array(matrix, estimator=estimator, input_name="X", **check_params)


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
    y = refuse_missing_labels(y, bags.names)
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


def refuse_missing_labels(y, names=None):
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
        # Values that are missing in some bags must not hide a leak in the others.
        known = column.notna().to_numpy()
        values, labels = column[known].infer_objects().to_numpy(), y[known]
        same = _is_identical(values, labels)
        if same or _is_recoded(values, labels) or _is_recoded(column.to_numpy(), y):
            raise ValueError(
                f"Covariate {name!r} is identical to y{' but for its coding' * (not same)}: the "
                "label must not be a feature. Remove it from the covariates, in a BagArray with "
                f"X.with_columns(covariates=X.covariates.drop(columns=[{name!r}]))."
            )


def _is_identical(values, y):
    """Is it y, and would chance give that order of its labels less than once in a hundred?"""
    if values.dtype.kind in "buif" and y.dtype.kind in "buif":
        same = np.array_equal(values, y)
    else:
        same = list(map(str, values)) == list(map(str, y))
    if not same:
        return False
    counts = Counter(y.tolist()).values()
    log_orders = lgamma(len(y) + 1) - sum(lgamma(count + 1) for count in counts)
    return log_orders > log(100)


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
        if not is_frame(X):
            raise ValueError(
                f"group={group!r} names a column of a DataFrame, but X is a {type(X).__name__}."
            )
        require_columns(X, [group], "group")
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
