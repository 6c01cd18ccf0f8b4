"""From encoded images to the batches that a model learns from: decoded, augmented, and with their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import ImageError
from vision_batch.images.example import Example, ExampleMaker
from vision_batch.inference.chunk import stacked
from vision_batch.tasks.box_targets import stacked as stacked_targets
from vision_batch.tasks.task import Target, TrainableTask
from vision_batch.training.batch import Batch
from vision_batch.training.event import BrokenImage
from vision_batch.training.lane import PlacedSample


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One image: uint8 (H, W, 3) and one row of the targets; or `broken`, and neither of them."""

    identity: int
    image_id: str
    pixels: NDArray[np.uint8] | None = None
    target: NDArray[Any] | None = None
    broken: BrokenImage | None = None


class BatchMaker:
    """Makes images and batches of one task. `augmented` says whether every epoch shows an image in its own way.

    `output_px` is the (height, width) that every image gets, None where only the plug-in function knows. With `pinned`
    batches lie where a GPU can fetch them by itself: torch gives such memory again once all copies from it are over.
    """

    def __init__(
        self,
        examples: ExampleMaker,
        task: TrainableTask,
        *,
        augmented: bool,
        output_px: tuple[int, int] | None,
        pinned: bool = False,
    ) -> None:
        self._examples = examples
        self._task = task
        self._augmented = augmented
        self._output_px = output_px
        self._pinned = pinned

    def buffer(self, count: int) -> NDArray[np.uint8] | None:
        """Room for the pixels of a batch, (count, H, W, 3), if their size is known."""
        if self._output_px is None or count == 0:
            return None
        shape = (count, *self._output_px, 3)
        if not self._pinned:
            return np.empty(shape, np.uint8)
        import torch

        memory: NDArray[np.uint8] = torch.empty(shape, dtype=torch.uint8, pin_memory=True).numpy()
        return memory

    def images(self, placed: Sequence[PlacedSample], epoch: int, out: NDArray[np.uint8] | None = None) -> list[Made]:
        """The images, in order, their pixels in `out` (n, H, W, 3) if given. Any number of threads may call it."""
        outcomes = [self._one(image, epoch) for image in placed]
        good = [outcome for outcome in outcomes if not isinstance(outcome, ImageError)]
        targets = iter(self._task.collate([target for target, _ in good], [example for _, example in good]))
        made = []
        for place, (image, outcome) in enumerate(zip(placed, outcomes, strict=True)):
            if isinstance(outcome, ImageError):
                made.append(_broken(image, outcome))
                continue
            pixels = outcome[1].pixels
            if out is not None:
                out[place] = pixels
                pixels = out[place]
            facts = {"identity": image.identity, "image_id": image.sample.image_id}
            made.append(Made(**facts, pixels=pixels, target=np.asarray(next(targets))))  # type: ignore[arg-type]
        return made

    def batch(self, start: int, stop: int, made: Sequence[Made], buffer: NDArray[np.uint8] | None = None) -> Batch:
        """One batch of the positions [start, stop); the pixels of `made` lie in `buffer`, if there is one."""
        good = [place for place, image in enumerate(made) if image.broken is None]
        broken = [image for image in made if image.broken is not None]
        pixels = [image.pixels for image in made if image.pixels is not None]
        if buffer is not None and broken:
            buffer = buffer[good]
        targets = [image.target for image in made if image.target is not None]
        return Batch(
            start=start,
            stop=stop,
            pixels=stacked(pixels) if buffer is None else buffer,
            targets=stacked_targets(targets) if targets else self._task.collate([], []),
            identities=np.array([made[place].identity for place in good], np.uint64),
            image_ids=tuple(made[place].image_id for place in good),
            broken=tuple(image.broken for image in broken if image.broken is not None),
            broken_identities=np.array([image.identity for image in broken], np.uint64),
        )

    def _one(self, image: PlacedSample, epoch: int) -> tuple[Target, Example] | ImageError:
        sample = image.sample
        try:
            if sample.error is not None:
                raise sample.error
            target = self._task.target(sample.truth)
            example = self._examples(
                sample.data or b"",
                target.annotation,
                identity=image.identity,
                epoch=epoch if self._augmented else None,
            )
        except ImageError as error:
            return error
        return target, example


def _broken(image: PlacedSample, error: ImageError) -> Made:
    broken = BrokenImage(
        image_id=image.sample.image_id,
        shard=image.shard,
        row=image.sample.row,
        error_code=error.code,
        error=error.message,
    )
    return Made(identity=image.identity, image_id=image.sample.image_id, broken=broken)
