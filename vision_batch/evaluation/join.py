"""Each image's prediction beside its truth, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.id_index import IdIndex, demand_different
from vision_batch.evaluation.partitions import partition, read_partition
from vision_batch.evaluation.truth import Truth
from vision_batch.ledger.predictions import Predictions

IN_MEMORY_BYTES: Final = 256 << 20
"""Truth up to here is held; more of it, and the predictions, go to temporary files by the hash of their ids."""
KEY: Final = "_key"

KEYS: Final[tuple[Callable[[pa.Array], pa.Array], ...]] = (
    lambda ids: ids,
    lambda ids: pc.replace_substring_regex(ids, r"\.[^./]*$", ""),
    lambda ids: pc.replace_substring_regex(ids, r"(?s)^.*/", ""),
    lambda ids: pc.replace_substring_regex(ids, r"(?s)^.*/|\.[^./]*$", ""),
)
"""What is compared: ids as they are; without their extensions; the last parts of their paths; these without too."""


@dataclass(slots=True, kw_only=True)
class Joined:
    """Rows of predictions that have a `truth`; iterate once. The counts are right when that is done."""

    predictions: Predictions
    columns: Sequence[str]
    truth: Truth | None = None
    truth_columns: Sequence[str] = ()
    images: int = field(default=0, init=False)
    without_truth: int = field(default=0, init=False)
    without_image: int = field(default=0, init=False)

    def __iter__(self) -> Iterator[pa.Table]:
        """The named columns, `truth`, and the named columns of the truth. SpecError where no image has a truth, and
        where an id repeats."""
        for table in self._own() if self.truth is None else self._joined(self.truth):
            if len(table):
                self.images += len(table)
                yield table
        if not (self.images or self.without_truth):
            raise SpecError(Problem("predictions", f"no row in {self.predictions.uri}", "a row at least"))
        if not self.images:
            found = f"no truth for any of {self.without_truth:,} images of {self.predictions.uri}"
            raise SpecError(Problem("truth", found, "a truth for some image_id at least"))

    def _own(self) -> Iterator[pa.Table]:
        if "truth" not in self.predictions.schema.names:
            expected = "a truth, or predictions of an input with input.label_column"
            raise SpecError(Problem("truth", f"{self.predictions.uri}, which has no column truth", expected))
        for batch in self.predictions.batches(list(dict.fromkeys([*self.columns, "truth"]))):
            known = batch.filter(batch.column("truth").is_valid())
            self.without_truth += len(batch) - len(known)
            yield pa.Table.from_batches([known])

    def _joined(self, truth: Truth) -> Iterator[pa.Table]:
        for key in (KEYS[1::2] if truth.is_apart else KEYS) if truth.by_file_name else KEYS[:1]:
            self.without_truth = self.without_image = 0
            yield from self._joined_by(truth, key)
            if self.images:
                return

    def _joined_by(self, truth: Truth, key: Callable[[pa.Array], pa.Array]) -> Iterator[pa.Table]:
        truths = (_keyed(_known(batch), key) for batch in truth.batches(self.truth_columns))
        predicted = (_keyed(batch, key) for batch in self.predictions.batches(["image_id", *self.columns]))
        head: list[pa.RecordBatch] = []
        size = 0
        for batch in truths:
            head.append(batch)
            size += batch.nbytes
            if size > IN_MEMORY_BYTES:
                break
        else:
            yield from self._matched(truth.uri, head, predicted)
            return
        with tempfile.TemporaryDirectory(prefix="vision-batch-") as name:
            sides = [
                partition(Path(name), "truth", chain(head, truths), key=KEY),
                partition(Path(name), "predictions", predicted, key=KEY),
            ]
            del head
            for of_truth, of_predictions in zip(*sides, strict=True):
                yield from self._matched(truth.uri, list(read_partition(of_truth)), read_partition(of_predictions))

    def _matched(
        self, uri: str, truths: Sequence[pa.RecordBatch], predicted: Iterable[pa.RecordBatch]
    ) -> Iterator[pa.Table]:
        """Of truths that fit into memory."""
        table = pa.Table.from_batches(truths or [_NO_TRUTH]).combine_chunks()
        index = IdIndex(_one(table[KEY]), where=uri)
        is_taken = np.zeros(len(table), bool)
        for batch in predicted:
            places = index.places(batch.column(KEY))
            some = np.flatnonzero(places >= 0)
            self.without_truth += len(batch) - len(some)
            if len(some):
                rows = pa.Table.from_batches([batch.take(pa.array(some))])
                self._demand_each_once(_one(rows[KEY]), places[some], is_taken)
                beside = table.take(pa.array(places[some]))
                for name in ("truth", *self.truth_columns):
                    rows = with_column(rows, name, beside[name])
                yield rows.drop_columns([KEY])
        self.without_image += int((~is_taken).sum())

    def _demand_each_once(self, ids: pa.Array, places: NDArray[np.int64], is_taken: NDArray[np.bool_]) -> None:
        """SpecError where a truth has been found before; now it has."""
        order = np.argsort(places, kind="stable")
        again = np.flatnonzero(np.diff(places[order], prepend=-1) == 0)
        again = np.concatenate([order[again], np.flatnonzero(is_taken[places])])
        repeated = ids.take(pa.array(again))
        demand_different(repeated, repeated, self.predictions.uri)
        is_taken[places] = True


_NO_TRUTH: Final = pa.record_batch([pa.array([], pa.string()), pa.nulls(0)], [KEY, "truth"])


def with_column(rows: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    """Appended, or in the place of the column of that name."""
    if name in rows.column_names:
        return rows.set_column(rows.column_names.index(name), name, values)
    return rows.append_column(name, values)


def _known(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.filter(pc.and_(batch.column("truth").is_valid(), batch.column("image_id").is_valid()))


def _keyed(batch: pa.RecordBatch, key: Callable[[pa.Array], pa.Array]) -> pa.RecordBatch:
    """With what is compared."""
    return batch.append_column(KEY, key(batch.column("image_id").cast(pa.string()).fill_null("")))


def _one(column: pa.ChunkedArray) -> pa.Array:
    array = column.combine_chunks()
    return array if isinstance(array, pa.Array) else pa.concat_arrays(array.chunks)
