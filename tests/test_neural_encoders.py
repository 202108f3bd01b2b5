"""Encoders: by the shape of the instances or a user's own, and augmentation."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from milkit import AttentionMILClassifier, BagArray
from milkit.exceptions import BagShapeError
from milkit.neural import _images
from milkit.neural._encoders import augment, make_encoder
from milkit.neural._images import channel_statistics
from milkit.neural._layers import Dropout

SMALL = {"hidden_layer_sizes": (6,), "attention_dim": 4, "max_iter": 2, "random_state": 0}


def make(shape, n_members=1, sizes=(7, 5), encoder=None, dropout=0.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return make_encoder(encoder, shape, n_members, list(sizes), dropout, generator).eval()


def image_bags(shape=(1, 16, 16), n_bags=6, seed=0, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    bags = [rng.integers(0, 256, size=(1 + i % 3, *shape)).astype(dtype) for i in range(n_bags)]
    return bags, np.arange(n_bags) % 2


# -- chosen by shape --------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize("sizes", [(), (7,), (7, 5, 4)], ids=str)
def test_vectors_get_a_perceptron(sizes, n_members):
    encoder = make((3,), n_members, sizes)
    assert encoder.width == ([3, *sizes])[-1]
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = encoder(x)
        assert got.shape == (n_members, 9, encoder.width)
        p = dict(encoder.named_parameters())
        for e in range(n_members):
            h = x
            for i in range(len(sizes)):
                h = torch.relu(h @ p[f"layers.{3 * i}.weight"][e] + p[f"layers.{3 * i}.bias"][e, 0])
            torch.testing.assert_close(got[e], h)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 40), (1, 16, 16), (4, 16, 50)], ids=str)
def test_images_get_the_convolutions_of_ilse(shape):
    """Two of 5 × 5 with 20 and 50 channels, each with ReLU and the maximum of 2 × 2."""
    encoder = make(shape, n_members=2, sizes=())
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = encoder(x)
        for net, h in zip(encoder.convolutions, got, strict=True):
            w1, b1, w2, b2 = net.parameters()
            plain = F.max_pool2d(F.relu(F.conv2d(x, w1, b1)), 2)
            plain = F.max_pool2d(F.relu(F.conv2d(plain, w2, b2)), 2)
            assert plain.shape[1] == 50
            grid = [min(4, n) for n in plain.shape[2:]]
            plain = F.adaptive_avg_pool2d(plain, grid).flatten(1)
            torch.testing.assert_close(h, plain)
    assert encoder.width == 50 * np.prod(grid)


def test_digits_have_800_features():
    """28 × 28 becomes 4 × 4 without any averaging."""
    assert make((1, 28, 28), sizes=()).width == 800


@pytest.mark.parametrize("shape", [(256, 14, 14), (16, 8, 8), (20, 9, 30)], ids=str)
def test_feature_maps_get_the_convolutions_of_sadafi(shape):
    encoder = make(shape, n_members=2, sizes=())
    x = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        got = encoder(x)
        for net, h in zip(encoder.convolutions, got, strict=True):
            w1, b1, w2, b2, w3, b3 = net.parameters()
            assert [tuple(w.shape[:2]) for w in (w1, w2, w3)] == [
                (128, shape[0]), (64, 128), (32, 64),
            ]  # fmt: skip
            plain = F.relu(F.conv2d(F.relu(F.conv2d(x, w1, b1)), w2, b2))
            plain = F.relu(F.conv2d(F.max_pool2d(plain, 2), w3, b3))
            grid = [min(4, n) for n in plain.shape[2:]]
            torch.testing.assert_close(h, F.adaptive_avg_pool2d(plain, grid).flatten(1))
    assert encoder.width == 32 * np.prod(grid)


@pytest.mark.parametrize("shape", [(1, 20, 20), (16, 8, 8)], ids=str)
def test_hidden_layers_come_behind_the_convolutions(shape):
    encoder = make(shape, n_members=3, sizes=(7, 5))
    assert encoder.width == 5
    out = encoder(torch.rand(4, *shape))
    assert out.shape == (3, 4, 5)
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize(
    "shape",
    [(4, 5), (8, 20, 20), (1, 15, 20), (256, 7, 14), (3, 4, 5, 6), (5, 28, 28)],
    ids=str,
)
def test_a_shape_without_encoder_is_named(shape):
    with pytest.raises(BagShapeError, match="No encoder fits instances of shape") as error:
        make(shape)
    assert str(shape) in str(error.value)
    X = [np.zeros((2, *shape), dtype=np.float32)] * 4
    with pytest.raises(BagShapeError, match="Pass encoder="):
        AttentionMILClassifier(**SMALL).fit(X, [0, 1, 0, 1])


@pytest.mark.parametrize("shape", [(3,), (1, 16, 16), (16, 8, 8)], ids=str)
def test_the_seed_decides(shape):
    before = torch.get_rng_state()
    first, second, other = (
        dict(make(shape, 2, dropout=0.5, seed=s).named_parameters()) for s in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for key, value in first.items():
        assert torch.equal(value, second[key])
        assert not torch.equal(value, other[key])


@pytest.mark.parametrize(("shape", "n"), [((3,), 2), ((1, 16, 16), 2), ((16, 8, 8), 3)], ids=str)
def test_dropout_is_where_it_belongs(shape, n):
    """Behind each hidden layer, and behind the first convolution of feature maps."""
    layers = [m for m in make(shape, dropout=0.25).modules() if isinstance(m, Dropout)]
    assert [m.p for m in layers] == [0.25] * n


# -- images in an estimator -------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 20, 20), (16, 8, 8)], ids=str)
def test_images_are_fitted(shape):
    bags, y = image_bags(shape, dtype=np.float32)
    model = AttentionMILClassifier(n_estimators=2, **SMALL).fit([bag / 255 for bag in bags], y)
    assert model.decision_function([bag / 255 for bag in bags]).shape == (6,)
    assert [len(e) for e in model.score_instances(bags)] == [len(bag) for bag in bags]
    assert model.instance_shape_ == shape


@pytest.mark.parametrize("container", [list, BagArray.from_list])
def test_bytes_are_divided_by_255(container):
    """As images of floats between 0 and 1, without a copy of all of them as floats."""
    bags, y = image_bags()
    floats = [(bag / 255).astype(np.float32) for bag in bags]
    on_bytes = AttentionMILClassifier(**SMALL).fit(container(bags), y)
    on_floats = AttentionMILClassifier(**SMALL).fit(container(floats), y)
    np.testing.assert_allclose(
        on_bytes.decision_function(container(bags)),
        on_floats.decision_function(container(floats)),
        rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    np.testing.assert_allclose(on_bytes.loss_curve_, on_floats.loss_curve_, rtol=1e-4)


@pytest.mark.parametrize("fitted_on", ["bytes", "floats"])
def test_bytes_and_floats_are_not_mixed(fitted_on):
    """One of them would be 255 times too bright."""
    bags, y = image_bags()
    floats = [bag.astype(np.float32) for bag in bags]
    fit_on, given = (bags, floats) if fitted_on == "bytes" else (floats, bags)
    model = AttentionMILClassifier(**SMALL).fit(fit_on, y)
    with pytest.raises(ValueError, match="uint8"):
        model.predict(given)


def test_vectors_of_bytes_are_numbers():
    rng = np.random.default_rng(0)
    bags = [rng.integers(0, 5, size=(3, 4)).astype(np.uint8) for _ in range(6)]
    model = AttentionMILClassifier(**SMALL).fit(bags, np.arange(6) % 2)
    floats = [bag.astype(float) for bag in bags]
    np.testing.assert_array_equal(model.decision_function(bags), model.decision_function(floats))


# -- a user's own -----------------------------------------------------------------------------


class Flat(nn.Module):
    """Any shape to four numbers, with dropout from PyTorch's own generator."""

    def __init__(self, shape, width=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(int(np.prod(shape)), width), nn.Tanh(), nn.Dropout(0.3)
        )

    def forward(self, x):
        return self.layers(x)


