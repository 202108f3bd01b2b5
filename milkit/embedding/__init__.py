"""Bags to one row each."""

from milkit.embedding._statistics import BagStatistics

__all__ = ["BagStatistics"]
