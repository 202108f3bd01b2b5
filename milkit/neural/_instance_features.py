"""Instance data that attention sees beside the embedding."""

import numpy as np

from milkit.exceptions import describe_bag


class InstanceFeatures:
    """Columns of the bags' instance data, standardised as the training bags are.

    Parameters
    ----------
    names : list of str
        Keys of ``BagArray.instance_data``.
    bags : BagArray
        The training bags.
    used : ndarray of bool, shape (n_bags,)
        Which of them count.
    """

    def __init__(self, names, bags, used):
        self.names = list(names)
        self.widths = {
            name: np.prod(bags.instance_data[name].shape[1:], dtype=int)
            for name in self.names
            if name in bags.instance_data
        }
        table = self._table(bags)[np.repeat(used, bags.sizes)]
        self.center, scale = table.mean(axis=0), table.std(axis=0)
        self.scale = np.where(scale > 0, scale, 1.0)

    def __len__(self):
        return len(self.scale)

    def __call__(self, bags):
        """Standardised columns, float32 array of shape (n_instances, q)."""
        return ((self._table(bags) - self.center) / self.scale).astype(np.float32)

    def _table(self, bags):
        columns = [self._column(bags, name) for name in self.names]
        return np.concatenate([column.reshape(len(column), -1) for column in columns], axis=1)

    def _column(self, bags, name):
        if name not in bags.instance_data:
            raise ValueError(
                f"attention_features names {name!r}, but the bags carry the instance data "
                f"{sorted(bags.instance_data)}. Put it there with BagArray(..., "
                "instance_data={name: values})."
            )
        try:
            column = np.asarray(bags.instance_data[name], dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"attention_features names {name!r}, whose instance data are no numbers: {error}."
            ) from error
        width = column[:1].size
        if width != self.widths[name]:
            raise ValueError(
                f"The instance data {name!r} have {width} columns; in fit they had "
                f"{self.widths[name]}."
            )
        bad = np.flatnonzero(~np.isfinite(column.reshape(len(column), -1)).all(axis=1))
        if len(bad):
            offsets = bags.flat()[1]
            bag = int(np.searchsorted(offsets, bad[0], side="right") - 1)
            raise ValueError(
                f"{describe_bag(bag, bags.names)} has a value in the instance data {name!r} that "
                f"is not finite, in instance {bad[0] - offsets[bag]}; attention needs numbers."
            )
        return column