SHAPE = (2, 3)


def flat_bags(seed=0):
    rng = np.random.default_rng(seed)
    bags = [rng.normal(size=(1 + i % 3, *SHAPE)).astype(np.float32) for i in range(8)]
    return bags, np.arange(8) % 2


def test_a_factory_is_called_for_each_member():
    shapes = []

    def factory(shape):
        shapes.append(shape)
        return Flat(shape)

    encoder = make(SHAPE, 3, encoder=factory)
    assert shapes == [SHAPE] * 3
    assert encoder.width == 4
    x = torch.randn(5, *SHAPE)
    torch.testing.assert_close(encoder(x), torch.stack([m.eval()(x) for m in encoder.members]))
    assert not torch.equal(*[m.layers[1].weight for m in encoder.members[:2]])


def test_a_module_is_copied_for_each_member():
    users = Flat(SHAPE)
    encoder = make(SHAPE, 2, encoder=users)
    assert all(torch.equal(m.layers[1].weight, users.layers[1].weight) for m in encoder.members)
    assert len({id(m) for m in [*encoder.members, users]}) == 3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("how", ["module", "factory", "factory of one module"])
def test_a_users_object_stays_as_it_is(how, training):
    users = Flat(SHAPE).train(training)
    made = []

    def fresh(shape):
        made.append(Flat(shape).train(training))
        return made[-1]

    given = {"module": users, "factory": fresh, "factory of one module": lambda shape: users}[how]
    before = copy.deepcopy(users.state_dict())
    X, y = flat_bags()
    model = AttentionMILClassifier(encoder=given, n_estimators=2, **SMALL).fit(X, y)
    model.predict(X)
    for module in [users, *made]:
        assert module.training == training
        assert all(p.grad is None for p in module.parameters())
    for key, value in users.state_dict().items():
        assert torch.equal(value, before[key])
    trained = [m.layers[1].weight for m in model.network_.encoder.members]
    assert not any(torch.equal(weight, users.layers[1].weight) for weight in trained)
    assert not torch.equal(*trained)


