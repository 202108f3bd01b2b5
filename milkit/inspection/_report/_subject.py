"""Which bags a report is about."""

from numbers import Integral

import numpy as np

from milkit.exceptions import describe_bag

__all__ = ["find_bags", "refuse_other_meanings"]


def find_bags(bags, index):
    """Positions of the bags that ``index`` means.

    Parameters
    ----------
    bags : BagArray of shape (n_bags,)
    index : int or str
        A position; or the name of one bag, or a group.

    Returns
    -------
    rows : list of int
    group : str or None
        The group, where all its bags are meant.

    Raises
    ------
    IndexError
        If the position is out of range.
    KeyError
        If nothing has this name.
    ValueError
        If it may mean several things.
    """
    if isinstance(index, (bool, np.bool_)) or not isinstance(index, (Integral, str)):
        raise TypeError(
            "index must be the position of a bag in X, its name, or a group of X. Got "
            f"{index!r} of type {type(index).__name__} instead."
        )
    if isinstance(index, str):
        return _named(bags, index)
    n_bags = len(bags)
    if not -n_bags <= index < n_bags:
        raise IndexError(
            f"index={index} is out of range: X has {n_bags} bags, at the positions 0 to "
            f"{n_bags - 1}. For the name of a bag or a group pass a string, {str(index)!r}."
        )
    refuse_other_meanings(bags, index, name=bags.names, group=bags.groups)
    return [int(index) % n_bags], None


def refuse_other_meanings(bags, index, **columns):
    """Refuse a position that is also the name, or the group, of another bag."""
    row = int(index) % len(bags)
    for what, column in columns.items():
        if column is None or column.dtype.kind not in "iuO":
            continue
        same = [i for i, v in enumerate(column) if isinstance(v, Integral) and v == index]
        if same and same != [row]:
            raise ValueError(
                f"index={index} is the position of {describe_bag(row, bags.names)}, but also the "
                f"{what} of {_listed(bags, same)}. Pass {str(index)!r}, a string, for the {what}; "
                f"for the position pass X[[{index}]] and index=0."
            )


def _named(bags, index):
    names, groups = (
        [] if column is None else np.flatnonzero([str(value) == index for value in column]).tolist()
        for column in (bags.names, bags.groups)
    )
    if not names and not groups:
        raise KeyError(f"{index!r} is neither the name of a bag nor a group. {_known(bags)}")
    if len(names) > 1 and names != groups:
        raise ValueError(
            f"{len(names)} bags have the name {index!r}: {_listed(bags, names)}. Pass the position "
            "of one."
        )
    if names and groups and names != groups:
        raise ValueError(
            f"{index!r} is the name of {_listed(bags, names)} and the group of "
            f"{_listed(bags, groups)}. Pass the position for the one bag; for the group take the "
            "names away, X.with_columns(names=None)."
        )
    return (groups, index) if groups else (names, None)


def _listed(bags, rows):
    shown = [describe_bag(row, bags.names) for row in rows[:3]]
    return ", ".join(shown) + (f" and {len(rows) - 3} more" if len(rows) > 3 else "")


def _known(bags):
    parts = []
    for what, column in (("names", bags.names), ("groups", bags.groups)):
        if column is None:
            parts.append(f"X has no {what}.")
        else:
            some = ", ".join(repr(str(value)) for value in dict.fromkeys(column.tolist()[:3]))
            parts.append(f"Its {what} are {some}{', …' * (len(column) > 3)}.")
    return " ".join([*parts, "Or pass the position of the bag, an int."])
