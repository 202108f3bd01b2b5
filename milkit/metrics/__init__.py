"""Scores of patients and intervals that respect them, and scores of instances."""

from milkit.metrics._bootstrap import BootstrapInterval, bootstrap_interval
from milkit.metrics._cross_val_interval import cross_val_interval
from milkit.metrics._group_predictions import group_predictions
from milkit.metrics._group_scorer import make_group_scorer
from milkit.metrics._instance_scorer import make_instance_scorer
from milkit.metrics._instance_scores import (
    instance_average_precision_score,
    instance_roc_auc_score,
    key_instance_hit_rate,
)

__all__ = [
    "BootstrapInterval",
    "bootstrap_interval",
    "cross_val_interval",
    "group_predictions",
    "instance_average_precision_score",
    "instance_roc_auc_score",
    "key_instance_hit_rate",
    "make_group_scorer",
    "make_instance_scorer",
]
