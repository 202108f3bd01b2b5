"""Which instances decided: through pipelines, searches and wrappers."""

from milkit.inspection._reach import attention_weights, predict_instances, score_instances

__all__ = ["attention_weights", "predict_instances", "score_instances"]
