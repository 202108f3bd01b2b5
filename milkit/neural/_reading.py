"""What is read from a fitted network: outputs, embeddings, attention, evidence."""

import copy

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from milkit.bags import BagArray
from milkit.base import split_by_bag
from milkit.exceptions import describe_bag
from milkit.neural._packed import Budget, Packed
from milkit.neural._pooling import WEIGHTED_MEANS
from milkit.neural._steps import bag_shares, embeddings_of_bags, outputs_of_bags, read_instances
from milkit.neural._threads import threads_for
from milkit.utils._containers import is_frame
from milkit.utils.validation import reads_as_table, validate_bags


def _has_weights(estimator):
    if estimator.pooling not in WEIGHTED_MEANS:
        raise AttributeError(
            f"pooling={estimator.pooling!r} is no weighted mean and has no attention weights; "
            "score_instances gives the evidence of each instance."
        )
    return True


def _has_experts(estimator):
    if estimator.covariates != "mixture":
        raise AttributeError(f"covariates={estimator.covariates!r} has no experts to weigh.")
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
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda") or (":" in device and not number.isdecimal()):
        raise ValueError(
            f"The 'device' parameter must be 'auto', 'cpu', 'cuda' or 'cuda:1'. Got {device!r} "
            "instead."
        )
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} was asked for; there are {torch.cuda.device_count()} CUDA devices."
        )
    return torch.device(device)


def _dtypes(X):
    """Types of the instances of bags of images, as the user gave them."""
    if isinstance(X, BagArray):
        return [X.dtype]
    if is_frame(X):  # with one column of bags, or it would have been refused
        X = next(column for _, column in X.items() if not reads_as_table(column))
    if isinstance(X, np.ndarray):
        X = X.ravel()
    return [np.asarray(bag).dtype for bag in X]


def check_pixels(estimator, X, bags, *, reset):
    """Images are bytes, or floats, and the same in every call: of other integers nobody knows the
    largest.

    Parameters
    ----------
    estimator : estimator
        Remembers, from ``fit`` on, what its images are made of.
    X : container of bags
        As the user gave them.
    bags : BagArray
        The same, validated.
    reset : bool
        True in ``fit``.
    """
    is_image = len(bags.instance_shape) > 1
    if is_image:
        dtypes = _dtypes(X)
        names = sorted({dtype.name for dtype in dtypes})
        if any(dtype.kind not in "f" and dtype != np.uint8 for dtype in dtypes) or (
            "uint8" in names and len(names) > 1
        ):
            raise ValueError(
                f"The images are of type {' and '.join(names)}. Pass all as bytes (uint8), which "
                "are divided by 255, or all as floats, which are taken as they are."
            )
    from_bytes = is_image and bags.dtype == np.uint8
    if reset:
        estimator._from_bytes = from_bytes
    elif from_bytes != estimator._from_bytes:
        kinds = ["floats", "bytes (uint8), which are divided by 255"]
        raise ValueError(
            f"{type(estimator).__name__} was fitted on images of {kinds[estimator._from_bytes]}, "
            f"and got {kinds[from_bytes]}. Pass images of the same type."
        )


