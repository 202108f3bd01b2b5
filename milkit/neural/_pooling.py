"""Poolings: embeddings of packed instances to one embedding per bag.

``forward(h, offsets)`` takes (n_instances, m) and gives ``(z, weights)``: the bag embeddings
(n_bags, m) and the weight of each instance (n_instances, 1), or None where the pooling is no
weighted mean.
"""

import torch
from torch import nn

from milkit.neural._layers import linear
from milkit.neural._ragged import (
    bag_index,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    spread,
)


class AttentionPooling(nn.Module):
    """Attention of Ilse et al. 2018: eq. 8, or gated, eq. 9."""

    def __init__(self, width, attention_dim, gated, generator):
        super().__init__()
        self.V = linear(width, attention_dim, generator)
        self.U = linear(width, attention_dim, generator) if gated else None
        self.w = linear(attention_dim, 1, generator)

    def forward(self, h, offsets):
        hidden = torch.tanh(self.V(h))
        if self.U is not None:
            hidden = hidden * torch.sigmoid(self.U(h))
        weights = segment_softmax(self.w(hidden), offsets)
        return segment_sum(weights * h, offsets), weights


class MeanPooling(nn.Module):
    """The mean: every instance weighs 1 / n_i."""

    def forward(self, h, offsets):
        share = 1.0 / offsets.diff().to(h.dtype).unsqueeze(1)
        return segment_mean(h, offsets), spread(share, bag_index(offsets, len(h)))


class MaxPooling(nn.Module):
    """The largest value of each embedding coordinate."""

    def forward(self, h, offsets):
        return segment_max(h, offsets), None


def make_pooling(name, width, attention_dim, generator):
    """The pooling of that name for embeddings of that width."""
    if name == "mean":
        return MeanPooling()
    if name == "max":
        return MaxPooling()
    return AttentionPooling(width, attention_dim, name == "gated_attention", generator)
