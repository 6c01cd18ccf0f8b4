"""The network of digits-train.yaml, as `model.source` names it: a function that returns a torch.nn.Module."""

from __future__ import annotations

from itertools import islice

from torch import Tensor, nn


def build(classes: int = 10, width: int = 24) -> nn.Module:
    """float32 RGB (N, 3, 32, 32), normalised, to logits (N, classes)."""
    return nn.Sequential(*_layers(classes, width))


def features(classes: int = 10, width: int = 24) -> nn.Module:
    """The same with the same weights, to what its last layer decides by, (N, 32 * width): an embedding."""
    return Features(*_layers(classes, width))


class Features(nn.Sequential):
    """Has a last layer, so that a trained network's weights fit, and leaves it out."""

    def forward(self, input: Tensor) -> Tensor:
        for layer in islice(self, len(self) - 1):
            input = layer(input)
        return input


def _layers(classes: int, width: int) -> list[nn.Module]:
    return [
        nn.AvgPool2d(2),
        *_halve(3, width),
        *_halve(width, 2 * width),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(2 * width * 4 * 4, classes),
    ]


def _halve(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Two convolutions, then half the height and width."""
    return [*_convolve(channels_in, channels_out), *_convolve(channels_out, channels_out), nn.MaxPool2d(2)]


def _convolve(channels_in: int, channels_out: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]
