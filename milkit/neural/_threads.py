"""How many threads a step deserves."""

import math
from contextlib import contextmanager

import torch

# Multiply-adds of one step below which threads mostly wait for each other (measured on steps of
# the size of Musk1, where two threads are slower than one).
_WORTH_SHARING = 100_000_000


@contextmanager
def threads_for(n_rows, network, shape):
    """Run small steps on one thread, and leave PyTorch's setting as it was afterwards.

    ``shape`` is that of an instance: a convolution uses its weights at each pixel.
    """
    n_pixels = math.prod(shape[1:])
    uses = (p.numel() * (n_pixels if p.ndim == 4 else 1) for p in network.parameters())
    work = n_rows * sum(uses)
    before = torch.get_num_threads()
    if before == 1 or work > _WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
