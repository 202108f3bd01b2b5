"""What the tests of milkit.neural share: small networks, bags, and the poolings written out."""

from functools import partial

import numpy as np
import torch
from scipy.special import expit, logsumexp, softmax
from torch import nn

from milkit.neural import AttentionMILClassifier
from milkit.neural._build import build_network
from milkit.neural._losses import BinaryLoss, MulticlassLoss
from milkit.neural._packed import Budget, Packed
from milkit.neural._ragged import Segments

# Every pooling by its name; "heads" and "module" stand for three heads and a user's module.
POOLINGS = (
    "attention",
    "gated_attention",
    "heads",
    "mean",
    "max",
    "logsumexp",
    "noisy_or",
    "mean_std",
    "module",
)
WEIGHTED = ("attention", "gated_attention", "heads", "mean")
NOT_AT_LEVEL = {"embedding": {"noisy_or"}, "instance": {"heads", "mean_std"}}
COMBINATIONS = tuple(
    (pooling, level)
    for level in ("embedding", "instance")
    for pooling in POOLINGS
    if pooling not in NOT_AT_LEVEL[level]
)
ALL_AT_ONCE = Budget(pack=10**9, split=10**9)


class BentSum(nn.Module):
    """A user's pooling: sum of tanh(W h) over the bag, over the square root of its size."""

    def __init__(self, width, n_out=3, dropout=0.0):
        super().__init__()
        self.linear = nn.Linear(width, n_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h, offsets):
        bags = torch.split(torch.tanh(self.linear(self.dropout(h))), offsets.diff().tolist())
        return torch.stack([bag.sum(0) / len(bag) ** 0.5 for bag in bags])


def parameters_of(pooling, level="embedding", n_outputs=1):
    """Parameters of an estimator for one of ``POOLINGS``."""
    parameters = {"pooling": pooling, "level": level}
    if pooling == "heads":
        parameters |= {"pooling": "attention", "n_heads": 3}
    if pooling == "module":
        n_out = n_outputs if level == "instance" else 3
        parameters["pooling"] = partial(BentSum, n_out=n_out)
    return parameters


def make_network(
    pooling="attention",
    level="embedding",
    *,
    n_members=1,
    n_outputs=1,
    shape=(3,),
    n_extra=0,
    n_covariates=0,
    seed=0,
    mean_size=3.0,
    dtype=torch.float64,
    **parameters,
):
    """A small network in evaluation mode, with initial weights."""
    defaults = {"hidden_layer_sizes": (6,), "attention_dim": 4, "dropout": 0.0}
    given = parameters_of(pooling, level, n_outputs) if isinstance(pooling, str) else {
        "pooling": pooling, "level": level,
    }  # fmt: skip
    estimator = AttentionMILClassifier(**(defaults | given | parameters), n_estimators=n_members)
    estimator._instance_features = range(n_extra) if n_extra else None
    estimator._covariates = range(n_covariates) if n_covariates else None
    loss = BinaryLoss() if n_outputs == 1 else MulticlassLoss(n_outputs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(estimator, shape, loss, seed, mean_size)
    return network.to(dtype).eval()


def make_bags(sizes, n_features=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, n_features)) for n in sizes]


def packed(bags, extra=None, dtype=torch.float64, covariates=None):
    """Bags as ``Packed``."""
    offsets = np.cumsum([0, *map(len, bags)])
    extra = None if extra is None else torch.from_numpy(np.concatenate(extra)).to(dtype)
    covariates = None if covariates is None else torch.from_numpy(covariates).to(dtype)
    return Packed(torch.from_numpy(np.concatenate(bags)).to(dtype), offsets, extra, covariates)


def segments_of(bags):
    return Segments([len(bag) for bag in bags])


def stacked(bags, n_members=1, seed=None):
    """Bags behind each other as (n_members, n_instances, m), of each member's own values."""
    flat = torch.from_numpy(np.concatenate(bags))
    if seed is None:
        return flat.expand(n_members, -1, -1).clone()
    rng = np.random.default_rng(seed)
    return torch.stack([flat * rng.uniform(0.5, 2) + rng.normal() for _ in range(n_members)])


def numbers(module, member):
    """Parameters of one member, as arrays."""
    return {name: p.detach().numpy()[member] for name, p in module.named_parameters()}


