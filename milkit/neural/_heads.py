"""Heads: from the embedding of a bag, and its covariates, to the output.

``head(z, covariates)`` turns embeddings (E, n_bags, width) and covariates (n_bags, q), or None,
into outputs (E, n_bags, n_outputs).
"""

import torch
from torch import nn

from milkit.neural._encoders import MLPEncoder
from milkit.neural._layers import Dense, LayerNorm


class LinearHead(Dense):
    """One linear layer on what stands behind each other: embedding, covariates."""

    def forward(self, z, covariates=None):
        if covariates is not None:
            z = torch.cat([z, _for_each(z, covariates)], dim=2)
        return super().forward(z)


class DeepHead(nn.Module):
    """Branches for the embedding and the covariates, layers on both together, a linear layer.

    With branches and no layers it is the "D-MIL" of Bouatay et al. 2021, with layers and no
    branches the classifier of Iagaru and Durand-Janin. Without covariates there are no branches.
    """

    def __init__(self, bag_branch, covariate_branch, layers, linear):
        super().__init__()
        self.bag_branch = bag_branch
        self.covariate_branch = covariate_branch
        self.layers = layers
        self.linear = linear

    @property
    def n_members(self):
        return self.linear.n_members

    def forward(self, z, covariates=None):
        if covariates is not None:
            c = _for_each(z, covariates)
            z = torch.cat([self.bag_branch(z), self.covariate_branch(c)], dim=2)
        return self.linear(self.layers(z))


class MixtureHead(nn.Module):
    """Two experts, and a linear layer that says how much each is trusted for this bag.

    ``mixed(outputs, other_outputs, gate)`` is the loss's own: the gate is the logit of the first
    expert's share π.
    """

    def __init__(self, bag_expert, covariate_expert, gate, mixed):
        super().__init__()
        self.bag_expert = bag_expert
        self.covariate_expert = covariate_expert
        self.gate = gate
        self.mixed = mixed

    @property
    def n_members(self):
        return self.gate.n_members

    def forward(self, z, covariates):
        c = _for_each(z, covariates)
        return self.mixed(self.bag_expert(z), self.covariate_expert(c), self.gate(z, covariates))

    def bag_share(self, z, covariates):
        """The share π of the bag's expert, (E, n_bags, 1)."""
        return torch.sigmoid(self.gate(z, covariates))


class Branch(MLPEncoder):
    """Linear, ReLU and dropout for each width, then normalisation; no width changes nothing."""

    def __init__(self, n_members, n_in, sizes, dropout, generator):
        super().__init__(n_members, n_in, sizes, dropout, generator)
        if sizes:
            self.layers.append(LayerNorm(n_members, self.width))


def make_head(estimator, n_members, width, n_covariates, loss, generator):
    """The head that an estimator's parameters ask for.

    Parameters
    ----------
    estimator : BaseAttentionMIL
    n_members : int
    width : int
        Width of a bag's embedding.
    n_covariates : int
        Number of columns of covariates; 0 is none.
    loss : see ``_losses.py``
    generator : torch.Generator
    """
    n_outputs, dropout = loss.n_outputs, estimator.dropout
    layer_sizes, branch_sizes = list(estimator.head_layer_sizes), list(estimator.branch_layer_sizes)

    def branch(n_in):
        return Branch(n_members, n_in, branch_sizes, dropout, generator)

    def deep(bag, covariates, n_in):
        layers = MLPEncoder(n_members, n_in, layer_sizes, dropout, generator)
        linear = LinearHead(n_members, layers.width, n_outputs, generator)
        return DeepHead(bag, covariates, layers, linear)

    if n_covariates == 0:
        if layer_sizes:
            return deep(None, None, width)
        return LinearHead(n_members, width, n_outputs, generator)
    bag, covariates = branch(width), branch(n_covariates)
    if estimator.covariates == "mixture":
        experts = [
            nn.Sequential(part, LinearHead(n_members, part.width, n_outputs, generator))
            for part in (bag, covariates)
        ]
        gate = LinearHead(n_members, width + n_covariates, 1, generator)
        return MixtureHead(*experts, gate, loss.mixed)
    if not layer_sizes and not branch_sizes:
        return LinearHead(n_members, width + n_covariates, n_outputs, generator)
    return deep(bag, covariates, bag.width + covariates.width)


def _for_each(z, covariates):
    """Covariates (n_bags, q) for each member, (E, n_bags, q); of a single bag for all rows."""
    return covariates.expand(*z.shape[:2], -1)
