"""Scores of patients and intervals that respect them."""

from milkit.metrics._bootstrap import BootstrapInterval, bootstrap_interval
from milkit.metrics._cross_val_interval import cross_val_interval
from milkit.metrics._group_predictions import group_predictions
from milkit.metrics._group_scorer import make_group_scorer

__all__ = [
    "BootstrapInterval",
    "bootstrap_interval",
    "cross_val_interval",
    "group_predictions",
    "make_group_scorer",
]
