"""Named errors and warnings of milkit."""

import numpy as np

__all__ = ["BagShapeError", "GroupLeakageError", "InconsistentMilkitVersionWarning"]


class BagShapeError(ValueError):
    """A bag is empty, or its shape does not fit the other bags or the fitted model.

    The message names the bag by its index and, where it has one, its name.
    """


class GroupLeakageError(ValueError):
    """Groups are missing, contradictory or would be split across folds."""


class InconsistentMilkitVersionWarning(UserWarning):
    """An estimator was unpickled with another milkit version than it was saved with."""


def describe_bag(index, names=None):
    """``"Bag 3 ('patient-07')"``, or ``"Bag 3"`` where bags have no names."""
    if names is None:
        return f"Bag {index}"
    name = names[index]
    return f"Bag {index} ({name.item() if isinstance(name, np.generic) else name!r})"
