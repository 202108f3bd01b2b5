"""Bags as tensors, and how they are cut into chunks."""

from dataclasses import dataclass

import numpy as np
import torch

from milkit.neural._ragged import Segments
from milkit.utils._packing import offsets_of


@dataclass(frozen=True)
class Budget:
    """How many instances are worked on together.

    Attributes
    ----------
    pack : int
        Bags are packed up to so many instances, few enough to stay in the processor's cache.
    split : int
        A bag with more comes in pieces, so that memory stays bounded.
    """

    pack: int
    split: int

    @property
    def alone(self):
        """Bags of this size go alone, as a view: packing them would copy more than it saves."""
        return max(1, self.pack // 4)

    @classmethod
    def of(cls, max_batch_instances, n_dims, device):
        """The budget for instances with ``n_dims`` dimensions on a device.

        Measured on 2 cores with 2 MB of cache each; a GPU wants more work at a time.
        """
        pack, split = (2048, 8192) if n_dims == 1 else (256, 1024)
        if device.type != "cpu":
            pack, split = 32 * pack, 32 * split
        if max_batch_instances != "auto":
            pack, split = min(pack, max_batch_instances), max_batch_instances
        return cls(pack, split)


@dataclass(frozen=True)
class Chunk:
    """Some bags: ``bags`` (their numbers), instances ``x``, ``segments``, ``extra`` and
    ``covariates``."""

    bags: np.ndarray
    x: torch.Tensor
    segments: Segments
    extra: torch.Tensor | None
    covariates: torch.Tensor | None

    def pieces(self, budget):
        """Slices of instances of a single bag that is over the budget, else None."""
        n = len(self.x)
        if len(self.bags) > 1 or n <= budget.split:
            return None
        cuts = np.linspace(0, n, -(-n // budget.pack) + 1).astype(int)
        return [slice(a, b) for a, b in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)]

    def piece(self, rows):
        """Some instances of a single bag."""
        n = rows.stop - rows.start
        extra = None if self.extra is None else self.extra[rows]
        segments = Segments([n], self.x.device)
        return Chunk(self.bags, self.x[rows], segments, extra, self.covariates)

    def parts(self, budget):
        """The chunk itself, or the pieces of a bag that is over the budget."""
        pieces = self.pieces(budget)
        return [self] if pieces is None else map(self.piece, pieces)


@dataclass(frozen=True)
class Packed:
    """Bags as tensors: ``instances`` (n_instances, ...) and ``offsets`` (n_bags + 1,).

    ``extra`` (n_instances, q) is what attention sees beside the embedding, ``covariates``
    (n_bags, q) what the head sees; each may be None.
    ``rows`` says which instances there are, where not all are used.
    """

    instances: torch.Tensor
    offsets: np.ndarray
    extra: torch.Tensor | None = None
    covariates: torch.Tensor | None = None
    rows: np.ndarray | None = None

    def __len__(self):
        return len(self.offsets) - 1

    def sizes(self, bags):
        """Number of instances in each of some bags."""
        return self.offsets[bags + 1] - self.offsets[bags]

    def subsample(self, max_instances, rng):
        """At most so many instances of each bag, drawn without replacement."""
        sizes = np.diff(self.offsets)
        if max_instances is None or sizes.max() <= max_instances:
            return self
        bag = np.repeat(np.arange(len(self)), sizes)
        drawn = np.lexsort((rng.random(len(bag)), bag))  # shuffled inside each bag
        rank = np.arange(len(bag)) - self.offsets[:-1][bag]
        rows = np.sort(drawn[rank < max_instances])  # in their bag's own order
        kept = offsets_of(np.minimum(sizes, max_instances))
        return Packed(self.instances, kept, self.extra, self.covariates, rows)

    def take(self, bags):
        """The chunk of some bags."""
        sizes = self.sizes(bags)
        first, last = self.offsets[bags[0]], self.offsets[bags[-1] + 1]
        if last - first == sizes.sum() and np.all(np.diff(bags) == 1):
            rows = slice(first, last)
        else:
            starts = self.offsets[bags] - offsets_of(sizes)[:-1]
            rows = np.arange(sizes.sum()) + np.repeat(starts, sizes)
        if self.rows is not None:
            rows = self.rows[rows]
        device = self.instances.device
        if not isinstance(rows, slice):
            rows = torch.from_numpy(rows).to(device)
        extra = None if self.extra is None else _rows_of(self.extra, rows)
        covariates = None
        if self.covariates is not None:
            covariates = self.covariates[torch.from_numpy(bags).to(device)]
        segments = Segments(sizes, device)
        return Chunk(bags, _rows_of(self.instances, rows), segments, extra, covariates)

    def chunks(self, bags, budget):
        """Cut a sequence of bags where the budget is full; whole bags only, large ones alone."""
        sizes = self.sizes(bags)
        if sizes.sum() <= budget.pack and sizes.max() < budget.alone:
            yield self.take(bags)
            return
        # A large bag counts more than there is room for, so nothing joins it.
        ends = np.cumsum(np.where(sizes < budget.alone, sizes, budget.pack + 1))
        first = 0
        while first < len(bags):
            used = ends[first - 1] if first else 0
            last = int(np.searchsorted(ends, used + budget.pack, side="right"))
            last = max(last, first + 1)
            yield self.take(bags[first:last])
            first = last


def _rows_of(tensor, rows):
    """Some rows: a view of a slice, else a copy (indexing takes twice as long)."""
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)
