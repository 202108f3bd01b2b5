"""Which instances a gallery shows, and what of them."""

import numpy as np

from milkit.bags import BagArray
from milkit.inspection._pictures import as_pictures, channels_first, is_picture
from milkit.inspection._values import instance_column
from milkit.utils._columns import flat_instance_column

__all__ = ["Contents", "by_class", "flat_column", "row_labels", "strongest"]


class Contents:
    """What can be shown of instances: pictures, or how far their features are from the mean."""

    def __init__(self, bags, images):
        self.feature_names = None
        if images is not None:
            self.pictures = channels_first(flat_column(bags, images, "images"))
            if not is_picture(self.pictures.shape[1:]):
                raise ValueError(
                    "images must have shape (n_instances, height, width), with 1, 3 or 4 channels "
                    f"behind or in front of height and width. Got shape {self.pictures.shape} "
                    "instead."
                )
            return
        self.pictures = None
        self.instances = bags.flat()[0]
        shape = bags.instance_shape
        if len(shape) == 1:
            self.feature_names = bags.feature_names
        elif is_picture(shape):
            self.pictures = self.instances
        else:
            raise ValueError(
                f"Instances of shape {shape} are neither pictures, which are (height, width) or "
                "(channels, height, width) with 1, 3 or 4 channels, nor vectors of features. Pass "
                "pictures of them as images."
            )

    def of(self, index):
        if self.pictures is not None:
            return as_pictures(self.pictures[index])
        chosen = self.instances[index].astype(float)
        if len(chosen) == 0:
            return chosen
        finite = np.isfinite(self.instances)
        count = np.maximum(finite.sum(axis=0), 1)
        mean = np.sum(self.instances, axis=0, where=finite, dtype=float) / count
        squares = np.square(self.instances - mean, where=finite, out=np.zeros(finite.shape))
        deviation = np.sqrt(squares.sum(axis=0) / count)
        return (chosen - mean) / np.where(deviation > 0, deviation, 1.0)


def flat_column(bags, value, what):
    """One entry for each instance of all bags, from an array, a list or a name."""
    if isinstance(value, str):
        return instance_column(bags, value, what)
    if isinstance(value, BagArray):
        value = value.to_list()
    per_bag = isinstance(value, (list, tuple)) and len(value) == len(bags)
    if isinstance(value, (list, tuple)) and len({np.shape(one)[per_bag:] for one in value}) > 1:
        raise ValueError(
            f"{what} have different shapes; all must have the same, as in an array of shape "
            "(n_instances, height, width, n_channels)."
        )
    array = flat_instance_column(what, value, bags.sizes, bags.names)
    if array.ndim == 0 or len(array) != bags.n_instances:
        raise ValueError(
            f"{what} must have one entry for each of the {bags.n_instances} instances of the "
            f"{len(bags)} bags, in their order. Got shape {array.shape} instead."
        )
    return array


def row_labels(estimator, bags, y, classes):
    """Whose row each bag belongs to."""
    if y is None:
        return np.asarray(estimator.predict(bags))
    y = np.asarray(y)
    if y.shape != (len(bags),):
        raise ValueError(
            f"y must have one label for each of the {len(bags)} bags. Got shape {y.shape} instead."
        )
    if unknown := set(y.tolist()) - set(classes.tolist()):
        raise ValueError(
            f"y has labels that the estimator does not know: {sorted(unknown, key=str)[:5]}. Its "
            f"classes are {classes.tolist()[:20]}."
        )
    return y


def by_class(weights, bags, labels, classes):
    """Weight over the mean of its bag, in the column of the bag's own class."""
    kept = np.isfinite(weights[:, 0])
    starts = np.cumsum(bags.sizes) - bags.sizes
    n_kept = np.add.reduceat(kept.astype(float), starts)
    relative = weights * np.repeat(n_kept, bags.sizes)[:, None]
    own = np.repeat(labels, bags.sizes)[:, None] == classes
    return np.where(own, relative, np.nan)


def strongest(values, bags, k, max_per_bag, max_per_group):
    """Indices of the k largest, of which not too many may come from one bag or group."""
    order = np.argsort(-values, kind="stable")[: np.isfinite(values).sum()]
    bag_of = np.repeat(np.arange(len(bags)), bags.sizes)
    if max_per_bag is not None:
        order = order[_nth(bag_of[order]) < max_per_bag]
    if max_per_group is not None:
        group = np.unique(bags.groups, return_inverse=True)[1]
        order = order[_nth(group[bag_of[order]]) < max_per_group]
    return order[:k]


def _nth(labels):
    """How often the label of each entry came before."""
    order = np.argsort(labels, kind="stable")
    ranked = labels[order]
    first = np.searchsorted(ranked, ranked)
    nth = np.empty(len(labels), dtype=int)
    nth[order] = np.arange(len(labels)) - first
    return nth
