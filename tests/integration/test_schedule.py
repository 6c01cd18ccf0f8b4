"""Two real servers on one state: the one that acts is killed while it submits a job, and the other goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from vision_batch.cluster.schedule.admission import run_now
from vision_batch.cluster.schedule.run import ScheduledRun
from vision_batch.cluster.schedule.store import Store

# It ends at once, with exit code 2: it has no images.
SPEC = """
job: predict
name: nightly
input: {uri: images}
model: {source: "export:model.pt2", labels: [a, b]}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
output: {uri: labels}
schedule: {cron: "0 0 1 1 *"}
"""


@contextmanager
def server(folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    """`vision-batch schedule serve` in `folder`, which says what it does in the file `name`; killed at the end."""
    command = [sys.executable, "-m", "vision_batch", "schedule", "serve", "jobs", "--cluster", "local.yaml"]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    with (folder / name).open("wb") as log:
        process = subprocess.Popen([*command, "--state", "state.sqlite"], cwd=folder, stderr=log, env=environment)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def wait_until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.005)


def test_a_server_that_is_killed_is_followed_and_its_job_runs_once(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "images").mkdir(parents=True)
    (tmp_path / "jobs" / "nightly.yaml").write_text(SPEC)
    (tmp_path / "local.yaml").write_text("kind: local")

    def says(name: str, text: str) -> Callable[[], bool]:
        return lambda: text in (tmp_path / name).read_text()

    with server(tmp_path, "first") as first:
        wait_until(says("first", "nightly: served"), "the first serves")
        with server(tmp_path, "second") as second:
            wait_until(says("second", "stands by"), "the second stands by")
            store = Store(tmp_path / "state.sqlite")

            def run() -> ScheduledRun:
                return store.history("nightly")[0]

            run_now(store, "nightly", datetime.now(UTC).replace(microsecond=0))
            wait_until(lambda: run().state != "due", "a job is submitted")
            first.kill()
            first.wait()
            killed = time.monotonic()
            wait_until(says("second", f"process {second.pid} "), "the second acts")
            assert time.monotonic() - killed < 10
            wait_until(lambda: run().is_over, "the job has ended")
            assert (run().state, run().exit_code, run().attempt) == ("failed", 2, 1)
            assert len(store.history()) == 1
            jobs = list((tmp_path / "state" / "vision-batch" / "jobs").glob("[!.]*"))
            assert [job.name for job in jobs] == [run().job_id]
            assert (jobs[0] / "log").read_text().count("error: ") == 1
            second.terminate()
            assert second.wait(timeout=20) == 0
            assert store.leader().holder is None
            store.close()
