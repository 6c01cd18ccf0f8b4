"""Are image ids unique? Asked of any number of them within a fixed amount of memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vision_batch.ledger.findings import Findings

MOST = 1 << 25
"""Hashes held at once: 256 MiB, and as much again while they are sorted."""


class ImageIds:
    """64-bit hashes of ids: all of them up to `most` (a false alarm then has the odds 1 : 33,000), a sample beyond.

    The sample keeps every hash that a power of two divides. All rows of one id stay or go together, so that it tells
    how many repeat, and only misses repeats when they are few.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._hashes: list[NDArray[np.int64]] = []
        self.held = 0
        self._one_in = 1

    def add(self, hashes: NDArray[np.int64]) -> None:
        """Takes in the hashes of one part's ids."""
        self._hold(hashes)
        while self.held > self._most:
            self._one_in *= 2
            hashes_so_far, self._hashes, self.held = self._hashes, [], 0
            for some in hashes_so_far:
                self._hold(some)

    def _hold(self, hashes: NDArray[np.int64]) -> None:
        kept = hashes[hashes % self._one_in == 0] if self._one_in > 1 else hashes
        self._hashes.append(kept)
        self.held += len(kept)

    def report(self, findings: Findings) -> None:
        """Warns of ids that occur more than once, and of a sample."""
        every = np.concatenate(self._hashes) if self._hashes else np.empty(0, np.int64)
        self._hashes.clear()
        every.sort()
        repeated = int(np.count_nonzero(every[1:] == every[:-1])) * self._one_in
        if self._one_in > 1:
            findings.warn("compared image ids", f"one in {self._one_in} image ids was compared: they are too many")
        if repeated:
            findings.warn(
                "repeated image ids",
                f"{'about ' if self._one_in > 1 else ''}{repeated:,} rows repeat the image_id of another row: image_id "
                "does not identify an image here, shard and row do",
            )
