"""A module, called on a worker's images."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from vision_batch.models.predictor import AUTOCAST
from vision_batch.models.transfer import mapped
from vision_batch.tasks.task import TrainableTask
from vision_batch.training.failure import module_errors
from vision_batch.training.feed import Share


class Forward:
    """Computes in the precision that a spec asks for, and has the first outputs checked by the task.

    What predict would refuse is thus refused before anything is learned.
    """

    def __init__(self, task: TrainableTask, precision: str, device: torch.device) -> None:
        self._task = task
        self._dtype = AUTOCAST[precision]
        self._device = device
        self._is_checked = False

    def __call__(self, model: Callable[[Tensor], Any], share: Share) -> Tensor:
        """float32 outputs for the n images of `share`. ModelError if they do not fit the task, or for its first call's
        error."""
        autocast = torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)
        with autocast, nullcontext() if self._is_checked else module_errors():
            outputs = model(share.images)
        if not self._is_checked:
            self._task.check(mapped(outputs, lambda tensor: tensor.detach().float().cpu().numpy()), len(share.images))
            self._is_checked = True
        values: Tensor = outputs
        return values.float()[: len(share)]
