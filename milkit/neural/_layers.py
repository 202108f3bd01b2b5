"""Layers for the members of an ensemble side by side, with randomness of their own."""

import math

import torch
from torch import nn


class Dense(nn.Module):
    """A linear layer for each member: (E, n, n_in) to (E, n, n_out) in one batched product.

    Weights have shape (E, n_in, n_out) and are drawn as PyTorch's own layer draws them.
    """

    def __init__(self, n_members, n_in, n_out, generator):
        super().__init__()
        bound = 1.0 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_members, n_in, n_out))
        self.bias = nn.Parameter(torch.empty(n_members, 1, n_out))
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.uniform_(-bound, bound, generator=generator)

    @property
    def n_members(self):
        return len(self.bias)

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


class LayerNorm(nn.Module):
    """Layer normalisation with a scale and a shift for each member: (E, n, m) to the same.

    It looks at one bag at a time, so that it does not matter how bags are cut into chunks.
    """

    def __init__(self, n_members, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_members, 1, width))
        self.bias = nn.Parameter(torch.zeros(n_members, 1, width))

    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


def convolution(n_in, n_out, kernel_size, generator):
    """A 2-D convolution with PyTorch's usual initialisation, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Conv2d, n_in, n_out, kernel_size)
    bound = 1.0 / math.sqrt(n_in * kernel_size**2)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class Dropout(nn.Module):
    """Dropout from the generator that the trainer puts in before training.

    The probability is rounded to a multiple of 2^-16: four decisions come from one random number.
    """

    def __init__(self, p):
        super().__init__()
        self.p = p
        self.generator = None

    def forward(self, x):
        threshold = min(round(self.p * 2**16), 2**16 - 1)
        if not self.training or threshold == 0:
            return x
        words = torch.empty(x.numel() // 4 + 1, dtype=torch.int64, device=x.device)
        words.random_(-(2**63), 2**63 - 1, generator=self.generator)
        draws = words.view(torch.int16)[: x.numel()].view(x.shape)
        # Written as numbers at once: booleans times a number take four times as long.
        keep = torch.ge(draws, threshold - 2**15, out=torch.empty_like(x))
        return x * keep.mul_(2**16 / (2**16 - threshold))
