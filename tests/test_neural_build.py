"""From parameters to a network: what goes together, and where a training begins."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from milkit.neural import AttentionMILClassifier, AttentionMILRegressor
from milkit.neural._build import build_network, refuse_combination
from milkit.neural._losses import BinaryLoss

from .neural_helpers import COMBINATIONS, POOLINGS, BentSum, make_bags, make_network, parameters_of

both_classes = pytest.mark.parametrize("cls", [AttentionMILClassifier, AttentionMILRegressor])
every_combination = pytest.mark.parametrize(("pooling", "level"), COMBINATIONS)


def fit_small(cls, shape=(3,), **parameters):
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(n, *shape)) for n in (2, 1, 3, 2)]
    return cls(**{"max_iter": 1, "random_state": 0, **parameters}).fit(X, np.arange(4) % 2)


# -- what goes together -----------------------------------------------------------------------

REFUSED = [
    ({"pooling": "noisy_or"}, "pooling='noisy_or' joins.*Set level='instance'"),
    ({"pooling": "mean_std", "level": "instance"}, "'mean_std' gives two.*Set level='embedding'"),
    ({"n_heads": 2, "pooling": "mean"}, "n_heads=2 needs pooling='attention'"),
    ({"n_heads": 2, "pooling": BentSum}, "n_heads=2 needs pooling='attention'"),
    (
        {"n_heads": 2, "level": "instance"},
        r"n_heads=2 needs.*Got pooling='attention' and level='in",
    ),
    ({"attention_features": ["x"], "pooling": "max"}, "attention_features are seen by attention"),
    ({"attention_features": ["x"], "pooling": BentSum}, "attention_features are seen by attention"),
    ({"hidden_layer_sizes": (0,)}, "hidden_layer_sizes must hold positive integers"),
    ({"augmentation": "flip"}, r"augmentation='flip' turns or mirrors images.*shape \(3,\)"),
    (
        {"pooling": BentSum, "level": "instance"},
        r"the pooling gives the prediction itself, 1 outputs for each bag; this module gives 3",
    ),
]


@both_classes
@pytest.mark.parametrize(("parameters", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_parameters_that_do_not_go_together(cls, parameters, message):
    with pytest.raises(ValueError, match=message):
        fit_small(cls, **parameters)


@both_classes
@pytest.mark.parametrize("level", ["embedding", "instance"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_all_else_goes_together(cls, pooling, level):
    estimator = cls(**parameters_of(pooling, level))
    if (pooling, level) in COMBINATIONS:
        refuse_combination(estimator)
    else:
        with pytest.raises(ValueError, match=r"Set level=|needs pooling="):
            refuse_combination(estimator)


def test_noisy_or_needs_two_classes():
    noisy = {"pooling": "noisy_or", "level": "instance", "max_iter": 1}
    X = make_bags([2, 3, 1, 4, 2, 2])
    with pytest.raises(ValueError, match=r"needs two classes.*OneVsRestClassifier"):
        AttentionMILClassifier(**noisy).fit(X, np.arange(6) % 3)
    with pytest.raises(ValueError, match="needs two classes"):
        AttentionMILRegressor(**noisy).fit(X, np.arange(6.0))


@pytest.mark.parametrize("how", ["rotate", "both"])
def test_images_that_are_turned_must_be_square(how):
    with pytest.raises(ValueError, match=r"square where they are turned.*shape \(1, 16, 20\)"):
        fit_small(AttentionMILClassifier, (1, 16, 20), augmentation=how)
    fit_small(AttentionMILClassifier, (1, 16, 20), augmentation="flip")


# -- shapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@every_combination
def test_all_parameters_belong_to_members(pooling, level, n_members):
    network = make_network(pooling, level, n_members=n_members)
    for name, p in network.named_parameters():
        if "members" in name:  # users' modules, one by one
            assert int(name.split("members.")[1].split(".")[0]) < n_members
            continue
        assert len(p) == n_members
        if n_members > 1 and (pooling, name) != ("noisy_or", "head.bias"):  # the base rate's
            assert not torch.equal(p[0], p[1])
    assert network.n_members == n_members
    assert network.auxiliary is None


@pytest.mark.parametrize("n_outputs", [1, 4])
def test_width_of_the_head(n_outputs):
    def width(pooling, level="embedding"):
        return tuple(make_network(pooling, level, n_outputs=n_outputs).head.weight.shape)

    assert width("attention") == (1, 6, n_outputs)
    assert width("heads") == (1, 18, n_outputs)
    assert width("mean_std") == (1, 12, n_outputs)
    assert width("module") == (1, 3, n_outputs)
    assert width("mean", "instance") == (1, 6, n_outputs)
    network = make_network("heads", n_outputs=n_outputs, auxiliary_decay=0.5)
    assert network.auxiliary.weight.shape == (1, 6, n_outputs)


def test_the_seed_decides():
    def flat(seed):
        return torch.cat([p.flatten() for p in make_network("heads", seed=seed).parameters()])

    assert torch.equal(flat(0), flat(0))
    assert not torch.isclose(flat(0), flat(1)).any()


# -- where noisy-or begins --------------------------------------------------------------------


@pytest.mark.parametrize("mean_size", [1.0, 7.0, 10_000.0])
@pytest.mark.parametrize("base_rate", [0.01, 0.5, 0.9])
def test_noisy_or_begins_at_the_base_rate(base_rate, mean_size):
    """A bag of the mean size, before the features count."""
    estimator = AttentionMILClassifier(pooling="noisy_or", level="instance", n_estimators=2)
    estimator._instance_features = None
    network = build_network(estimator, (3,), BinaryLoss(base_rate), 0, mean_size).double()
    with torch.no_grad():
        network.head.weight.zero_()
        values = network.instances(torch.zeros(1, 3, dtype=torch.float64)).values
    one = expit(values.numpy()[:, 0, 0])
    np.testing.assert_allclose(1 - (1 - one) ** mean_size, base_rate, rtol=1e-4)


def test_noisy_or_of_an_estimator_begins_at_the_weighted_base_rate():
    y, weight = np.array([0, 0, 0, 1, 1]), np.array([1.0, 2, 1, 3, 0])
    X = [np.zeros((n, 2)) for n in (3, 3, 3, 3, 50)]
    model = AttentionMILClassifier(
        pooling="noisy_or", level="instance", hidden_layer_sizes=(), learning_rate_init=1e-30,
        max_iter=1,
    ).fit(X, y, sample_weight=weight)  # fmt: skip
    np.testing.assert_allclose(model.predict_proba(X)[:4, 1], 3 / 7, rtol=1e-5)
    assert model.predict_proba(X)[4, 1] > 0.99  # a large bag has a witness more often


# -- a user's encoder and pooling together ----------------------------------------------------


class _Flat(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(int(np.prod(shape)), 5)

    def forward(self, x):
        return self.layer(x.flatten(1))


@both_classes
def test_a_users_encoder_and_pooling(cls):
    model = fit_small(cls, (2, 4), encoder=_Flat, pooling=BentSum, n_estimators=2)
    bags = [np.zeros((3, 2, 4)), np.ones((1, 2, 4))]
    assert model.transform(bags).shape == (2, 6)
    assert model.predict(bags).shape == (2,)


@pytest.mark.parametrize("pooling", [partial(BentSum, dropout=0.5), BentSum(64, dropout=0.5)])
def test_random_state_decides_with_a_users_pooling(pooling):
    """Its initial weights and its dropout too, and PyTorch's generator is put back."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = fit_small(AttentionMILClassifier, pooling=pooling, max_iter=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = fit_small(AttentionMILClassifier, pooling=pooling, max_iter=3)
    other = fit_small(AttentionMILClassifier, pooling=pooling, max_iter=3, random_state=1)
    assert first.loss_curve_ == second.loss_curve_ != other.loss_curve_
