"""Whether a model may compute in a lower precision: tried once for an output, on its first images, where it will run.

It comes before the output is claimed: the precision is part of the definition, and later runs take it from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import ray

from vision_batch.datasets.beginning import first_samples
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ImageError, VisionBatchError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.chunk import stacked
from vision_batch.inference.settings import EXACT
from vision_batch.models.bundle import ModelBundle
from vision_batch.plugin import Plugin
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from vision_batch.inference.layout import Layout

TRIAL_IMAGES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A precision, and why it."""

    precision: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTrial:
    """What is tried. Pickles; knows no torch before it is called."""

    input: InputSettings
    format: str
    preprocess: PreprocessSettings
    function: Plugin | None
    model: ModelBundle
    task: TaskSettings
    max_pixels: int

    def __call__(self) -> Decision:
        """Decides for the device of this process. What the model raises for these images passes."""
        from vision_batch.models.device import choose_device, lower_precision

        device = choose_device()
        lower = lower_precision(device)
        if lower is None:
            return Decision(precision=EXACT, reason=f"{device.type} computes in nothing lower as well")
        return self.decide(device, lower)

    def decide(self, device: torch.device, lower: str) -> Decision:
        """`lower` where it agrees with fp32 on the first images that can be used; the task says what agrees."""
        from vision_batch.models.predictor import Predictor

        images = list(self._images())
        if not images:
            return Decision(precision=EXACT, reason=f"none of the first {TRIAL_IMAGES} images can be used for a trial")
        pixels, module = stacked(images), self.model.load()
        task = task_for(self.task, self.model.labels)
        exact, lowered = (
            Predictor(module, mean=self.preprocess.mean, std=self.preprocess.std, precision=precision, device=device)(
                pixels
            )
            for precision in (EXACT, lower)
        )
        task.check(exact, len(images))
        agreement = task.agreement(exact, lowered)
        return Decision(
            precision=lower if agreement.is_close else EXACT,
            reason=f"{lower} on {len(images)} images: {agreement.text}",
        )

    def _images(self) -> Iterator[NDArray[np.uint8]]:
        limit_threads()
        function = None if self.function is None else self.function.load()
        preprocessor = Preprocessor(self.preprocess, max_pixels=self.max_pixels, function=function)
        for sample in first_samples(self.input, self.format, TRIAL_IMAGES):
            try:
                if sample.error is None:
                    yield preprocessor(sample.data or b"").pixels
            except ImageError:
                continue


def decide_precision(trial: PrecisionTrial, layout: Layout) -> Decision:
    """The decision of one process that has what Ray gives to a predictor.

    Where no trial can be made, because its images make the model raise or kill the process, it is fp32.
    VisionBatchError for what would end the run too: a model that cannot be loaded, an input that cannot be read.
    """
    remote = ray.remote(num_cpus=1, num_gpus=layout.gpus_per_predictor, max_retries=0)(_tried)
    try:
        outcome = ray.get(remote.remote(trial))
    except ray.exceptions.RayError as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        return Decision(precision=EXACT, reason=f"the trial of a lower one failed: {cause}")
    if isinstance(outcome, VisionBatchError):
        raise outcome
    return outcome


def _tried(trial: PrecisionTrial) -> Decision | VisionBatchError:
    try:
        return trial()
    except VisionBatchError as error:
        return error
