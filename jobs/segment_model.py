"""The network of segment-train.yaml: a small U-Net, after Ronneberger et al., 2015 (https://arxiv.org/abs/1505.04597)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d


def build(classes: int = 2, widths: Sequence[int] = (16, 32, 64)) -> nn.Module:
    """float32 RGB (N, 3, H, W), normalised, to logits (N, classes, H, W); `widths` are the channels of each level."""
    return UNet(classes, widths)


class UNet(nn.Module):
    """Down from level to level at half the size each, and up again beside what was there on the way down."""

    def __init__(self, classes: int, widths: Sequence[int]) -> None:
        super().__init__()
        levels = list(pairwise(widths))
        self.first = _block(3, widths[0])
        self.down = nn.ModuleList(_block(finer, coarser) for finer, coarser in levels)
        self.up = nn.ModuleList(_block(coarser + finer, finer) for finer, coarser in reversed(levels))
        self.head = nn.Conv2d(widths[0], classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        features = [self.first(images)]
        for block in self.down:
            features.append(block(max_pool2d(features[-1], 2)))
        coarse = features.pop()
        for block in self.up:
            fine = features.pop()
            enlarged = interpolate(coarse, size=fine.shape[2:], mode="bilinear", align_corners=False)
            coarse = block(torch.cat([enlarged, fine], dim=1))
        logits: Tensor = self.head(coarse)
        return logits


def _block(channels_in: int, channels_out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        convolution = nn.Conv2d(channels, channels_out, kernel_size=3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)
