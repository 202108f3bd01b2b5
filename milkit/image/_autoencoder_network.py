"""The network of a convolutional auto-encoder."""

import math
from functools import partial

import torch
from torch import nn

from milkit.neural._encoders import augment

# Blocks halve the image as long as so many rows and columns stay.
_SMALLEST = 3


def _drawn(kind, *args, generator, **options):
    """A layer with PyTorch's usual initial weights, drawn from ``generator``."""
    layer = nn.utils.skip_init(kind, *args, **options)
    bound = 1.0 / math.sqrt(layer.weight[0].numel())
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class Autoencoder(nn.Module):
    """Images to codes and back.

    Each block of the encoder is a 3 × 3 convolution, ReLU, batch normalisation and 2 × 2 average
    pooling; each of the decoder a transposed convolution that doubles rows and columns. For the
    training loop it is a network on bags of one image, whose output is the error of that image.

    Parameters
    ----------
    shape : tuple of (n_channels, n_rows, n_columns)
    code_size : int
    widths : sequence of int
        Channels behind each block; blocks for which the image is too small are left out.
    center, scale : ndarray of shape (n_channels,)
        The images are standardised by these.
    generator : torch.Generator
        For the initial weights.
    augmentation : tuple of str
        See :func:`milkit.neural._encoders.augment`.
    """

    n_members = 1

    def __init__(self, shape, code_size, widths, center, scale, generator, augmentation=()):
        super().__init__()
        for name, value in (("center", center), ("scale", scale)):
            values = torch.as_tensor(value, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, values)
        self.augmentation = augmentation
        self.generator = None
        drawn = partial(_drawn, generator=generator)
        encoder, decoder = [], []
        width, size = shape[0], tuple(shape[1:])
        for wider in widths:
            half = tuple(n // 2 for n in size)
            if min(half) < _SMALLEST:
                break
            encoder += [
                drawn(nn.Conv2d, width, wider, 3, padding=1),
                nn.ReLU(),
                nn.BatchNorm2d(wider),
                nn.AvgPool2d(2),
            ]
            odd = tuple(n % 2 for n in size)
            doubling = {"stride": 2, "padding": 1, "output_padding": odd}
            up = drawn(nn.ConvTranspose2d, wider, width, 4, **doubling)
            last = [nn.ReLU(), nn.BatchNorm2d(width)] if encoder[4:] else []
            decoder = [up, *last, *decoder]
            width, size = wider, half
        # ReLU behind a linear layer, as long as something follows: pixels may be negative.
        bend = [nn.ReLU()] if decoder else []
        n_features = width * size[0] * size[1]
        self.encoder = nn.Sequential(
            *encoder, nn.Flatten(), drawn(nn.Linear, n_features, code_size)
        )
        self.decoder = nn.Sequential(
            drawn(nn.Linear, code_size, n_features),
            *bend,
            nn.Unflatten(1, (width, *size)),
            *decoder,
        )

    def standardised(self, x):
        """Images as numbers around 0."""
        return ((x / 255 if x.dtype == torch.uint8 else x) - self.center) / self.scale

    def encode(self, x):
        """Codes of images, (n, code_size)."""
        x = self.standardised(x).contiguous(memory_format=torch.channels_last)
        return self.encoder(x)

    def reconstruct(self, x):
        """Images again; those of bytes in [0, 1], or a little outside."""
        return self.decoder(self.encode(x)) * self.scale + self.center

    def reconstruct_bytes(self, x):
        """Images again, whole numbers from 0 to 255."""
        return (self.reconstruct(x) * 255).round().clamp(0, 255)

    # -- what the training loop asks of a network --------------------------------------------

    def set_generator(self, generator):
        self.generator = generator

    def instances(self, x, extra=None):
        """Squared error of each image, mean over its pixels, (1, n, 1)."""
        x = self.standardised(x)
        if self.training and self.augmentation:
            x = augment(x, self.augmentation, self.generator)
        x = x.contiguous(memory_format=torch.channels_last)
        errors = self.decoder(self.encoder(x)) - x
        return (errors * errors).flatten(1).mean(1).view(1, -1, 1)

    def sums(self, instances, segments):
        return instances

    def read(self, state, segments, covariates=None):
        return state, state


class ReconstructionLoss:
    """The network's output is the loss already; the target is not looked at."""

    n_outputs = 1

    def __call__(self, outputs, target):
        return outputs[..., 0]
