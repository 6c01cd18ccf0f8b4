"""A damaged output is repaired, and the next run makes it what it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from tests.integration.job import Job, digits, write_folder
from vision_batch.ledger.repair import repair
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray


def test_a_repair_and_a_run_bring_everything_back(job: Callable[..., Job], ray_address: str) -> None:
    it = job()
    write_folder(it.data, digits(150))
    it.run(ray_address)
    before = it.table()
    cut, flipped, doubled = it.output.glob("*.parquet")
    cut.write_bytes(cut.read_bytes()[:-100])
    flipped.write_bytes(flipped.read_bytes().replace(b"PAR1", b"PAR2", 1))
    shutil.copy(doubled, it.output / "copy.parquet")
    report = repair(str(it.output))
    assert (len(report.repaired), report.parts, report.duplicated) == (3, 1, 0)
    assert it.run(ray_address).status == "done"
    assert it.table().equals(before)
    assert verify(str(it.output), deep=True).ok
