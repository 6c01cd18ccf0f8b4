"""Single rows of an output, by their place in the stream of its predictions."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from vision_batch.datasets.parquet_file import read_footer
from vision_batch.ledger.manifest import read_manifest
from vision_batch.ledger.predictions import Predictions
from vision_batch.storage.object_info import ObjectInfo

READERS: Final = 32


def rows_at(predictions: Predictions, wanted: Collection[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """The rows of these numbers, counted over all batches of `predictions`; only files that have one are opened."""
    found: dict[int, dict[str, Any]] = {}
    left = sorted(set(wanted))
    for first, file, count in _placed(predictions):
        here = [number for number in left if first <= number < first + count]
        if here:
            found |= _rows_of(_only(predictions, [file]), first, here, columns)
    return found


def sampled_rows(predictions: Predictions, columns: Sequence[str], *, files: int, rows: int, seed: int) -> pa.Table:
    """Up to so many good rows, drawn from up to so many files, each drawn with the same chance; in their order."""
    random = np.random.default_rng(seed)
    chosen = sorted(random.permutation(len(predictions.table.files))[:files])
    some = _only(predictions, [predictions.table.files[index] for index in chosen])
    kept = pa.table({name: pa.array([], some.schema.field(name).type) for name in columns})
    keys = np.empty(0)
    for batch in some.batches([*dict.fromkeys(("error_code", *columns))]):
        good = pa.table(batch).filter(batch.column("error_code").is_null()).select(list(columns))
        keys = np.concatenate([keys, random.random(len(good))])
        kept = pa.concat_tables([kept, good])
        if len(keys) > rows:
            best = np.sort(np.argpartition(-keys, rows)[:rows])
            keys, kept = keys[best], kept.take(pa.array(best)).combine_chunks()
    return kept


def _rows_of(part: Predictions, first: int, wanted: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    found = {}
    for batch in part.batches(columns):
        here = [number for number in wanted if first <= number < first + len(batch)]
        for number in here:
            found[number] = batch.slice(number - first, 1).to_pylist()[0]
        first += len(batch)
    return found


def _only(predictions: Predictions, files: Sequence[ObjectInfo]) -> Predictions:
    """The same of some files."""
    return replace(predictions, table=replace(predictions.table, files=tuple(files)))


def _placed(predictions: Predictions) -> Iterator[tuple[int, ObjectInfo, int]]:
    """Each file with the number of its first row and how many it has."""
    parts = read_manifest(predictions.output).values() if predictions.output else ()
    known = {part.info: part.record.rows for part in parts}

    def count(file: ObjectInfo) -> int:
        return known[file] if file in known else int(read_footer(file).metadata.num_rows)

    files = predictions.table.files
    with ThreadPoolExecutor(READERS, "footer") as pool:
        counts = list(pool.map(count, files))
    return zip(itertools.accumulate([0, *counts[:-1]]), files, counts, strict=True)
