"""From the parameters of an estimator to its network."""

import math
from numbers import Integral

import torch

from milkit.neural._encoders import make_encoder
from milkit.neural._heads import LinearHead, make_head
from milkit.neural._layers import Dense
from milkit.neural._losses import BinaryLoss
from milkit.neural._network import BagNetwork
from milkit.neural._pooling import ATTENTION, make_pooling

AUGMENTATIONS = {None: (), "rotate": ("rotate",), "flip": ("flip",), "both": ("rotate", "flip")}


def refuse_combination(estimator):
    """Parameters that do not go together; what there is stands in the guide's table."""
    pooling, level = estimator.pooling, estimator.level
    for name in ("hidden_layer_sizes", "branch_layer_sizes", "head_layer_sizes"):
        sizes = list(getattr(estimator, name))
        if any(not isinstance(size, Integral) or size < 1 for size in sizes):
            raise ValueError(f"{name} must hold positive integers. Got {sizes}.")
    if level == "instance" and (
        estimator.covariates is not None or len(estimator.head_layer_sizes)
    ):
        raise ValueError(
            "covariates and head_layer_sizes belong to a head behind the pooling. Set "
            "level='embedding'."
        )
    if pooling == "noisy_or" and level != "instance":
        raise ValueError(
            "pooling='noisy_or' joins the probabilities of instances. Set level='instance'."
        )
    if pooling == "mean_std" and level != "embedding":
        raise ValueError(
            "pooling='mean_std' gives two numbers for each coordinate, which are no prediction. "
            "Set level='embedding'."
        )
    if estimator.covariates == "mixture" and len(estimator.head_layer_sizes) > 0:
        raise ValueError(
            "covariates='mixture' has two experts and no head_layer_sizes. Widen the experts by "
            "branch_layer_sizes."
        )
    if estimator.covariates is not None and list(estimator.branch_layer_sizes)[-1:] == [1]:
        raise ValueError(
            "branch_layer_sizes ends in 1, and a single number is nothing after normalisation. "
            "Give it two or more."
        )
    attends = isinstance(pooling, str) and pooling in ATTENTION
    if estimator.n_heads > 1 and not (attends and level == "embedding"):
        raise ValueError(
            f"n_heads={estimator.n_heads} needs pooling='attention' or 'gated_attention' and "
            f"level='embedding'. Got pooling={pooling!r} and level={level!r}."
        )
    if estimator.attention_features is not None and not attends:
        raise ValueError(
            "attention_features are seen by attention. Set pooling='attention' or "
            f"'gated_attention' instead of {pooling!r}."
        )


def build_network(estimator, shape, loss, seed, mean_size):
    """A network with initial weights.

    Parameters
    ----------
    estimator : BaseAttentionMIL
        Its parameters are read.
    shape : tuple
        Shape of one instance.
    loss : see ``_losses.py``
    seed : int
        For the initial weights.
    mean_size : float
        Mean number of instances of a bag.
    """
    if estimator.pooling == "noisy_or" and not isinstance(loss, BinaryLoss):
        raise ValueError(
            "pooling='noisy_or' is the probability that at least one instance is positive: it "
            "needs two classes. For several take OneVsRestClassifier, or pooling='max'."
        )
    generator = torch.Generator().manual_seed(seed)
    n_members = estimator.n_estimators
    augmentation = AUGMENTATIONS[estimator.augmentation]
    if augmentation and (len(shape) != 3 or ("rotate" in augmentation and shape[1] != shape[2])):
        raise ValueError(
            f"augmentation={estimator.augmentation!r} turns or mirrors images, of shape (channels, "
            f"rows, columns), square where they are turned. The instances have shape {shape}."
        )
    sizes = list(estimator.hidden_layer_sizes)
    encoder = make_encoder(estimator.encoder, shape, n_members, sizes, estimator.dropout, generator)
    instance_level = estimator.level == "instance"
    n_extra = 0 if estimator._instance_features is None else len(estimator._instance_features)
    pooling = make_pooling(
        estimator.pooling,
        n_members,
        encoder.width,
        loss.n_outputs if instance_level else encoder.width,
        estimator.attention_dim,
        estimator.n_heads,
        n_extra,
        generator,
    )
    if instance_level:
        head = LinearHead(n_members, encoder.width, loss.n_outputs, generator)
    else:
        width = pooling.width(encoder.width)
        n_covariates = 0 if estimator._covariates is None else len(estimator._covariates)
        head = make_head(estimator, n_members, width, n_covariates, loss, generator)
    auxiliary = None
    if estimator.auxiliary_decay is not None:
        auxiliary = Dense(n_members, encoder.width, loss.n_outputs, generator)
    network = BagNetwork(encoder, pooling, head, instance_level=instance_level, auxiliary=auxiliary)
    network.augmentation = augmentation
    if estimator.pooling == "noisy_or":
        # So that a bag of the mean size begins at the base rate instead of near certainty.
        exponent = -math.log1p(-loss.base_rate) / mean_size
        with torch.no_grad():
            head.bias.fill_(math.log(math.expm1(exponent)))
    if instance_level and pooling.width(loss.n_outputs) != loss.n_outputs:
        raise ValueError(
            f"With level='instance' the pooling gives the prediction itself, {loss.n_outputs} "
            f"outputs for each bag; this module gives {pooling.width(loss.n_outputs)}."
        )
    return network
