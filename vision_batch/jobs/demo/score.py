"""How good the demo's labels are, read from the output as any reader of Parquet would."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import parent

COLUMNS = ["image_id", "shard", "truth", "label", "error_code", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An image without a prediction."""

    image_id: str
    code: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """`held_out` images were not trained on, `correct` of them have the right label. Failures by image_id."""

    held_out: int
    correct: int
    failures: tuple[Failure, ...]

    @property
    def accuracy(self) -> float:
        """The correct fraction of the held-out images, a failed one counting as wrong; 0 where there are none."""
        return self.correct / self.held_out if self.held_out else 0.0


def read_score(output: str, held_out_prefix: str) -> Score:
    """The score of the output's table; shards whose names begin with `held_out_prefix` are held out."""
    table = _read_table(output)
    held_out = table.filter(pc.starts_with(table["shard"], held_out_prefix))
    is_correct = pc.fill_null(pc.equal(held_out["label"], held_out["truth"]), False)
    failed = table.filter(pc.is_valid(table["error_code"]))
    failed = failed.take(pc.sort_indices(failed["image_id"]))
    return Score(
        held_out=held_out.num_rows,
        correct=pc.sum(is_correct, min_count=0).as_py(),
        failures=tuple(
            Failure(image_id=row["image_id"], code=row["error_code"], error=row["error"]) for row in failed.to_pylist()
        ),
    )


def _read_table(output: str) -> pa.Table:
    """OUTPUT/*.parquet.

    In this thread alone: Arrow's others may let go of Python's memory while the process ends, which aborts it
    (https://github.com/apache/arrow/issues/34314).
    """
    storage = storage_for(output)
    parts = [info.uri for info in storage.list(output) if parent(info.uri) == output and info.uri.endswith(".parquet")]
    files = (pq.ParquetFile(pa.BufferReader(storage.read(uri)), pre_buffer=False) for uri in parts)
    return pa.concat_tables(file.read(COLUMNS, use_threads=False) for file in files)