def test_the_copy_is_trained_further():
    """With no step to speak of, the module is what it was."""
    users, (X, y) = Flat(SHAPE), flat_bags()
    model = AttentionMILClassifier(encoder=users, **SMALL | {"learning_rate_init": 1e-30})
    model.fit(X, y)
    copied = model.network_.encoder.members[0]
    torch.testing.assert_close(copied.layers[1].weight, users.layers[1].weight)


@pytest.mark.parametrize("encoder", [Flat, Flat(SHAPE), lambda shape: Flat(shape)])
def test_random_state_decides_with_a_users_encoder(encoder):
    """Its initial weights and its dropout too, and PyTorch's generator is put back."""
    X, y = flat_bags()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = AttentionMILClassifier(encoder=encoder, **SMALL).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = AttentionMILClassifier(encoder=encoder, **SMALL).fit(X, y)
    other = AttentionMILClassifier(encoder=encoder, **SMALL | {"random_state": 1}).fit(X, y)
    assert first.loss_curve_ == second.loss_curve_
    np.testing.assert_array_equal(first.decision_function(X), second.decision_function(X))
    assert first.loss_curve_ != other.loss_curve_


class _Failing(Flat):
    def forward(self, x):
        if self.training:
            torch.rand(3)
            raise RuntimeError("out of memory")
        return super().forward(x)


def test_pytorchs_generator_is_put_back_behind_an_error():
    X, y = flat_bags()
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="out of memory"):
        AttentionMILClassifier(encoder=_Failing, **SMALL).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)


