"""A worker that sleeps through its driver's death and a resume wakes to a finished output, and changes nothing."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.chaos_processes import RunProcess
from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.ledger.verify import verify

SLOW = MODEL.replace("return self.layers", "import time; time.sleep(0.5)\n        return self.layers")


def files(output: Path) -> dict[str, tuple[int, int, str]]:
    """Every part: inode, modification time, digest."""
    return {
        path.name: (path.stat().st_ino, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in output.glob("*.parquet")
    }


@pytest.mark.ray
@pytest.mark.parametrize("layout", ["joined", pytest.param("split", marks=pytest.mark.slow)])
def test_a_zombie_changes_nothing(job: Callable[..., Job], ray_address: str, layout: str) -> None:
    it = job(code=SLOW)
    for number in range(8):
        write_tar(it.data / f"{number}.tar", digits(20))
    options = ["-o", "compute.batch_size=10", "-o", f"compute.layout={layout}"]
    run = RunProcess(["run", str(it.spec), *options], it.folder / "log.txt", {})
    try:
        while len(list(it.output.glob("*.parquet"))) < 2:
            assert run.exit_code is None, run.said()
            time.sleep(0.02)
        workers = run.processes("worker")
        assert workers
        run.kill_all(but=workers)
        for worker in workers:  # not before: the kernel hangs up on stopped children of a raylet that dies
            worker.send(signal.SIGSTOP)
        before = len(files(it.output))
        assert before < 8
        resumed = it.run(ray_address)
        assert (resumed.status, resumed.images_ok, resumed.images_resumed) == ("done", 160, before * 20)
        table, stored = it.table(), files(it.output)
        for worker in workers:
            assert worker in run.processes("worker"), f"{worker} did not live to see the end"
        for worker in workers:
            worker.send(signal.SIGCONT)
        time.sleep(5)  # workers were seen to write up to 2.8 s after their driver's death
    finally:
        run.kill_all()
    assert files(it.output) == stored
    assert it.table().equals(table)
    assert verify(str(it.output), deep=True).ok
