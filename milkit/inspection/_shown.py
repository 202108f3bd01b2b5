"""What a display shows: one bag of many, its values, and what is known of its instances."""

from operator import index as as_integer

import numpy as np

from milkit.exceptions import BagShapeError, describe_bag
from milkit.inspection._report._subject import refuse_other_meanings
from milkit.inspection._values import KINDS, as_bags, instance_values
from milkit.utils._containers import is_frame
from milkit.utils.validation import reads_as_table

__all__ = ["Bag", "check_values", "chosen_class", "class_values", "one_bag", "read_bags"]


class Bag:
    """One bag that is shown.

    ``bags`` is a BagArray with this bag alone, ``given`` the same as an estimator gets it,
    ``text`` its name for titles, and ``described`` its name for messages.
    """

    def __init__(self, X, bags, position):
        names = bags.names
        self.bags = bags[[position]]
        self.given = X.iloc[[position]] if is_frame(X) else self.bags
        self.size = int(self.bags.sizes[0])
        self.text = bag_text(position, names)
        self.described = describe_bag(position, names)

    def column(self, value, what, shape=()):
        """What is known of each instance, an array of shape (n_i, *shape).

        ``value`` is the name of an entry of ``instance_data``, or the array for this bag. A None in
        ``shape`` is a length that may be anything.
        """
        if isinstance(value, str):
            data = self.bags.instance_data
            if value not in data:
                known = f"has {sorted(data)}" if data else "has none"
                raise ValueError(
                    f"{what} is {value!r}, the name of an instance_data column, but X {known}. "
                    "Attach it with X.with_columns(instance_data={...}), or pass an array with "
                    f"one row for each of the {self.size} instances of {_lower(self.described)}."
                )
            value = data[value]
        array = np.asarray(value)
        fits = array.ndim == 1 + len(shape) and len(array) == self.size
        if not fits or any(n not in (None, m) for n, m in zip(shape, array.shape[1:], strict=True)):
            wanted = ", ".join(["n_i", *("..." if n is None else str(n) for n in shape)])
            raise ValueError(
                f"{self.described} has {self.size} instances, so {what} must have shape "
                f"({wanted}{',' * (not shape)}) with n_i = {self.size}. Got shape {array.shape} "
                "instead."
            )
        return array


def _lower(described):
    return described[0].lower() + described[1:]


def bag_text(position, names):
    """How titles call a bag."""
    return f"bag {position}" if names is None else str(names[position])


def read_bags(X):
    """Bags of any container; a single table may be a bag that was not put into a list."""
    if reads_as_table(X):
        raise BagShapeError(
            "Displays need bags, but got one 2-D table, which may be a single bag. Pass [bag] for "
            "one bag, or a list of bags."
        )
    bags = as_bags(X)
    if len(bags) == 0:
        raise BagShapeError("There are no bags to show.")
    return bags


def one_bag(X, index):
    """The bag at a position of X, or with a name."""
    bags = read_bags(X)
    return Bag(X, bags, _position(bags, index))


def as_given(X, bags):
    """The bags as an estimator gets them: a DataFrame as it is, all else as a BagArray."""
    return X if is_frame(X) else bags


def _position(bags, index):
    n_bags = len(bags)
    if isinstance(index, str):
        if bags.names is None:
            raise ValueError(
                f"index={index!r} is a name, but the bags of X have no names. Pass a position from "
                f"0 to {n_bags - 1}."
            )
        found = [i for i, name in enumerate(bags.names) if str(name) == index]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(
                f"{len(found)} bags are called {index!r}; pass one of their positions, {found[:5]}."
            )
        some = ", ".join(repr(str(name)) for name in bags.names[:5])
        raise ValueError(
            f"No bag of X is called {index!r}. There are {n_bags} bags: {some}"
            f"{', ...' if n_bags > 5 else ''}."
        )
    try:
        if isinstance(index, (bool, np.bool_)):
            raise TypeError
        position = as_integer(index)
    except TypeError:
        raise TypeError(
            f"index must be the position of a bag or its name. Got {index!r} instead."
        ) from None
    if not -n_bags <= position < n_bags:
        raise IndexError(
            f"index={position} is out of range: X has {n_bags} "
            f"{'bag' if n_bags == 1 else 'bags'}, at positions 0 to {n_bags - 1}."
        )
    refuse_other_meanings(bags, position, name=bags.names)
    return position % n_bags


