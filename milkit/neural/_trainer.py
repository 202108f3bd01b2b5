"""The one training loop."""

import math
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch

from milkit.neural._optimizer import FlatParameters, make_optimizer, make_schedule
from milkit.neural._packed import Budget, Packed
from milkit.neural._steps import Objective, add_gradient, outputs_of_bags


@dataclass(frozen=True)
class TrainingSettings:
    """What the loop needs to know; see ``AttentionMILClassifier`` for the meaning."""

    budget: Budget
    batch_size: int
    max_iter: int = 100
    solver: str = "adamw"
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    max_instances_per_bag: int | None = None
    auxiliary_decay: float | None = None
    tol: float | None = None
    n_iter_no_change: int = 10
    loss_target: float | None = None
    autocast: bool = False


@dataclass
class TrainingData:
    """Bags with one target and one weight each."""

    packed: Packed
    target: torch.Tensor
    weight: np.ndarray

    def scaled_weight(self, mean):
        """Weights over a mean, on the device of the instances."""
        device = self.packed.instances.device
        return torch.as_tensor(self.weight / mean, dtype=torch.float32, device=device)


@dataclass
class TrainingRecord:
    """What happened: the mean weighted loss of each epoch (``loss_curve``), and of it the part of
    the bags alone; scores of the validation bags, the epoch kept, and how the training ended."""

    loss_curve: list = field(default_factory=list)
    bag_loss_curve: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)
    best_iter: int | None = None
    converged: bool = True
    interrupted: bool = False
    optimizer_state: dict | None = None


def train(
    network,
    loss,
    data,
    settings,
    *,
    generator,
    rng,
    validation=None,
    first_epoch=0,
    mean_weight=None,
    optimizer_state=None,
    epochs=None,
    after_epoch=None,
):
    """Fit the network; the gradient of a batch is accumulated over its chunks.

    Parameters
    ----------
    network : BagNetwork
    loss : see ``_losses.py``
    data : TrainingData
        A batch's loss is sum(w l) / (B · mean of all weights).
    settings : TrainingSettings
    generator : torch.Generator
        For dropout and augmentation, on the device of the data.
    rng : numpy.random.Generator
        For the order of the bags and their subsampling.
    validation : TrainingData, default=None
        Its score, minus the mean weighted loss, ends the training, and the best weights stay.
    first_epoch : int, default=0
        Number of epochs that went before, for ``auxiliary_decay``.
    mean_weight : float, default=None
        What weights are divided by; None is their mean. Where bags come in parts it is the same
        for all parts, so that their weights compare.
    optimizer_state : dict, default=None
        To go on with an optimiser.
    epochs : iterable of int, default=None
        ``range(settings.max_iter)``, perhaps with a progress bar around it.
    after_epoch : callable, default=None
        Told the record after each epoch; a true answer ends the training.

    Returns
    -------
    record : TrainingRecord
    """
    record, n_bags = TrainingRecord(), len(data.packed)
    stop = _Stopping(settings, record)
    weight = data.scaled_weight(data.weight.mean() if mean_weight is None else mean_weight)
    with _in_training(network, generator) as parameters:
        optimizer = make_optimizer(
            settings.solver,
            [parameters.tensor],
            settings.learning_rate_init,
            settings.momentum,
            settings.weight_decay,
        )
        if optimizer_state is not None:
            now = optimizer.state_dict()["param_groups"]  # the learning rate may be another
            optimizer.load_state_dict({**optimizer_state, "param_groups": now})
        lower_rate = make_schedule(settings.learning_rate, optimizer, settings.max_iter)
        try:
            for epoch in range(settings.max_iter) if epochs is None else epochs:
                share = 0.0
                if settings.auxiliary_decay is not None:
                    share = settings.auxiliary_decay ** (first_epoch + epoch)
                packed = data.packed.subsample(settings.max_instances_per_bag, rng)
                losses = _one_epoch(
                    network, loss, packed, data.target, weight, share, settings, optimizer,
                    parameters, rng.permutation(n_bags),
                )  # fmt: skip
                bag_loss, total = (losses / (n_bags * network.n_members)).tolist()
                record.bag_loss_curve.append(bag_loss)
                record.loss_curve.append(total)
                _refuse_not_finite(total, "training loss", epoch, data)
                monitored = total
                if validation is not None:
                    monitored = mean_loss(network, loss, validation, settings.budget)
                    _refuse_not_finite(monitored, "loss of the validation bags", epoch, data)
                    record.validation_scores.append(-monitored)
                lower_rate(monitored)
                done = stop(parameters)
                if (after_epoch is not None and after_epoch(record)) or done:
                    break
            else:
                record.converged = settings.tol is None
        except KeyboardInterrupt:
            record.interrupted = True
        stop.restore(parameters)
        size = float(parameters.tensor.abs().sum())
        _refuse_not_finite(size, "size of the weights", len(record.loss_curve) - 1, data)
        record.optimizer_state = _on_cpu(optimizer.state_dict())
    return record


