"""Classifiers of instances that decide on bags: weak labels with a vote, and self-training."""

from milkit.instance._instance_voting import InstanceVotingClassifier
from milkit.instance._self_training import SelfTrainingMILClassifier

__all__ = ["InstanceVotingClassifier", "SelfTrainingMILClassifier"]
