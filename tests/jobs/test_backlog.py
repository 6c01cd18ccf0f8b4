"""What a run removes from an output, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.job import Job, digits, write_folder
from tests.jobs.finished import complete
from vision_batch.errors import HeldError
from vision_batch.jobs.backlog import Backlog
from vision_batch.jobs.prepare import prepare
from vision_batch.jobs.spec import load_spec
from vision_batch.ledger.lease import held_lease


@pytest.mark.parametrize("holder", ["run-3", None])
def test_what_looks_stale_stays_when_the_plan_may_be_outdated(tmp_path: Path, holder: str | None) -> None:
    """A run that was suspended for long finds the parts of its successor; its own thread may not know of it yet."""
    job = Job(tmp_path, {})
    write_folder(job.data, digits(65))
    complete(job)
    (job.data / "00064.jpg").unlink()
    prepared = prepare(load_spec(job.spec, ()))
    if holder is None:
        with pytest.raises(HeldError):
            Backlog(prepared, "run-2", prune=True)
    else:
        with held_lease(prepared.paths, holder), pytest.raises(HeldError):
            Backlog(prepared, "run-2", prune=True)
    assert len(list(job.output.glob("*.parquet"))) == 2
    with held_lease(prepared.paths, "run-4"):
        Backlog(prepared, "run-4", prune=True)
    assert len(list(job.output.glob("*.parquet"))) == 1
