"""ConvAutoencoderFeatures: the network is what it says, it learns, and images come back."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from torch import nn

from milkit import MISVM, BagArray, InstanceTransformer
from milkit.exceptions import BagShapeError
from milkit.image import ConvAutoencoderFeatures
from milkit.image._autoencoder_network import Autoencoder, ReconstructionLoss
from milkit.model_selection import GroupedSplit
from milkit.neural import _images
from milkit.neural._packed import Budget, Packed
from milkit.neural._steps import Objective, add_gradient

SMALL = {"n_channels": (4, 6), "random_state": 0}


def discs(n, size=16, n_channels=1, seed=0):
    """Bytes: bright discs of different places, radii and colours on a dark background."""
    rng = np.random.default_rng(seed)
    at = np.arange(size) + 0.5
    row, column, radius = rng.uniform([[0.35], [0.35], [0.15]], [[0.65], [0.65], [0.3]], (3, n))
    away = np.hypot(
        at[:, None] - size * row[:, None, None], at - size * column[:, None, None]
    )  # (n, size, size)
    inside = np.clip(size * radius[:, None, None] - away + 0.5, 0, 1)
    colour = rng.uniform(100, 200, size=(n, n_channels, 1, 1))
    return (20 + inside[:, None] * colour).round().astype(np.uint8)


def noise(n, shape, seed=0):
    return np.random.default_rng(seed).integers(256, size=(n, *shape), dtype=np.uint8)


def in_bags(images, size=4):
    return [images[i : i + size] for i in range(0, len(images), size)]


def error_of(model, images):
    """Mean squared error of the images drawn again, in units of the images' own variance."""
    drawn = model.reconstruct([images])[0].astype(float)
    return np.mean((drawn - images) ** 2) / np.mean((images - images.mean(axis=0)) ** 2)


# -- the network ------------------------------------------------------------------------------


