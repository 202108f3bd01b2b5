"""Find the groups of bags, number them, and check that no split cuts through one."""

import numpy as np

from milkit.bags import BagArray
from milkit.exceptions import GroupLeakageError
from milkit.utils.validation import reads_as_table, resolve_groups


def find_groups(X, groups=None, *, group=None, required=False):
    """Groups from the argument, from a BagArray or from a column of a DataFrame."""
    holds_columns = hasattr(X, "columns") and hasattr(X, "iloc")
    if group is not None and not holds_columns and not isinstance(X, BagArray):
        if groups is None and required:
            raise GroupLeakageError(
                f"No groups: the column {group!r} was named, but X is a {type(X).__name__} "
                "without columns. Pass the DataFrame itself, a BagArray with groups, or groups=."
            )
        group = None
    if group is not None:
        refuse_features(X, [group], "group")
    if groups is None and group is None and holds_columns and required:
        raise GroupLeakageError(
            "No groups: X is a DataFrame and no column was named. Name the column that holds "
            "the groups with group=, or pass groups=."
        )
    return resolve_groups(X, groups, group=group, required=required)


def refuse_features(X, columns, what):
    """Refuse to name columns of a DataFrame of numbers, all of which are features."""
    if not (hasattr(X, "columns") and hasattr(X, "iloc") and reads_as_table(X)):
        return
    if not (named := [column for column in columns if column in X.columns]):
        return  # told better where the column is looked for
    instead = (
        "Drop it and pass groups=, or build a BagArray(..., groups=...)."
        if what == "group"
        else "Drop it and build a BagArray(..., groups=..., covariates=...)."
    )
    raise ValueError(
        f"{what}: X is a DataFrame without a column of arrays, so its column {named[0]!r} would "
        f"be a feature of the estimator. {instead}"
    )


def encode_groups(groups):
    """Number the groups.

    Returns
    -------
    codes : ndarray of int, shape (n_bags,)
    names : ndarray of shape (n_groups,)
        ``names[codes]`` are the groups.
    """
    import pandas as pd

    codes, names = pd.factorize(np.asarray(groups))
    if np.any(codes < 0):
        raise ValueError(
            f"Bag {int(np.argmax(codes < 0))} has no group (missing value); give it one, for "
            "example a group of its own."
        )
    return codes, names


def show(value):
    """A label or group name for a message: ``'ann'`` and not ``np.str_('ann')``."""
    return repr(value.item() if isinstance(value, np.generic) else value)


def refuse_leak(train, test, codes, names, splitter):
    """Raise if a group has bags on both sides."""
    in_train = np.zeros(len(names), dtype=bool)
    in_train[codes[train]] = True
    leaking = in_train[codes[test]]
    if leaking.any():
        name = names[codes[test][leaking][0]]
        raise GroupLeakageError(
            f"{type(splitter).__name__} put bags of group {show(name)} into the training and the "
            "test set of one split. Use a splitter that keeps groups whole, such as "
            "StratifiedGroupKFold."
        )


def groups_per_level(levels, codes, n_levels):
    """In how many groups each level (a class, a stratum) occurs, shape (n_levels,)."""
    pairs = np.unique(np.column_stack([levels, codes]), axis=0)
    return np.bincount(pairs[:, 0], minlength=n_levels)
