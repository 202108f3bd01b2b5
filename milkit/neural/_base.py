"""What attention networks share, whatever they predict."""

import copy
import warnings
from abc import ABCMeta, abstractmethod
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from milkit.base import BagMixin
from milkit.fusion._covariates import NO_COVARIATES, StandardCovariates
from milkit.model_selection import grouped_train_test_split
from milkit.neural._build import build_network, refuse_combination
from milkit.neural._encoders import ConvEncoder
from milkit.neural._instance_features import InstanceFeatures
from milkit.neural._optimizer import SCHEDULES, SOLVERS
from milkit.neural._packed import Budget
from milkit.neural._pooling import POOLINGS
from milkit.neural._reading import ReadsNetwork, resolve_device
from milkit.neural._threads import threads_for
from milkit.neural._trainer import TrainingData, TrainingSettings, train
from milkit.utils._callbacks import CallbackSupportMixin, FitProgress
from milkit.utils.validation import check_bag_weight, resolve_groups

# What a network is made from; the rest may change while it goes on learning.
_ARCHITECTURE = (
    "pooling",
    "level",
    "hidden_layer_sizes",
    "attention_dim",
    "n_heads",
    "attention_features",
    "encoder",
    "auxiliary_decay",
    "covariates",
    "covariate_columns",
    "branch_layer_sizes",
    "head_layer_sizes",
    "n_estimators",
)


