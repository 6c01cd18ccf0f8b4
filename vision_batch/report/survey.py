"""One look at every row of an output, in bounded memory: what is counted, and which rows are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.report.extremes import Extremes
from vision_batch.report.mentions import KINDS, Mentions

SCORE_BINS: Final = 20
SIZE_EDGES: Final = tuple(2**power for power in range(5, 16))
"""Of the longer side of an image, in pixels."""
MOST_COUNTED: Final = 20
"""Labels of an image are counted up to here."""
MOST_LABELS, MOST_CODES = 10_000, 20
"""More different ones than these are counted together: text that was never a class must not fill the memory."""
PER_LABEL, OVERALL, PER_CODE = 4, 16, 6
OTHER, UNNAMED = "(all others)", "(no label)"


@dataclass(slots=True, kw_only=True)
class Scores:
    """How scores are distributed: `bins` over [0, 1], the highest with 1 in it."""

    bins: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SCORE_BINS, np.int64))
    total: float = 0.0
    count: int = 0

    def add(self, scores: NDArray[np.float32]) -> None:
        finite = scores[np.isfinite(scores)].astype(np.float64)
        places = np.clip((finite * SCORE_BINS).astype(np.int64), 0, SCORE_BINS - 1)
        self.bins += np.bincount(places, minlength=SCORE_BINS)
        self.total += float(finite.sum())
        self.count += len(finite)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


class Labels:
    """Counts by label, and numbers labels in the order in which they came: the first `most`, and the rest as one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._numbers: dict[str, int] = {}
        self._counts = np.zeros(0, np.int64)
        self._totals: NDArray[np.float64] = np.zeros(0)

    def add(self, labels: pa.Array, scores: NDArray[np.float32]) -> NDArray[np.int64]:
        """Counts M labels in; the number of each."""
        encoded = labels.fill_null(UNNAMED).dictionary_encode()
        known = np.array([self._number(name) for name in encoded.dictionary.to_pylist()], np.int64)
        numbers = known[encoded.indices.to_numpy(zero_copy_only=False)] if len(labels) else np.empty(0, np.int64)
        size = len(self._numbers)
        self._counts = np.pad(self._counts, (0, size - len(self._counts)))
        self._counts += np.bincount(numbers, minlength=size)
        self._totals = np.pad(self._totals, (0, size - len(self._totals)))
        self._totals += np.bincount(numbers, np.nan_to_num(scores), size)
        return numbers

    def _number(self, name: str) -> int:
        if name not in self._numbers and len(self._numbers) >= self._most:
            name = OTHER
        return self._numbers.setdefault(name, len(self._numbers))

    def ranked(self) -> list[tuple[str, int, int, float]]:
        """Name, number, count and mean score of every label, the most frequent first."""
        found = [
            (name, number, int(self._counts[number]), float(self._totals[number] / max(1, self._counts[number])))
            for name, number in self._numbers.items()
        ]
        return sorted(found, key=lambda label: (-label[2], label[0]))


class Survey:
    """Counts rows in, batch by batch, and keeps the numbers of the few that are shown.

    A row's number is its place in the stream. Memory: 10,000 labels and a few kilobytes for each of them, whatever the
    number of rows.
    """

    def __init__(self, kind: str, *, seed: int = 0) -> None:
        self._kind = KINDS[kind]
        self._random = np.random.default_rng(seed)
        self.rows = self.failed = 0
        self.errors = Labels(MOST_CODES)
        self.sizes = np.zeros(len(SIZE_EDGES) + 1, np.int64)
        self.smallest: tuple[int, int] | None = None
        self.largest: tuple[int, int] | None = None
        self.scores = Scores()
        self.labels = Labels(MOST_LABELS)
        self.per_image = np.zeros(MOST_COUNTED + 1, np.int64)
        self.broken = Extremes(PER_CODE)
        self.most, self.least = Extremes(PER_LABEL), Extremes(PER_LABEL)
        self.most_of_all, self.least_of_all = Extremes(OVERALL), Extremes(OVERALL)

    @property
    def ok(self) -> int:
        return self.rows - self.failed

    @staticmethod
    def columns(kind: str) -> list[str]:
        """What is read of predictions of a kind."""
        return ["error_code", "width", "height", *KINDS[kind].columns]

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes the next rows of the stream, with the columns that `columns` names."""
        rows = pa.Table.from_batches([batch])
        numbers = np.arange(self.rows, self.rows + len(rows), dtype=np.int64)
        self.rows += len(rows)
        is_good = np.ones(len(rows), bool)
        if failed := len(rows) - rows["error_code"].null_count:
            is_good = rows["error_code"].is_null().to_numpy(zero_copy_only=False)
            self.failed += failed
            self._add_errors(rows["error_code"].filter(pa.array(~is_good)), numbers[~is_good])
            rows = rows.filter(pa.array(is_good))
        numbers = numbers[is_good]
        self._add_sizes(rows["width"], rows["height"])
        self._add_mentions(self._kind.read(rows), numbers)

    def _add_errors(self, codes: pa.ChunkedArray, numbers: NDArray[np.int64]) -> None:
        labels = self.errors.add(codes.combine_chunks(), np.zeros(len(numbers), np.float32))
        self.broken.add(labels, numbers, self._random.random(len(numbers)))

    def _add_sizes(self, width: pa.ChunkedArray, height: pa.ChunkedArray) -> None:
        known = pc.and_(width.is_valid(), height.is_valid())
        wide = width.filter(known).to_numpy()
        high = height.filter(known).to_numpy()
        if not len(wide):
            return
        longer, area = np.maximum(wide, high), wide.astype(np.int64) * high
        self.sizes += np.bincount(np.digitize(longer, SIZE_EDGES), minlength=len(self.sizes))
        least, most = int(area.argmin()), int(area.argmax())
        small, large = (int(wide[least]), int(high[least])), (int(wide[most]), int(high[most]))
        if self.smallest is None or small[0] * small[1] < self.smallest[0] * self.smallest[1]:
            self.smallest = small
        if self.largest is None or large[0] * large[1] > self.largest[0] * self.largest[1]:
            self.largest = large

    def _add_mentions(self, mentions: Mentions, numbers: NDArray[np.int64]) -> None:
        per_image = np.bincount(mentions.rows, minlength=len(numbers)).clip(0, MOST_COUNTED)
        self.per_image += np.bincount(per_image, minlength=len(self.per_image))
        self.scores.add(mentions.scores)
        labels, rows = self.labels.add(mentions.labels, mentions.scores), numbers[mentions.rows]
        nobody = np.zeros(len(rows), np.int64)
        for by_label, of_all, keys in (
            (self.most, self.most_of_all, mentions.scores),
            (self.least, self.least_of_all, -mentions.scores),
        ):
            by_label.add(labels, rows, keys)
            of_all.add(nobody, rows, keys)
