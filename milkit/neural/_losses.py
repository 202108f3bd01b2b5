"""What a network predicts: the seam for new kinds of targets.

A loss says how wide the network's output is (``n_outputs``), turns targets into a tensor
(``encode``), gives one loss for each bag, turns outputs back into predictions (``decode``), and
joins the outputs of two experts, the first of which has the share sigmoid(gate) (``mixed``).
The trainer and the network know nothing else about the target, so that survival or multi-label
heads come as one more class here. Outputs have shape (..., n_bags, n_outputs), with the members of
an ensemble in front; targets have shape (n_bags, ...).
"""

import numpy as np
import torch
from torch.nn import functional as F


class BinaryLoss:
    """Cross-entropy of one logit; targets are 0 and 1.

    ``base_rate`` is the weighted share of ones, where the training begins with noisy-or.
    """

    n_outputs = 1

    def __init__(self, base_rate=0.5):
        self.base_rate = base_rate

    def encode(self, y):
        return torch.as_tensor(y, dtype=torch.float32)

    def __call__(self, outputs, target):
        logits = outputs[..., 0]
        return F.binary_cross_entropy_with_logits(
            logits, target.expand_as(logits), reduction="none"
        )

    def decode(self, outputs):
        """Logit of the positive class, shape (..., n_bags)."""
        return outputs[..., 0]

    @staticmethod
    def mixed(first, second, gate):
        """The logit of the mean of two probabilities."""
        pairs = torch.cat([-first, first], dim=-1), torch.cat([-second, second], dim=-1)
        logs = _log_mean(*map(F.logsigmoid, pairs), gate)
        return logs[..., 1:] - logs[..., :1]


class MulticlassLoss:
    """Cross-entropy of a softmax; targets are class indices."""

    def __init__(self, n_classes):
        self.n_outputs = n_classes

    def encode(self, y):
        return torch.as_tensor(y, dtype=torch.int64)

    def __call__(self, outputs, target):
        chosen = target.expand(outputs.shape[:-1])
        losses = F.cross_entropy(outputs.flatten(0, -2), chosen.flatten(), reduction="none")
        return losses.view(chosen.shape)

    def decode(self, outputs):
        """Logits, shape (..., n_bags, n_classes)."""
        return outputs

    @staticmethod
    def mixed(first, second, gate):
        """Logarithms of the mean of two probabilities."""
        return _log_mean(F.log_softmax(first, dim=-1), F.log_softmax(second, dim=-1), gate)


class SquaredLoss:
    """Squared error of a number, which is standardised for training."""

    n_outputs = 1

    def __init__(self, y, weight):
        y, weight = y[weight > 0], weight[weight > 0]
        self.center = float(np.average(y, weights=weight))
        self.scale = float(np.sqrt(np.average((y - self.center) ** 2, weights=weight)))
        if np.ptp(y) == 0:  # then the constant itself is the prediction
            self.center, self.scale = float(y[0]), 0.0

    def encode(self, y):
        return torch.as_tensor((y - self.center) / (self.scale or 1.0), dtype=torch.float32)

    def __call__(self, outputs, target):
        return (outputs[..., 0] - target) ** 2

    def decode(self, outputs):
        """Predicted numbers in the units of y, shape (..., n_bags)."""
        return outputs[..., 0] * self.scale + self.center

    @staticmethod
    def mixed(first, second, gate):
        """The mean of two numbers."""
        return torch.sigmoid(gate) * first + torch.sigmoid(-gate) * second


def _log_mean(first, second, gate):
    """log(π exp(first) + (1 - π) exp(second)) with π = sigmoid(gate)."""
    return torch.logaddexp(F.logsigmoid(gate) + first, F.logsigmoid(-gate) + second)
