"""Bags to bags: transformers that work on instances, and filters of instances."""

from milkit.preprocessing._instance_transformer import InstanceTransformer
from milkit.preprocessing._one_class_filter import OneClassInstanceFilter

__all__ = ["InstanceTransformer", "OneClassInstanceFilter"]
