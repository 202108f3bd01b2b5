"""ModuleFeatures: what the user's module gives, on each image, and once where it is kept."""

import copy
import functools
import importlib
import logging
import os
import re
import stat
import subprocess
import sys
import threading
import types
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

from milkit import BagArray, BagStatistics
from milkit.exceptions import BagShapeError
from milkit.image import ModuleFeatures
from milkit.image import _feature_cache as cache_module
from milkit.image._fingerprint import fingerprint
from milkit.neural import _images

SHAPE = (3, 10, 12)


def make_bags(dtype=np.uint8, sizes=(3, 1, 5, 2), shape=SHAPE, seed=0):
    rng = np.random.default_rng(seed)
    bags = [rng.integers(256, size=(n, *shape), dtype=np.uint8) for n in sizes]
    return bags if dtype == np.uint8 else [(bag / 255).astype(dtype) for bag in bags]


def make_module(seed=0):
    """A module with everything that evaluation mode is about."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2),
        )
        module(torch.rand(20, *SHAPE))  # so that the running means are some
    return module


def apply(module, images, preprocess=None):
    """One image at a time."""
    module = copy.deepcopy(module).eval()
    x = torch.from_numpy(images / 255 if images.dtype == np.uint8 else images).float()
    with torch.no_grad():
        rows = [module(i[None] if preprocess is None else preprocess(i[None])) for i in x]
    return np.stack([row.numpy().reshape(-1) for row in rows])


def count_images(monkeypatch):
    """A list that gets the number of images of each call of the module in ``transform``."""
    seen, prepared = [], ModuleFeatures._prepared

    def counting(self, x):
        if torch.is_inference_mode_enabled():
            seen.append(len(x))
        return prepared(self, x)

    monkeypatch.setattr(ModuleFeatures, "_prepared", counting)
    return seen


# -- what comes out ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_it_is_the_module(dtype):
    bags, module = make_bags(dtype), make_module()
    features = ModuleFeatures(module).fit_transform(bags)
    assert features.dtype == np.float32 and features.instance_shape == (16,)
    for row, bag in zip(features, bags, strict=True):
        np.testing.assert_allclose(row, apply(module, bag), rtol=1e-5, atol=1e-6)


def test_training_mode_and_the_users_module_are_left_alone():
    module = make_module().train()
    before = copy.deepcopy(module.state_dict())
    model = ModuleFeatures(module).fit(make_bags())
    first, second = (model.transform(make_bags()).instances for _ in range(2))
    np.testing.assert_array_equal(first, second)  # no dropout
    assert module.training and all(part.training for part in module.modules())
    assert all(p.requires_grad for p in module.parameters())
    assert model.module_ is not module and not model.module_.training
    for state in (module.state_dict(), model.module_.state_dict()):
        assert all(torch.equal(state[name], value) for name, value in before.items())
    with torch.no_grad():
        module[0].weight += 1  # later training of the user's module
    np.testing.assert_array_equal(model.transform(make_bags()).instances, first)


class Lazy(nn.Module):
    def __init__(self, n_channels=3):
        super().__init__()
        self.convolution = nn.LazyConv2d(n_channels, 3)

    def forward(self, x):
        return self.convolution(x).mean((2, 3))


@pytest.mark.parametrize(
    "factory",
    [
        make_module,
        lambda: make_module(),
        functools.partial(make_module, seed=0),
        functools.partial(copy.deepcopy, make_module()),
        make_module(),
    ],
    ids=["function", "lambda", "partial", "partial of a copy", "module"],
)
def test_factories(factory):
    expected = ModuleFeatures(make_module()).fit_transform(make_bags()).instances
    actual = ModuleFeatures(factory).fit_transform(make_bags()).instances
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("factory", [Lazy, Lazy(), functools.partial(Lazy, 5)])
def test_lazy_modules_and_classes(factory):
    model = ModuleFeatures(factory)
    before = torch.get_rng_state()
    model.fit(make_bags())
    assert torch.equal(torch.get_rng_state(), before)  # its weights were drawn
    weight = model.module_.convolution.weight
    assert weight.shape == (model.n_features_out_, 3, 3, 3)
    assert not weight.is_inference()  # so that it can be trained on
    features = model.transform(make_bags())
    np.testing.assert_allclose(
        features[2], apply(model.module_, make_bags()[2]), rtol=1e-5, atol=1e-6
    )


def test_a_factory_that_hands_out_the_users_own_module():
    module = make_module()
    assert ModuleFeatures(lambda: module).fit(make_bags()).module_ is not module
    assert module.training


def test_a_module_of_half_precision_runs_in_float32():
    half = make_module().half()
    features = ModuleFeatures(half).fit_transform(make_bags())
    np.testing.assert_allclose(features[0], apply(half.float(), make_bags()[0]), rtol=1e-5)


def test_maps_are_flattened():
    bags = make_bags(np.float32)
    features = ModuleFeatures(nn.Identity()).fit_transform(bags)
    np.testing.assert_array_equal(features[2], bags[2].reshape(5, -1))
    model = ModuleFeatures(nn.AvgPool2d(5)).fit(bags)
    assert model.n_features_out_ == 3 * 2 * 2
    names = [f"modulefeatures{i}" for i in range(12)]
    assert model.get_feature_names_out().tolist() == names
    assert model.transform(bags).feature_names.tolist() == names


def test_preprocess_gets_floats_from_0_to_1():
    seen = []

    def preprocess(x):
        seen.append((x.dtype, float(x.min()) >= 0, float(x.max()) <= 1))
        return nn.functional.interpolate(x - 0.5, size=(8, 8))

    features = ModuleFeatures(make_module(), preprocess).fit_transform(make_bags())
    assert set(seen) == {(torch.float32, True, True)}
    for row, bag in zip(features, make_bags(), strict=True):
        expected = apply(make_module(), bag, preprocess)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
    floats = [100 * bag for bag in make_bags(np.float32)]  # are taken as they are
    features = ModuleFeatures(nn.Flatten(), torch.sqrt).fit_transform(floats)
    np.testing.assert_allclose(features[1], np.sqrt(floats[1].reshape(1, -1)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_writes_in_place_does_not_reach_the_bags(dtype):
    X = BagArray.from_list(make_bags(dtype))
    before = X.instances.copy()
    writing = nn.Sequential(nn.Threshold(0.5, 9.0, inplace=True), nn.Flatten())
    model = ModuleFeatures(writing, lambda x: x.mul_(-1)).fit(X)
    model.transform(X)
    np.testing.assert_array_equal(X.instances, before)


@pytest.mark.parametrize("batch_size", [1, 4, 100, "auto"])
def test_batches_do_not_matter(batch_size, monkeypatch):
    expected = apply(make_module(), np.concatenate(make_bags()))
    seen = count_images(monkeypatch)
    features = ModuleFeatures(make_module(), batch_size=batch_size).fit_transform(make_bags())
    np.testing.assert_allclose(features.instances, expected, rtol=1e-5, atol=1e-6)
    assert sum(seen) == 11
    assert max(seen) == {1: 1, 4: 4}.get(batch_size, 11)


def test_automatic_batches_follow_the_size_of_the_images(monkeypatch):
    monkeypatch.setattr(_images, "_CHUNK_NUMBERS", 10 * 360)
    seen = count_images(monkeypatch)
    ModuleFeatures(nn.Flatten()).fit_transform(make_bags(sizes=(12, 13)))
    assert seen == [10, 10, 5]


def test_bfloat16_is_nearly_float32():
    exact, rough = (
        ModuleFeatures(make_module(), precision=precision).fit_transform(make_bags()).instances
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == np.float32
    assert np.abs(exact - rough).max() > 0
    np.testing.assert_allclose(rough, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, and PyTorch finds none")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_gives_what_the_cpu_gives(precision, tmp_path):
    expected = ModuleFeatures(make_module(), device="cpu").fit_transform(make_bags()).instances
    options = {"precision": precision, "device": "cuda", "cache_dir": tmp_path}
    for _ in range(2):
        model = ModuleFeatures(make_module(), **options).fit(make_bags())
        actual = model.transform(make_bags()).instances
        np.testing.assert_allclose(actual, expected, atol=0.02 * np.abs(expected).max())
        assert next(model.module_.parameters()).device.type == "cpu"
    before = torch.cuda.get_rng_state()
    lazy = ModuleFeatures(Lazy, device="cuda").fit(make_bags())
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert next(lazy.module_.parameters()).device.type == "cpu"


def test_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ModuleFeatures(make_module()).fit(make_bags()).transform(make_bags())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_verbose_shows_the_images(capfd, tmp_path):
    for folder in (None, tmp_path):
        model = ModuleFeatures(make_module(), cache_dir=folder)
        model.fit_transform(make_bags(seed=1))
        assert capfd.readouterr() == ("", "")
        model.set_params(verbose=1).fit_transform(make_bags())
        out, err = capfd.readouterr()
        assert out == "" and "ModuleFeatures, images" in err and "11" in err


def test_clone_with_a_module_as_parameter():
    """scikit-learn copies it, as every parameter that is no estimator."""
    module = make_module()
    model = ModuleFeatures(module).fit(make_bags())
    copied = clone(model)
    assert copied.module_factory is not module
    assert not hasattr(copied, "module_")
    expected = model.transform(make_bags()).instances
    np.testing.assert_array_equal(copied.fit_transform(make_bags()).instances, expected)
    other = clone(model).set_params(module_factory=nn.Flatten(), batch_size=3)
    assert other.fit(make_bags()).n_features_out_ == 360
    assert ModuleFeatures(make_module).get_params()["module_factory"] is make_module


def test_a_search_over_modules():
    y = np.arange(16) % 2
    bags = make_bags(sizes=[3] * 16)
    for bag in bags[1::2]:
        bag[0] //= 8
    pipeline = make_pipeline(
        ModuleFeatures(nn.Identity()), BagStatistics(["min"]), LogisticRegression(max_iter=1000)
    )
    grid = {
        "modulefeatures__module_factory": [nn.AvgPool2d(5), make_module],
        "modulefeatures__preprocess": [None, nn.AvgPool2d(2)],
    }
    search = GridSearchCV(pipeline, grid, cv=4, error_score="raise").fit(bags, y)
    assert search.best_score_ > 0.9


# -- what is refused -----------------------------------------------------------------------------


def test_without_fit():
    model = ModuleFeatures(Returns(lambda x: x.flatten()))
    with pytest.raises(NotFittedError):
        model.transform(make_bags())
    with pytest.raises(BagShapeError):
        model.fit(make_bags())
    for method in ("transform", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(model, method)(make_bags())


class Returns(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("function", "match"),
    [
        (lambda x: x.flatten(), r"shape \(2, \.\.\.\)\. It gave a tensor of shape \(720,\)"),
        (lambda x: x.mean((1, 2, 3)), r"It gave a tensor of shape \(2,\)"),
        (lambda x: (x, x), "It gave an object of type tuple"),
        (lambda x: {"features": x}, "It gave an object of type dict"),
        (lambda x: x.flatten(1).mean(0, keepdim=True), r"It gave a tensor of shape \(1, 360\)"),
        (lambda x: x.numpy(), "It gave an object of type ndarray"),
        (lambda x: x.flatten(0, 1), r"2 images of shape \(3, 10, 12\).* shape \(6, 10, 12\)"),
    ],
)
@pytest.mark.parametrize("sizes", [(1,), (3, 2)])
def test_modules_that_do_not_give_one_row_for_each_image(function, match, sizes):
    with pytest.raises(BagShapeError, match=match):
        ModuleFeatures(Returns(function)).fit(make_bags(sizes=sizes))


@pytest.mark.parametrize(
    ("factory", "match"),
    [
        (lambda: 3, "must be a torch module or a function that makes one; it gave .*int"),
        (lambda: make_module, "it gave an object of type function"),
        (dict, "it gave an object of type dict"),
    ],
)
def test_factories_that_make_no_module(factory, match):
    with pytest.raises(TypeError, match=match):
        ModuleFeatures(factory).fit(make_bags())


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"module_factory": "resnet"}, "module_factory"),
        ({"preprocess": 3}, "preprocess"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "float16"}, "precision"),
        ({"cache_dir": 3}, "cache_dir"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        ModuleFeatures(**{"module_factory": nn.Flatten(), **parameters}).fit(make_bags())


@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([np.zeros((4, 7))], r"channels first.* The instances have shape \(7,\)\."),
        (np.zeros((4, 7)), r"channels first.* The instances have shape \(7,\)\."),
        ([np.zeros((4, 9, 9))], r"shape \(9, 9\)\. Grey images have one channel"),
        ([np.zeros((4, 9, 12, 3))], r"shape \(9, 12, 3\)\. Pass images\.transpose\(0, 3, 1, 2\)"),
    ],
)
def test_what_is_no_image(X, match):
    with pytest.raises(BagShapeError, match=match):
        ModuleFeatures(nn.Flatten()).fit(X)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16])
def test_other_numbers_than_bytes_and_floats(dtype):
    with pytest.raises(ValueError, match=f"of type {np.dtype(dtype).name}"):
        ModuleFeatures(nn.Flatten()).fit([bag.astype(dtype) for bag in make_bags()])


@pytest.mark.parametrize("cached", [False, True])
def test_features_that_are_not_finite(cached, tmp_path):
    bags = make_bags(np.float32)
    bags = [bag + 1 for bag in bags]
    bags[2][3] = 0
    X = BagArray.from_list(bags, names=["ann", "bob", "eve", "joe"])
    model = ModuleFeatures(nn.Flatten(), torch.log, cache_dir=tmp_path if cached else None)
    model.fit(X)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"Bag 2 \('eve'\): .* the first of them instance 3"):
            model.transform(X)
    model.fit(X[[0, 1]]).transform(X[[0, 1]])


# -- what is kept on disk -----------------------------------------------------------------------


@pytest.fixture
def seen(monkeypatch):
    return count_images(monkeypatch)


def test_the_second_time_nothing_is_computed(tmp_path, seen):
    folder = tmp_path / "deep" / "features"
    plain = ModuleFeatures(make_module()).fit_transform(make_bags()).instances
    seen.clear()
    model = ModuleFeatures(make_module(), cache_dir=folder).fit(make_bags())
    assert not folder.exists()
    first = model.transform(make_bags())
    assert sum(seen) == 11 and len(list(folder.iterdir())) == 4
    np.testing.assert_array_equal(first.instances, plain)
    seen.clear()
    for other in (model, clone(model), ModuleFeatures(make_module, cache_dir=str(folder))):
        second = other.fit(make_bags()).transform(make_bags())
        np.testing.assert_array_equal(second.instances, plain)
    assert not seen
    # In another order, in part, and beside a new bag.
    new = make_bags(sizes=(4,), seed=9)
    mixed = [*make_bags()[::-2], *new, make_bags()[0]]
    mixed = model.transform(mixed)
    assert seen == [4]
    np.testing.assert_array_equal(mixed[0], plain[-2:])
    np.testing.assert_array_equal(mixed[3], plain[:3])
    np.testing.assert_allclose(mixed[2], apply(make_module(), new[0]), rtol=1e-5, atol=1e-6)
    assert len(list(folder.iterdir())) == 5


def test_a_bag_that_is_there_twice_is_computed_once(tmp_path, seen):
    bags = make_bags()
    model = ModuleFeatures(make_module(), cache_dir=tmp_path).fit(bags)
    features = model.transform(BagArray.from_list(bags)[[2, 0, 2, 2]])
    assert sum(seen) == 8
    for i in (0, 2, 3):
        np.testing.assert_allclose(features[i], apply(make_module(), bags[2]), rtol=1e-5, atol=1e-6)


def test_what_was_computed_before_an_interruption_is_kept(tmp_path, seen):
    calls = []

    class Interrupted(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            if len(calls) == 4:
                raise KeyboardInterrupt
            return x.flatten(1)

    bags = make_bags(sizes=(3, 3, 3, 3))
    model = ModuleFeatures(Interrupted(), batch_size=3, cache_dir=tmp_path).fit(bags)
    with pytest.raises(KeyboardInterrupt):  # the third batch behind that of fit
        model.transform(bags)
    assert len(list(tmp_path.iterdir())) == 2


def halved(x):
    return x / 2


def less(x, by=0.5):
    return x - by


class Scale(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return self.by * x.flatten(1)


class Buffered(nn.Module):
    def __init__(self, by):
        super().__init__()
        self.register_buffer("by", torch.tensor(float(by)), persistent=False)

    def forward(self, x):
        return self.by * x.flatten(1)


class Minus:
    """A preprocess that is no module."""

    def __init__(self, by):
        self.by = by

    def __call__(self, x):
        return x - self.by

    def plus(self, x):
        return x + self.by


def closing_over(number):
    return lambda x: x + number


def in_two_steps(number):
    def step(x):
        return closing_over(number)(x)

    return step


ON_ONE_LINE = [lambda x: x * 2, lambda x: x * 3]
MODULE = make_module()
with torch.no_grad():
    OTHER_WEIGHT, OTHER_MEAN = copy.deepcopy(MODULE), copy.deepcopy(MODULE)
    OTHER_WEIGHT[0].weight[0, 0, 0, 0] += 1
    OTHER_MEAN[1].running_mean[0] += 1
APART = {
    "weights": [{"module_factory": m} for m in (MODULE, OTHER_WEIGHT, OTHER_MEAN)],
    "stride": [{"module_factory": nn.AvgPool2d(5, stride)} for stride in (4, 5)],
    "activation": [{"module_factory": part} for part in (nn.ReLU(), nn.Tanh(), nn.Identity())],
    "attribute": [{"module_factory": Scale(by)} for by in (1, 2)],
    "inner attribute": [{"module_factory": nn.Sequential(Scale(by))} for by in (1, 2)],
    "buffer": [{"module_factory": Buffered(by)} for by in (1, 2)],
    "function in it": [{"module_factory": Returns(f)} for f in ON_ONE_LINE],
    "preprocess": [{"preprocess": f} for f in (None, halved, less, torch.square, torch.sqrt)],
    "lambdas": [{"preprocess": f} for f in ON_ONE_LINE],
    "closure": [{"preprocess": closing_over(i)} for i in (1, 2)],
    "inner closure": [{"preprocess": in_two_steps(i)} for i in (1, 2)],
    "tensor in a closure": [{"preprocess": closing_over(torch.ones(1) * i)} for i in (1, 2)],
    "default": [{"preprocess": lambda x, by=by: x + by} for by in (1, 2)],
    "partial": [{"preprocess": functools.partial(less, by=by)} for by in (1, 2)],
    "object": [{"preprocess": Minus(by)} for by in (1, 2, 3, 4)],
    "method": [{"preprocess": Minus(by).plus} for by in (1, 2)],
    "module before it": [{"preprocess": part} for part in (nn.Softplus(), nn.Softplus(2))],
    "precision": [{"precision": precision} for precision in ("float32", "bfloat16")],
}


@pytest.mark.parametrize("what", APART)
def test_what_gives_other_features_is_computed_anew(what, tmp_path, seen):
    for options in APART[what]:
        options = {"module_factory": MODULE, **options}
        expected = ModuleFeatures(**options).fit_transform(make_bags()).instances
        seen.clear()
        # A clone, as in a search: objects may get the place in memory of those before.
        kept = clone(ModuleFeatures(**options, cache_dir=tmp_path))
        actual = kept.fit_transform(make_bags()).instances
        assert sum(seen) == 11
        np.testing.assert_array_equal(actual, expected)
    for options in APART[what]:  # and known again
        seen.clear()
        options = {"module_factory": MODULE, **options}
        clone(ModuleFeatures(**options, cache_dir=tmp_path)).fit_transform(make_bags())
        assert not seen


def test_other_pixels_types_and_shapes_are_computed_anew(tmp_path, seen):
    bags = make_bags()
    model = ModuleFeatures(nn.Flatten(), cache_dir=tmp_path)
    one_more = [bag.copy() for bag in bags]
    one_more[2][4, 0, 0, 0] ^= 1
    variants = [
        (bags, 11),
        (one_more, 5),
        ([bag.astype(np.float32) for bag in bags], 11),
        ([bag.astype(np.float64) for bag in bags], 0),  # which becomes float32
        ([bag.reshape(-1, 3, 12, 10) for bag in bags], 11),
        ([bag[::-1] for bag in bags], 10),  # other orders, but of the bag with one image
    ]
    for X, n_computed in variants:
        seen.clear()
        model.fit_transform(X)
        assert sum(seen) == n_computed


OFFSET, NUMBERS = 1.0, [1.0, 2.0]
SHIFT = Minus(3)


def with_global(x):
    return halved(x) + OFFSET


def with_list(x):
    return x + sum(NUMBERS)


def with_object(x):
    return SHIFT(x)


STEP, KIND, AS = np.float32(1), torch.float32, torch
SETTINGS = types.SimpleNamespace(by=1)
LOCK = threading.Lock()
cached = functools.lru_cache(halved)


def with_number(x):
    return x * STEP


def with_namespace(x):
    return x * SETTINGS.by


def with_type(x):
    return x.to(KIND)


def with_cached(x):
    return cached(x)


def with_module(x):
    return AS.sqrt(x)


def with_lock_and_log(x):
    with LOCK:
        logging.getLogger().info("seen")
    return x


def test_code_may_use_what_nothing_can_look_into():
    """Locks and loggers in a file do not change features."""
    assert fingerprint(with_lock_and_log).digest() == fingerprint(with_lock_and_log).digest()


def test_attributes_of_a_function_tell_it_apart():
    def function(x):
        return x * function.by

    found = set()
    for function.by in (1, 2, 1):
        found.add(fingerprint(function).digest())
    assert len(found) == 2


def test_parametrized_modules_are_told_apart():
    module = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    before = fingerprint(module).digest()
    assert fingerprint(copy.deepcopy(module)).digest() == before
    with torch.no_grad():
        module.parametrizations.weight.original0 += 1
    assert fingerprint(module).digest() != before


def test_values_and_functions_of_its_file_tell_a_function_apart(monkeypatch):
    this = sys.modules[__name__]
    changes = [
        (with_global, "OFFSET", 2.0),
        (with_global, "halved", less),
        (with_list, "NUMBERS", [1.0, 3.0]),
        (with_object, "SHIFT", Minus(4)),
        (with_number, "STEP", np.float32(2)),
        (with_namespace, "SETTINGS", types.SimpleNamespace(by=2)),
        (with_type, "KIND", torch.float64),
        (with_cached, "cached", functools.lru_cache(less)),
        (with_module, "AS", np),
    ]
    for function, name, value in changes:
        before = fingerprint(function).digest()
        assert fingerprint(function).digest() == before
        with monkeypatch.context() as patched:
            patched.setattr(this, name, value)
            assert fingerprint(function).digest() != before
    unused = fingerprint(halved).digest()
    monkeypatch.setattr(this, "OFFSET", 5.0)
    assert fingerprint(halved).digest() == unused


def test_a_class_is_told_apart_by_its_code():
    def make(body):
        space = {"nn": nn, "functools": functools, "__name__": "some"}
        exec(f"class Head(nn.Module):\n{body}", space)  # the same name, from two versions of a file
        return space["Head"]()

    forward = "    def forward(self, x):\n        return self.inner(x)\n"
    bodies = [
        forward + "    def inner(self, x):\n        return x\n",
        forward + "    def inner(self, x):\n        return 2 * x\n",
        forward + "    @staticmethod\n    def inner(x):\n        return x\n",
        forward + "    size = [1]\n    def inner(self, x):\n        return x\n",
        forward + "    size = [2]\n    def inner(self, x):\n        return x\n",
    ]
    for n in (1, 2):  # what is neither a function nor data, but holds them
        bodies += [
            forward + f"    inner = functools.partialmethod(int.__add__, {n})\n",
            forward + f"    @functools.cached_property\n    def inner(self):\n        return {n}\n",
            forward + f"    class Inner:\n        size = {n}\n    inner = Inner()\n",
        ]
    found = {fingerprint(make(body)).digest() for body in bodies}
    assert len(found) == len(bodies)
    assert fingerprint(make("\n\n    # moved\n" + bodies[0])).digest() in found


def test_containers_are_told_apart():
    values = [[], (), {}, [[]], [1, 2], [[1], 2], [1, [2]], (1, 2), {1: 2}, {1, 2}, "12", b"12", 12]
    values += [12.0, True, None, np.arange(4), np.arange(4).reshape(2, 2), np.arange(4.0)]
    values += [torch.arange(4), torch.arange(4).int(), torch.zeros(0), torch.float16, torch.float32]
    values += [np.float32(1), np.float32(2), np.float64(1), re.compile("a"), re.compile("b")]
    values += [deque([1]), deque([2]), torch.device("cpu"), torch.tanh, torch.sin, np.tanh, np.sin]
    values += [torch.eye(2).to_sparse(), torch.tensor([1 + 2j]).conj(), torch.tensor([1 + 2j])]
    values += [np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[1, 0])]
    values += [torch.Tensor.sin, torch.Tensor.cos, OrderedDict([(1, 2)]), Path("a"), Path("b")]
    assert len({fingerprint(value).digest() for value in values}) == len(values)
    assert fingerprint("a", "bc").digest() != fingerprint("ab", "c").digest()
    assert fingerprint([1, 2]).digest() == fingerprint([1, 2]).digest()
    itself = []
    itself.append(itself)
    assert fingerprint(itself).digest() != fingerprint([[]]).digest()


USERS_FILE = """
import numpy as np
import torch
from torch import nn
from milkit.image import ModuleFeatures

