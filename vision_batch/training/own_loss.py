"""Modules that bring their loss: in training mode they get targets beside the images, and say losses by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vision_batch.errors import ModelError
from vision_batch.tasks.box_targets import unpacked
from vision_batch.training.losses import LossTerm

EXPECTED = "expected a dict of scalar losses by name, as {'class': …, 'box': …}"


class OwnLoss:
    """Adds up what a module says in training mode, `module(images, targets)`: scalars by name.

    Each is a mean over the images that the module was given, and counts as often as there are such. So where it really
    is one, workers together learn what one worker does. It is not where a module divides by what else it was given, as
    by the number of boxes: such a module may give sums, and have a method `loss_weights(targets)` that says by name
    what each is divided by, a number that follows from the targets alone; the numbers of all workers are added up.
    """

    def __init__(self, module: nn.Module) -> None:
        self._weights_of = getattr(module, "loss_weights", None)

    def __call__(self, outputs: Mapping[str, Tensor], targets: Tensor) -> list[LossTerm]:
        if self._weights_of is None:
            count = torch.tensor(float(len(targets)), device=targets.device)
            total = torch.stack([loss.float() for loss in outputs.values()]).sum()
            return [LossTerm(factor=1.0, total=total * count, weight=count)]
        weights = self._named_weights(targets)
        if weights.keys() != outputs.keys():
            found = f"{', '.join(sorted(weights))}, and losses for {', '.join(sorted(outputs))}"
            raise ModelError(f"the model's loss_weights has weights for {found}; expected the same names")
        is_there = float(len(targets) > 0)  # where there are no images the module was called with one that is not meant
        return [
            LossTerm(factor=1.0, total=outputs[name].float() * is_there, weight=weight)
            for name, weight in weights.items()
        ]

    def weights(self, targets: Tensor, classes: int) -> Tensor:
        """The weights of the terms, float32 (T,): the same ones before there are outputs."""
        if self._weights_of is None:
            return torch.full((1,), float(len(targets)), device=targets.device)
        return torch.stack(list(self._named_weights(targets).values()))

    def _named_weights(self, targets: Tensor) -> dict[str, Tensor]:
        """By name, in the same order on all workers."""
        assert self._weights_of is not None
        said = self._weights_of(unpacked(targets, len(targets)))
        return {
            name: torch.as_tensor(said[name], dtype=torch.float32, device=targets.device).detach()
            for name in sorted(said)
        }


def demand_losses(outputs: Any) -> None:
    """ModelError unless that is what a module may say in training mode."""
    if not isinstance(outputs, Mapping) or not outputs:
        raise ModelError(f"in training mode the model returned a {type(outputs).__name__}; {EXPECTED}")
    for name, loss in outputs.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1 or loss.ndim:
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError(f"in training mode the model's loss {name!r} has {found}; {EXPECTED}")
