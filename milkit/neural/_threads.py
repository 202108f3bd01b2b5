"""How many threads a step deserves."""

from contextlib import contextmanager

import torch

# Multiply-adds of one step below which threads mostly wait for each other (measured on steps of
# the size of Musk1, where two threads are slower than one).
_WORTH_SHARING = 100_000_000


@contextmanager
def threads_for(n_rows, network):
    """Run small steps on one thread, and leave PyTorch's setting as it was afterwards."""
    work = n_rows * sum(parameter.numel() for parameter in network.parameters())
    before = torch.get_num_threads()
    if before == 1 or work > _WORTH_SHARING:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
