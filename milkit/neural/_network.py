"""The network: encoder, pooling, head."""

import copy
from dataclasses import dataclass

import torch
from torch import nn

from milkit.neural._encoders import augment
from milkit.neural._heads import LinearHead
from milkit.neural._layers import Dropout
from milkit.neural._pooling import MaxPooling, ModulePooling
from milkit.neural._ragged import spread


@dataclass(frozen=True)
class Instances:
    """What a network knows of each instance: embeddings ``h`` (E, n_instances, m), the ``values``
    that are pooled, and the attention's ``scores`` (E, n_instances, n_heads) or None."""

    h: torch.Tensor
    values: torch.Tensor
    scores: torch.Tensor | None

    @classmethod
    def joined(cls, parts):
        """The instances of a bag that came in pieces."""
        columns = zip(*((p.h, p.values, p.scores) for p in parts), strict=True)
        return cls(*(None if c[0] is None else torch.cat(c, dim=1) for c in columns))


class BagNetwork(nn.Module):
    """Encode each instance, pool the bag, and read the target off the bag's embedding, and its
    covariates where the head takes any.

    All members of an ensemble are in one network, their weights stacked. At the instance level
    the head comes before the pooling: each instance has outputs, which are pooled. ``auxiliary``
    is a second head that predicts the label of the bag from each single instance.
    """

    def __init__(self, encoder, pooling, head, *, instance_level=False, auxiliary=None):
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.head = head
        self.auxiliary = auxiliary
        self.instance_level = instance_level
        self.augmentation = ()
        self.generator = None

    @property
    def n_members(self):
        return self.head.n_members

    def set_generator(self, generator):
        """Where dropout and augmentation draw from; None, so that the network pickles."""
        self.generator = generator
        for layer in self.modules():
            if isinstance(layer, Dropout):
                layer.generator = generator

    def instances(self, x, extra=None):
        """Encode instances (n_instances, ...), with ``extra`` (n_instances, q) for attention."""
        if x.dtype == torch.uint8:
            x = x.float() / 255
        if self.training and self.augmentation:
            x = augment(x, self.augmentation, self.generator)
        # Autocast may have encoded in half precision; sums over bags are taken in full.
        h = self.encoder(x)
        h = h.float() if h.dtype in (torch.bfloat16, torch.float16) else h
        values = self.head(h).to(h.dtype) if self.instance_level else h
        scores = self.pooling.scores(h, extra)
        return Instances(h, values, scores if scores is None else scores.to(h.dtype))

    def sums(self, instances, segments, shift=None):
        """State of the pooling: ``(shift, sums)``."""
        with torch.autocast(instances.values.device.type, enabled=False):
            return self.pooling.sums(instances.values, instances.scores, segments, shift)

    def read(self, state, segments, covariates=None):
        """Pooled bags (E, n_bags, m) and outputs (E, n_bags, n_outputs) from a state, and from
        covariates (n_bags, q)."""
        z = self.pooling.result(*state, segments)
        if self.instance_level:
            return z, z
        with torch.autocast(z.device.type, enabled=False):
            return z, self.head(z, covariates)

    def forward(self, x, segments, extra=None, covariates=None):
        """Outputs of each bag, (E, n_bags, n_outputs)."""
        return self.read(self.sums(self.instances(x, extra), segments), segments, covariates)[1]

    def weights(self, instances, segments, covariates=None):
        """Weight of each instance in its bag, (E, n_instances, n_heads)."""
        return self.pooling.weights(instances.values, instances.scores, segments)

    def evidence(self, instances, segments, covariates=None):
        """Share of each instance in the outputs, (E, n_instances, n_outputs).

        After a weighted mean and with a linear head it is n_i a_k (w · h_k); its mean over the bag
        plus the head's bias, and its product with the covariates, is the output (additive). A
        maximum at the instance level: the instance's own output, of which the largest is the
        bag's. Else what the output loses when the instance is left out (occlusion); for the only
        instance of a bag, all but the output of the embedding 0.
        """
        linear = self.instance_level or isinstance(self.head, LinearHead)
        if self.pooling.is_weighted_mean and linear:
            projected = self._projected(instances, self.weights(instances, segments))
            return segments.bag_sizes(projected.dtype) * projected
        values, scores = instances.values, instances.scores
        if self.instance_level and isinstance(self.pooling, MaxPooling):
            return values
        if not isinstance(self.pooling, ModulePooling):  # a user's computes in its own type
            values = values.double()  # differences of sums
            scores = None if scores is None else scores.double()
        state = self.pooling.sums(values, scores, segments)
        with_all = self.pooling.result(*state, segments)
        without = self.pooling.without(values, segments, scores)
        alone = segments.bag_sizes(without.dtype) == 1
        if self.instance_level:
            without = torch.where(alone, self.head.bias, without)
        else:
            head = copy.deepcopy(self.head).double()
            covariates = None if covariates is None else covariates.double()
            with_all = head(with_all.double(), covariates)
            if covariates is not None:
                covariates = spread(covariates.unsqueeze(0), segments)[0]
            without = head(torch.where(alone, 0.0, without.double()), covariates)
        return spread(with_all, segments) - without

    def _projected(self, instances, weights):
        """The weighted instance seen by the head: sum over heads of a_k (w · h_k)."""
        n_heads, m = weights.shape[2], instances.h.shape[2]
        per_head = self.head.weight[:, : n_heads * m].unflatten(1, (n_heads, m))
        terms = [
            weights[:, :, j : j + 1] * torch.bmm(instances.h, per_head[:, j])
            for j in range(n_heads)
        ]
        return sum(terms)
