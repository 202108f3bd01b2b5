"""Covariates of bags as a report lists them."""

from statistics import median

import numpy as np

from milkit.inspection._report._numbers import plain
from milkit.inspection._values import as_bags

__all__ = ["covariate_rows"]

# Of numbers that are not whole.
_DIGITS = 7


def covariate_rows(bags, names, reference):
    """For each bag a list of (name, text, place among the reference).

    Parameters
    ----------
    bags : BagArray of shape (n_bags,)
    names : list of str or None
        Which to list; None lists all.
    reference : container of bags or None

    Returns
    -------
    rows : list of list of tuple
        The text is None where the value is missing.
    """
    table = bags.covariates
    others = None if reference is None else as_bags(reference).covariates
    if reference is not None and others is None:
        raise ValueError(
            "reference has no covariates, which are what it is for. Pass bags with covariates, or "
            "leave reference out."
        )
    if names is not None:
        _refuse_unknown(names, table)
    if table is None:
        return [[] for _ in range(len(bags))]
    shown = list(table.columns) if names is None else list(names)
    columns = {name: table[name] for name in shown}
    among = {name: None if others is None or name not in others else others[name] for name in shown}
    return [
        [
            (str(name), _text(column.iloc[b]), _place(column.iloc[b], among[name]))
            for name, column in columns.items()
        ]
        for b in range(len(bags))
    ]


def _refuse_unknown(names, table):
    if isinstance(names, str):
        raise TypeError(f"covariates must be a list of names. Got the string {names!r}.")
    known = [] if table is None else list(table.columns)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"X has no covariates {unknown}; it has {known}.")


def _missing(value):
    import pandas as pd

    return np.ndim(value) == 0 and bool(pd.isna(value))


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _text(value):
    if _missing(value):
        return None
    return plain(value, _DIGITS) if _is_number(value) else str(value)


def _place(value, column):
    """Where a value stands among those of other bags, in words."""
    if column is None:
        return "\u2013"
    known = column[~column.isna()].tolist()
    if _missing(value) or not known:
        return f"known of {len(known):,}"
    of = f" of {len(known):,}" if len(known) < len(column) else ""
    # Categories that are written as numbers have no quantiles.
    if column.dtype.name != "category" and all(_is_number(one) for one in [value, *known]):
        below = np.mean([other < value for other in known])
        return f"higher than {below:.0%}{of}; median {plain(median(known), _DIGITS)}"
    return f"the same in {np.mean([other == value for other in known]):.0%}{of}"
