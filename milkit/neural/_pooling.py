"""Poolings: what the instances of a bag become together.

A pooling is a few sums over instances and what is made of them. So a bag may come in pieces, and
is pooled exactly without ever being in memory whole:

``scores(h, extra)``
    What attention says of each instance, (E, n_instances, n_heads), or None.
``sums(values, scores, segments, shift=None)``
    ``(shift, sums)``: differentiable sums over each bag, tensors (E, n_bags, ...), taken with a
    shift that keeps them within range. The result does not depend on the shift, so no gradient
    flows through it.
``rescale(shift, sums, new_shift)``
    The same sums with another shift.
``result(shift, sums, segments)``
    The pooled bags, (E, n_bags, width(m)).
``without(values, segments, scores=None)``
    The pooled bag without each instance, (E, n_instances, width(m)), for evidence by occlusion;
    bags of one instance are left to the caller.

``values`` (E, n_instances, m) are embeddings, or the outputs of each instance at the instance
level. A weighted mean has ``weights(values, scores, segments)``, too.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from milkit.exceptions import BagShapeError
from milkit.neural._encoders import describe, make_modules
from milkit.neural._layers import Dense
from milkit.neural._ragged import (
    Segments,
    segment_max,
    segment_mean,
    segment_softmax,
    segment_sum,
    spread,
    weighted_sum,
)

# Added to the variance in front of the square root, whose slope at zero is infinite.
_EPSILON = 1e-5

# Rows that are handed to a user's module at a time where each instance is left out in turn.
_MAX_ROWS = 2**17


class Pooling(nn.Module):
    """What poolings have in common; see the module."""

    is_weighted_mean = False

    def width(self, m):
        """Width of the result for values of width m."""
        return m

    def scores(self, h, extra):
        return None

    def rescale(self, shift, sums, new_shift):
        return sums

    def join(self, states):
        """One state of one bag from those of its pieces."""
        if states[0][0] is None:
            shift = None
        else:
            shift = torch.stack([shift for shift, _ in states]).amax(0)
        parts = [self.rescale(old, sums, shift) for old, sums in states]
        return shift, tuple(sum(terms) for terms in zip(*parts, strict=True))

    def piece_gradients(self, gradients, start, stop):
        """The gradient of a piece's sums, given that of the whole bag's."""
        return gradients


class MeanPooling(Pooling):
    """The mean: every instance weighs 1 / n_i."""

    is_weighted_mean = True

    def sums(self, values, scores, segments, shift=None):
        return None, (segment_sum(values, segments),)

    def result(self, shift, sums, segments):
        return sums[0] / segments.counts(sums[0].dtype)

    def weights(self, values, scores, segments):
        return (1 / segments.bag_sizes(values.dtype)).expand(*values.shape[:2], 1)

    def without(self, values, segments, scores=None):
        total = spread(segment_sum(values, segments), segments)
        return (total - values) / (segments.bag_sizes(values.dtype) - 1)


class AttentionPooling(Pooling):
    """Attention of Ilse et al. 2018: eq. 8, or gated, eq. 9; the heads behind each other."""

    is_weighted_mean = True

    def __init__(self, n_members, n_in, attention_dim, n_heads, generator, *, gated):
        super().__init__()
        self.n_heads = n_heads
        self.V = Dense(n_members, n_in, attention_dim, generator)
        self.U = Dense(n_members, n_in, attention_dim, generator) if gated else None
        self.w = Dense(n_members, attention_dim, n_heads, generator)

    def width(self, m):
        return m * self.n_heads

    def scores(self, h, extra):
        if extra is not None:
            h = torch.cat([h, extra.expand(len(h), -1, -1)], dim=2)
        hidden = torch.tanh(self.V(h))
        if self.U is not None:
            hidden = hidden * torch.sigmoid(self.U(h))
        return self.w(hidden)

    def sums(self, values, scores, segments, shift=None):
        shift = segment_max(scores, segments) if shift is None else shift
        exponents = torch.exp(scores - spread(shift, segments))
        return shift, (segment_sum(exponents, segments), weighted_sum(exponents, values, segments))

    def rescale(self, shift, sums, new_shift):
        factor = torch.exp(shift - new_shift)
        return factor * sums[0], self._per_head(factor, sums[1]) * sums[1]

    def result(self, shift, sums, segments):
        return sums[1] / self._per_head(sums[0], sums[1])

    def weights(self, values, scores, segments):
        return segment_softmax(scores, segments)

    def without(self, values, segments, scores=None):
        # Without the only largest weight the rest is summed anew: a difference would lose it.
        top = segment_max(scores, segments)
        is_top = scores == spread(top, segments)
        rest = self.sums(values, torch.where(is_top, -torch.inf, scores), segments)
        rest = spread(self.result(*rest, segments), segments)
        exponents = torch.exp(scores - spread(top, segments))
        own = (exponents.unsqueeze(3) * values.unsqueeze(2)).flatten(2)
        total, weighted = (
            spread(part, segments) for part in self.sums(values, scores, segments)[1]
        )
        others = (weighted - own) / self._per_head(total - exponents, own)
        n_top = spread(segment_sum(is_top.to(values.dtype), segments), segments)
        return torch.where(self._per_head(is_top & (n_top == 1), own), rest, others)

    @staticmethod
    def _per_head(heads, total):
        """One number per head, repeated for each of its coordinates."""
        n_heads = heads.shape[2]
        return heads if n_heads == 1 else heads.repeat_interleave(total.shape[2] // n_heads, dim=2)


class MaxPooling(Pooling):
    """The largest value of each coordinate; instances that share it share its gradient."""

    def sums(self, values, scores, segments, shift=None):
        shift = segment_max(values, segments) if shift is None else shift
        is_top = values == spread(shift, segments)
        top = torch.where(is_top, values, 0.0)
        return shift, (segment_sum(top, segments), segment_sum(is_top.to(values.dtype), segments))

    def rescale(self, shift, sums, new_shift):
        return tuple(torch.where(shift == new_shift, total, 0.0) for total in sums)

    def result(self, shift, sums, segments):
        return sums[0] / sums[1]

    def without(self, values, segments, scores=None):
        return _max_of_others(values, segments)


class LogSumExpPooling(Pooling):
    """log(1/n sum(exp(v))) of each coordinate, between the mean and the maximum."""

    def sums(self, values, scores, segments, shift=None):
        shift = segment_max(values, segments) if shift is None else shift
        return shift, (segment_sum(torch.exp(values - spread(shift, segments)), segments),)

    def rescale(self, shift, sums, new_shift):
        return (torch.exp(shift - new_shift) * sums[0],)

    def result(self, shift, sums, segments):
        return shift + torch.log(sums[0] / segments.counts(sums[0].dtype))

    def without(self, values, segments, scores=None):
        # With the largest of the others as shift: next to the only largest value they would vanish.
        top = spread(segment_max(values, segments), segments)
        shift = _max_of_others(values, segments)
        second = spread(
            segment_max(torch.where(shift < top, -torch.inf, values), segments), segments
        )
        anew = torch.where(shift < top, 0.0, torch.exp(values - second))
        others = torch.where(
            shift < top,
            spread(segment_sum(anew, segments), segments),
            _sum_of_others(torch.exp(values - top), segments),
        )
        n = segments.bag_sizes(values.dtype)
        return shift + torch.log(others / (n - 1))


class NoisyOrPooling(Pooling):
    """Noisy-or of instance probabilities: P = 1 - prod(1 - p_k), as a logit.

    In logarithms log(1 - P) = -sum(softplus(s_k)), s_k being the logit of instance k.
    """

    def sums(self, values, scores, segments, shift=None):
        return None, (segment_sum(F.softplus(values), segments),)

    def result(self, shift, sums, segments):
        return _logit_of_exponent(sums[0])

    def without(self, values, segments, scores=None):
        return _logit_of_exponent(_sum_of_others(F.softplus(values), segments))


class MeanStdPooling(Pooling):
    """Mean and standard deviation of each coordinate, behind each other."""

    def width(self, m):
        return 2 * m

    def sums(self, values, scores, segments, shift=None):
        shift = segment_mean(values.detach(), segments) if shift is None else shift
        off = values - spread(shift, segments)
        count = segments.counts(values.dtype).expand(len(values), -1, -1)
        return shift, (count, segment_sum(off, segments), segment_sum(off * off, segments))

    def rescale(self, shift, sums, new_shift):
        n, first, second = sums
        step = shift - new_shift
        return n, first + n * step, second + 2 * step * first + n * step * step

    def result(self, shift, sums, segments):
        n, first, second = sums
        off = first / n
        variance = torch.clamp(second / n - off * off, min=0.0)
        return torch.cat([shift + off, torch.sqrt(variance + _EPSILON)], dim=2)

    def without(self, values, segments, scores=None):
        n = segments.bag_sizes(values.dtype)
        mean = spread(segment_mean(values, segments), segments)
        off = values - mean
        squares = spread(segment_sum(off * off, segments), segments)
        mean_of_others = mean - off / (n - 1)
        variance = torch.clamp((squares - off * (values - mean_of_others)) / (n - 1), min=0.0)
        return torch.cat([mean_of_others, torch.sqrt(variance + _EPSILON)], dim=2)


class ModulePooling(Pooling):
    """A user's module for each member: ``forward(h, offsets)`` gives (n_bags, n_out).

    It sees a bag's embeddings whole; only the encoder in front of it works in pieces.
    """

    def __init__(self, factory, n_members, m):
        super().__init__()
        self.members = nn.ModuleList(make_modules(factory, "pooling", m, n_members))
        with torch.no_grad():
            sample = torch.zeros(3, m), torch.tensor([0, 1, 3])
            got, *_ = [module.eval()(*sample) for module in self.members]
        if not isinstance(got, torch.Tensor) or got.ndim != 2 or len(got) != 2:
            raise BagShapeError(
                "The pooling module must turn embeddings (n_instances, "
                f"{m}) and offsets (n_bags + 1,) into a tensor of shape (n_bags, n_out). For 2 "
                f"bags it gave {describe(got)}."
            )
        self.n_out = got.shape[1]

    def width(self, m):
        return self.n_out

    def sums(self, values, scores, segments, shift=None):
        return None, (values,)

    def join(self, states):
        return None, (torch.cat([sums[0] for _, sums in states], dim=1),)

    def piece_gradients(self, gradients, start, stop):
        return [gradient[:, start:stop] for gradient in gradients]

    def result(self, shift, sums, segments):
        offsets = segments.offsets
        members = zip(self.members, sums[0], strict=True)
        return torch.stack([module(h.clone(), offsets) for module, h in members])

    def without(self, values, segments, scores=None):
        parts = []
        for bag in values.split(segments.sizes.tolist(), dim=1):
            n = bag.shape[1]
            if n == 1:  # left to the caller
                parts.append(bag.new_zeros((len(bag), 1, self.n_out)))
                continue
            for left_out in torch.arange(n, device=bag.device).split(max(1, _MAX_ROWS // n)):
                rows = torch.arange(n, device=bag.device).repeat(len(left_out), 1)
                rows = rows[rows != left_out.unsqueeze(1)]
                others = Segments(np.full(len(left_out), n - 1), bag.device)
                parts.append(self.result(None, (bag[:, rows],), others))
        return torch.cat(parts, dim=1)


def _max_of_others(values, segments):
    """The maximum over the other instances of the bag, -inf where there is none."""
    top = segment_max(values, segments)
    is_top = values == spread(top, segments)
    second = segment_max(torch.where(is_top, -torch.inf, values), segments)
    n_top = segment_sum(is_top.to(values.dtype), segments)
    at_top = torch.where(n_top > 1, top, second)
    return torch.where(is_top, spread(at_top, segments), spread(top, segments))


def _sum_of_others(values, segments):
    """The sum over the other instances of the bag, of values that are not negative.

    Without the only largest value the rest is summed anew: a difference would lose it.
    """
    is_top = values == spread(segment_max(values, segments), segments)
    rest = segment_sum(torch.where(is_top, 0.0, values), segments)
    n_top = segment_sum(is_top.to(values.dtype), segments)
    others = spread(segment_sum(values, segments), segments) - values
    return torch.where(is_top & (spread(n_top, segments) == 1), spread(rest, segments), others)


def _logit_of_exponent(t):
    """logit(1 - exp(-t)) for t > 0."""
    t = torch.clamp(t, min=torch.finfo(t.dtype).tiny)
    return t + torch.log(-torch.expm1(-t))


_BY_NAME = {
    "mean": MeanPooling,
    "max": MaxPooling,
    "logsumexp": LogSumExpPooling,
    "noisy_or": NoisyOrPooling,
    "mean_std": MeanStdPooling,
}
ATTENTION = ("attention", "gated_attention")
POOLINGS = (*ATTENTION, *_BY_NAME)
# Those with attention weights.
WEIGHTED_MEANS = (*ATTENTION, *(name for name, kind in _BY_NAME.items() if kind.is_weighted_mean))


def make_pooling(pooling, n_members, n_in, n_values, attention_dim, n_heads, n_extra, generator):
    """The pooling of that name, or around the user's modules.

    Parameters
    ----------
    pooling : str, nn.Module or callable
    n_in, n_values : int
        Widths of the embeddings, and of the values that are pooled.
    n_extra : int
        Number of instance data columns that attention sees beside the embedding.
    """
    if not isinstance(pooling, str):
        return ModulePooling(pooling, n_members, n_values)
    if pooling in ATTENTION:
        gated = pooling == "gated_attention"
        n_in = n_in + n_extra
        return AttentionPooling(n_members, n_in, attention_dim, n_heads, generator, gated=gated)
    return _BY_NAME[pooling]()
