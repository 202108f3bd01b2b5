"""Layers whose randomness comes from a generator of their own, never from global state."""

import math

import torch
from torch import nn


def linear(n_in, n_out, generator):
    """A linear layer with PyTorch's usual initialisation, drawn from ``generator``."""
    layer = nn.utils.skip_init(nn.Linear, n_in, n_out)
    bound = 1.0 / math.sqrt(n_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class Dropout(nn.Module):
    """Dropout from the generator that the trainer puts in before training."""

    def __init__(self, p):
        super().__init__()
        self.p = p
        self.generator = None

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * keep.to(x.dtype) / (1 - self.p)


def set_generator(module, generator):
    """Give all dropout layers their generator; None takes it away, so that a module pickles."""
    for layer in module.modules():
        if isinstance(layer, Dropout):
            layer.generator = generator