class BaseAttentionMIL(
    CallbackSupportMixin,
    BagMixin,
    ReadsNetwork,
    BaseEstimator,
    metaclass=ABCMeta,
):
    """Fit a bag network; subclasses say what it predicts."""

    # Groups travel to the inner validation split under metadata routing.
    __metadata_request__fit = {"groups": True}

    _parameter_constraints: dict = {
        "pooling": [StrOptions(set(POOLINGS)), callable],
        "level": [StrOptions({"embedding", "instance"})],
        "hidden_layer_sizes": ["array-like"],
        "attention_dim": [Interval(Integral, 1, None, closed="left")],
        "n_heads": [Interval(Integral, 1, None, closed="left")],
        "attention_features": ["array-like", None],
        "encoder": [callable, None],
        "augmentation": [StrOptions({"rotate", "flip", "both"}), None],
        "auxiliary_decay": [Interval(Real, 0.0, 1.0, closed="left"), None],
        "covariates": [StrOptions({"concat", "mixture"}), None],
        "covariate_columns": ["array-like", None],
        "branch_layer_sizes": ["array-like"],
        "head_layer_sizes": ["array-like"],
        "solver": [StrOptions(set(SOLVERS))],
        "learning_rate": [StrOptions(set(SCHEDULES))],
        "learning_rate_init": [Interval(Real, 0.0, None, closed="neither")],
        "momentum": [Interval(Real, 0.0, 1.0, closed="left")],
        "weight_decay": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_batch_instances": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_instances_per_bag": [Interval(Integral, 1, None, closed="left"), None],
        "dropout": [Interval(Real, 0.0, 1.0, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left"), None],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "loss_target": [Interval(Real, 0.0, None, closed="neither"), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0.0, 1.0, closed="neither")],
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "warm_start": ["boolean"],
        "precision": [StrOptions({"float32", "bfloat16"})],
        "device": [str],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        pooling="attention",
        level="embedding",
        hidden_layer_sizes=(128, 64),
        attention_dim=64,
        n_heads=1,
        attention_features=None,
        encoder=None,
        augmentation=None,
        auxiliary_decay=None,
        covariates=None,
        covariate_columns=None,
        branch_layer_sizes=(128,),
        head_layer_sizes=(),
        solver="adamw",
        learning_rate="constant",
        learning_rate_init=1e-3,
        momentum=0.9,
        weight_decay=1e-2,
        max_iter=100,
        batch_size="auto",
        max_batch_instances="auto",
        max_instances_per_bag=None,
        dropout=0.25,
        tol=None,
        n_iter_no_change=10,
        loss_target=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_estimators=1,
        warm_start=False,
        precision="float32",
        device="auto",
        random_state=None,
        verbose=0,
    ):
        self.pooling = pooling
        self.level = level
        self.hidden_layer_sizes = hidden_layer_sizes
        self.attention_dim = attention_dim
        self.n_heads = n_heads
        self.attention_features = attention_features
        self.encoder = encoder
        self.augmentation = augmentation
        self.auxiliary_decay = auxiliary_decay
        self.covariates = covariates
        self.covariate_columns = covariate_columns
        self.branch_layer_sizes = branch_layer_sizes
        self.head_layer_sizes = head_layer_sizes
        self.solver = solver
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.max_batch_instances = max_batch_instances
        self.max_instances_per_bag = max_instances_per_bag
        self.dropout = dropout
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.loss_target = loss_target
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_estimators = n_estimators
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @abstractmethod
    def _targets(self, y, weight, *, first):
        """Loss, encoded targets and training weights of validated bags.

        ``first`` is False where a network exists already and goes on learning.
        """

    # -- fitting ------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight, groups, *, partial=False, **target_options):
        """Validate bags and train a network on them, or go on with the one there is."""
        self._validate_params()
        refuse_combination(self)
        first = not (hasattr(self, "network_") and (partial or self.warm_start))
        architecture = self._current_architecture()
        if first:  # a fit that fails leaves no mixture of two fits
            vars(self).pop("network_", None)
        else:
            self._refuse_another_network(architecture)
        if groups is not None or self.early_stopping:
            groups = resolve_groups(X, groups)
        bags, y = self._validated(X, y, reset=first)
        weight = check_bag_weight(sample_weight, bags)
        loss, target, weight = self._targets(y, weight, first=first, **target_options)
        used = np.flatnonzero(weight > 0)
        if len(used) == 0:
            raise ValueError("sample_weight and class_weight together leave no bag any weight.")
        device = resolve_device(self.device)
        # Two seeds, so that the dropout does not repeat the numbers of the initial weights.
        random_state = check_random_state(self.random_state)
        n_done = 0 if first else self.n_iter_  # the next call of partial_fit draws anew
        seed, train_seed = (random_state.randint(2**31 - 1, size=2) + n_done).tolist()
        if first:
            names = self.attention_features
            none = names is None or len(names) == 0
            self._instance_features = None if none else InstanceFeatures(names, bags, weight > 0)
            self._covariates = self._covariate_columns(bags, weight > 0)
            self._optimizer_state = {}
        with self._own_randomness(seed, device):
            network = copy.deepcopy(self.network_) if not first else None
            if first:
                mean_size = float(np.average(bags.sizes, weights=weight))
                network = build_network(self, bags.instance_shape, loss, seed, mean_size)
                if isinstance(network.encoder, ConvEncoder):
                    network.encoder.standardize(bags[used].flat()[0])
            network.to(device)
            parts = [used]
            if self.early_stopping and not partial:
                if first or not hasattr(self, "_split_seed"):  # going on, the same bags stay apart
                    self._split_seed = random_state.randint(2**31 - 1)
                parts = self._validation_split(used, y, groups)
            data = [
                TrainingData(
                    self._packed(bags[rows], device),
                    target[torch.from_numpy(rows)].to(device),
                    weight[rows],
                )
                for rows in parts
            ]
            self.loss_ = loss
            record = self._train(network, data, train_seed, n_done, partial, X, y)
        self._architecture = architecture
        self._keep(record, first, partial)
        return self

    def _current_architecture(self):
        """What a network would be made from now, by the name of the parameter."""
        wanted = {name: getattr(self, name) for name in _ARCHITECTURE}
        for name in ("attention_features", "covariate_columns"):
            wanted[name] = () if getattr(self, name) is None else tuple(getattr(self, name))
        for name in ("hidden_layer_sizes", "branch_layer_sizes", "head_layer_sizes"):
            wanted[name] = tuple(getattr(self, name))
        wanted["auxiliary_decay"] = self.auxiliary_decay is not None
        return wanted

    def _covariate_columns(self, bags, used):
        """What turns covariates into the head's numbers, fitted on the bags that count, or None."""
        if self.covariates is None:
            return None
        # The line that called fit, which with_callbacks may have put a frame around.
        stacklevel = 4 + hasattr(self, "set_callbacks")
        if bags.covariates is None:
            warnings.warn(NO_COVARIATES, UserWarning, stacklevel=stacklevel)
            return None
        return StandardCovariates(bags.covariates[used], stacklevel=stacklevel + 2)

    def _refuse_another_network(self, wanted):
        """Going on learning, the network stays what it was made as."""
        changed = [name for name in _ARCHITECTURE if wanted[name] != self._architecture[name]]
        if changed:
            raise ValueError(
                f"{changed} changed since the network was made, which goes on learning. Put them "
                "back, or fit anew with warm_start=False."
            )

    def _train(self, network, data, seed, n_done, partial, X, y):
        """Run the loop with progress, callbacks and the right number of threads."""
        packed = data[0].packed
        device = packed.instances.device
        settings = TrainingSettings(
            budget=Budget.of(self.max_batch_instances, packed.instances.ndim - 1, device),
            batch_size=min(32, len(packed)) if self.batch_size == "auto" else self.batch_size,
            max_iter=1 if partial else self.max_iter,
            solver=self.solver,
            learning_rate="constant" if partial else self.learning_rate,
            learning_rate_init=self.learning_rate_init,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            max_instances_per_bag=self.max_instances_per_bag,
            auxiliary_decay=self.auxiliary_decay,
            tol=None if partial else self.tol,
            n_iter_no_change=self.n_iter_no_change,
            loss_target=None if partial else self.loss_target,
            autocast=self.precision == "bfloat16",
        )

        def fitted_so_far():
            attributes = {k: v for k, v in vars(self).items() if k.endswith("_")}
            now = copy.deepcopy(network).cpu().eval()
            now.set_generator(None)
            return {**attributes, "network_": now}

        progress = FitProgress(self, settings.max_iter, "epoch", fitted_so_far, X=X, y=y)
        with threads_for(self._rows_per_step(packed, settings), network, self.instance_shape_):
            record = train(
                network,
                self.loss_,
                data[0],
                settings,
                generator=torch.Generator(device).manual_seed(seed),
                rng=np.random.default_rng(seed),
                validation=data[1] if len(data) > 1 else None,
                first_epoch=n_done,
                mean_weight=1.0 if partial else None,
                optimizer_state=self._optimizer_state.get(self.solver),
                epochs=self._epochs(settings.max_iter, progress),
                after_epoch=lambda record: progress.end_iteration(),
            )
        self.network_ = network.cpu()
        progress.end()
        return record

    def _keep(self, record, first, partial):
        """Set the fitted attributes, and warn of what did not go to its end."""
        before = ([], 0) if first else (self.loss_curve_, self.n_iter_)
        self.loss_curve_ = [*before[0], *record.loss_curve]
        self.n_iter_ = before[1] + len(record.loss_curve)
        self.validation_scores_ = record.validation_scores or None
        self.best_iter_ = record.best_iter
        self._optimizer_state = {self.solver: record.optimizer_state} if partial else {}
        message = None
        if record.interrupted:
            kept = "with its best weights so far" if record.best_iter else "as it was then"
            message = (
                f"The training was interrupted in epoch {len(record.loss_curve) + 1}. The network "
                f"is kept {kept} and can be used."
            )
        elif not record.converged:
            message = (
                f"The training loss still fell after max_iter={self.max_iter} epochs. Increase "
                "max_iter, or set tol=None to train for a fixed number of epochs."
            )
        if message:
            with_frame = hasattr(self, "set_callbacks")  # with_callbacks is a frame
            warnings.warn(message, ConvergenceWarning, stacklevel=4 + with_frame)

    def _validation_split(self, used, y, groups):
        """Numbers of the bags to train on and of those to validate on."""
        own = np.arange(len(y)) if groups is None else np.asarray(groups)
        y = y.astype(np.float64) if self._y_numeric else y  # counts are no classes
        try:
            return grouped_train_test_split(
                used,
                y[used],
                test_size=self.validation_fraction,
                groups=own[used],
                random_state=self._split_seed,
            )[:2]
        except ValueError as error:
            raise ValueError(
                f"early_stopping=True takes validation_fraction={self.validation_fraction} of the "
                f"{len(used)} training bags apart, by group. {error} Or set early_stopping=False."
            ) from error

    def _rows_per_step(self, packed, settings):
        sizes = np.diff(packed.offsets)
        return min(settings.budget.pack, max(sizes.max(), sizes.mean() * settings.batch_size))

    def _epochs(self, max_iter, progress):
        """The numbers of the epochs, with a bar and callbacks around them."""
        epochs = range(max_iter)
        if self.verbose:
            from tqdm import tqdm

            epochs = tqdm(epochs, desc=type(self).__name__ + ", epochs", leave=False)
        for epoch in epochs:
            progress.begin_iteration()
            yield epoch

    @contextmanager
    def _own_randomness(self, seed, device):
        """Users' modules draw from PyTorch's own generators: seed them, and put them back."""
        if self.encoder is None and isinstance(self.pooling, str):
            yield
            return
        cuda = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            yield
