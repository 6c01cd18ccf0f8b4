"""Augmentation: the operations of a spec, done to one picture, its mask and its boxes.

An operation draws its random numbers first and says what it will do in steps. Moves that follow each other become one:
a picture that is turned, scaled and moved is interpolated once, and what one move takes out of sight the next may bring
back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.augmentations.step import Bend, Step, Warp
from vision_batch.images.augmentations.table import OPERATIONS
from vision_batch.images.frame import Frame, bent, warped


class Augmentation:
    """Changes frames. Any number of threads may call one; each should have called `resize.limit_threads` first."""

    def __init__(self, settings: Sequence[AugmentSettings], *, min_share: float) -> None:
        """A box of which less than `min_share` is left in the picture is dropped."""
        operations = [entry.operation for entry in settings]
        self._operations = [(OPERATIONS[name], settings) for name, settings in operations]
        self._min_share = min_share

    def __call__(self, frame: Frame, random: np.random.Generator) -> Frame:
        """A frame of the same size, its pixels C-contiguous. The given one is left as it is."""
        height, width = frame.pixels.shape[:2]
        pending: Step | None = None
        for step in self._steps(random, width, height):
            joined = _joined(pending, step, width, height)
            if joined is None:
                frame = self._done(frame, pending)
            pending = joined or step
        return self._done(frame, pending)

    def _steps(self, random: np.random.Generator, width: int, height: int) -> Iterator[Step]:
        for draw, settings in self._operations:
            if random.random() < settings.p:
                yield from draw(settings, random, width, height)

    def _done(self, frame: Frame, step: Step | None) -> Frame:
        match step:
            case None:
                return frame
            case Warp():
                return warped(frame, step, min_share=self._min_share)
            case Bend():
                return bent(frame, step, min_share=self._min_share)
            case _:
                return Frame(pixels=step.function(frame.pixels), mask=frame.mask, boxes=frame.boxes)


def _joined(first: Step | None, second: Step, width: int, height: int) -> Warp | None:
    """Both moves as one, unless the second has a horizon that crosses what the first took out of sight."""
    if not isinstance(first, Warp) or not isinstance(second, Warp):
        return None
    if None not in (first.fill, second.fill) and first.fill != second.fill:
        return None
    matrix = second.matrix @ first.matrix
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    if (corners @ matrix[2] <= 0).any():
        return None
    return Warp(matrix, second.fill if first.fill is None else first.fill)


def random_for(seed: int, identity: int, epoch: int) -> np.random.Generator:
    """The random numbers of one image in one epoch, whoever asks and when: counted (Philox), not carried on."""
    key = np.array([int(number) % (1 << 64) for number in (seed, identity)], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, int(epoch)]))
