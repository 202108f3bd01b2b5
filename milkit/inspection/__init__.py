"""Which instances decided: through pipelines, searches and wrappers."""

from milkit.inspection._attention_map_display import AttentionMapDisplay
from milkit.inspection._box_overlay_display import BoxOverlayDisplay
from milkit.inspection._deletion import deletion_curve
from milkit.inspection._insertion import insertion_curve
from milkit.inspection._instance_score_display import InstanceScoreDisplay
from milkit.inspection._occlusion import instance_occlusion
from milkit.inspection._patient_report import PatientReport, patient_report
from milkit.inspection._reach import attention_weights, predict_instances, score_instances
from milkit.inspection._top_instances_display import TopInstancesDisplay

__all__ = [
    "AttentionMapDisplay",
    "BoxOverlayDisplay",
    "InstanceScoreDisplay",
    "PatientReport",
    "TopInstancesDisplay",
    "attention_weights",
    "deletion_curve",
    "insertion_curve",
    "instance_occlusion",
    "patient_report",
    "predict_instances",
    "score_instances",
]
