"""A file system without space: the run says so and ends, what is committed stays, and with space it is finished."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.job import Job, digits, write_tar
from vision_batch.cluster.connect import connected
from vision_batch.errors import SpecError, UnavailableError
from vision_batch.ledger.verify import verify
from vision_batch.storage.local import LocalStorage

DISK_BYTES = 4 << 20
TARS, IMAGES = 16, 60


class SmallDisk:
    """A file system of 4 MiB in memory, most of which a file takes up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def leave(self, free_bytes: int) -> None:
        """Fills the disk up to so many bytes."""
        status = os.statvfs(self.folder)
        self._filler.write_bytes(bytes(status.f_bavail * status.f_frsize - free_bytes))

    def make_room(self) -> None:
        self._filler.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_BYTES}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"only a user who may mount can try a full disk: {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


def run(job: Job) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vision_batch", "run", str(job.spec), "-o", "compute.predictors=1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_a_put_without_space_leaves_nothing_behind(disk: SmallDisk) -> None:
    storage, path = LocalStorage(), disk.folder / "out" / "part"
    disk.leave(100_000)
    for if_absent in (True, False):
        with pytest.raises(UnavailableError, match=r"No space left on device; free some space, then run again"):
            storage.put(str(path), bytes(200_000), if_absent=if_absent, scratch=str(disk.folder / "tmp"))
        assert os.listdir(disk.folder / "tmp") == []
        assert not path.exists()
    disk.make_room()
    storage.put(str(path), bytes(200_000), if_absent=True, scratch=str(disk.folder / "tmp"))
    assert path.read_bytes() == bytes(200_000)


def test_a_local_ray_is_not_started_without_space_for_its_logs(
    disk: SmallDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.leave(100_000)
    monkeypatch.setenv("RAY_TMPDIR", str(disk.folder))
    with pytest.raises(SpecError, match=r"no space left.*free in .*disk; expected at least .*RAY_TMPDIR"):
        connected(None).__enter__()


@pytest.mark.ray
def test_a_disk_that_fills_up_ends_the_run_in_order_and_the_next_one_finishes(disk: SmallDisk, tmp_path: Path) -> None:
    it = Job(tmp_path, {"output": {"uri": str(disk.folder / "out")}})
    images = digits(TARS * IMAGES)
    for number in range(TARS):
        write_tar(it.data / f"{number:02d}.tar", images[number * IMAGES : (number + 1) * IMAGES])
    disk.leave(80_000)
    full = run(it)
    assert full.returncode == 4, full.stderr
    assert "No space left on device; free some space, then run again to resume" in full.stdout
    committed = it.table(disk.folder / "out").num_rows
    assert 0 < committed < TARS * IMAGES
    assert os.listdir(disk.folder / "out" / "_ledger" / "tmp") == []
    disk.make_room()
    (disk.folder / "out" / "_ledger" / "tmp" / ".of-a-killed-writer.tmp").write_bytes(b"half a part")
    finished = run(it)
    assert finished.returncode == 0, finished.stderr
    assert f"{TARS * IMAGES:,} predicted, 0 failed, {committed} done before" in finished.stdout
    assert os.listdir(disk.folder / "out" / "_ledger" / "tmp") == []
    report = verify(str(disk.folder / "out"), deep=True)
    assert (report.ok, report.complete, report.rows) == (True, True, TARS * IMAGES)
