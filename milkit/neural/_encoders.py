"""Encoders: instances of shape (n_instances, ...) to embeddings (n_members, n_instances, m)."""

import copy

import torch
from torch import nn

from milkit.exceptions import BagShapeError
from milkit.neural._images import channel_statistics
from milkit.neural._layers import Dense, Dropout, convolution

# Convolutions, pooled to at most this many rows and columns.
_GRID = 4


class MLPEncoder(nn.Module):
    """Multi-layer perceptron with ReLU and dropout; no hidden layer gives the features back."""

    def __init__(self, n_members, n_features, hidden_layer_sizes, dropout, generator):
        super().__init__()
        self.n_members = n_members
        layers, width = [], n_features
        for size in hidden_layer_sizes:
            layers += [
                Dense(n_members, width, size, generator),
                nn.ReLU(inplace=True),
                Dropout(dropout),
            ]
            width = size
        self.layers = nn.Sequential(*layers)
        self.width = width

    def forward(self, x):
        # The members share the instances until the first layer tells them apart.
        return self.layers(x.expand(self.n_members, -1, -1) if x.ndim == 2 else x)


class ConvEncoder(nn.Module):
    """A small convolutional net for each member, then the hidden layers of all members at once.

    Images come to it with the mean and the deviation of each channel over the training images
    taken out: bright smears, where all pixels are near one, else cost many epochs.
    """

    def __init__(self, make_convolutions, n_members, shape, hidden_layer_sizes, dropout, generator):
        super().__init__()
        self.convolutions = nn.ModuleList(
            make_convolutions(shape, dropout, generator) for _ in range(n_members)
        )
        with torch.no_grad():
            features = self.convolutions[0].eval()(torch.zeros(1, *shape)).numel()
        self.hidden = MLPEncoder(n_members, features, hidden_layer_sizes, dropout, generator)
        self.width = self.hidden.width
        self.register_buffer("center", torch.zeros(shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(shape[0], 1, 1))

    def standardize(self, images):
        """Take mean and deviation of each channel from images (n_images, channels, ...)."""
        center, scale = channel_statistics(images)
        self.center.copy_(torch.from_numpy(center).view(-1, 1, 1))
        self.scale.copy_(torch.from_numpy(scale).view(-1, 1, 1))

    def forward(self, x):
        x = (x - self.center) / self.scale
        # With the channels innermost, convolutions take half the time on a CPU.
        x = x.contiguous(memory_format=torch.channels_last)
        return self.hidden(torch.stack([net(x).flatten(1) for net in self.convolutions]))


class ModuleEncoder(nn.Module):
    """A user's module for each member."""

    def __init__(self, modules, width):
        super().__init__()
        self.members = nn.ModuleList(modules)
        self.width = width

    def forward(self, x):
        # Copies, because a module may write in place, and x may be the caller's own memory.
        return torch.stack([module(x.clone()) for module in self.members])


def _image_net(shape, dropout, generator):
    """The convolutions of Ilse et al. 2018 for digits; larger images are averaged to a grid."""
    # The maximum first: the same as behind ReLU, on a quarter of the values.
    layers = [
        convolution(shape[0], 20, 5, generator),
        nn.MaxPool2d(2),
        nn.ReLU(),
        convolution(20, 50, 5, generator),
        nn.MaxPool2d(2),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, *_to_grid(((n - 4) // 2 - 4) // 2 for n in shape[1:]))


def _roi_net(shape, dropout, generator):
    """The convolutions of Sadafi et al. 2020 for features of regions of interest."""
    layers = [
        convolution(shape[0], 128, 3, generator),
        nn.ReLU(),
        Dropout(dropout),
        convolution(128, 64, 1, generator),
        nn.MaxPool2d(2),
        nn.ReLU(),
        convolution(64, 32, 3, generator),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, *_to_grid((n - 2) // 2 - 2 for n in shape[1:]))


def _to_grid(sizes):
    """Averages to a grid, where there are more rows or columns than that."""
    sizes = tuple(sizes)
    grid = tuple(min(_GRID, n) for n in sizes)
    return [] if grid == sizes else [nn.AdaptiveAvgPool2d(grid)]


def make_encoder(encoder, shape, n_members, hidden_layer_sizes, dropout, generator):
    """The encoder that fits instances of a shape, or the user's own.

    Parameters
    ----------
    encoder : None, nn.Module or callable
        None picks by shape; a module is copied for each member; a callable is called with the
        shape once for each member.
    shape : tuple
        Shape of one instance.
    """
    if encoder is not None:
        modules = make_modules(encoder, "encoder", shape, n_members)
        with torch.no_grad():  # each of them: lazy modules learn their shapes here
            got, *_ = [module.eval()(torch.zeros(2, *shape)) for module in modules]
        if not isinstance(got, torch.Tensor) or got.ndim != 2 or len(got) != 2:
            raise BagShapeError(
                "The encoder must turn a tensor of shape (n_instances, "
                f"{', '.join(map(str, shape))}) into one of shape (n_instances, n_embedding). For "
                f"2 instances it gave {describe(got)}."
            )
        return ModuleEncoder(modules, got.shape[1])
    if len(shape) == 1:
        return MLPEncoder(n_members, shape[0], hidden_layer_sizes, dropout, generator)
    if len(shape) == 3 and shape[0] <= 4 and min(shape[1:]) >= 16:
        net = _image_net
    elif len(shape) == 3 and shape[0] >= 16 and min(shape[1:]) >= 8:
        net = _roi_net
    else:
        raise BagShapeError(
            f"No encoder fits instances of shape {shape}. There are encoders for vectors, for "
            "images with channels first, (1 to 4, at least 16, at least 16), and for feature maps, "
            "(at least 16, at least 8, at least 8). Pass encoder=, a function of the instance "
            "shape that gives a torch module, or flatten the instances with "
            "InstanceTransformer(..., flatten=True)."
        )
    return ConvEncoder(net, n_members, shape, hidden_layer_sizes, dropout, generator)


def make_modules(factory, name, argument, n_members):
    """A user's modules, one for each member: copies of a module, or what a factory makes."""
    if isinstance(factory, nn.Module):
        return [copy.deepcopy(factory).float() for _ in range(n_members)]
    modules = [factory(argument) for _ in range(n_members)]
    for module in modules:
        if not isinstance(module, nn.Module):
            raise TypeError(
                f"{name}={factory!r} must be a torch module or a function that makes one; called "
                f"with {argument} it gave {describe(module)}."
            )
    # A factory may hand out the user's own module, or the same one twice.
    return [copy.deepcopy(module).float() for module in modules]


def describe(value):
    """What somebody's function returned, for an error."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"an object of type {type(value).__name__}"


def augment(x, how, generator):
    """Turn images by multiples of 90 degrees and mirror them, each instance by its own draw."""
    if "rotate" in how:
        turns = torch.randint(4, (len(x),), generator=generator, device=x.device)
        x = x.clone()
        for k in (1, 2, 3):
            rows = torch.nonzero(turns == k)[:, 0]
            x[rows] = torch.rot90(x[rows], k, (-2, -1))
    if "flip" in how:
        mirrored = torch.randint(2, (len(x),), generator=generator, device=x.device) == 1
        x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(-1), x)
    return x