def _refuse_not_finite(value, what, epoch, data):
    if not math.isfinite(value):
        advice = "Put the features on one scale (InstanceTransformer(StandardScaler()))"
        if data.packed.instances.ndim > 2:
            advice = "Bring the pixels around zero (less their mean, divided by their deviation)"
        raise FloatingPointError(
            f"The {what} is {value} in epoch {epoch + 1}. {advice} or lower learning_rate_init."
        )


def _on_cpu(state):
    """An optimiser's memory where every machine can load it."""
    memory = {
        key: {name: v.cpu() if torch.is_tensor(v) else v for name, v in values.items()}
        for key, values in state["state"].items()
    }
    return {**state, "state": memory}


def _one_epoch(
    network, loss, packed, target, weight, share, settings, optimizer, parameters, order
):
    """One pass over the bags; sums of the bags' losses and of the whole, a float64 tensor."""
    sums = []
    for start in range(0, len(order), settings.batch_size):
        batch = order[start : start + settings.batch_size]
        objective = Objective(loss, target, weight / len(batch), share)
        parameters.clear_gradient()
        large = packed.sizes(batch) >= settings.budget.alone
        ordered = batch[np.argsort(large, kind="stable")]  # so that the small ones fill chunks
        for chunk in packed.chunks(ordered, settings.budget):
            with torch.autocast(chunk.x.device.type, torch.bfloat16, enabled=settings.autocast):
                parts = add_gradient(network, chunk, objective, settings.budget)
            sums.append(torch.stack(parts) * len(batch))
        optimizer.step()
    return torch.stack(sums).cpu().double().sum(0)  # waits for a GPU once an epoch


def mean_loss(network, loss, data, budget):
    """Mean weighted loss of the averaged outputs of all members, in evaluation mode."""
    was_training = network.training
    network.eval()
    outputs = torch.from_numpy(outputs_of_bags(network, data.packed, budget).mean(axis=0))
    network.train(was_training)
    target = data.target.cpu()
    target = target.double() if target.is_floating_point() else target
    return float(np.average(loss(outputs, target).numpy(), weights=data.weight))


class _Stopping:
    """When to stop: no progress, low enough a loss, or validation that no longer improves."""

    def __init__(self, settings, record):
        self.settings, self.record = settings, record
        self.best, self.waited, self.low = math.inf, 0, 0
        self.best_state = None

    def __call__(self, parameters):
        settings, record = self.settings, self.record
        watched = record.loss_curve[-1]
        if record.validation_scores:
            watched = -record.validation_scores[-1]
            if (
                record.best_iter is None
                or -watched > record.validation_scores[record.best_iter - 1]
            ):
                record.best_iter = len(record.validation_scores)
                self.best_state = parameters.state()
        self.waited = 0 if watched < self.best - (settings.tol or 0.0) else self.waited + 1
        self.best = min(self.best, watched)
        if settings.loss_target is not None:
            self.low = self.low + 1 if record.bag_loss_curve[-1] < settings.loss_target else 0
        watches = settings.tol is not None or record.validation_scores
        no_progress = bool(watches) and self.waited >= settings.n_iter_no_change
        return no_progress or self.low >= settings.n_iter_no_change

    def restore(self, parameters):
        """The best weights that validation saw."""
        if self.best_state is not None:
            parameters.load(self.best_state)


@contextmanager
def _in_training(network, generator):
    """The network in training mode, its parameters in one tensor; afterwards as it was."""
    parameters = FlatParameters(network)
    network.set_generator(generator)
    network.train()
    try:
        yield parameters
    finally:
        parameters.release()
        network.set_generator(None)
        network.eval()
