"""What there is to load: images of each bag, and the label, group and covariates of each bag."""

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from milkit.image._files import EXTENSIONS, find_images, natural_key
from milkit.image._tables import (
    bag_facts,
    bag_names,
    images_of_table,
    plain_values,
    read_table,
    require_columns,
    tidied,
)

__all__ = ["Inventory", "take_stock"]

_LEVELS = ("label", "group", "bag")


@dataclass
class Inventory:
    """Bags in their order, with their images and whatever else is known of them."""

    images: list  # (path, bag), those of a bag together
    bags: list  # names
    facts: object  # DataFrame, its index are the bags that have a row
    label: str | None  # which columns of it
    group: str | None
    covariates: list
    others: dict  # endings of files of a bag that are no images

    def owner(self, name):
        """What must not share images with another: the group, or else the bag."""
        if self.group is None or name not in self.facts.index:
            return name
        return self.facts.at[name, self.group]


def take_stock(source, table, *, levels, path, bag, label, group, covariates, root, report):
    """Look for images and read the tables; no image is opened.

    Parameters
    ----------
    source, table, levels, path, bag, label, group, covariates, root
        As in ``load_image_bags``.
    report : Report
        Gets what is missing.

    Returns
    -------
    stock : Inventory
    """
    covariates = list(covariates)
    _check_roles(bag, label, group, covariates)
    wanted = [(role, name) for role, name in (("label", label), ("group", group)) if name]
    wanted += [("covariates", name) for name in covariates]
    if table is not None and not wanted:
        raise ValueError(
            "table is given, and no column of it is asked for. Name them with label=, group= and "
            "covariates=."
        )
    if _is_folder(source):
        _check_levels(levels, label, group)
        if table is None and wanted:
            raise ValueError(
                f"{wanted[0][0]} names the column {wanted[0][1]!r}, and there is no table. Pass "
                "table=, a csv file or DataFrame with one row for each bag."
            )
        images, folders, others = find_images(os.fspath(source), tuple(levels), report)
        names = [folder["bag"] for folder in folders]
        known = bag_facts(_frame(folders), names, [level for level in levels if level != "bag"])
        known = known.loc[sorted(known.index, key=natural_key)]
        label = "label" if "label" in levels else label
        group = "group" if "group" in levels else group
        what = f"The folder {os.fspath(source)!r}"
    else:
        if list(levels) != ["bag"]:
            raise ValueError(f"levels={levels!r} is about folders, and source is a table.")
        what = _name_of_table(source)
        here = wanted if table is None else []
        frame = read_table(source, _text_columns([path, bag], here))
        require_columns(frame, [("path", path), ("bag", bag), *here], what)
        names = bag_names(frame, bag, what)
        known = bag_facts(tidied(frame, here), names, [column for _, column in here])
        if root is None:
            root = "" if hasattr(source, "columns") else os.path.dirname(os.fspath(source))
        images, others = images_of_table(frame, path, names, os.fspath(root), report), {}
    bags = list(known.index)
    if not images:
        raise ValueError(_no_images(what, others, report))
    if table is not None:
        known = _with_table(known, table, bag, wanted, bags, report)
    for role, column in (("label", label), ("group", group)):
        known = _refuse_missing(known, role, column, report)
    if label is not None:
        _refuse_mixed(known[label], label)
    place = {name: i for i, name in enumerate(bags)}
    images.sort(key=lambda image: place[image[1]])
    return Inventory(images, bags, known, label, group, covariates, others)


def _is_folder(source):
    if hasattr(source, "columns"):
        return False
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "source must be a folder, a csv file or a DataFrame. Got "
            f"{type(source).__name__} instead."
        )
    if not os.path.exists(source):
        raise FileNotFoundError(
            f"There is no folder or file {os.fspath(source)!r}; look at the path."
        )
    if os.path.isfile(source) and os.fspath(source).lower().endswith(EXTENSIONS):
        raise ValueError(
            f"{os.fspath(source)!r} is an image; source must be the folder with the folders of the "
            "bags, or a table with a row for each image."
        )
    return os.path.isdir(source)


