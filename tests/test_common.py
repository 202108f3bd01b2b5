"""Every public estimator keeps scikit-learn's contract and milkit's."""

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils import get_tags
from sklearn.utils._testing import ignore_warnings
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import milkit
from milkit import (
    MISVM,
    AttentionMILClassifier,
    BagStatistics,
    InstanceTransformer,
    InstanceVotingClassifier,
    OneClassInstanceFilter,
    SelfTrainingMILClassifier,
    SetKernel,
)
from milkit.kernels import StatisticKernel
from milkit.neural import AttentionMILRegressor
from milkit.utils._bag_checks import CHECKS
from milkit.utils.estimator_checks import parametrize_with_bag_checks

from .expected_failures import EXPECTED_FAILURES, expected_failed_checks

# What to build of each class: quick parameters, and several instances where they do different
# things. A class that is not here is built without arguments.
# scikit-learn's checks set max_iter=1000 where they want a good score: tol ends the training.
SMALL_NETWORK = {
    "hidden_layer_sizes": (8,),
    "attention_dim": 4,
    "batch_size": 50,
    "learning_rate_init": 0.03,
    "max_iter": 30,
    "dropout": 0.0,
    "tol": 1e-2,
}

# Its tree would count how often it was asked.
NEIGHBOURS = NearestNeighbors(n_neighbors=2, algorithm="brute")

EARLY_STOPPING = {"early_stopping": True, "validation_fraction": 0.3}

SMALL_MODULE = nn.Sequential(
    *(nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()),
    *(nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2)),
)

INSTANCES = {
    "AttentionMILClassifier": lambda cls: [
        cls(**SMALL_NETWORK),
        cls(pooling="max", n_estimators=2, auxiliary_decay=0.5, **SMALL_NETWORK),
        cls(pooling="logsumexp", level="instance", **EARLY_STOPPING, **SMALL_NETWORK),
    ],
    "AttentionMILRegressor": lambda cls: [
        cls(**SMALL_NETWORK),
        cls(level="instance", n_estimators=2, **EARLY_STOPPING, **SMALL_NETWORK),
    ],
    "BagStatistics": lambda cls: [cls(), cls(["min", "median", 0.9, "size"])],
    "ClinicalFusion": lambda cls: [
        cls(InstanceVotingClassifier(), LogisticRegression(), covariates=[], cv=3),
        cls(
            make_pipeline(BagStatistics(), LogisticRegression()),
            GaussianNB(),
            covariates=[],
            bag_features=["decision"],
            cv=3,
        ),
    ],
    "ColorStatisticsMatcher": lambda cls: [cls(), cls(per="instance")],
    "ConvAutoencoderFeatures": lambda cls: [
        cls(4, n_channels=(4,), max_iter=1),
        cls(3, n_channels=(), augmentation=None, batch_size=7, max_iter=2),
    ],
    "InstanceTransformer": lambda cls: [
        cls(StandardScaler()),
        cls(StandardScaler(), weight="bag"),
    ],
    "InstanceVotingClassifier": lambda cls: [
        cls(),
        cls(LogisticRegression(tol=1e-8), voting="noisy_or", class_weight="balanced"),
        cls(GaussianNB(), voting="threshold", threshold=0.3, weight="instance"),
    ],
    "MISVM": lambda cls: [cls(), cls(tol=1e-8), cls(margin="instance", kernel="linear", tol=1e-8)],
    "ModuleFeatures": lambda cls: [
        cls(SMALL_MODULE),
        cls(nn.Flatten(), preprocess=nn.AvgPool2d(4), batch_size=5),
    ],
    "OneClassInstanceFilter": lambda cls: [
        cls(),
        # scikit-learn's checks repeat samples: of a smaller share the scores are tied.
        cls(keep="threshold", fraction=0.8, min_instances=2),
    ],
    "SaturationSegmenter": lambda cls: [
        cls(n_clusters=3, keep="largest"),
        cls(keep="all", closing_radius=0, margin=2, background=1),
    ],
    "SelfTrainingMILClassifier": lambda cls: [
        cls(),
        cls(detector=NEIGHBOURS, voting="max", min_confidence=0.2),
    ],
    "SetKernel": lambda cls: [cls(), cls("linear", normalize="mean")],
    "StatisticKernel": lambda cls: [cls(), cls(["mean", 0.9], kernel="linear")],
}


