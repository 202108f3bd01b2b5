"""Segment operations on packed instances: no padding, no loop over bags.

``offsets`` of shape (n_bags + 1,) says where each bag begins and ends; every bag has at least one
instance.
"""

import torch


def bag_index(offsets, n_instances):
    """The bag of each instance, shape (n_instances,)."""
    # The number of instances is given, so that a GPU need not wait for it.
    return torch.repeat_interleave(offsets.diff(), output_size=n_instances)


def segment_sum(values, offsets):
    """Sum over the instances of each bag; (n_instances, m) to (n_bags, m)."""
    return _add(values, bag_index(offsets, len(values)), len(offsets) - 1)


def segment_mean(values, offsets):
    """Mean over the instances of each bag; (n_instances, m) to (n_bags, m)."""
    return segment_sum(values, offsets) / offsets.diff().unsqueeze(1).to(values.dtype)


def segment_max(values, offsets):
    """Maximum over the instances of each bag; (n_instances, m) to (n_bags, m).

    Instances that share the maximum share its gradient.
    """
    return _max(values, bag_index(offsets, len(values)), len(offsets) - 1)


def segment_softmax(scores, offsets):
    """Softmax over the instances of each bag; (n_instances, m) to the same shape.

    The largest score of each bag is subtracted first, so that nothing overflows.
    """
    bag, n_bags = bag_index(offsets, len(scores)), len(offsets) - 1
    # The result does not depend on the shift, so no gradient flows through it.
    shift = _max(scores.detach(), bag, n_bags)
    exponents = torch.exp(scores - spread(shift, bag))
    return exponents / spread(_add(exponents, bag, n_bags), bag)


def spread(values, bag):
    """The row of its bag for each instance; (n_bags, m) to (n_instances, m)."""
    return values.index_select(0, bag)  # several times as fast as values[bag]


def _add(values, bag, n_bags):
    return values.new_zeros((n_bags, values.shape[1])).index_add(0, bag, values)


def _max(values, bag, n_bags):
    # torch.segment_reduce takes 2 to 25 times as long forward, the wider the worse.
    lowest = values.new_full((n_bags, values.shape[1]), -torch.inf)
    return lowest.scatter_reduce(0, bag.unsqueeze(1).expand_as(values), values, "amax")
