"""Encoders: instances of shape (n_instances, ...) to embeddings (n_instances, m)."""

from torch import nn

from milkit.neural._layers import Dropout, linear


def mlp(n_features, hidden_layer_sizes, dropout, generator):
    """Multi-layer perceptron with ReLU and dropout; no hidden layer gives the features back.

    Returns the module and the width of its output.
    """
    layers, width = [], n_features
    for size in hidden_layer_sizes:
        layers += [linear(width, size, generator), nn.ReLU(), Dropout(dropout)]
        width = size
    return nn.Sequential(*layers), width