# They take images alone, where the checks below make tables, and bags of vectors.
# tests/test_image_common.py asks of them what can be asked with images.
IMAGES_ONLY = {"ConvAutoencoderFeatures", "ModuleFeatures", "SaturationSegmenter"}

# Public modules that only hold other public modules.
WITHOUT_PUBLIC_NAMES = {"milkit.utils"}


def public_modules():
    """Names of milkit's modules without a leading underscore."""
    found = pkgutil.walk_packages(milkit.__path__, "milkit.")
    return ["milkit", *(m.name for m in found if "._" not in m.name)]


def public_names():
    """Name in the public module that defines or exports it → object."""
    found = {}
    for module_name in public_modules()[1:]:
        module = import_module(module_name)
        if module_name in WITHOUT_PUBLIC_NAMES:
            assert not hasattr(module, "__all__")
            continue
        assert hasattr(module, "__all__"), f"{module_name} is public, so it must have __all__."
        for name in module.__all__:
            found[f"{module_name}.{name}"] = getattr(module, name)
    return found


def public_estimators():
    """The classes that are estimators, each once."""
    return sorted(
        {
            value
            for value in public_names().values()
            if inspect.isclass(value) and issubclass(value, BaseEstimator)
        },
        key=lambda cls: cls.__name__,
    )


def _instances(cls):
    if cls.__name__ in INSTANCES:
        return INSTANCES[cls.__name__](cls)
    needed = [
        p.name
        for p in inspect.signature(cls).parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    return [] if needed else [cls()]


ALL_ESTIMATORS = [estimator for cls in public_estimators() for estimator in _instances(cls)]
ESTIMATORS = [e for e in ALL_ESTIMATORS if type(e).__name__ not in IMAGES_ONLY]


def test_every_estimator_is_tested():
    built = {type(e).__name__ for e in ALL_ESTIMATORS}
    missing = {cls.__name__ for cls in public_estimators()} - built
    assert not missing, (
        f"{sorted(missing)} cannot be built without arguments. Add an entry to INSTANCES in "
        "tests/test_common.py that builds a quick one, so that the common checks cover it."
    )


def test_tables_name_public_estimators():
    names = {cls.__name__ for cls in public_estimators()}
    assert INSTANCES.keys() <= names
    assert EXPECTED_FAILURES.keys() <= names | {"Pipeline"}


def test_steps_that_take_images_alone_say_so():
    """scikit-learn skips its checks for them, which is nothing to pass by silently."""
    without = {type(e).__name__ for e in ALL_ESTIMATORS if not get_tags(e).input_tags.two_d_array}
    assert without == IMAGES_ONLY


def test_expected_failures_have_a_reason():
    own = {check.__name__ for check in CHECKS}
    for checks in EXPECTED_FAILURES.values():
        for check_name, reason in checks.items():
            assert len(reason.split()) > 3
            assert check_name in own or not check_name.startswith("check_bags_")


def test_top_level_names_come_from_a_subpackage():
    below = {id(value) for value in public_names().values()}
    for name in milkit.__all__:
        assert id(getattr(milkit, name)) in below
        assert name in dir(milkit)


_sklearn_checks = parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)


# Older scikit-learn (1.6) hands pytest a generator, which pytest is about to refuse: a list.
@pytest.mark.parametrize(
    _sklearn_checks.args[0], list(_sklearn_checks.args[1]), **_sklearn_checks.kwargs
)
def test_sklearn_checks(estimator, check):
    # Quick parameters stop early, and that is said; scikit-learn's own tests ignore it too.
    with ignore_warnings(category=ConvergenceWarning):
        check(estimator)


@parametrize_with_bag_checks(
    ESTIMATORS, expected_failed_checks=expected_failed_checks, xfail_strict=True
)
def test_bag_checks(estimator, check):
    check(estimator)


class WithOwnCovariates(AttentionMILClassifier):
    """Takes the mean of each bag for its covariates, because the bags of the checks have none."""

    def _validated(self, X, *y, reset):
        checked = super()._validated(X, *y, reset=reset)
        bags = checked[0] if y else checked
        flat, offsets = bags.flat()
        totals = np.add.reduceat(flat.reshape(len(flat), -1), offsets[:-1])
        bags = bags.with_columns(covariates=totals / bags.sizes[:, None])
        return (bags, checked[1]) if y else bags

    def _names_of_covariates(self, X, reset):
        return None  # none are looked for in X


