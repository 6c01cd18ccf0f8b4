"""Runs that are killed at random moments, resumed, and compared with an undisturbed run. `make soak`"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.ledger.verify import verify

KILLS = 12


def start(job: Job) -> subprocess.Popen[bytes]:
    """The run command in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "vision_batch", "run", str(job.spec), "-o", "compute.batch_size=10"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("whole_tree", [False, True], ids=["driver", "process tree"])
def test_a_run_killed_at_random_moments_ends_as_if_left_alone(
    job: Callable[..., Job], ray_address: str, whole_tree: bool
) -> None:
    it = job(code=MODEL.replace("return self.layers", "import time; time.sleep(0.05)\n        return self.layers"))
    for number in range(60):
        write_tar(it.data / f"{number:03d}.tar", digits(40))
    it.run(ray_address, output=str(it.folder / "undisturbed"))
    dice = random.Random(0)
    for _ in range(KILLS):
        process = start(it)
        time.sleep(dice.uniform(2, 14))
        if whole_tree:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        parts = [pq.read_table(part, columns=["image_id"]) for part in it.output.glob("*.parquet")]
        ids = pa.concat_tables(parts)["image_id"].to_pylist() if parts else []
        assert len(ids) == len(set(ids))
    assert start(it).wait(timeout=300) == 0
    expected, got = it.table(it.folder / "undisturbed"), it.table()
    assert got.drop_columns(["score", "top_scores"]).equals(expected.drop_columns(["score", "top_scores"]))
    assert got["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), abs=1e-5)
    assert verify(str(it.output), deep=True).ok