def class_values(estimator, bags, kind):
    """Values of all instances, and the classes that their columns belong to.

    Returns
    -------
    values : list of ndarray of shape (n_i, n_classes)
        One column for a regressor.
    classes : ndarray of shape (n_classes,) or None
        None for a regressor.
    """
    check_kind(kind)
    try:
        if hasattr(estimator, "classes_"):
            return instance_values(estimator, bags, kind), np.asarray(estimator.classes_)
        # A regressor, or what is not fitted, which is said by the function that is called.
        values = KINDS[kind](estimator, bags)
    except TypeError as error:
        if kind == "attention" and _has_evidence(estimator, bags):
            raise TypeError(f'{error} For its evidence pass kind="evidence".') from error
        raise
    if kind == "attention":  # the mean of several heads
        values = [v if v.ndim == 1 else v.mean(axis=1) for v in values]
    return [v[:, None] if v.ndim == 1 else v for v in values], None


def _has_evidence(estimator, bags):
    """Asked of one bag, only to word a message: what fails here has none to offer."""
    try:
        KINDS["evidence"](estimator, one_bag(bags, 0).given)
    except (TypeError, ValueError, AttributeError):
        return False
    return True


def check_kind(kind):
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}. Got {kind!r} instead.")


def class_column(classes, class_label):
    """Column of a class, by its label."""
    if classes is None:
        raise ValueError(
            f"class_label={class_label!r} is given, but the estimator has no classes: it is a "
            "regressor."
        )
    if np.ndim(class_label) > 0:
        raise ValueError(f"class_label must be a single class here. Got {class_label!r} instead.")
    found = np.flatnonzero([label == class_label for label in np.asarray(classes).tolist()])
    if len(found) == 0:
        raise ValueError(
            f"class_label={class_label!r} is no class of the estimator; there are "
            f"{np.asarray(classes).tolist()}."
        )
    return int(found[0])


def class_columns(classes, class_label):
    """Columns of a class or of several, by their labels."""
    labels = class_label if np.ndim(class_label) > 0 else [class_label]
    if len(labels) == 0:
        raise ValueError("class_label has no classes; None is the default.")
    return [class_column(classes, label) for label in labels]


def chosen_class(estimator, bags, classes, class_label):
    """Column to show of one bag: the class asked for, the second of two, or the predicted one."""
    if class_label is not None:
        return class_column(classes, class_label)
    if classes is None or len(classes) == 1:
        return 0
    if len(classes) == 2:
        return 1
    return class_column(classes, np.asarray(estimator.predict(bags)).tolist()[0])


def value_name(kind, label=None):
    """What an axis is called."""
    if kind == "attention":
        return "attention weight"
    return "evidence" if label is None else f"evidence for {label}"


def check_values(values, ndim, of="values"):
    """Values as floats; NaN is an instance without one."""
    values = np.asarray(values, dtype=float)
    if values.ndim != ndim or values.size == 0:
        wanted = "(n_instances,)" if ndim == 1 else "(n_instances, n_classes)"
        raise ValueError(
            f"{of} must have shape {wanted}, with one number at least. Got shape "
            f"{values.shape} instead."
        )
    if np.isinf(values).any():
        raise ValueError(
            f"{of} must be finite, or NaN where an instance has none. Got "
            f"{int(np.isinf(values).sum())} infinite values."
        )
    return values


def read_witness(witness, what="witness"):
    """Which instances are witnesses, from labels: true or above zero."""
    if witness.dtype.kind not in "biuf":
        raise ValueError(
            f"{what} must be boolean, or numbers that are above zero for witnesses. Got dtype "
            f"{witness.dtype} instead; compare first, such as label == {witness.flat[0]!r}."
        )
    if witness.ndim != 1:
        raise ValueError(f"{what} must have one dimension. Got shape {witness.shape} instead.")
    return witness > 0
