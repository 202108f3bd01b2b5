"""What attention networks share, whatever they predict."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from milkit.base import BagMixin, split_by_bag
from milkit.neural._encoders import mlp
from milkit.neural._network import BagNetwork
from milkit.neural._pooling import make_pooling
from milkit.neural._threads import threads_for
from milkit.neural._trainer import Packed, TrainingSettings, apply_in_chunks, train
from milkit.utils.validation import validate_bags


def _has_weights(estimator):
    if estimator.pooling == "max":
        raise AttributeError(
            "pooling='max' takes the largest value of each coordinate and has no attention "
            "weights; score_instances gives the evidence of each instance."
        )
    return True


def resolve_device(device):
    """A torch device from "auto", "cpu", "cuda" or "cuda:1"."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"device={device!r} was asked for, but PyTorch finds no CUDA device here. Use "
            "device='auto' or 'cpu', or install a CUDA build of PyTorch."
        )
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"The 'device' parameter must be 'auto', 'cpu', 'cuda' or 'cuda:1'. Got {device!r} "
            "instead."
        ) from error


class BaseAttentionMIL(
    BagMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator, metaclass=ABCMeta
):
    """Fit and read a bag network; subclasses say what it predicts.

    The network stays on the CPU between calls, so that a model fitted on a GPU loads anywhere.
    """

    _parameter_constraints: dict = {
        "pooling": [StrOptions({"attention", "gated_attention", "mean", "max"})],
        "hidden_layer_sizes": ["array-like"],
        "attention_dim": [Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0.0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_batch_instances": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0.0, 1.0, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @abstractmethod
    def __init__(
        self,
        *,
        pooling,
        hidden_layer_sizes,
        attention_dim,
        learning_rate_init,
        weight_decay,
        max_iter,
        batch_size,
        max_batch_instances,
        dropout,
        tol,
        n_iter_no_change,
        device,
        random_state,
        verbose,
    ):
        self.pooling = pooling
        self.hidden_layer_sizes = hidden_layer_sizes
        self.attention_dim = attention_dim
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.max_batch_instances = max_batch_instances
        self.dropout = dropout
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, bags, target, weight, loss):
        """Train a network for ``loss`` on validated bags."""
        sizes = list(self.hidden_layer_sizes)
        if any(not isinstance(size, Integral) or size < 1 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must hold positive integers. Got {sizes}.")
        # Two seeds, so that the dropout does not repeat the numbers of the initial weights.
        seed, train_seed = check_random_state(self.random_state).randint(2**31 - 1, size=2).tolist()
        device = resolve_device(self.device)
        generator = torch.Generator().manual_seed(seed)
        encoder, width = mlp(self.n_features_in_, sizes, self.dropout, generator)
        pooling = make_pooling(self.pooling, width, self.attention_dim, generator)
        network = BagNetwork(encoder, pooling, width, loss.n_outputs, generator).to(device)
        used = np.flatnonzero(weight > 0)
        if not (n_used := len(used)):
            raise ValueError("sample_weight and class_weight together leave no bag any weight.")
        bags, target, weight = bags[used], target[torch.from_numpy(used)], weight[used]
        settings = TrainingSettings(
            learning_rate_init=self.learning_rate_init,
            weight_decay=self.weight_decay,
            max_iter=self.max_iter,
            batch_size=min(16, n_used) if self.batch_size == "auto" else self.batch_size,
            max_batch_instances=self.max_batch_instances,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
        )
        data = self._packed(bags, device)
        with threads_for(self._rows_per_step(bags.sizes, settings.batch_size), network):
            record = train(
                network,
                loss,
                data,
                target,
                weight,
                settings,
                generator=torch.Generator(device).manual_seed(train_seed),
                rng=np.random.default_rng(train_seed),
                progress=self._progress,
            )
        if not record.converged:
            warnings.warn(
                f"The training loss still fell after max_iter={self.max_iter} epochs. Increase "
                "max_iter, or set tol=None to train for a fixed number of epochs.",
                ConvergenceWarning,
                stacklevel=3,
            )
        self.network_ = network.cpu()
        self.loss_ = loss
        self.loss_curve_ = record.loss_curve
        self.n_iter_ = len(record.loss_curve)
        return self

    def _rows_per_step(self, sizes, n_bags):
        return max(sizes.max(), min(self.max_batch_instances, sizes.mean() * n_bags))

    def _progress(self, epochs):
        if not self.verbose:
            return epochs
        from tqdm import tqdm

        return tqdm(epochs, desc=type(self).__name__ + ", epochs", leave=False)

    @staticmethod
    def _packed(bags, device):
        flat, offsets = bags.flat()
        # torch cannot promise not to write, and numpy's memory may be read-only: wrap a copy then.
        flat = flat if flat.flags.writeable else flat.copy()
        return Packed(torch.from_numpy(flat).to(device), offsets)

    def _apply(self, X, read):
        """Bags, and ``read(network)``'s function applied to them chunk by chunk."""
        check_is_fitted(self)
        bags = validate_bags(self, X, reset=False, dtype=np.float32, order="C", instance_data=False)
        device = resolve_device(self.device)
        # inference moves nothing on the CPU; on a GPU a copy goes there and the model stays here
        network = self.network_ if device.type == "cpu" else copy.deepcopy(self.network_).to(device)
        data = self._packed(bags, device)
        with threads_for(self._rows_per_step(bags.sizes, len(bags)), network):
            values = apply_in_chunks(read(network), data, self.max_batch_instances)
        return bags, values

    def _outputs(self, X):
        """Decoded outputs of each bag."""
        _, outputs = self._apply(X, lambda net: lambda x, o: net(x, o).outputs)
        return self.loss_.decode(outputs)

    def transform(self, X):
        """Embedding of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Z : ndarray of shape (n_bags, n_embedding)
            Coordinates mean nothing outside this fitted model: never join embeddings of
            different folds.
        """
        return self._apply(X, lambda net: lambda x, o: net(x, o).embeddings)[1]

    @property
    def _n_features_out(self):
        return self.network_.head.in_features

    @available_if(_has_weights)
    def attention_weights(self, X):
        """Weight of each instance in its bag's embedding.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        weights : list of ndarray, each of shape (n_i,)
            Not negative, with sum 1 in each bag. Never compare them across bags: one of two
            instances weighs more than one of a hundred. ``score_instances`` compares.
        """
        bags, values = self._apply(X, lambda net: lambda x, o: net(x, o).weights)
        return split_by_bag(values[:, 0], bags)

    def _evidence(self, X):
        """Evidence of each instance for each output, list of (n_i, n_outputs)."""
        bags, values = self._apply(X, lambda net: net.evidence)
        return split_by_bag(values, bags)
