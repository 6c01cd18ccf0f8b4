"""Records of runs: sortable ids, written at start and end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vision_batch.errors import LedgerError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.run_record import RunRecord, new_run_id, read_runs, write_run

RECORD = RunRecord(
    run_id="20260102T030405.678Z-1a2b3c4d",
    status="running",
    started="2026-01-02T03:04:05+00:00",
    definition="d" * 64,
    output="/out",
    version="0.1.0",
    spec={"job": "predict"},
    predictors=("cpu", "cuda:0 NVIDIA H100"),
)


def test_ids_sort_as_their_runs_started_and_differ_within_a_millisecond() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    ids = [new_run_id(moment + timedelta(milliseconds=step)) for step in range(0, 5000, 7)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20260102T030405.678Z-")
    assert new_run_id(moment) != new_run_id(moment)


def test_a_run_is_recorded_when_it_starts_and_again_when_it_ends(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    assert read_runs(paths) == []
    write_run(paths, RECORD)
    done = replace(RECORD, status="done", seconds=12.5, counts={"images_ok": 10})
    write_run(paths, done)
    later = replace(RECORD, run_id="20260103T000000.000Z-00000000")
    write_run(paths, later)
    assert read_runs(paths) == [done, later]


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    paths = LedgerPaths(str(tmp_path))
    write_run(paths, RECORD)
    Path(paths.run(RECORD.run_id)).write_text("{")
    with pytest.raises(LedgerError, match=rf"{RECORD.run_id}.*no run needs it: delete it"):
        read_runs(paths)
