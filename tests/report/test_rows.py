"""Single rows are found again by their place in the stream, in files of any size."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.ledger.predictions import Predictions
from vision_batch.report.rows import rows_at, sampled_rows


def table_of(folder: Path, sizes: list[int]) -> Predictions:
    first = 0
    for number, size in enumerate(sizes):
        codes = [None if row % 4 else "empty" for row in range(first, first + size)]
        columns = {
            "image_id": [str(row) for row in range(first, first + size)],
            "label": ["a"] * size,
            "error_code": codes,
        }
        schema = pa.schema([(name, pa.string()) for name in columns])
        pq.write_table(pa.table(columns, schema=schema), folder / f"{number}.parquet", row_group_size=3)
        first += size
    return Predictions.open(str(folder))


def test_rows_are_those_of_the_stream(tmp_path: Path) -> None:
    predictions = table_of(tmp_path, [5, 0, 1, 10])
    wanted = [15, 0, 4, 5, 6, 99]
    assert rows_at(predictions, wanted, ["image_id"]) == {row: {"image_id": str(row)} for row in (0, 4, 5, 6, 15)}


def test_a_sample_is_of_good_rows_and_bounded(tmp_path: Path) -> None:
    predictions = table_of(tmp_path, [5, 0, 1, 10])
    good = {str(row) for row in range(16) if row % 4}
    assert set(sampled_rows(predictions, ["image_id"], files=9, rows=99, seed=0)["image_id"].to_pylist()) == good
    some = sampled_rows(predictions, ["image_id"], files=9, rows=4, seed=0)["image_id"].to_pylist()
    assert len(some) == 4
    assert set(some) < good
    assert some == sampled_rows(predictions, ["image_id"], files=9, rows=4, seed=0)["image_id"].to_pylist()
