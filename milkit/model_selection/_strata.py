"""Strata of bags: the label crossed with quantised clinical attributes."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import type_of_target

from milkit.bags import BagArray
from milkit.model_selection._groups import encode_groups, groups_per_level

__all__ = ["clinical_strata"]


def clinical_strata(covariates, y=None, columns=None, *, n_bins=2, groups=None, min_groups=1):
    """Number the strata of bags: label × quantised covariates.

    Two bags are in one stratum if they have the same label and every covariate falls into
    the same bin. A fold that holds its share of every stratum has patients of the same age
    and the same counts as the others, not only the same share of positives.

    Parameters
    ----------
    covariates : BagArray, DataFrame, dict or array-like of shape (n_bags, n_covariates)
        A BagArray stands for its covariates.
    y : array-like of shape (n_bags,), default=None
        Bag labels. Targets of regression are quantised like a covariate: floats with more
        than two values, whole numbers or not, and integers with more than
        ``max(20, n_bags / 5)`` values. Everything else is a class; keep classes as integers
        or strings. None leaves the label out.
    columns : list of str, default=None
        Which covariates to use; None takes all of them.
    n_bins : int, default=2
        Number of bins for numbers. They are cut at values that occur, as near as possible
        to the quantiles; a bin ends with its cut, so that two bins are "at most the
        median" and "above". Numbers with fewer values have a bin for each. Strings,
        booleans and categories are taken as they are. Missing values are a bin of their own.
    groups : array-like of shape (n_bags,), default=None
        Which bags belong to one patient. None counts every bag as a group.
    min_groups : int, default=1
        Strata with bags of fewer groups are merged into the nearest stratum of the same
        label (the fewest bins away; among equals the largest). Labels are never merged.

    Returns
    -------
    strata : ndarray of int, shape (n_bags,)
        Numbers from 0 to ``n_strata - 1``.

    Raises
    ------
    ValueError
        If there are no covariates, a column is unknown or does not hold single values, or
        lengths differ.

    See Also
    --------
    GroupedSplit : Stratifies folds on these strata.

    Examples
    --------
    >>> from milkit.model_selection import clinical_strata
    >>> table = {"age": [50, 60, 70, None], "sex": ["f", "f", "m", "m"]}
    >>> clinical_strata(table, y=[0, 0, 0, 0])
    array([1, 1, 2, 0])
    >>> clinical_strata(table, y=[0, 0, 1, 1], columns=["sex"])
    array([0, 0, 1, 1])
    """
    check_count(n_bins, "n_bins", 2)
    check_count(min_groups, "min_groups", 1)
    table = _covariate_table(covariates, columns)
    check_consistent_length(table, y, groups)
    columns_of_bins = [_bins(table[name], n_bins) for name in table.columns]
    bins = np.column_stack([codes for codes, _ in columns_of_bins])
    widths = np.array([width for _, width in columns_of_bins])
    labels = label_codes(y, n_bins) if y is not None else np.zeros(len(table), dtype=int)
    profiles, strata = np.unique(np.column_stack([labels, bins]), axis=0, return_inverse=True)
    strata = strata.reshape(-1)
    if min_groups > 1:
        codes = np.arange(len(table)) if groups is None else encode_groups(groups)[0]
        strata = _merge_small(strata, profiles, widths, codes, min_groups)
    return strata


def is_quantity(y):
    """Is y a target of regression, whole numbers or not, rather than classes?

    Floats with more than two values are, and integers with more values than 20 and than one
    for every five bags.
    """
    y = column_or_1d(y)
    if type_of_target(y) == "continuous":
        return True
    if y.dtype.kind not in "iuf":
        return False
    return len(np.unique(y)) > (2 if y.dtype.kind == "f" else max(20, len(y) / 5))


def label_codes(y, n_bins=2):
    """Numbers for labels; a target of regression is quantised."""
    y = column_or_1d(y)
    if is_quantity(y):
        return quantile_codes(y, n_bins)
    return np.unique(y, return_inverse=True)[1]


def quantile_codes(values, n_bins):
    """Bins of equal share, as far as ties allow; -1 where the value is missing."""
    values = np.asarray(values, dtype=float)
    known = ~np.isnan(values)
    codes = np.full(len(values), -1)
    if not known.any():
        return codes
    distinct, counts = np.unique(values[known], return_counts=True)
    if len(distinct) == 1:
        codes[known] = 0
        return codes
    # Compared as integers, for an exact tie: then the later cut, so that the median of an odd
    # number of values belongs to the lower bin.
    below = np.cumsum(counts)[:-1] * n_bins
    wanted = np.arange(1, n_bins) * known.sum()
    distance = np.abs(below[:, None] - wanted)[::-1]
    cuts = np.unique(distinct[:-1][::-1][np.argmin(distance, axis=0)])
    codes[known] = np.searchsorted(cuts, values[known], side="left")
    return codes


def _bins(column, n_bins):
    """Bin of each value (-1 if missing) and the width of one step in the distance."""
    import pandas as pd
    from pandas.api import types

    kind = types.infer_dtype(column, skipna=True)
    if kind in ("integer", "floating", "mixed-integer-float"):
        values = pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    elif kind.startswith(("datetime", "timedelta")):
        values = column.astype("int64").to_numpy(dtype=float)
        values[column.isna().to_numpy()] = np.nan
    else:
        try:
            return pd.factorize(column)[0], np.inf
        except TypeError as error:
            raise ValueError(
                f"Covariate {column.name!r} must hold one number or category for each bag: {error}."
            ) from error
    codes = quantile_codes(values, n_bins)
    return codes, 1 / max(codes.max(), 1)


def _merge_small(strata, profiles, widths, codes, min_groups):
    strata = strata.copy()
    sizes = groups_per_level(strata, codes, len(profiles))
    alive = np.ones(len(profiles), dtype=bool)
    while True:
        same_label = profiles[:, None, 0] == profiles[None, :, 0]
        has_partner = (same_label & alive).sum(axis=1) > 1
        small = np.flatnonzero(alive & (sizes < min_groups) & has_partner)
        if len(small) == 0:
            return np.unique(strata, return_inverse=True)[1].reshape(-1)
        source = small[np.argmin(sizes[small])]
        partners = np.flatnonzero(alive & same_label[source])
        partners = partners[partners != source]
        away = _distance(profiles[source, 1:], profiles[partners, 1:], widths)
        target = partners[np.lexsort((-sizes[partners], away))[0]]
        strata[strata == source] = target
        alive[source] = False
        sizes[target] = len(np.unique(codes[strata == target]))


def _distance(profile, others, widths):
    """Numbers: share of the range; categories, and a missing against a known value: 1."""
    differs = profile != others
    ordered = np.isfinite(widths) & (profile >= 0) & (others >= 0)
    steps = np.abs(profile - others) * np.where(np.isfinite(widths), widths, 0)
    return np.where(ordered, steps, differs).sum(axis=1)


def _covariate_table(covariates, columns):
    import pandas as pd

    if isinstance(columns, str):
        raise TypeError(f"Covariates must be named in a list. Got the string {columns!r}.")
    table = covariates
    if isinstance(table, BagArray):
        table = table.covariates
        if table is None:
            raise ValueError(
                "Stratifying on covariates needs bags that have some. Attach them with "
                "BagArray(..., covariates=...) or X.with_columns(covariates=...)."
            )
    elif not isinstance(table, pd.DataFrame):
        try:
            table = pd.DataFrame(table)
        except ValueError as error:
            raise ValueError(
                "covariates must be a BagArray with covariates or a table of shape (n_bags, "
                f"n_covariates). Got {type(covariates).__name__} instead."
            ) from error
    names = list(table.columns) if columns is None else list(columns)
    if missing := [name for name in names if name not in table.columns]:
        raise ValueError(
            f"Unknown covariates {missing}; X has {list(table.columns)}. Covariates are columns "
            "of a DataFrame, or belong to a BagArray."
        )
    if not names:
        raise ValueError("At least one covariate is required. Got none.")
    return table[names]


def check_count(value, name, least):
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}. Got {value!r} instead.")
