"""The network: encoder, pooling, linear head."""

from dataclasses import dataclass

import torch
from torch import nn

from milkit.neural._layers import linear
from milkit.neural._ragged import bag_index, segment_max, segment_sum, spread


@dataclass(frozen=True)
class BagOutput:
    """What one pass gives: ``outputs`` (n_bags, n_outputs), ``embeddings`` (n_bags, m), instance
    embeddings ``h`` (n_instances, m) and ``weights`` (n_instances, 1) or None."""

    outputs: torch.Tensor
    embeddings: torch.Tensor
    h: torch.Tensor
    weights: torch.Tensor | None


class BagNetwork(nn.Module):
    """Encode each instance, pool the bag, and read the target off the bag's embedding."""

    def __init__(self, encoder, pooling, width, n_outputs, generator):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = linear(width, n_outputs, generator)

    def forward(self, x, offsets):
        h = self.encoder(x)
        z, weights = self.pooling(h, offsets)
        return BagOutput(self.head(z), z, h, weights)

    def evidence(self, x, offsets):
        """Share of each instance in the outputs, (n_instances, n_outputs).

        After a weighted mean it is n_i a_k (w · h_k); its mean over the bag plus the head's bias
        is the output (additive). After a maximum it is what the output loses when the instance
        is left out (occlusion); for the only instance of a bag, all but the bias.
        """
        out = self(x, offsets)
        if out.weights is not None:
            sizes = offsets.diff().to(x.dtype).unsqueeze(1)
            n = spread(sizes, bag_index(offsets, len(x)))
            return n * out.weights * (out.h @ self.head.weight.T)
        return _occlusion_of_max(out.h, out.embeddings, offsets) @ self.head.weight.T


def _occlusion_of_max(h, top, offsets):
    """What each coordinate's maximum loses without each instance, (n_instances, m)."""
    bag = bag_index(offsets, len(h))
    is_top = h == spread(top, bag)
    # The second largest value: without the top. Of a bag of one there is none: all is lost.
    second = segment_max(torch.where(is_top, -torch.inf, h), offsets)
    second = torch.where(segment_sum(is_top.to(h.dtype), offsets) > 1, top, second)
    second = torch.where((offsets.diff() == 1).unsqueeze(1), 0.0, second)
    return torch.where(is_top, h - spread(second, bag), 0.0)