class ReadsNetwork(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """Bags as tensors, and what ``network_`` makes of them.

    The network stays on the CPU between calls, so that a model fitted on a GPU loads anywhere.
    """

    def _validated(self, X, y="no_validation", *, reset):
        """Bags of floats, or of bytes where the instances are images."""
        checked = validate_bags(
            self,
            X,
            y,
            reset=reset,
            dtype=[np.float32, np.uint8],
            order="C",
            tensors=True,
            covariates=self._names_of_covariates(X, reset),
            instance_data=(self.attention_features if reset else self._instance_features)
            is not None,
            y_numeric=self._y_numeric,
        )
        bags = checked[0] if isinstance(checked, tuple) else checked
        check_pixels(self, X, bags, reset=reset)
        return checked

    _y_numeric = False

    def _names_of_covariates(self, X, reset):
        """The covariates to take from X, or None for all that are attached to it."""
        if not reset:  # those of fit; attached to a BagArray they are found later, by name
            known = self._covariates is not None and is_frame(X)
            return self._covariates.encoder.columns if known else None
        if self.covariates is None or self.covariate_columns is None:
            return None
        names = list(self.covariate_columns)
        if is_frame(X) or isinstance(X, BagArray):
            return names
        if names:
            raise ValueError(
                f"covariate_columns={names} are named, but X is a {type(X).__name__} without "
                "columns. Pass a BagArray with covariates, or a DataFrame."
            )
        return None

    def _packed(self, bags, device):
        flat, offsets = bags.flat()
        if flat.ndim == 2 and flat.dtype != np.float32:
            flat = flat.astype(np.float32)
        # torch cannot promise not to write, and numpy's memory may be read-only: wrap a copy then.
        flat = flat if flat.flags.writeable else flat.copy()
        extra = None
        if self._instance_features is not None:
            extra = torch.from_numpy(self._instance_features(bags)).to(device)
        covariates = None
        if self._covariates is not None:
            covariates = torch.from_numpy(self._covariates(bags.covariates)).to(device)
        return Packed(torch.from_numpy(flat).to(device), offsets, extra, covariates)

    # -- reading ------------------------------------------------------------------------------

    def _apply(self, X, read):
        """Bags, and what ``read(network, data, budget)`` gives for them."""
        check_is_fitted(self, "network_")
        bags = self._validated(X, reset=False)
        device = resolve_device(self.device)
        # Nothing moves on the CPU; on a GPU a copy goes there and the model stays here.
        network = self.network_ if device.type == "cpu" else copy.deepcopy(self.network_).to(device)
        data = self._packed(bags, device)
        budget = Budget.of(self.max_batch_instances, data.instances.ndim - 1, device)
        with threads_for(min(budget.pack, len(data.instances)), network, self.instance_shape_):
            return bags, read(network, data, budget)

    def _member_outputs(self, X):
        """Decoded outputs of each bag by each member."""
        bags, outputs = self._apply(X, outputs_of_bags)  # says so if there is no fit yet
        bad = np.flatnonzero(~np.isfinite(outputs).all(axis=(0, 2)))
        if len(bad):
            raise ValueError(
                f"{describe_bag(int(bad[0]), bags.names)} is too far from the training bags: the "
                "network's output is not finite. Look at its features."
            )
        return self.loss_.decode(outputs)

    def transform(self, X):
        """Embedding of each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        Z : ndarray of shape (n_bags, n_embedding)
            What the pooling gives: embeddings, or pooled outputs with ``level="instance"``; the
            members of an ensemble behind each other. Coordinates mean nothing outside this
            fitted model: never join embeddings of different folds.
        """
        _, members = self._apply(X, embeddings_of_bags)
        return np.concatenate(list(members), axis=1)

    @property
    def _n_features_out(self):
        network = self.network_
        n_values = self.loss_.n_outputs if network.instance_level else network.encoder.width
        return network.n_members * network.pooling.width(n_values)

    @available_if(_has_weights)
    def attention_weights(self, X):
        """Weight of each instance in its bag's embedding.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        weights : list of ndarray, each of shape (n_i,) or (n_i, n_heads)
            Not negative, with sum 1 in each bag; the mean over the members of an ensemble. Never
            compare them across bags: one of two instances weighs more than one of a hundred.
            ``score_instances`` compares.
        """
        bags, values = self._apply(
            X, lambda network, *data: read_instances(network, *data, network.weights)
        )
        return split_by_bag(values[:, 0] if values.shape[1] == 1 else values, bags)

    @available_if(_has_experts)
    def expert_weights(self, X):
        """How much each expert of the mixture is trusted for each bag.

        Parameters
        ----------
        X : container of n_bags bags

        Returns
        -------
        weights : ndarray of shape (n_bags, 2)
            The share of the bag's instances and that of its covariates, with sum 1; the mean over
            the members of an ensemble. Without covariates in ``fit`` the instances have it all.
        """
        check_is_fitted(self, "network_")
        if self._covariates is None:
            share = np.ones(len(self._validated(X, reset=False)))
        else:
            share = self._apply(X, bag_shares)[1].mean(axis=0)[:, 0]
        return np.column_stack([share, 1 - share])

    def _evidence(self, X):
        """Evidence of each instance for each output, list of (n_i, n_outputs)."""
        bags, values = self._apply(
            X, lambda network, *data: read_instances(network, *data, network.evidence)
        )
        return split_by_bag(values, bags)
