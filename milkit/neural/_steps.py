"""Passes over chunks: gradients for training, values for prediction.

A bag over the budget comes in pieces and takes two passes. The first adds up the pooling's sums
without gradients; they give the bag's output, its loss, and the gradient of the loss by the sums.
The second computes each piece again, with the same dropout, and carries that gradient on. So the
activations of one piece are all that is held, and the gradient is that of the whole bag. Those of
the last piece are still there after the first pass and need not be computed again.
"""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Objective:
    """The loss of bags, and the share of the auxiliary loss of instances in it.

    ``target`` and ``weight`` are those of all bags; the weights are divided by what the sum over
    a batch is to be divided by.
    """

    loss: object
    target: torch.Tensor
    weight: torch.Tensor
    auxiliary_share: float = 0.0

    def of_bags(self, outputs, bags):
        """Weighted sum over bags and members."""
        return (self.loss(outputs, self.target[bags]) * self.weight[bags]).sum()

    def of_instances(self, network, instances, segments, bags, size):
        """Weighted sum over bags of the mean loss of their instances, each with the bag's label.

        ``size`` are the numbers of instances to divide by, (n_bags,) or one number.
        """
        outputs = network.auxiliary(instances.h)
        bag = slice(None) if segments.n_bags == 1 else segments.bag
        target = self.target[bags][bag].expand(outputs.shape[1], *self.target.shape[1:])
        weight = (self.weight[bags] / size)[bag]
        return (self.loss(outputs, target) * weight).sum()


def add_gradient(network, chunk, objective, budget):
    """Add the gradient of a chunk's loss; gives the bags' loss and the whole, detached."""
    bags = torch.from_numpy(chunk.bags).to(chunk.x.device)
    pieces = chunk.pieces(budget)
    if pieces is not None:
        return _add_gradient_in_pieces(network, chunk, bags, pieces, objective)
    instances = network.instances(chunk.x, chunk.extra)
    state = network.sums(instances, chunk.segments)
    outputs = network.read(state, chunk.segments, chunk.covariates)[1]
    bag_loss = total = objective.of_bags(outputs, bags)
    if share := objective.auxiliary_share:
        sizes = chunk.segments.sizes
        auxiliary = objective.of_instances(network, instances, chunk.segments, bags, sizes)
        total = (1 - share) * bag_loss + share * auxiliary
    total.backward()
    return bag_loss.detach(), total.detach()


def _add_gradient_in_pieces(network, chunk, bag, pieces, objective):
    pooling, share = network.pooling, objective.auxiliary_share
    replay = _Replay(network, chunk.x.device)
    states = []
    for rows in pieces:
        replay.remember()
        piece = chunk.piece(rows)
        with torch.set_grad_enabled(rows is pieces[-1]):
            instances = network.instances(piece.x, piece.extra)
            states.append(network.sums(instances, piece.segments))
    last_shift, last_sums = states.pop()
    with torch.no_grad():
        shift, sums = pooling.join([*states, (last_shift, last_sums)])
    leaves = [total.detach().requires_grad_() for total in sums]
    outputs = network.read((shift, leaves), chunk.segments, chunk.covariates)[1]
    bag_loss = objective.of_bags(outputs, bag)
    ((1 - share) * bag_loss).backward()
    replay.remember()
    gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    total = (1 - share) * bag_loss.detach()

    def carry_on(rows, instances, parts, segments):
        """The gradient of a piece, from that of the bag's sums and its instances' own loss."""
        own = pooling.piece_gradients(gradients, rows.start, rows.stop)
        pairs = [(part, g) for part, g in zip(parts, own, strict=True) if part.requires_grad]
        tensors, outer = [part for part, _ in pairs], [g for _, g in pairs]
        loss = torch.zeros_like(total)
        if share:
            size = len(chunk.x)
            loss = share * objective.of_instances(network, instances, segments, bag, size)
            tensors, outer = [*tensors, loss], [*outer, torch.ones_like(loss)]
        if tensors:
            torch.autograd.backward(tensors, outer)
        return loss.detach()

    last_sums = pooling.rescale(last_shift, last_sums, shift)
    total = total + carry_on(pieces[-1], instances, last_sums, piece.segments)
    del instances, last_sums
    for i, rows in enumerate(pieces[:-1]):
        replay.go_to(i)
        piece = chunk.piece(rows)
        instances = network.instances(piece.x, piece.extra)
        _, parts = network.sums(instances, piece.segments, shift)
        total = total + carry_on(rows, instances, parts, piece.segments)
    replay.go_to(len(pieces))
    return bag_loss.detach(), total


class _Replay:
    """Where the random numbers stood in front of each piece, to draw the same again."""

    def __init__(self, network, device):
        self.generator, self.device = network.generator, device
        self.states = []

    def remember(self):
        # Modules that are not milkit's draw from PyTorch's own generators.
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        self.states.append((self.generator.get_state(), torch.get_rng_state(), cuda))

    def go_to(self, i):
        own, cpu, cuda = self.states[i]
        self.generator.set_state(own)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self.device)


def _pooled(network, chunk, budget):
    """Pooled bags and outputs of a chunk; of a large bag piece by piece."""
    states = [
        network.sums(network.instances(part.x, part.extra), part.segments)
        for part in chunk.parts(budget)
    ]
    state = states[0] if len(states) == 1 else network.pooling.join(states)
    return network.read(state, chunk.segments, chunk.covariates)


@torch.inference_mode()
def outputs_of_bags(network, data, budget):
    """Outputs of all bags, float64 array (n_members, n_bags, n_outputs)."""
    chunks = data.chunks(np.arange(len(data)), budget)
    return _joined(_pooled(network, chunk, budget)[1] for chunk in chunks)


@torch.inference_mode()
def embeddings_of_bags(network, data, budget):
    """Embeddings of all bags, float64 array (n_members, n_bags, m)."""
    chunks = data.chunks(np.arange(len(data)), budget)
    return _joined(_pooled(network, chunk, budget)[0] for chunk in chunks)


@torch.inference_mode()
def bag_shares(network, data, budget):
    """Share of the bag's expert in a mixture, float64 array (n_members, n_bags, 1)."""
    chunks = data.chunks(np.arange(len(data)), budget)
    return _joined(
        network.head.bag_share(_pooled(network, chunk, budget)[0], chunk.covariates)
        for chunk in chunks
    )


@torch.inference_mode()
def read_instances(network, data, budget, read):
    """``read(instances, segments, covariates)`` for all bags, mean over members,
    (n_instances, ...).

    The encoder works in pieces; what it makes of a bag is then looked at as a whole.
    """
    parts = []
    for chunk in data.chunks(np.arange(len(data)), budget):
        encoded = [network.instances(part.x, part.extra) for part in chunk.parts(budget)]
        instances = encoded[0] if len(encoded) == 1 else type(encoded[0]).joined(encoded)
        values = read(instances, chunk.segments, chunk.covariates)
        parts.append(values.expand(-1, len(chunk.x), -1))
    return _joined(parts).mean(axis=0)


def _joined(parts):
    return torch.cat(list(parts), dim=1).to("cpu", torch.float64).numpy()
