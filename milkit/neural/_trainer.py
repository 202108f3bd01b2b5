"""The one training loop."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch

from milkit.neural._layers import set_generator
from milkit.utils._packing import offsets_of


@dataclass
class Packed:
    """Bags as tensors: ``instances`` (n_instances, ...) and ``offsets`` (n_bags + 1,)."""

    instances: torch.Tensor
    offsets: np.ndarray

    def sizes(self, bags):
        """Number of instances in each of some bags."""
        return self.offsets[bags + 1] - self.offsets[bags]

    def take(self, bags):
        """Instances and offsets of some bags, as tensors on the device of the instances."""
        sizes = self.sizes(bags)
        offsets = offsets_of(sizes)
        if len(bags) and np.all(np.diff(bags) == 1):  # bags behind each other: a view
            x = self.instances[self.offsets[bags[0]] : self.offsets[bags[-1] + 1]]
        else:
            index = np.arange(offsets[-1]) + np.repeat(self.offsets[bags] - offsets[:-1], sizes)
            x = self.instances[torch.from_numpy(index).to(self.instances.device)]
        return x, torch.from_numpy(offsets).to(x.device)

    def chunks(self, bags, max_instances):
        """Cut a sequence of bags where the budget of instances is full; whole bags only."""
        ends = np.cumsum(self.sizes(bags))
        first = 0
        while first < len(bags):
            used = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, used + max_instances, side="right"))
            last = max(last, first + 1)
            yield bags[first:last]
            first = last


@dataclass
class TrainingSettings:
    """What the loop needs to know; see ``AttentionMILClassifier`` for the meaning."""

    learning_rate_init: float
    weight_decay: float
    max_iter: int
    batch_size: int
    max_batch_instances: int
    tol: float | None
    n_iter_no_change: int


@dataclass
class TrainingRecord:
    """``loss_curve`` is the mean weighted training loss of each epoch."""

    loss_curve: list = field(default_factory=list)
    converged: bool = True


def train(network, loss, data, target, weight, settings, *, generator, rng, progress):
    """Fit the network; the gradient of a batch is accumulated over its chunks.

    Parameters
    ----------
    network : BagNetwork
    loss : see ``_losses.py``
    data : Packed
    target : Tensor of shape (n_bags, ...)
    weight : ndarray of shape (n_bags,)
        Training weights with any mean; a batch's loss is sum(w l) / (B · mean of all weights).
    settings : TrainingSettings
    generator : torch.Generator
        For dropout, on the device of the data.
    rng : numpy.random.Generator
        For the order of the bags.
    progress : callable
        Wraps the iterable of epochs.

    Returns
    -------
    record : TrainingRecord
    """
    device = data.instances.device
    target = target.to(device)
    scaled = torch.as_tensor(weight / weight.mean(), dtype=torch.float32, device=device)
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=settings.learning_rate_init,
        weight_decay=settings.weight_decay,
        fused=True,  # unfused, the optimiser takes 40 % of a small step
    )
    record = TrainingRecord()
    best, waited, n_bags = math.inf, 0, len(weight)
    set_generator(network, generator)
    network.train()
    for epoch in progress(range(settings.max_iter)):
        order, losses = rng.permutation(n_bags), []
        for start in range(0, n_bags, settings.batch_size):
            batch = order[start : start + settings.batch_size]
            optimizer.zero_grad()
            for chunk in data.chunks(batch, settings.max_batch_instances):
                rows = torch.from_numpy(chunk).to(device)
                outputs = network(*data.take(chunk)).outputs
                chunk_loss = (scaled[rows] * loss(outputs, target[rows])).sum() / len(batch)
                chunk_loss.backward()
                losses.append(chunk_loss.detach() * len(batch))
            optimizer.step()
        total = float(torch.stack(losses).cpu().double().sum())  # waits for a GPU once an epoch
        record.loss_curve.append(total / n_bags)
        if not math.isfinite(total):
            raise FloatingPointError(
                f"The training loss is {total} in epoch {epoch + 1}. Put the features on one scale "
                "(InstanceTransformer(StandardScaler())) or lower learning_rate_init."
            )
        if settings.tol is not None:
            waited = 0 if record.loss_curve[-1] < best - settings.tol else waited + 1
            best = min(best, record.loss_curve[-1])
            if waited >= settings.n_iter_no_change:
                break
    else:
        record.converged = settings.tol is None
    set_generator(network, None)
    network.eval()
    return record


@torch.inference_mode()
def apply_in_chunks(function, data, max_instances):
    """Call ``function(x, offsets)`` chunk by chunk and join what it gives, as float64 arrays."""
    n_bags = len(data.offsets) - 1
    parts = [function(*data.take(chunk)) for chunk in data.chunks(np.arange(n_bags), max_instances)]
    return torch.cat(parts).to("cpu", torch.float64).numpy()
