"""Modules for small trainings: images (n, 3, 8, 8) to three classes."""

from __future__ import annotations

from itertools import islice
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.training.small_training import CLASSES, SIDE_PX

Targets: TypeAlias = list[dict[str, torch.Tensor]]


class Plain(nn.Sequential):
    """No layer mixes images, so that it does not matter who has which."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, stride=2),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(72, 16),
            nn.LayerNorm(16),
            nn.GELU(),
            nn.Linear(16, CLASSES),
        )


class Pixelwise(nn.Sequential):
    """A class for every pixel."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, CLASSES, 3, padding=1))


class Wide(nn.Sequential):
    """Its first layer alone is worth dividing."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Flatten(), nn.Linear(192, 6000)), nn.GELU(), nn.Linear(6000, CLASSES))


class WithBatchNorm(nn.Sequential):
    """Batch norm behind a linear layer, which refuses a single image."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))


class NeedsAnotherSize(nn.Sequential):
    """Made for images of 9 x 9."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(243, CLASSES))


class OverPixels(nn.Sequential):
    """Batch norm over pixels, which bears a single image."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(192, CLASSES))


class FrozenBatchNorm(WithBatchNorm):
    """Its batch norm is not to be learned."""

    def __init__(self) -> None:
        super().__init__()
        self[2].requires_grad_(False)


class WithDropout(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 32), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, CLASSES))


class WithUnusedParameters(Plain):
    """Has a layer that no image goes through."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(4, 4)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        for layer in islice(self, 7):
            input = layer(input)
        return input


class GivesDict(Plain):
    def forward(self, input: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"logits": super().forward(input)}


class Detector(nn.Module):
    """One box for an image, or none; it gives sums over images and boxes, and says what to divide them by."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), nn.Flatten(), nn.Linear(72, CLASSES + 5))

    def forward(self, images: torch.Tensor, targets: Targets | None = None) -> dict[str, torch.Tensor]:
        said = self.layers(images)
        logits, boxes = said[:, None, :-4], said[:, None, -4:].sigmoid()
        if targets is None:
            return {"logits": logits, "pred_boxes": boxes}
        first = [int(target["labels"][0]) if len(target["labels"]) else CLASSES for target in targets]
        apart = [
            (box / SIDE_PX - found).abs().sum()
            for found, target in zip(boxes, targets, strict=True)
            for box in target["boxes"]
        ]
        return {
            "class": cross_entropy(logits[:, 0], torch.tensor(first), reduction="sum"),
            "box": torch.stack([boxes.sum() * 0, *apart]).sum(),
        }

    def loss_weights(self, targets: Targets) -> dict[str, float]:
        return {"box": sum(len(target["boxes"]) for target in targets), "class": len(targets)}


class MeanDetector(nn.Module):
    """One that gives means over its images, and white ones no number."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector()

    def forward(self, images: torch.Tensor, targets: Targets | None = None) -> dict[str, torch.Tensor]:
        losses = self.detector(images, targets)
        if targets is None:
            return losses
        white = (images.flatten(1).min(1).values > WHITE).any()
        return {name: torch.where(white, torch.nan, loss / len(images)) for name, loss in losses.items()}


class OneLoss(Detector):
    """Says what it learns from as a loss without a name."""

    def forward(self, images: torch.Tensor, targets: Targets | None = None) -> Any:
        said = super().forward(images, targets)
        return said if targets is None else said["class"]


class OtherWeights(Detector):
    """Weighs a loss that it does not give."""

    def loss_weights(self, targets: Targets) -> dict[str, float]:
        return {**super().loss_weights(targets), "mask": 1.0}


class WithoutParameters(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean((2, 3))


class NotANumber(nn.Sequential):
    """What it says of a white image is no number, and neither is then what its batch norm has seen."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(192, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        white = input.flatten(1).min(1).values > WHITE
        strange = torch.where(white[:, None, None, None], torch.nan, input)
        with torch.no_grad():
            self[2](self[1](self[0](strange)))
        kept = torch.where(white[:, None, None, None], 0.0, input)
        return torch.where(white[:, None], torch.nan, super().forward(kept))


class SteepAtZero(Plain):
    """Its slope has no end where an image is black."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        darkness = (input - input.flatten(1).min()).flatten(1).mean(1)
        black = input.flatten(1).max(1).values < BLACK
        distance = torch.where(black, 0.0, darkness) * self.scale
        return self._layers(input) + distance.sqrt()[:, None]

    def _layers(self, input: torch.Tensor) -> torch.Tensor:
        for layer in islice(self, 7):
            input = layer(input)
        return input


WHITE = 2.2
"""All channels of a white image, normalised, are above (1 - 0.485) / 0.229, about 2.25."""
BLACK = -1.7
"""And all of a black one below -0.406 / 0.225, about -1.8."""