NAMES = {"red", "green", "blue", "violet"}

def preprocess(x):
    return x * len(NAMES & {"red", "white", "black"})

class Part:
    def __init__(self):
        self.names = {"a", "b", "c", "d"}
        self.function = lambda x: x - 1
        self.dtype = torch.float32
    def __call__(self, x):
        return self.function(preprocess(x)).to(self.dtype)

def run(folder):
    module = nn.Conv2d(3, 2, 3)
    nn.init.ones_(module.weight), nn.init.ones_(module.bias)
    X = [np.arange(600, dtype=np.float32).reshape(2, 3, 10, 10)]
    ModuleFeatures(module, Part(), cache_dir=folder).fit_transform(X)
"""


def test_another_process_finds_what_was_kept(tmp_path, monkeypatch):
    """Nothing in a name depends on places in memory, or on the order of a set."""
    (tmp_path / "users_file.py").write_text(USERS_FILE)
    folder = tmp_path / "kept"
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("users_file").run(folder)
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    subprocess.run(
        [sys.executable, "-c", "import sys, users_file; users_file.run(sys.argv[1])", str(folder)],
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)]),
            "PYTHONHASHSEED": "7",
        },
    )
    assert list(folder.iterdir()) == [file] and file.stat().st_mtime_ns == written


def spoiled(content):
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut off": content[:-1],
        "cut at the start": content[:10],
        "too long": content + b"\0",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "zeros": bytes(len(content)),
        "text": b"not numbers at all" * 20,
        "an archive": b"PK\x03\x04" + content[4:],
    }


@pytest.mark.parametrize("how", spoiled(bytes(100)))
def test_a_broken_file_is_computed_anew(how, tmp_path, seen):
    model = ModuleFeatures(make_module(), cache_dir=tmp_path).fit(make_bags())
    expected = model.transform(make_bags()).instances
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    for file, content in before.items():
        file.write_bytes(spoiled(content)[how])
    seen.clear()
    np.testing.assert_array_equal(model.transform(make_bags()).instances, expected)
    assert sum(seen) == 11
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before  # mended


def test_a_folder_that_cannot_be_written_to(tmp_path, monkeypatch, seen):
    file = tmp_path / "a file"
    file.write_text("no folder")
    for folder in (file, file / "below"):
        model = ModuleFeatures(make_module(), cache_dir=folder).fit(make_bags())
        with pytest.raises(OSError, match=f"cache_dir='{re.escape(str(folder))}' is no folder"):
            model.transform(make_bags())
    folder = tmp_path / "kept"
    model = ModuleFeatures(make_module(), cache_dir=folder).fit(make_bags())
    model.transform(make_bags())
    seen.clear()

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache_module.tempfile, "TemporaryFile", refuse)
    model.transform(make_bags())  # what is there can be read
    with pytest.raises(PermissionError, match=r"Permission denied.* Choose another"):
        model.transform(make_bags(seed=1))
    assert not seen  # it is said before anything is computed


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_others_can_read_what_is_kept(tmp_path):
    """A folder may be shared; files of tempfile are for their maker alone."""
    mask = os.umask(0o022)
    try:
        ModuleFeatures(make_module(), cache_dir=tmp_path).fit_transform(make_bags())
    finally:
        os.umask(mask)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o644}


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    model = ModuleFeatures(make_module(), cache_dir=tmp_path).fit(make_bags())

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_module.os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        model.transform(make_bags())
    assert not list(tmp_path.iterdir())


def test_many_write_at_once(tmp_path):
    bags, module = make_bags(sizes=[2] * 30), make_module()
    expected = apply(module, np.concatenate(bags))

    def run(seed):
        order = np.random.default_rng(seed).permutation(len(bags))
        model = ModuleFeatures(module, batch_size=3, cache_dir=tmp_path)
        features = model.fit_transform([bags[i] for i in order])
        return np.concatenate([features[i] for i in np.argsort(order)])

    with ThreadPoolExecutor(4) as pool:
        for features in pool.map(run, range(8)):
            np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)
    assert len(list(tmp_path.iterdir())) == 30


def test_folds_share_what_is_kept(tmp_path, seen):
    y = np.arange(12) % 2
    X = BagArray.from_list(make_bags(sizes=[2, 3] * 6), groups=np.arange(12) // 2)
    pipeline = make_pipeline(
        ModuleFeatures(make_module, cache_dir=tmp_path), BagStatistics(), LogisticRegression()
    )
    scores = cross_val_score(pipeline, X, y, groups=X.groups, cv=GroupKFold(3))
    assert sum(seen) == X.n_instances
    without = clone(pipeline).set_params(modulefeatures__cache_dir=None)
    np.testing.assert_array_equal(
        cross_val_score(without, X, y, groups=X.groups, cv=GroupKFold(3)), scores
    )
    assert sum(seen) == 4 * X.n_instances  # each bag in three folds, for fit or for the score


def test_what_cannot_be_told_apart_is_refused(tmp_path):
    preprocess = Minus(threading.Lock())
    preprocess.__class__ = type("Locked", (Minus,), {"__call__": lambda self, x: x})
    model = ModuleFeatures(make_module, preprocess, cache_dir=tmp_path).fit(make_bags())
    with pytest.raises(TypeError, match=r"cache_dir keeps .* type lock in them cannot be looked"):
        model.transform(make_bags())
    model.set_params(cache_dir=None).transform(make_bags())
    with open(__file__) as file, pytest.raises(TypeError, match="type TextIOWrapper in them"):
        fingerprint(Minus(file))


def test_a_folder_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    ModuleFeatures(make_module(), cache_dir="~/features").fit_transform(make_bags())
    assert len(list((tmp_path / "features").iterdir())) == 4
