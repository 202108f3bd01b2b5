"""Bags to bags: transformers that work on instances."""

from milkit.preprocessing._instance_transformer import InstanceTransformer

__all__ = ["InstanceTransformer"]
