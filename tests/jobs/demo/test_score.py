"""The demo's score is read from the output's Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.jobs.demo.score import COLUMNS, Failure, read_score

Row = tuple[str, str, str | None, str | None, str | None, str | None]


def write(path: Path, *rows: Row) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = zip(*rows, strict=True)
    pq.write_table(pa.table([pa.array(values, pa.string()) for values in columns], COLUMNS), path)


def test_only_held_out_shards_count_and_a_failure_is_a_wrong_answer(tmp_path: Path) -> None:
    write(
        tmp_path / "part-a.parquet",
        ("train-00/a", "train-00.tar", "1", "2", None, None),
        ("train-00/b", "train-00.tar", "1", None, "empty", "no bytes"),
    )
    write(
        tmp_path / "part-b.parquet",
        ("test-00/a", "test-00.tar", "3", "3", None, None),
        ("test-00/b", "test-00.tar", "4", "4", None, None),
        ("test-00/c", "test-00.tar", "5", "6", None, None),
        ("test-00/d", "test-00.tar", "7", None, "truncated", "cut"),
    )
    write(tmp_path / "_ledger" / "tmp" / "x.parquet", ("test-00/a", "test-00.tar", "3", "3", None, None))
    score = read_score(str(tmp_path), "test-")
    assert (score.held_out, score.correct, score.accuracy) == (4, 2, 0.5)
    assert score.failures == (
        Failure(image_id="test-00/d", code="truncated", error="cut"),
        Failure(image_id="train-00/b", code="empty", error="no bytes"),
    )


def test_nothing_held_out_is_no_accuracy(tmp_path: Path) -> None:
    write(tmp_path / "part-a.parquet", ("train-00/a", "train-00.tar", "1", "1", None, None))
    assert read_score(str(tmp_path), "test-").accuracy == 0.0
