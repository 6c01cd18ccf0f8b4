"""Mixup and cutmix: two images of a batch become one, and so do their targets. On the device, after normalisation."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vision_batch.errors import ModelError
from vision_batch.training.settings import TrainSettings

Box = tuple[int, int, int, int]


class Mixer:
    """Mixes each image of a batch with another one, or itself; both ways draw one share for the whole batch.

    Mixup (Zhang et al., 2018) blends pixels, cutmix (Yun et al., 2019) lays a box of the other image on top; the
    targets are blended by the share λ ~ Beta(alpha, alpha) of the first image, in cutmix as the box's pixels have it.
    Where a spec has both, each batch gets one of them, with equal chances. The generator gives one number per batch, so
    it may be the CPU's, and all else follows from that: no step waits for the device.
    """

    def __init__(self, settings: TrainSettings, classes: int) -> None:
        self._ways = [(way, alpha) for way in ("mixup", "cutmix") if (alpha := getattr(settings, way)) is not None]
        self._classes = classes

    def __bool__(self) -> bool:
        """Whether the spec asks for any mixing."""
        return bool(self._ways)

    def __call__(self, pixels: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mixed pixels float (N, 3, H, W) and targets float32 (N, C), of class indices (N,) or float targets (N, C).

        N may be 0 or 1: then only the targets change their form. ModelError for masks: half a class has no pixels.
        """
        if targets.ndim > 2:
            raise ModelError("mixup and cutmix are for targets of whole images, not for masks")
        shares = targets.float() if targets.is_floating_point() else F.one_hot(targets.long(), self._classes).float()
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        if len(pixels) < 2 or not self._ways:
            return pixels, shares
        way, alpha = self._ways[rng.integers(len(self._ways))]
        share = float(rng.beta(alpha, alpha))
        order = torch.from_numpy(rng.permutation(len(pixels))).to(pixels.device, non_blocking=True)
        if way == "mixup":
            return pixels.lerp(pixels[order], 1 - share), shares.lerp(shares[order], 1 - share)
        height, width = pixels.shape[2:]
        top, bottom, left, right = _box(height, width, share, rng)
        pixels = pixels.clone()
        pixels[:, :, top:bottom, left:right] = pixels[order, :, top:bottom, left:right]
        covered = (bottom - top) * (right - left) / (height * width)
        return pixels, shares.lerp(shares[order], covered)


def _box(height: int, width: int, share: float, rng: np.random.Generator) -> Box:
    """Top, bottom, left and right of a box of 1 - `share` of the area around a random centre, cut off at the edges."""
    side = (1 - share) ** 0.5
    top, bottom = _side(height, side, rng)
    left, right = _side(width, side, rng)
    return top, bottom, left, right


def _side(length: int, side: float, rng: np.random.Generator) -> tuple[int, int]:
    centre, half = int(rng.integers(length)), round(length * side) // 2
    return max(centre - half, 0), min(centre + half, length)
