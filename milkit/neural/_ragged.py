"""Segment operations on packed instances: no padding, no loop over bags.

Values have shape (n_members, n_instances, m): the members of an ensemble, each with the instances
of all bags behind each other. A batch of one bag, which is how large bags come, needs no index.
"""

from functools import cached_property

import numpy as np
import torch


class Segments:
    """Which instances belong to which bag; every bag has at least one.

    ``sizes`` are the numbers of instances, of shape (n_bags,).
    """

    def __init__(self, sizes, device="cpu"):
        self._on_host = np.asarray(sizes)
        self.sizes = torch.from_numpy(self._on_host).to(device)
        self._stacked = None

    @cached_property
    def bag(self):
        """Number of the bag of each instance; a bag alone never asks for it."""
        bag = np.repeat(np.arange(self.n_bags), self._on_host)
        return torch.from_numpy(bag).to(self.sizes.device)

    @property
    def n_bags(self):
        return len(self.sizes)

    @property
    def offsets(self):
        """Where each bag begins, and where the last one ends, shape (n_bags + 1,)."""
        return torch.nn.functional.pad(self.sizes.cumsum(0), (1, 0))

    def counts(self, dtype):
        """Sizes as numbers to divide by, shape (n_bags, 1)."""
        return self.sizes.to(dtype).unsqueeze(1)

    def bag_sizes(self, dtype):
        """Size of each instance's bag, (1, n_instances, 1), or (1, 1, 1) of a bag alone."""
        return spread(self.counts(dtype).unsqueeze(0), self)

    def stacked(self, n_members):
        """Number of the bag where the members' rows lie behind each other."""
        if n_members == 1:
            return self.bag
        if self._stacked is None or len(self._stacked) != n_members * len(self.bag):
            first = torch.arange(n_members, device=self.bag.device) * self.n_bags
            self._stacked = (first.unsqueeze(1) + self.bag).flatten()
        return self._stacked


def segment_sum(values, segments):
    """Sum over the instances of each bag; (E, n_instances, m) to (E, n_bags, m)."""
    if segments.n_bags == 1:
        return values.sum(1, keepdim=True)
    n_members, _, m = values.shape
    # Along the first axis index_add takes a third of its time along the second.
    total = values.new_zeros((n_members * segments.n_bags, m))
    total = total.index_add(0, segments.stacked(n_members), values.flatten(0, 1))
    return total.view(n_members, segments.n_bags, m)


def segment_mean(values, segments):
    """Mean over the instances of each bag; (E, n_instances, m) to (E, n_bags, m)."""
    return segment_sum(values, segments) / segments.counts(values.dtype)


def segment_max(values, segments):
    """Maximum over the instances of each bag; (E, n_instances, m) to (E, n_bags, m).

    No gradient flows through it: ``MaxPooling`` shares it among the instances at the maximum.
    """
    values = values.detach()
    if segments.n_bags == 1:
        return values.amax(1, keepdim=True)
    n_members, n_instances, m = values.shape
    # torch.segment_reduce takes 2 to 25 times as long, the wider the worse.
    lowest = values.new_full((n_members, segments.n_bags, m), -torch.inf)
    index = segments.bag.view(1, -1, 1).expand(n_members, n_instances, m)
    return lowest.scatter_reduce(1, index, values, "amax")


def spread(values, segments):
    """The row of its bag for each instance; (E, n_bags, m) to (E, n_instances, m).

    Of a single bag the one row, (E, 1, m), which broadcasts.
    """
    return values if segments.n_bags == 1 else values.index_select(1, segments.bag)


def segment_softmax(scores, segments):
    """Softmax over the instances of each bag; (E, n_instances, m) to the same shape.

    The largest score of each bag is subtracted first, so that nothing overflows.
    """
    exponents = torch.exp(scores - spread(segment_max(scores, segments), segments))
    return exponents / spread(segment_sum(exponents, segments), segments)


def weighted_sum(weights, values, segments):
    """Sum of weighted values; (E, n_instances, n_heads) and (E, n_instances, m) to
    (E, n_bags, n_heads · m), the heads behind each other."""
    if segments.n_bags == 1:
        return torch.bmm(weights.mT, values).flatten(1).unsqueeze(1)
    if weights.shape[2] == 1:
        return segment_sum(weights * values, segments)
    products = weights.unsqueeze(3) * values.unsqueeze(2)
    return segment_sum(products.flatten(2), segments)
