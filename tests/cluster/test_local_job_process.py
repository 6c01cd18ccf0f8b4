"""What keeps a job of this machine stays with it to its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from vision_batch.cluster.job_folder import JobFolder
from vision_batch.cluster.local_job_process import INTERRUPTED, StopWish, keep
from vision_batch.ledger.holder import this_process


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    """Of a job that takes a moment and ends with 3, begun by this process."""
    made = JobFolder(tmp_path / "nightly-1")
    made.create({"command": ["/bin/sh", "-c", "sleep 0.2; exit 3"]}, {})
    assert made.claim(this_process())
    return made


def test_a_storage_that_fails_for_a_moment_does_not_part_them(
    folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: JobFolder) -> None:
        raise OSError("stale file handle")

    monkeypatch.setattr(JobFolder, "beat", fail)
    assert keep(folder, StopWish()) == 3


def test_a_job_that_is_stopped_before_it_runs_never_does(folder: JobFolder) -> None:
    wish = StopWish()
    wish.asked = True
    assert keep(folder, wish) == INTERRUPTED
    assert not (folder.path / "driver.json").exists()
