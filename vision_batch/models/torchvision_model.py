"""What of a torchvision model's answer its task wants. Importing this imports torch."""

from __future__ import annotations

from typing import Any

import torch

from vision_batch.errors import ModelError


class Out(torch.nn.Module):
    """Float32 images (N, 3, H, W) to a segmenter's logits (N, C, H, W), without those of its auxiliary head."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(images)["out"]
        return logits


def without_head(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """A classifier that gives what came to its last linear layer; ModelError where it has none."""
    linear = [path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise ModelError(f"torchvision:{name} has no linear layer at its end; embed with a python: model instead")
    model.set_submodule(linear[-1], torch.nn.Identity())
    return model
