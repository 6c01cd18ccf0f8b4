"""A picture of what the model of a spec will see. Starts nothing, and writes nothing into the output."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vision_batch.datasets.beginning import first_samples
from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.images.draw import Tile, colour_of, draw_boxes, draw_mask, enlarged, scale_of, sheet
from vision_batch.images.example import Example, ExampleMaker
from vision_batch.images.mask import ignore_of
from vision_batch.images.resize import limit_threads
from vision_batch.jobs.prepare import Parts, find_parts, reading_input
from vision_batch.jobs.settings import ImageJobSettings, TrainJobSettings
from vision_batch.jobs.spec import AnySpec, spec_of_kind
from vision_batch.tasks.table import trainable_task_for
from vision_batch.tasks.task import Target, TrainableTask

EPOCHS: Final = 4
AMONG: Final = 50
"""Of a folder's files so many for each that is shown: its first ones are often all of one class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """`pixels` is uint8 (H, W, 3), RGB; `broken` of the `images` show what is wrong with them."""

    pixels: npt.NDArray[np.uint8]
    images: int
    broken: int


def preview(spec: AnySpec, *, images: int, epoch: int) -> Preview:
    """Up to `images` images as the model gets them, with masks and boxes.

    Of a train spec each has a row: as served, then in EPOCHS epochs from `epoch` on, counted from 1.
    SpecError for what is wrong with the spec, and where its input has no image.
    """
    settings = spec_of_kind(spec, ImageJobSettings).settings
    parts = find_parts(settings, spec.folder, {})
    with reading_input():
        samples = list(first_samples(parts.input, parts.input.format, images, among=AMONG * images))
    if not samples:
        raise SpecError(Problem("input.uri", "no image", "at least one image to show"))
    limit_threads()
    epochs = [None, *range(epoch - 1, epoch - 1 + EPOCHS)] if isinstance(settings, TrainJobSettings) else [None]
    artist = _Artist(maker=_maker(settings, parts), task=_task(parts), labels=parts.model.labels, epochs=epochs)
    rows = [artist.tiles(sample) for sample in samples]
    columns = len(epochs) if len(epochs) > 1 else math.ceil(math.sqrt(len(rows)))
    broken = sum(row[0].pixels is None for row in rows)
    return Preview(pixels=sheet([tile for row in rows for tile in row], columns), images=len(rows), broken=broken)


def _maker(settings: ImageJobSettings, parts: Parts) -> ExampleMaker:
    augment, seed = (settings.augment, settings.train.seed) if isinstance(settings, TrainJobSettings) else ([], 0)
    function = None if parts.function is None else parts.function.load()
    max_pixels = settings.limits.max_pixels
    return ExampleMaker(parts.preprocess, augment, max_pixels=max_pixels, function=function, seed=seed)


def _task(parts: Parts) -> TrainableTask | None:
    """What a label means; None while the classes are not known, or nobody can tell: then it is only shown."""
    if parts.model.labels is None or parts.task.labels_are is None:
        return None
    return trainable_task_for(parts.task, parts.model.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Artist:
    """Draws samples. An epoch, counted from 0, of None is an image as served."""

    maker: ExampleMaker
    task: TrainableTask | None
    labels: tuple[str, ...] | None
    epochs: Sequence[int | None]

    def tiles(self, sample: Sample) -> list[Tile]:
        """One for each epoch, or one that says what is wrong and nothing beside it."""
        try:
            return list(self._drawn(sample))
        except ImageError as error:
            said = Tile(pixels=None, lines=(sample.image_id, error.code, error.message))
            return [said, *(Tile(pixels=None) for _ in self.epochs[1:])]

    def _drawn(self, sample: Sample) -> Iterator[Tile]:
        if sample.data is None:
            raise sample.error or ImageError("missing", "no image")
        target = Target() if self.task is None or sample.truth is None else self.task.target(sample.truth)
        identity = int.from_bytes(hashlib.blake2b(sample.image_id.encode(), digest_size=8).digest(), "little")
        for epoch in self.epochs:
            example = self.maker(sample.data, target.annotation, identity=identity, epoch=epoch)
            label = self._classes(example) or _shown(sample.truth)
            yield Tile(
                pixels=self._picture(example),
                lines=(sample.image_id, label) if epoch is None else (f"epoch {epoch + 1}", label),
            )

    def _picture(self, example: Example) -> npt.NDArray[np.uint8]:
        """Its mask and boxes drawn, at the size in which it is shown."""
        pixels = example.pixels if example.mask is None else draw_mask(example.pixels, example.mask)
        pixels = enlarged(pixels)
        if example.boxes is None or example.box_labels is None:
            return pixels
        scale = scale_of(*example.pixels.shape[:2])
        indices = [int(index) for index in example.box_labels]
        return draw_boxes(
            pixels, example.boxes * scale, [self._name(i) for i in indices], [colour_of(i) for i in indices]
        )

    def _classes(self, example: Example) -> str:
        """The classes that its mask or its boxes show."""
        seen = example.box_labels if example.mask is None else example.mask
        if seen is None:
            return ""
        nothing = None if example.mask is None else ignore_of(example.mask)
        return ", ".join(self._name(int(index)) for index in np.unique(seen) if index != nothing)

    def _name(self, index: int) -> str:
        return self.labels[index] if self.labels is not None and 0 <= index < len(self.labels) else str(index)


def _shown(truth: Any) -> str:
    """A label for people; bytes are a mask whose classes nobody knows."""
    if truth is None:
        return ""
    return f"{len(truth)} bytes" if isinstance(truth, bytes | memoryview) else str(truth)
