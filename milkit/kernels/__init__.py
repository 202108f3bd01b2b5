"""Bags compared with bags."""

from milkit.kernels._set_kernel import SetKernel, set_kernel

__all__ = ["SetKernel", "set_kernel"]
