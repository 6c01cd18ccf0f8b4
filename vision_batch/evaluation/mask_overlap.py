"""The overlap of masks, from their runs: no mask is ever spread out into pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.evaluation.matching import overlap_of
from vision_batch.evaluation.objects import Objects
from vision_batch.tasks.rle import lengths_of

RUNS_AT_ONCE: Final = 1 << 20
"""Runs that are looked up at the same time, tens of bytes each; one pair of masks may have more."""
APART: Final = 1 << 40
"""What is between the first pixels of two masks that stand in one row of numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """Many masks as runs of pixels, counted down the columns of each mask.

    The runs of mask i are those from `first[i]` to `first[i + 1]`; each begins at `start` (R,) and has `length` (R,)
    pixels. `area` (n,) and `pixels` (n,) are how many of a mask's pixels are the object's, and how many it has.
    """

    first: NDArray[np.int64]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    area: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @classmethod
    def of(cls, counts: Sequence[str]) -> Masks:
        """From COCO's compressed counts; ValueError where one is none."""
        lengths = [lengths_of(each) for each in counts]
        edges = [each.cumsum() for each in lengths]
        runs = [each[1::2] for each in lengths]
        empty = [np.empty(0, np.int64)]  # for no masks at all
        return cls(
            first=np.cumsum([0, *map(len, runs)]),
            start=np.concatenate([each[0:-1:2] for each in edges] + empty),
            length=np.concatenate(runs + empty),
            area=np.array([each.sum() for each in runs], np.int64),
            pixels=np.array([each[-1] for each in edges], np.int64),
        )

    @classmethod
    def none(cls, count: int) -> Masks:
        """So many masks without a pixel."""
        empty, zeros = np.empty(0, np.int64), np.zeros(count, np.int64)
        return cls(first=np.zeros(count + 1, np.int64), start=empty, length=empty, area=zeros, pixels=zeros)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskOverlap:
    """IoU of objects whose `mask` numbers are those of two sets of masks, pair by pair.

    With a crowd it is the share of what was found that lies in it.
    """

    found: Masks
    truth: Masks

    def __call__(self, found: Objects, truth: Objects) -> NDArray[np.float64]:
        both = np.zeros(len(found), np.int64)
        runs = np.diff(self.truth.first)[truth.mask].cumsum()
        at = 0
        while at < len(found):
            done = int(runs[at - 1]) if at else 0
            stop = max(at + 1, int(np.searchsorted(runs, done + RUNS_AT_ONCE, side="right")))
            both[at:stop] = self._shared(found.mask[at:stop], truth.mask[at:stop])
            at = stop
        areas = self.found.area[found.mask].astype(np.float64), self.truth.area[truth.mask].astype(np.float64)
        return overlap_of(both.astype(np.float64), *areas, truth.is_crowd)

    def _shared(self, found: NDArray[np.int64], truth: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many pixels each pair of masks has in common: what the found one has in each run of the true one."""
        own, place = np.unique(found, return_inverse=True)
        size = np.diff(self.found.first)[own]
        row = np.repeat(self.found.first[own] - (size.cumsum() - size), size) + np.arange(size.sum())
        start = self.found.start[row] + np.repeat(np.arange(len(own)) * APART, size)
        length = self.found.length[row]
        before = np.concatenate([[0], length.cumsum()])

        def covered(at: NDArray[np.int64]) -> NDArray[np.int64]:
            """How many pixels of all found masks lie before `at`, in the row of numbers in which they stand."""
            last = np.searchsorted(start, at, side="right") - 1
            inside = np.minimum(at - start[last], length[last])
            counted: NDArray[np.int64] = np.where(last >= 0, before[last] + inside, 0)
            return counted

        if not len(start):
            return np.zeros(len(found), np.int64)
        size = np.diff(self.truth.first)[truth]
        row = np.repeat(self.truth.first[truth] - (size.cumsum() - size), size) + np.arange(size.sum())
        begin = self.truth.start[row] + np.repeat(place * APART, size)
        total = np.concatenate([[0], (covered(begin + self.truth.length[row]) - covered(begin)).cumsum()])
        ends = size.cumsum()
        shared: NDArray[np.int64] = total[ends] - total[ends - size]
        return shared
