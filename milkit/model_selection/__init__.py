"""Splitting and testing that keep a patient whole."""

from milkit.model_selection._fusion_ablation import FusionAblation, fusion_ablation
from milkit.model_selection._grouped_split import GroupedSplit
from milkit.model_selection._grouped_train_test_split import grouped_train_test_split
from milkit.model_selection._permutation_test import group_permutation_test
from milkit.model_selection._strata import clinical_strata

__all__ = [
    "FusionAblation",
    "GroupedSplit",
    "clinical_strata",
    "fusion_ablation",
    "group_permutation_test",
    "grouped_train_test_split",
]
