"""Support vector machines on bags."""

from milkit.svm._misvm import MISVM

__all__ = ["MISVM"]
