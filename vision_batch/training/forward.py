"""A module, called on a worker's images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from vision_batch.models.predictor import AUTOCAST
from vision_batch.models.transfer import as_float, mapped
from vision_batch.tasks.box_targets import unpacked
from vision_batch.tasks.task import Predicted, TrainableTask
from vision_batch.training.failure import module_errors
from vision_batch.training.feed import Share
from vision_batch.training.own_loss import demand_losses


class Forward:
    """Computes in the precision that a spec asks for, and has the first outputs checked by the task.

    What predict would refuse is thus refused before anything is learned; of a module that brings its loss, which says
    nothing else while it learns, when it is measured first.
    """

    def __init__(self, task: TrainableTask, precision: str, device: torch.device) -> None:
        self._task = task
        self._brings_loss = task.default_loss is None
        self._dtype = AUTOCAST[precision]
        self._device = device
        self._is_checked = False
        self._has_learned = False

    def learning(self, model: Callable[..., Any], share: Share) -> Any:
        """What a loss is made of: outputs as in a call, or what a module that brings its loss says of its targets."""
        if not self._brings_loss:
            return self(model, share)
        with self._computing(is_first=not self._has_learned):
            losses = model(share.images, unpacked(share.targets, len(share.images)))
        if not self._has_learned:
            demand_losses(losses)
            self._has_learned = True
        return losses

    def __call__(self, model: Callable[..., Any], share: Share) -> Any:
        """float32 outputs for the n images of `share`; Predicted of a module that brings its loss.

        ModelError if they do not fit the task, or for its first call's error.
        """
        with self._computing(is_first=not self._is_checked):
            outputs = model(share.images)
        if self._brings_loss or not self._is_checked:
            arrays = mapped(outputs, lambda tensor: as_float(tensor.detach()).cpu().numpy())
        if not self._is_checked:
            self._task.check(arrays, len(share.images))
            self._is_checked = True
        if self._brings_loss:
            height, width = share.images.shape[2:]
            return Predicted(outputs=arrays, model_px=(height, width))
        return outputs.float()[: len(share)]

    @contextmanager
    def _computing(self, *, is_first: bool) -> Iterator[None]:
        autocast = torch.autocast(self._device.type, dtype=self._dtype, enabled=self._dtype is not None)
        with autocast, module_errors() if is_first else nullcontext():
            yield
