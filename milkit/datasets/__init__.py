"""Bags to learn with: generators, real digits, files of bags, and public data."""

from milkit.datasets._assumption_tests import (
    make_false_frequency_mil_test,
    make_multi_concept_mil_test,
    make_single_concept_mil_test,
)
from milkit.datasets._bag_files import load_bags, save_bags
from milkit.datasets._cohort import age_from_birth_date, make_blood_smear_cohort
from milkit.datasets._digit_bags import load_digit_bags
from milkit.datasets._mil_classification import make_mil_classification
from milkit.datasets._musk import fetch_musk1, fetch_musk2
from milkit.datasets._parkinsons import fetch_parkinsons_telemonitoring

__all__ = [
    "age_from_birth_date",
    "fetch_musk1",
    "fetch_musk2",
    "fetch_parkinsons_telemonitoring",
    "load_bags",
    "load_digit_bags",
    "make_blood_smear_cohort",
    "make_false_frequency_mil_test",
    "make_mil_classification",
    "make_multi_concept_mil_test",
    "make_single_concept_mil_test",
    "save_bags",
]
