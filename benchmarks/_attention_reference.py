"""Attention MIL written plainly on torch, to measure milkit's against.

``PerBag`` takes one optimiser step for each bag, as the code beside the papers does (Ilse, Tomczak,
Welling 2018); ``Padded`` fills the bags of a batch up to the longest and masks the rest, as
libraries with dense batches do. One logit, cross-entropy, ``torch.optim.Adam`` as it is by default.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence


def hidden_layers(n_features, sizes):
    """Linear layers with ReLU, and the width of what they give."""
    layers, width = [], n_features
    for size in sizes:
        layers += [nn.Linear(width, size), nn.ReLU()]
        width = size
    return nn.Sequential(*layers), width


class Net(nn.Module):
    """Encoder, attention, linear head; for one bag (n, m) or padded bags (B, n, m) with a mask."""

    def __init__(self, n_features, hidden_layer_sizes, attention_dim):
        super().__init__()
        self.encoder, width = hidden_layers(n_features, hidden_layer_sizes)
        self.attention = nn.Sequential(
            nn.Linear(width, attention_dim), nn.Tanh(), nn.Linear(attention_dim, 1)
        )
        self.head = nn.Linear(width, 1)

    def forward(self, x, mask=None):
        h = self.encoder(x)
        scores = self.attention(h)[..., 0]
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        weights = torch.softmax(scores, dim=-1)
        return self.head((weights.unsqueeze(-2) @ h)[..., 0, :])[..., 0]


class PerBag:
    """Training with batches of one bag.

    Parameters
    ----------
    bags : list of tensor of shape (n_i, n_features)
    y : tensor of shape (n_bags,)
        0 and 1.
    hidden_layer_sizes, attention_dim : see ``AttentionMILClassifier``
    learning_rate : float
    seed : int
        For the initial weights and the order of the bags.
    """

    def __init__(self, bags, y, hidden_layer_sizes, attention_dim, learning_rate=5e-4, seed=0):
        self.bags, self.y = bags, y.to(bags[0].device, torch.float32)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            net = Net(bags[0].shape[1], hidden_layer_sizes, attention_dim)
        self.net = net.to(bags[0].device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=learning_rate)
        self.generator = torch.Generator().manual_seed(seed)

    def one_epoch(self):
        """Train once on every bag; gives the mean loss."""
        total = 0.0
        for batch in self.batches():
            self.optimizer.zero_grad()
            loss = self.batch_loss(batch)
            loss.backward()
            self.optimizer.step()
            total += loss.item() * len(batch)
        return total / len(self.bags)

    def batches(self):
        return torch.randperm(len(self.bags), generator=self.generator).split(1)

    def batch_loss(self, batch):
        i = int(batch)
        return F.binary_cross_entropy_with_logits(self.net(self.bags[i]), self.y[i])

    @torch.no_grad()
    def loss(self):
        """Mean loss of all bags with the weights as they are."""
        losses = [self.batch_loss(torch.tensor([i])).item() for i in range(len(self.bags))]
        return sum(losses) / len(losses)


class Padded(PerBag):
    """Training with padded batches."""

    batch_size = 16

    def batches(self):
        return torch.randperm(len(self.bags), generator=self.generator).split(self.batch_size)

    def batch_loss(self, batch):
        bags = [self.bags[i] for i in batch.tolist()]
        x = pad_sequence(bags, batch_first=True)
        sizes = torch.tensor([len(bag) for bag in bags], device=x.device)
        mask = torch.arange(x.shape[1], device=x.device) < sizes.unsqueeze(1)
        return F.binary_cross_entropy_with_logits(self.net(x, mask), self.y[batch.to(x.device)])