# Other parameters than the quick ones above, for the bag checks only.
VARIANTS = [
    make_pipeline(InstanceTransformer(StandardScaler()), BagStatistics(), LogisticRegression()),
    InstanceTransformer(PCA(2), flatten=True),
    SetKernel("poly", normalize=None),
    StatisticKernel(["size", "median"], kernel="poly", degree=2, gamma=1.0),
    *(InstanceVotingClassifier(voting=voting) for voting in ("mean", "max")),
    InstanceVotingClassifier(LinearSVC(), class_weight="balanced"),
    InstanceVotingClassifier(RandomForestClassifier(5), weight="instance"),
    InstanceVotingClassifier(
        AttentionMILClassifier(pooling="mean", hidden_layer_sizes=(8,), max_iter=3)
    ),
    OneClassInstanceFilter(NEIGHBOURS, max_samples=20),
    OneClassInstanceFilter(IsolationForest(n_estimators=10), fraction=0.2),
    SelfTrainingMILClassifier(voting="max", schedule=[(2, 1)], min_confidence=0.1),
    MISVM(negative_slack="instance", init="random", n_init=2),
    *(
        AttentionMILClassifier(pooling=pooling, level=level, hidden_layer_sizes=(8,), max_iter=3)
        for pooling, level in (
            ("gated_attention", "embedding"),
            ("mean", "embedding"),
            ("mean_std", "embedding"),
            ("attention", "instance"),
            ("max", "instance"),
        )
    ),
    AttentionMILClassifier(n_heads=2, n_estimators=2, hidden_layer_sizes=(8,), max_iter=3),
    AttentionMILClassifier(
        hidden_layer_sizes=(), max_iter=3, dropout=0.5, max_batch_instances=10, batch_size=7
    ),
    AttentionMILClassifier(head_layer_sizes=(6,), hidden_layer_sizes=(8,), max_iter=3),
    *(
        WithOwnCovariates(
            covariates=covariates,
            branch_layer_sizes=(6,),
            hidden_layer_sizes=(8,),
            learning_rate_init=0.03,
            max_iter=5,
        )
        for covariates in ("concat", "mixture")
    ),
    AttentionMILRegressor(pooling="logsumexp", hidden_layer_sizes=(8,), max_iter=3),
]


@parametrize_with_bag_checks(
    VARIANTS, expected_failed_checks=expected_failed_checks, xfail_strict=True
)
def test_bag_checks_of_variants(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
def test_outputs_on_a_table_are_those_on_bags_of_one_instance(estimator):
    """A 2-D array is read as one instance per bag."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(20, 3))
    y = np.arange(20) % 2
    seed = {"random_state": 0} if "random_state" in estimator.get_params() else {}
    with ignore_warnings(category=ConvergenceWarning):
        on_table = clone(estimator).set_params(**seed).fit(table, y)
        on_bags = clone(estimator).set_params(**seed).fit(list(table[:, None, :]), y)
    method = "predict" if hasattr(estimator, "predict") else "transform"
    first = getattr(on_table, method)(table)
    second = getattr(on_bags, method)(list(table[:, None, :]))
    second = second.flat()[0] if hasattr(second, "flat") and callable(second.flat) else second
    np.testing.assert_allclose(first, second, rtol=1e-6)


@pytest.mark.parametrize(
    "estimator",
    [
        AttentionMILClassifier(hidden_layer_sizes=(8,), max_iter=2, tol=1e-9, random_state=0),
        AttentionMILRegressor(hidden_layer_sizes=(8,), max_iter=2, tol=1e-9, random_state=0),
        MISVM(margin="instance", kernel="linear", max_iter=1),
        MISVM(init="mean", max_iter=1),
    ],
    ids=lambda e: type(e).__name__,
)
def test_convergence_warnings_point_at_the_line_that_called_fit(estimator):
    rng = np.random.default_rng(0)
    y = np.arange(20) % 2
    bags = [rng.normal(size=(6, 2)) + label * (np.arange(6) < 2)[:, None] for label in y]
    with pytest.warns(ConvergenceWarning, match="max_iter") as caught:
        clone(estimator).fit(bags, y)
    assert {warning.filename for warning in caught} == {__file__}
