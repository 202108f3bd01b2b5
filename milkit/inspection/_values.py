"""One number for each instance and class: what displays show and reports print."""

import numpy as np

from milkit.bags import BagArray
from milkit.inspection._reach import attention_weights, score_instances
from milkit.utils._containers import columns_beside_bags
from milkit.utils.validation import as_bag_array

KINDS = {"evidence": score_instances, "attention": attention_weights}


def as_bags(X):
    """Bags of any container, with the columns beside them as covariates."""
    return X if isinstance(X, BagArray) else as_bag_array(X, covariates=columns_beside_bags(X))


def instance_column(bags, name, what):
    """A column of instance data by its name, which is what ``what`` says."""
    if name not in bags.instance_data:
        raise ValueError(
            f"{what} is {name!r}, the name of an instance_data column, but X has "
            f"{sorted(bags.instance_data) or 'none'}."
        )
    return bags.instance_data[name]


def instance_values(estimator, X, kind="evidence"):
    """Evidence or attention of each instance, one column for each class.

    Parameters
    ----------
    estimator : fitted classifier
        Anything that :func:`milkit.inspection.score_instances` takes.
    X : BagArray or other container of n_bags bags
    kind : {"evidence", "attention"}

    Returns
    -------
    values : list of ndarray of shape (n_i, n_classes)
        NaN where a step of a pipeline dropped the instance. With two classes the evidence for the
        first is the negative of that for the second. Attention is the same for all classes; that
        of several heads is averaged.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {sorted(KINDS)}. Got {kind!r} instead.")
    n_classes = len(estimator.classes_)
    return [_columns(values, n_classes, kind) for values in KINDS[kind](estimator, X)]


def _columns(values, n_classes, kind):
    if kind == "attention":
        mean = values if values.ndim == 1 else values.mean(axis=1)
        return np.repeat(mean[:, None], n_classes, axis=1)
    return np.column_stack([-values, values]) if values.ndim == 1 else values
