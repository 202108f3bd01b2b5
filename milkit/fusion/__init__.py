"""Bags and clinical tables together."""

from milkit.fusion._clinical_fusion import ClinicalFusion

__all__ = ["ClinicalFusion"]
