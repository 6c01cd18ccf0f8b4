"""Whether a model may compute in a lower precision: tried once for an output, on its first images, where it will run.

It comes before the output is claimed: the precision is part of the definition, and later runs take it from there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from vision_batch.datasets.beginning import first_samples
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import (
    DeviceError,
    EngineError,
    ImageError,
    ModelError,
    ShardError,
    StorageError,
    VisionBatchError,
)
from vision_batch.images.preprocess import Preprocessed, Preprocessor
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings
from vision_batch.images.tiles import cut_tile
from vision_batch.inference.chunk import stacked
from vision_batch.inference.joined_pool import STILL_S
from vision_batch.inference.settings import EXACT
from vision_batch.models.bundle import ModelBundle
from vision_batch.models.outputs import joined, size_bytes
from vision_batch.plugin import Plugin
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for
from vision_batch.tasks.task import View

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from vision_batch.inference.layout import Layout
    from vision_batch.models.by_size import Sizes
    from vision_batch.models.predictor import Predictor
    from vision_batch.tasks.task import Task

TRIAL_IMAGES = 64
TRIAL_ROWS = 8
"""How many of them the model is given at once: a size that a small device has the memory for too."""
TRIAL_BYTES = 512 << 20
"""Of their outputs in each precision: where those are as large as pictures, fewer images are enough."""
REPEATS = 2
"""How often a trial is repeated whose process died."""


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
        """Decides for the device of this process. StorageError or ShardError where nothing of the input can be read."""
        from vision_batch.models.device import choose_device, lower_precision

        device = choose_device()
        lower = lower_precision(device)
        if lower is None:
            return Decision(precision=EXACT, reason=f"{device.type} computes in nothing lower as well")
        return self.decide(device, lower)

    def decide(self, device: torch.device, lower: str) -> Decision:
        """`lower` where it agrees with fp32 on the first images that can be used; the task says what agrees.

        What the model itself raises decides for fp32. ModelError and DeviceError as in a run.
        """
        from vision_batch.models.predictor import Predictor

        images = list(self._images())
        if not images:
            return Decision(precision=EXACT, reason=f"none of the first {TRIAL_IMAGES} images can be used for a trial")
        pixels, module = stacked(image.pixels for image in images), self.model.load()
        sizes = [_view(image).size_px for image in images] if self.preprocess.longest_px is not None else None
        task = task_for(self.task, self.model.labels)
        mean, std = self.preprocess.mean, self.preprocess.std
        predictors = [
            Predictor(module, mean=mean, std=std, precision=precision, device=device) for precision in (EXACT, lower)
        ]
        try:
            exact, count = _outputs(predictors[0], task, pixels, sizes, most_bytes=TRIAL_BYTES)
            lowered, _ = _outputs(predictors[1], task, pixels[:count], sizes)
        except (VisionBatchError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the model is foreign code, and no image is asked for here again
            reason = " ".join(f"the trial of {lower} failed: {type(error).__name__}: {error}".split())[:200]
            return Decision(precision=EXACT, reason=reason)
        agreement = task.agreement(exact, lowered)
        return Decision(
            precision=lower if agreement.is_close else EXACT,
            reason=f"{lower} on {count} images: {agreement.text}",
        )

    def _images(self) -> Iterator[Preprocessed]:
        limit_threads()
        function = None if self.function is None else self.function.load()
        preprocessor = Preprocessor(self.preprocess, max_pixels=self.max_pixels, function=function)
        for sample in first_samples(self.input, self.format, TRIAL_IMAGES):
            try:
                if sample.error is None:
                    found = preprocessor(sample.data or b"")
                    tile_px = self.task.tile_px
                    if tile_px is not None:
                        found = replace(found, pixels=cut_tile(found.pixels, 0, 0, tile_px))
                    yield found
            except ImageError:
                continue


def _view(image: Preprocessed) -> View:
    return View(width=image.width, height=image.height, geometry=image.geometry)


def _outputs(
    predictor: Predictor,
    task: Task,
    pixels: NDArray[np.uint8],
    sizes: Sizes | None,
    *,
    most_bytes: float = math.inf,
) -> tuple[Any, int]:
    """What the model says of `pixels`, of the first ones where all of it takes more than `most_bytes`, and of how many.

    In small batches: halved, as in a run, where memory runs out.
    """
    parts: list[Any] = []
    done, rows, held_bytes = 0, TRIAL_ROWS, 0
    while done < len(pixels) and held_bytes < most_bytes:
        batch = pixels[done : done + rows]
        outputs = _within_memory(predictor, batch, None if sizes is None else sizes[done : done + rows])
        if outputs is not None:
            task.check(outputs, len(batch))
            parts.append(outputs)
            done += len(batch)
            held_bytes += size_bytes(outputs)
        elif len(batch) > 1:
            rows = len(batch) // 2
        else:
            raise ModelError("the device has not enough memory for the model and one image")
    return joined(parts), done


def _within_memory(predictor: Predictor, batch: NDArray[np.uint8], sizes: Sizes | None) -> Any:
    """None where the device has not the memory for so many images."""
    from vision_batch.models.device import give_memory_back, is_out_of_memory

    try:
        return predictor(batch, sizes)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    give_memory_back()  # behind the handler, because the error's traceback kept what the model had allocated
    return None


def decide_precision(trial: PrecisionTrial, layout: Layout) -> Decision | None:
    """The decision of one process that has what Ray gives to a predictor; None where nothing of the input can be read.

    VisionBatchError for what would end the run too: ModelError or SpecError where the model cannot be loaded or does
    not fit, EngineError where a device fails or no GPU comes free. A process that dies again and again decides for
    fp32: an image that kills may be the cause, which the run finds and isolates.
    """
    remote = ray.remote(num_cpus=1, num_gpus=layout.gpus_per_predictor, max_retries=REPEATS)(_tried)
    try:
        outcome = ray.get(remote.remote(trial), timeout=STILL_S)
    except ray.exceptions.GetTimeoutError as error:
        raise EngineError(f"no trial of the precision ended in {STILL_S:.0f} s: is a GPU free for it?") from error
    except ray.exceptions.WorkerCrashedError:
        died = f"the trial's process died {REPEATS + 1} times, perhaps of an image; compute.precision needs none"
        return Decision(precision=EXACT, reason=died)
    except ray.exceptions.RayError as error:
        cause = " ".join(str(error.__cause__ or error).split())[:200]
        raise EngineError(
            f"the trial of a lower precision failed; with compute.precision: fp32 there is none: {cause}"
        ) from error
    if isinstance(outcome, (StorageError, ShardError)):
        return None
    if isinstance(outcome, DeviceError):
        raise EngineError(f"the device failed in the trial of the precision: {outcome}")
    if isinstance(outcome, VisionBatchError):
        raise outcome
    return outcome


def _tried(trial: PrecisionTrial) -> Decision | VisionBatchError:
    try:
        return trial()
    except VisionBatchError as error:
        return error