class _Wrong(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


@pytest.mark.parametrize(
    ("forward", "got"),
    [
        (lambda x: x, r"a tensor of shape \(2, 2, 3\)"),
        (lambda x: x.flatten(1)[:1], r"a tensor of shape \(1, 6\)"),
        (lambda x: x.mean(), r"a tensor of shape \(\)"),
        (lambda x: (x, x), "an object of type tuple"),
    ],
)
def test_an_encoder_that_gives_no_embeddings(forward, got):
    with pytest.raises(BagShapeError, match=f"For 2 instances it gave {got}") as error:
        make(SHAPE, encoder=_Wrong(forward))
    assert "tensor of shape (n_instances, 2, 3) into one of shape" in str(error.value)


def test_an_encoder_of_vectors_is_described_as_such():
    with pytest.raises(BagShapeError, match=r"tensor of shape \(n_instances, 3\) into one"):
        make((3,), encoder=_Wrong(lambda x: x.sum()))


@pytest.mark.parametrize("factory", [lambda shape: shape, lambda shape: None, lambda shape: Flat])
def test_a_factory_of_something_else(factory):
    X, y = flat_bags()
    with pytest.raises(TypeError, match=r"called with \(2, 3\) it gave an object of type"):
        AttentionMILClassifier(encoder=factory, **SMALL).fit(X, y)


def test_an_encoder_that_is_no_function():
    X, y = flat_bags()
    with pytest.raises(ValueError, match="The 'encoder' parameter of AttentionMILClassifier"):
        AttentionMILClassifier(encoder="resnet", **SMALL).fit(X, y)


# -- augmentation -----------------------------------------------------------------------------


def variants(image, how):
    """The images that it may become."""
    turned = [np.rot90(image, k, (-2, -1)) for k in range(4)] if "rotate" in how else [image]
    mirrored = [image[..., ::-1] for image in turned] if "flip" in how else []
    return turned + mirrored


@pytest.mark.parametrize("how", [("rotate",), ("flip",), ("rotate", "flip")], ids="+".join)
def test_augmentation_draws_each_variant_as_often(how):
    n = 4000
    rng = np.random.default_rng(0)
    images = rng.normal(size=(n, 2, 3, 3)).astype(np.float32)
    out = augment(torch.from_numpy(images), how, torch.Generator().manual_seed(0)).numpy()
    counts = np.zeros(len(variants(images[0], how)), dtype=int)
    for before, after in zip(images, out, strict=True):
        same = [np.array_equal(after, variant) for variant in variants(before, how)]
        assert sum(same) == 1
        counts += same
    share = 1 / len(counts)
    assert (abs(counts - n * share) < 5 * np.sqrt(n * share * (1 - share))).all()


def test_augmentation_leaves_its_input_alone():
    x = torch.rand(50, 1, 4, 4)
    before = x.clone()
    first, second = (
        augment(x, ("rotate", "flip"), torch.Generator().manual_seed(3)) for _ in range(2)
    )
    assert torch.equal(x, before)
    assert torch.equal(first, second)


class _Keeping(nn.Module):
    """Keeps what it is given, in training and outside."""

    seen: dict = {True: [], False: []}

    def __init__(self, shape):
        super().__init__()
        self.layer = nn.Linear(int(np.prod(shape)), 3)

    def forward(self, x):
        self.seen[self.training].append(x.detach().clone())
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("how", ["rotate", "flip", "both"])
def test_augmentation_is_for_training_only(how, dtype, monkeypatch):
    monkeypatch.setattr(_Keeping, "seen", {True: [], False: []})
    bags, y = image_bags((1, 5, 5), dtype=dtype)
    model = AttentionMILClassifier(encoder=_Keeping, augmentation=how, **SMALL | {"max_iter": 4})
    model.fit(bags, y)
    seen = [x.numpy() for x in torch.cat(_Keeping.seen[True])]
    _Keeping.seen[False].clear()
    model.predict(bags)
    scale = 255 if dtype == np.uint8 else 1
    originals = np.concatenate(bags).astype(np.float32) / np.float32(scale)
    np.testing.assert_array_equal(torch.cat(_Keeping.seen[False]), originals)
    steps = {"rotate": ["rotate"], "flip": ["flip"], "both": ["rotate", "flip"]}[how]
    allowed = {v.tobytes() for image in originals for v in variants(image, steps)}
    assert len(seen) == 4 * len(originals)
    assert {x.tobytes() for x in seen} <= allowed
    assert {x.tobytes() for x in seen} - {x.tobytes() for x in originals}


def test_augmentation_with_a_bag_in_pieces_repeats_itself(monkeypatch):
    """The second pass sees the pieces as the first did; the last one need not come again."""
    monkeypatch.setattr(_Keeping, "seen", {True: [], False: []})
    bags, y = image_bags((1, 5, 5))
    bags[0] = np.concatenate([bags[0]] * 9)
    AttentionMILClassifier(
        encoder=_Keeping, augmentation="both", max_batch_instances=4, batch_size=1,
        **SMALL | {"max_iter": 1},
    ).fit(bags, y)  # fmt: skip
    pieces = [x for x in _Keeping.seen[True] if len(x) == 3]
    twice = [x for i, x in enumerate(pieces) if any(torch.equal(x, other) for other in pieces[:i])]
    assert len(twice) >= 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float32], ids=["bytes", "floats"])
def test_channel_statistics_are_those_of_all_pixels(dtype, monkeypatch):
    monkeypatch.setattr(_images, "_CHUNK_NUMBERS", 1)  # eight at a time
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(23, 3, 5, 4)).astype(dtype)
    images[:, 1] = 7
    mean, deviation = channel_statistics(images)
    pixels = images.astype(float).transpose(1, 0, 2, 3).reshape(3, -1)
    pixels /= 255 if dtype == np.uint8 else 1
    np.testing.assert_allclose(mean, pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(deviation[[0, 2]], pixels.std(axis=1)[[0, 2]], rtol=1e-12)
    assert deviation[1] == 1


def test_brightness_and_contrast_of_all_images_do_not_matter():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(3, 2, 16, 16)) for _ in range(8)]
    stretch, shift = np.array([3.0, 0.5]).reshape(2, 1, 1), np.array([20.0, -7.0]).reshape(2, 1, 1)
    Z = [bag * stretch + shift for bag in X]
    scores = [
        AttentionMILClassifier(**SMALL).fit(bags, [0, 1] * 4).decision_function(bags)
        for bags in (X, Z)
    ]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-3, atol=1e-4)


def test_only_bags_with_a_weight_say_what_is_bright():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(2, 1, 16, 16)) for _ in range(6)]
    bright = [np.full((2, 1, 16, 16), 1000.0)] * 2
    y, weight = [0, 1] * 4, [1] * 6 + [0] * 2
    model = AttentionMILClassifier(**SMALL).fit(X + bright, y, sample_weight=weight)
    mean, deviation = channel_statistics(np.concatenate(X))
    np.testing.assert_allclose(model.network_.encoder.center.ravel(), mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.network_.encoder.scale.ravel(), deviation, rtol=1e-5)