def _text_columns(columns, wanted):
    """Those that are read as text: groups, too, so that "007" and "7" are two patients."""
    return [*columns, *(column for role, column in wanted if role == "group")]


def _name_of_table(table):
    return "The table" if hasattr(table, "columns") else f"The table {os.fspath(table)!r}"


def _check_roles(bag, label, group, covariates):
    named = [label, group, *covariates]
    named = [name for name in named if name is not None]
    if len(set(named)) < len(named) or label == bag or bag in covariates:
        raise ValueError(
            f"A column has two roles: bag={bag!r}, label={label!r}, group={group!r}, "
            f"covariates={covariates!r}. Only bag and group may be the same."
        )


def _check_levels(levels, label, group):
    levels = list(levels)
    if (
        not levels
        or levels[-1] != "bag"
        or len(set(levels)) < len(levels)
        or set(levels) - {*_LEVELS}
    ):
        raise ValueError(
            "levels must name what the folders stand for, each of 'label', 'group' and 'bag' at "
            f"most once, and 'bag' last. Got {levels!r} instead."
        )
    for level, column in (("label", label), ("group", group)):
        if level in levels and column is not None:
            raise ValueError(
                f"The {level} comes from the folders (levels={levels!r}) and from the column "
                f"{column!r}; choose one."
            )


def _frame(folders):
    import pandas as pd

    return pd.DataFrame(folders, columns=list(folders[0]) if folders else list(_LEVELS))


def _no_images(what, others, report):
    found = sum(others.values(), Counter())
    endings = ", ".join(f"{count} {ending}" for ending, count in found.most_common(5))
    misplaced = sum(row[2] == "misplaced" for row in report.rows)
    hint = ""
    if endings:
        hint = f" There are other files: {endings}."
    if misplaced:
        hint = (
            f" {misplaced} images lie in no folder of a bag: make one folder for each, look at "
            "levels=, or pass a table with a row for each image."
        )
    return f"{what} has no images to load ({', '.join(EXTENSIONS)}).{hint}{report.summary()}"


def _with_table(known, table, bag, wanted, bags, report):
    """Facts of folders, or of nothing, beside those of the table; only bags that have a row."""
    frame = read_table(table, _text_columns([bag], wanted))
    what = _name_of_table(table)
    require_columns(frame, [("bag", bag), *wanted], what)
    names = bag_names(frame, bag, what)
    facts = bag_facts(tidied(frame, wanted), names, [column for _, column in wanted])
    found = [name for name in bags if name in facts.index]
    if not found:
        raise ValueError(
            f"No bag of the table is among the images. The table has {list(facts.index[:3])} in "
            f"{bag!r}, the images {bags[:3]}."
        )
    for name in bags:
        if name not in facts.index:
            report.add("unlabelled", "", name, "has images, and no row in the table")
    for name in facts.index.difference(bags, sort=False):
        report.add("absent", "", name, "has a row in the table, and no images")
    clash = known.columns.intersection(facts.columns)
    if len(clash):
        raise ValueError(f"The covariates {list(clash)} are the names of levels; rename them.")
    return known.loc[found].join(facts.loc[found])


def _refuse_missing(facts, role, column, report):
    if column is None:
        return facts
    missing = facts[column].isna().to_numpy()
    for name in facts.index[missing]:
        report.add("unlabelled", "", name, f"has no {role}: {column!r} is missing")
    return facts[np.logical_not(missing)]


def _refuse_mixed(labels, column):
    values = plain_values(labels)
    try:
        np.unique(values)
    except TypeError as error:
        kinds = ", ".join(sorted({type(value).__name__ for value in values.tolist()}))
        raise ValueError(
            f"The labels in {column!r} are of several types ({kinds}); give all bags labels of one "
            "type."
        ) from error