def by_hand(network, images, *, training=False):
    """Codes, and standardised images before and after, layer by layer, in float64."""
    p = {name: value.double() for name, value in network.state_dict().items()}

    def norm(x, name):
        mean, variance = p[f"{name}.running_mean"], p[f"{name}.running_var"]
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        scale = p[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
        return (x - mean[:, None, None]) * scale[:, None, None] + p[f"{name}.bias"][:, None, None]

    unit = images / 255 if images.dtype == np.uint8 else images
    given = (torch.from_numpy(np.float64(unit)) - p["center"]) / p["scale"]
    n_blocks = sum(name.endswith("running_mean") for name in p if name.startswith("encoder"))
    x, sizes = given, []
    for block in range(n_blocks):
        sizes.append(x.shape[2:])
        x = torch.relu(
            F.conv2d(x, p[f"encoder.{4 * block}.weight"], p[f"encoder.{4 * block}.bias"], padding=1)
        )
        x = norm(x, f"encoder.{4 * block + 2}")
        rows, columns = (2 * (n // 2) for n in x.shape[2:])
        x = x[..., :rows, :columns]
        x = (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4
    linear = f"encoder.{4 * n_blocks + 1}"
    codes = x.flatten(1) @ p[f"{linear}.weight"].T + p[f"{linear}.bias"]
    shape, x = x.shape, codes @ p["decoder.0.weight"].T + p["decoder.0.bias"]
    x = (torch.relu(x) if n_blocks else x).view(shape)
    for i, (rows, columns) in enumerate(reversed(sizes)):
        name = f"decoder.{3 + 3 * i}"
        # A transposed convolution: zeros between the pixels, then the turned kernel.
        wide = torch.zeros(*x.shape[:2], rows + 3, columns + 3, dtype=torch.float64)
        wide[:, :, 2 : 2 * x.shape[2] + 2 : 2, 2 : 2 * x.shape[3] + 2 : 2] = x
        kernel = p[f"{name}.weight"].flip(2, 3).transpose(0, 1)
        x = F.conv2d(wide, kernel, p[f"{name}.bias"])
        if i < n_blocks - 1:
            x = norm(torch.relu(x), f"decoder.{5 + 3 * i}")
    return codes.numpy(), given.numpy(), x.numpy()


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 17, 22), (4, 13, 31), (2, 5, 9)])
def test_codes_and_images_are_those_of_the_layers(shape):
    images = noise(9, shape)
    model = ConvAutoencoderFeatures(5, max_iter=2, **SMALL).fit(in_bags(images))
    codes, _, drawn = by_hand(model.network_, images)
    np.testing.assert_allclose(model.transform([images])[0], codes, rtol=1e-4, atol=1e-5)
    scale, center = model.network_.scale.numpy(), model.network_.center.numpy()
    expected = np.clip(np.rint(255 * (drawn * scale + center)), 0, 255)
    actual = model.reconstruct([images])[0]
    assert actual.dtype == np.uint8
    assert np.abs(actual - expected).max() <= 1  # rounded to the other side
    floats = (images / 255).astype(np.float32)
    model = ConvAutoencoderFeatures(5, max_iter=2, **SMALL).fit([floats])
    _, _, drawn = by_hand(model.network_, floats)
    expected = drawn * model.network_.scale.numpy() + model.network_.center.numpy()
    np.testing.assert_allclose(model.reconstruct([floats])[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_channels", [(4, 6), ()])
def test_the_loss_is_the_mean_squared_error_of_standardised_images(n_channels):
    images = noise(20, (3, 12, 14))
    model = ConvAutoencoderFeatures(
        5, n_channels=n_channels, augmentation=None, random_state=0, batch_size=20,
        max_iter=2, learning_rate_init=1e-12,
    ).fit(in_bags(images))  # fmt: skip
    _, given, drawn = by_hand(model.network_, images, training=True)
    np.testing.assert_allclose(given.mean(axis=(0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(given.std(axis=(0, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_allclose(model.loss_curve_, np.mean((drawn - given) ** 2), rtol=1e-5)


def make_network(shape, code_size, n_channels, seed=0):
    center, scale = np.zeros(shape[0]), np.ones(shape[0])
    generator = torch.Generator().manual_seed(seed)
    return Autoencoder(shape, code_size, n_channels, center, scale, generator)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_finite_differences(training):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 2, 7, 8))
    network = make_network(images.shape[1:], 3, (3,)).double().train(training)
    everything = Budget(100, 100)
    chunk = Packed(torch.from_numpy(images), np.arange(7)).take(np.arange(6))
    weight = torch.full((6,), 1 / 6, dtype=torch.float64)
    objective = Objective(ReconstructionLoss(), torch.zeros(6), weight)

    def loss():
        return float(add_gradient(network, chunk, objective, everything)[1])

    network.zero_grad()
    total = loss()
    _, given, drawn = by_hand(network, images, training=training)
    assert total == pytest.approx(np.mean((given - drawn) ** 2), rel=1e-9)
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    assert len(gradients) == 10
    for name, p in network.named_parameters():
        direction = torch.from_numpy(rng.normal(size=p.shape))
        step = 1e-6 * direction
        p.data += step
        above = loss()
        p.data -= 2 * step
        below = loss()
        p.data += step
        slope = float((gradients[name] * direction).sum())
        assert (above - below) / 2e-6 == pytest.approx(slope, rel=1e-5, abs=1e-8), name


def test_initial_weights_are_drawn_as_by_pytorch():
    network = make_network((3, 20, 20), 30, (20, 30))
    kinds = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    assert len(layers) == 6
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for layer in layers:
            weight, bias = layer.weight.clone(), layer.bias.clone()
            layer.reset_parameters()
            bound = float(layer.weight.abs().max())
            assert float(weight.abs().max()) == pytest.approx(bound, rel=0.1)
            assert weight.mean().abs() < 0.1 * bound
            assert 0 < bias.abs().max() < 1.1 * bound


@pytest.mark.parametrize("shape", [(16, 16), (17, 23), (31, 16), (24, 24), (60, 45), (5, 40)])
@pytest.mark.parametrize("n_channels", [1, 3, 4])
def test_any_size_comes_back(shape, n_channels):
    images = noise(4, (n_channels, *shape))
    model = ConvAutoencoderFeatures(7, n_channels=(2, 3, 2, 2), max_iter=1, random_state=0)
    codes = model.fit_transform(in_bags(images, 2))
    assert codes.instance_shape == (7,) and codes.dtype == np.float32
    assert model.n_features_out_ == 7
    assert model.instance_shape_ == images.shape[1:]
    drawn = model.reconstruct(in_bags(images, 2))
    assert drawn.instance_shape == images.shape[1:] and drawn.dtype == np.uint8
    # As many blocks as leave three rows and columns.
    n_blocks = sum(isinstance(layer, nn.Conv2d) for layer in model.network_.encoder)
    assert min(shape) // 2**n_blocks >= min(3, min(shape))
    assert n_blocks == 4 or min(shape) // 2 ** (n_blocks + 1) < 3


@pytest.mark.parametrize("shape", [(1, 5, 5), (3, 2, 3), (2, 1, 1)])
def test_without_a_block_it_is_principal_component_analysis(shape):
    """The best linear auto-encoder of two numbers has the error of two components."""
    rng = np.random.default_rng(0)
    n_pixels = int(np.prod(shape))
    latent = rng.normal(size=(60, min(3, n_pixels))) * [3, 2, 0.5][: min(3, n_pixels)]
    images = latent @ rng.normal(size=(latent.shape[1], n_pixels))
    images = (images + 0.1 * rng.normal(size=images.shape)).reshape(-1, *shape)
    model = ConvAutoencoderFeatures(
        1, augmentation=None, max_iter=400, learning_rate_init=0.02, batch_size=60, random_state=0
    ).fit([images])
    center, scale = images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))
    z = ((images - center[:, None, None]) / scale[:, None, None]).reshape(60, -1)
    # The linear layers have intercepts, so that the components are those about the mean.
    best = np.mean((z - PCA(1).fit(z).inverse_transform(PCA(1).fit_transform(z))) ** 2)
    assert best * (1 - 1e-4) <= model.loss_curve_[-1] <= best * 1.02


# -- learning ----------------------------------------------------------------------------------


def test_it_learns_to_draw_images_that_it_has_not_seen():
    images, new = discs(160, n_channels=3), discs(40, n_channels=3, seed=1)
    parameters = {"code_size": 8, "n_channels": (8, 16), "batch_size": 16, "random_state": 0}
    model = ConvAutoencoderFeatures(**parameters, max_iter=25, learning_rate_init=5e-3)
    model.fit(in_bags(images))
    assert len(model.loss_curve_) == model.n_iter_ == 25
    assert model.loss_curve_[-1] < 0.3 * model.loss_curve_[0]
    early = clone(model).set_params(max_iter=1).fit(in_bags(images))
    assert error_of(model, new) < 0.25  # 1 is the error of the mean image
    assert error_of(model, new) < 0.4 * error_of(early, new)
    noisy = clone(model).fit(in_bags(noise(160, (3, 16, 16))))
    assert error_of(noisy, noise(40, (3, 16, 16), seed=1)) > 0.9  # noise cannot be drawn


def test_images_that_were_turned_in_training_are_known():
    """Bright below; a network that saw them turned draws those bright on the left."""
    edge = np.random.default_rng(0).integers(3, 9, size=80)
    bright = np.arange(12) >= edge[:, None]
    upright = np.repeat(np.where(bright, 200, 40)[:, None, :, None], 12, axis=3).astype(np.uint8)
    turned = np.ascontiguousarray(upright.swapaxes(2, 3)[..., ::-1])
    parameters = {"code_size": 6, "n_channels": (8,), "batch_size": 16, "random_state": 0}
    errors = {
        augmentation: error_of(
            ConvAutoencoderFeatures(
                **parameters, augmentation=augmentation, max_iter=20, learning_rate_init=5e-3
            ).fit([upright]),
            turned,
        )
        for augmentation in (None, "rotate")
    }
    assert errors["rotate"] < 0.5 * errors[None]


def test_images_that_are_not_square_are_not_turned():
    images = in_bags(noise(12, (1, 8, 11)))
    for turns, without in (("rotate", None), ("both", "flip")):
        codes = [
            ConvAutoencoderFeatures(4, augmentation=how, max_iter=2, **SMALL).fit_transform(images)
            for how in (turns, without)
        ]
        np.testing.assert_array_equal(*(code.instances for code in codes))
    square = in_bags(noise(12, (1, 8, 8)))
    turned, plain = (
        ConvAutoencoderFeatures(4, augmentation=how, max_iter=2, **SMALL).fit_transform(square)
        for how in ("rotate", None)
    )
    assert not np.allclose(turned.instances, plain.instances)


def test_bytes_are_divided_by_255():
    images = discs(24, n_channels=3)
    floats = images / 255
    parameters = {"code_size": 4, "max_iter": 2, **SMALL}
    of_bytes = ConvAutoencoderFeatures(**parameters).fit(in_bags(images))
    of_floats = ConvAutoencoderFeatures(**parameters).fit(in_bags(floats))
    np.testing.assert_allclose(of_bytes.loss_curve_, of_floats.loss_curve_, rtol=1e-4)
    codes = of_bytes.transform([images])[0]
    np.testing.assert_allclose(of_floats.transform([floats])[0], codes, rtol=1e-3, atol=1e-3)
    drawn = of_floats.reconstruct([floats])[0]
    assert drawn.dtype == np.float32
    assert np.abs(of_bytes.reconstruct([images])[0] - 255 * drawn.clip(0, 1)).max() < 1


def test_the_scale_of_floats_does_not_matter():
    """It is taken out, so that the same codes come from any units."""
    images = discs(24) / 255
    codes = [
        ConvAutoencoderFeatures(4, max_iter=2, **SMALL).fit_transform([units]).instances
        for units in (images, 1000 * images, 1e-3 * images - 5)
    ]
    np.testing.assert_allclose(codes[1], codes[0], rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(codes[2], codes[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("value", [0, 77, 255, 0.0, -0.1, 1e6])
def test_constant_images(value):
    dtype = np.uint8 if isinstance(value, int) else np.float32
    images = np.full((6, 2, 8, 8), value, dtype=dtype)
    model = ConvAutoencoderFeatures(3, max_iter=2, **SMALL)
    codes = model.fit_transform([images])
    assert np.isfinite(codes.instances).all() and np.isfinite(model.loss_curve_).all()
    assert np.isfinite(model.reconstruct([images]).instances).all()
    # One constant channel beside another that is not.
    images[:, 1] = np.arange(8)
    model.fit([images])
    assert np.isfinite(model.transform([images]).instances).all()
    assert model.network_.scale[0] == 1
    assert model.network_.scale[1] == pytest.approx(
        np.arange(8).std() / (255 if dtype == np.uint8 else 1)
    )


def test_a_single_image():
    codes = ConvAutoencoderFeatures(3, max_iter=2, **SMALL).fit_transform([discs(1)])
    assert np.isfinite(codes.instances).all()


def test_a_last_batch_of_one_image():
    model = ConvAutoencoderFeatures(3, batch_size=4, max_iter=2, **SMALL).fit([discs(9)])
    assert np.isfinite(model.loss_curve_).all()


# -- chunks, memory, threads, chance ---------------------------------------------------------


def test_codes_do_not_depend_on_the_chunks(monkeypatch):
    images = discs(60)
    model = ConvAutoencoderFeatures(4, max_iter=1, **SMALL).fit([images])
    codes, drawn = model.transform([images])[0], model.reconstruct([images])[0]
    monkeypatch.setattr(_images, "_CHUNK_NUMBERS", 1)
    assert _images.images_at_a_time(images.shape[1:]) == 8
    np.testing.assert_allclose(model.transform([images])[0], codes, rtol=1e-5, atol=1e-6)
    assert np.abs(model.reconstruct([images])[0].astype(int) - drawn).max() <= 1
    # The mean colours are summed over chunks too.
    again = ConvAutoencoderFeatures(4, max_iter=1, **SMALL).fit([images])
    np.testing.assert_allclose(again.network_.center, images.mean() / 255, rtol=1e-6)
    np.testing.assert_allclose(again.network_.scale, images.std() / 255, rtol=1e-6)
    np.testing.assert_allclose(model.network_.scale, images.std() / 255, rtol=1e-6)


def test_the_network_sees_a_few_images_at_a_time(monkeypatch):
    seen = []
    encoder_of = Autoencoder.standardised
    monkeypatch.setattr(
        Autoencoder, "standardised", lambda self, x: (seen.append(len(x)), encoder_of(self, x))[1]
    )
    monkeypatch.setattr(_images, "_CHUNK_NUMBERS", 10 * 256)
    images = discs(64)
    model = ConvAutoencoderFeatures(4, batch_size=32, max_iter=1, **SMALL).fit([images])
    assert max(seen) <= 10 and sum(seen) == 64
    for method in (model.transform, model.reconstruct):
        seen.clear()
        method([images])
        assert max(seen) <= 10 and sum(seen) == 64


def test_memory_does_not_grow_with_the_number_of_images():
    code = """
import resource
import numpy as np
from milkit.image import ConvAutoencoderFeatures
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
model = ConvAutoencoderFeatures(4, n_channels=(8,), max_iter=1, random_state=0)
for n in (100, 1000):
    X = [np.zeros((n, 3, 64, 64), dtype=np.uint8)]
    model.fit(X).transform(X)
    print(peak())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    few, many = map(float, done.stdout.split())
    # MB: the images and their packed copy take 22 more; each thing that the first layer makes of
    # them, 118.
    assert many - few < 100


def test_threads_are_left_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        model = ConvAutoencoderFeatures(3, max_iter=1, **SMALL).fit([discs(9)])
        assert torch.get_num_threads() == 2
        model.transform([discs(9)])
        model.reconstruct([discs(9)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA, and PyTorch finds none")
def test_cuda_gives_what_the_cpu_gives():
    images = discs(60, n_channels=3)
    model = ConvAutoencoderFeatures(4, device="cuda", max_iter=3, **SMALL)
    before = torch.cuda.get_rng_state()
    model.fit(in_bags(images))
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert next(model.network_.parameters()).device.type == "cpu"
    codes, drawn = model.transform([images])[0], model.reconstruct([images])[0]
    model.set_params(device="cpu")
    scale = np.abs(codes).max()
    np.testing.assert_allclose(model.transform([images])[0], codes, atol=0.01 * scale)
    assert np.abs(model.reconstruct([images])[0].astype(int) - drawn).max() <= 3


def test_chance_is_that_of_random_state():
    images = [discs(20)]

    def codes(random_state):
        model = ConvAutoencoderFeatures(3, n_channels=(4,), max_iter=2, random_state=random_state)
        return model.fit_transform(images).instances

    np.testing.assert_array_equal(codes(1), codes(1))
    assert not np.allclose(codes(1), codes(2))
    first = np.random.RandomState(3)
    np.testing.assert_array_equal(codes(first), codes(np.random.RandomState(3)))
    assert not np.allclose(codes(first), codes(np.random.RandomState(3)))  # it has gone on


def test_fits_in_threads_do_not_disturb_each_other():
    images = [discs(20)]

    def codes(seed):
        model = ConvAutoencoderFeatures(3, n_channels=(4,), max_iter=2, random_state=seed)
        return model.fit_transform(images).instances

    expected = [codes(seed) for seed in range(6)]
    before = torch.get_rng_state()
    with ThreadPoolExecutor(3) as pool:
        for actual, one in zip(pool.map(codes, range(6)), expected, strict=True):
            np.testing.assert_array_equal(actual, one)
    assert torch.equal(torch.get_rng_state(), before)


def test_verbose_shows_the_epochs(capfd):
    ConvAutoencoderFeatures(3, max_iter=2, **SMALL).fit_transform([discs(9)])
    assert capfd.readouterr() == ("", "")
    ConvAutoencoderFeatures(3, max_iter=2, verbose=1, **SMALL).fit([discs(9)])
    out, err = capfd.readouterr()
    assert out == "" and "ConvAutoencoderFeatures, epochs" in err


def test_an_interruption_keeps_the_network(monkeypatch):
    plain, calls = Autoencoder.standardised, []

    def standardised(self, x):
        calls.append(len(x))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return plain(self, x)

    monkeypatch.setattr(Autoencoder, "standardised", standardised)
    model = ConvAutoencoderFeatures(3, batch_size=5, max_iter=9, **SMALL)
    with pytest.warns(ConvergenceWarning, match="interrupted in epoch 3") as caught:
        model.fit([discs(10)])
    assert caught[0].filename == __file__
    assert len(model.loss_curve_) == model.n_iter_ == 2
    assert np.isfinite(model.transform([discs(10)]).instances).all()


# -- an estimator on bags ----------------------------------------------------------------------


def make_cohort(n_bags=24, seed=0):
    """Patients with two bags each; sick ones have a large bright disc among small pale ones."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_bags) // 2 % 2
    bags = []
    for label in y:
        images = discs(rng.integers(4, 8), size=12, seed=int(rng.integers(1 << 30))) // 2
        if label:
            images[rng.integers(len(images)), :, 2:10, 2:10] = 250
        bags.append(images)
    groups = [f"patient-{i // 2}" for i in range(n_bags)]
    return BagArray.from_list(bags, groups=groups), y


@pytest.mark.parametrize("cv", [GroupedSplit(3), StratifiedGroupKFold(3)])
def test_a_search_over_the_length_of_the_code(cv):
    X, y = make_cohort()
    pipeline = Pipeline([
        ("encoder", ConvAutoencoderFeatures(max_iter=4, learning_rate_init=5e-3, **SMALL)),
        ("pca", InstanceTransformer(PCA(3))),
        ("misvm", MISVM()),
    ])  # fmt: skip
    search = GridSearchCV(pipeline, {"encoder__code_size": [4, 9]}, cv=cv, error_score="raise")
    search.fit(X, y, **({} if isinstance(cv, GroupedSplit) else {"groups": X.groups}))
    assert search.best_estimator_[0].n_features_out_ == search.best_params_["encoder__code_size"]
    assert search.best_score_ > 0.8
    new, y_new = make_cohort(seed=1)
    assert search.score(new, y_new) > 0.8
    assert [len(part) for part in search.best_estimator_.named_steps["misvm"].score_instances(
        search.best_estimator_[:-1].transform(new)
    )] == new.sizes.tolist()  # fmt: skip


def test_each_fold_trains_its_own_network():
    X, _ = make_cohort()
    model = ConvAutoencoderFeatures(4, max_iter=1, **SMALL)
    first, second = (clone(model).fit(X[rows]) for rows in (range(12), range(12, 24)))
    assert not np.allclose(first.transform(X).instances, second.transform(X).instances)


def test_a_second_fit_starts_anew():
    first = ConvAutoencoderFeatures(4, max_iter=1, **SMALL).fit([discs(9)])
    again = clone(first).fit([noise(5, (3, 20, 9))]).set_params(code_size=4).fit([discs(9)])
    np.testing.assert_array_equal(*(m.transform([discs(5)])[0] for m in (first, again)))


def test_names_of_the_codes():
    model = ConvAutoencoderFeatures(3, max_iter=1, **SMALL).fit([discs(9)])
    names = [f"convautoencoderfeatures{i}" for i in range(3)]
    assert model.get_feature_names_out().tolist() == names
    assert model.transform([discs(9)]).feature_names.tolist() == names
    table = make_pipeline(model, InstanceTransformer(PCA(2))).fit_transform([discs(9)])
    assert table.n_features == 2


# -- what is refused -------------------------------------------------------------------------


def test_without_fit():
    for method in ("transform", "reconstruct", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(ConvAutoencoderFeatures(), method)([discs(3)])


@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([np.zeros((4, 7))], r"channels first.* The instances have shape \(7,\)\."),
        (np.zeros((4, 7)), r"channels first.* The instances have shape \(7,\)\."),
        ([np.zeros((4, 9, 9))], r"shape \(9, 9\)\. Grey images have one channel"),
        ([np.zeros((4, 9, 12, 3))], r"shape \(9, 12, 3\)\. Pass images\.transpose\(0, 3, 1, 2\)"),
        ([np.zeros((4, 1, 2, 9, 9))], r"shape \(1, 2, 9, 9\)\."),
        (np.zeros((2, 4, 1, 9, 9)), "ambiguous"),
    ],
)
def test_what_is_no_image(X, match):
    with pytest.raises(BagShapeError, match=match):
        ConvAutoencoderFeatures().fit(X)


def test_another_shape_than_in_fit():
    model = ConvAutoencoderFeatures(3, max_iter=1, **SMALL).fit([discs(9, size=12)])
    for method in (model.transform, model.reconstruct):
        with pytest.raises(BagShapeError, match=r"shape \(1, 16, 16\).* shape \(1, 12, 12\)"):
            method([discs(9)])
    with pytest.raises(BagShapeError, match=r"Bag 1 has instances of shape \(1, 16, 16\)"):
        model.transform([discs(9, size=12), discs(9)])


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, bool])
@pytest.mark.parametrize("container", ["list", "BagArray", "Series", "DataFrame", "object"])
def test_other_numbers_than_bytes_and_floats(dtype, container):
    bags = [noise(3, (1, 9, 9)).astype(dtype), noise(2, (1, 9, 9)).astype(dtype)]
    series = pd.Series(bags)
    X = {
        "list": bags,
        "BagArray": BagArray.from_list(bags),
        "Series": series,
        "DataFrame": pd.DataFrame({"label": ["a", "b"], "bag": series}),
        "object": series.to_frame().to_numpy(),
    }[container]
    with pytest.raises(ValueError, match=f"of type {np.dtype(dtype).name}. .*bytes"):
        ConvAutoencoderFeatures().fit(X)


def test_bytes_and_floats_do_not_mix():
    bytes_, floats = noise(3, (1, 9, 9)), noise(3, (1, 9, 9)) / 255
    with pytest.raises(ValueError, match="of type float64 and uint8"):
        ConvAutoencoderFeatures().fit([bytes_, floats])
    model = ConvAutoencoderFeatures(3, max_iter=1, **SMALL).fit([bytes_])
    with pytest.raises(ValueError, match=r"fitted on images of bytes.*, and got floats"):
        model.transform([floats])
    with pytest.raises(ValueError, match="fitted on images of floats, and got bytes"):
        model.fit([floats]).reconstruct([bytes_])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_not_a_number(value):
    bags = in_bags(noise(8, (1, 9, 9)) / 255)
    X = BagArray.from_list(bags, names=["ann", "bob"])
    model = ConvAutoencoderFeatures(3, max_iter=1, **SMALL).fit(X)
    bags[1][2, 0, 4, 4] = value
    X = BagArray.from_list(bags, names=["ann", "bob"])
    for method in (ConvAutoencoderFeatures().fit, model.transform, model.reconstruct):
        with pytest.raises(ValueError, match=r"Bag 1 \('bob'\) has .* in instance 2"):
            method(X)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"code_size": 0}, "code_size"),
        ({"n_channels": (4, 0)}, "n_channels must hold positive integers"),
        ({"n_channels": (4, 2.5)}, "n_channels must hold positive integers"),
        ({"n_channels": 4}, "n_channels"),
        ({"augmentation": "turn"}, "augmentation"),
        ({"learning_rate_init": 0.0}, "learning_rate_init"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": 0}, "batch_size"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_bad_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        ConvAutoencoderFeatures(**parameters).fit([discs(4)])


def test_training_that_fails_says_so():
    images = discs(9).astype(np.float32)
    model = ConvAutoencoderFeatures(3, learning_rate_init=1e30, max_iter=5, **SMALL)
    with pytest.raises(FloatingPointError, match=r"the pixels around zero .* lower learning"):
        model.fit([images])
