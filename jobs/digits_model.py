"""The network of digits.yaml, as `model.source` names it: a function that returns a torch.nn.Module."""

from __future__ import annotations

from torch import nn


def build(classes: int = 10, width: int = 16) -> nn.Module:
    """float32 RGB (N, 3, 32, 32), normalised, to logits (N, classes)."""
    return nn.Sequential(
        *_halve(3, width),
        *_halve(width, 2 * width),
        *_halve(2 * width, 4 * width),
        nn.Flatten(),
        nn.Linear(4 * width * 4 * 4, classes),
    )


def _halve(channels_in: int, channels_out: int) -> list[nn.Module]:
    """A convolution, and half the height and width."""
    convolution = nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)]
