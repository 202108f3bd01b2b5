"""Neural networks on bags."""

from milkit.neural._attention import AttentionMILClassifier
from milkit.neural._regressor import AttentionMILRegressor

__all__ = ["AttentionMILClassifier", "AttentionMILRegressor"]
