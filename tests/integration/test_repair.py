"""A damaged output: a run does all else, a repair sets the damage aside, and the next run makes it what it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pyarrow.parquet as pq
import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from vision_batch.ledger.repair import repair
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray


def test_a_repair_and_a_run_bring_everything_back(job: Callable[..., Job], ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(200))
    complete(it)
    cut, flipped, doubled, lost = it.output.glob("*.parquet")  # of rows without labels
    cut.write_bytes(cut.read_bytes()[:-100])
    flipped.write_bytes(flipped.read_bytes().replace(b"PAR1", b"PAR2", 1))
    shutil.copy(doubled, it.output / "copy.parquet")
    rows = pq.read_metadata(lost).num_rows
    lost.unlink()
    summary = it.run(ray_address)
    assert (summary.status, summary.shards_done, summary.shards_total) == ("incomplete", 3, 4)
    assert pq.read_metadata(lost).num_rows == rows, "what is damaged keeps nothing else from being done"
    assert any(str(cut) in warning and "verify --repair" in warning for warning in summary.warnings)
    report = repair(str(it.output))
    assert (len(report.repaired), report.parts, report.duplicated) == (3, 2, 0)
    assert it.run(ray_address).status == "done"
    table = it.table()
    assert (table.num_rows, table["label"].null_count) == (200, pq.read_metadata(doubled).num_rows)
    assert verify(str(it.output), deep=True).ok
