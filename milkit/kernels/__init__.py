"""Bags compared with bags."""

from milkit.kernels._set_kernel import SetKernel, set_kernel
from milkit.kernels._statistic_kernel import StatisticKernel, statistic_kernel

__all__ = ["SetKernel", "StatisticKernel", "set_kernel", "statistic_kernel"]