def scores_by_hand(pooling, h, member=0):
    """Attention's scores of a bag's embeddings, (n_i, n_heads), for one member."""
    p = numbers(pooling, member)
    hidden = np.tanh(h @ p["V.weight"] + p["V.bias"])
    if "U.weight" in p:
        hidden = hidden * expit(h @ p["U.weight"] + p["U.bias"])
    return hidden @ p["w.weight"] + p["w.bias"]


def weights_by_hand(pooling, h, member=0):
    """Weights of the instances of a bag, (n_i, n_heads)."""
    if not list(pooling.parameters()):  # the mean
        return np.full((len(h), 1), 1 / len(h))
    exponents = np.exp(scores_by_hand(pooling, h, member))
    return exponents / exponents.sum(axis=0)


def pool_by_hand(name, pooling, h, values=None, member=0):
    """What one of ``POOLINGS`` makes of a bag: embeddings ``h`` and the values that are pooled."""
    values = h if values is None else values
    if name in WEIGHTED:
        weights = weights_by_hand(pooling, h, member)
        return np.concatenate([w @ values for w in weights.T])
    if name == "max":
        return values.max(axis=0)
    if name == "logsumexp":
        return logsumexp(values, axis=0) - np.log(len(values))
    if name == "noisy_or":
        none = np.prod(1 - expit(values), axis=0)
        return np.log(1 - none) - np.log(none)
    if name == "mean_std":
        return np.concatenate([values.mean(axis=0), np.sqrt(values.var(axis=0) + 1e-5)])
    p = {key: value.detach().numpy() for key, value in pooling.members[member].named_parameters()}
    bent = np.tanh(values @ p["linear.weight"].T + p["linear.bias"])
    return bent.sum(axis=0) / len(values) ** 0.5


def network_by_hand(name, network, x, member=0):
    """Output of a one-hidden-layer network for a single bag: every step in numpy."""
    p = numbers(network.encoder, member)
    head = numbers(network.head, member)
    h = np.maximum(x @ p["layers.0.weight"] + p["layers.0.bias"], 0)
    if network.instance_level:
        values = h @ head["weight"] + head["bias"]
        return pool_by_hand(name, network.pooling, h, values, member)
    return pool_by_hand(name, network.pooling, h, None, member) @ head["weight"] + head["bias"][0]


# -- heads with covariates --------------------------------------------------------------------


def layers_by_hand(p, prefix, x, normalised=False):
    """Linear and ReLU for each layer of those parameters, then layer normalisation."""
    places = sorted({int(n.removeprefix(prefix).split(".")[0]) for n in p if n.startswith(prefix)})
    norm = places.pop() if normalised and places else None
    for i in places:
        x = np.maximum(x @ p[f"{prefix}{i}.weight"] + p[f"{prefix}{i}.bias"], 0)
    if norm is None:
        return x
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return x * p[f"{prefix}{norm}.weight"] + p[f"{prefix}{norm}.bias"]


def experts_by_hand(head, z, covariates, member=0):
    """Outputs of both experts of a mixture, and the share of the first."""
    p = numbers(head, member)
    outputs = [
        layers_by_hand(p, f"{name}.0.layers.", x, normalised=True) @ p[f"{name}.1.weight"]
        + p[f"{name}.1.bias"]
        for name, x in (("bag_expert", z), ("covariate_expert", covariates))
    ]
    share = expit(np.hstack([z, covariates]) @ p["gate.weight"] + p["gate.bias"])
    return *outputs, share


def head_by_hand(head, z, covariates=None, member=0):
    """Outputs of classes for embeddings (n_bags, width) and covariates (n_bags, q)."""
    p = numbers(head, member)
    if "gate.weight" in p:
        first, second, share = experts_by_hand(head, z, covariates, member)
        if first.shape[1] > 1:
            return np.log(share * softmax(first, axis=1) + (1 - share) * softmax(second, axis=1))
        yes = share * expit(first) + (1 - share) * expit(second)
        no = share * expit(-first) + (1 - share) * expit(-second)
        return np.log(yes) - np.log(no)
    if covariates is not None:
        pairs = (("bag_branch.layers.", z), ("covariate_branch.layers.", covariates))
        z = np.hstack([layers_by_hand(p, name, x, normalised=True) for name, x in pairs])
    if "linear.weight" not in p:
        return z @ p["weight"] + p["bias"]
    return layers_by_hand(p, "layers.layers.", z) @ p["linear.weight"] + p["linear.bias"]
