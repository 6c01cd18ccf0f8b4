"""Real servers and jobs: the server that acts is killed while it submits a job, and another goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import S3Bucket
from tests.integration.conftest import SubmitCluster
from vision_batch.cli.schedule_serve import WallClock
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.profile import RayProfile, load_profile
from vision_batch.cluster.ray_jobs import RayJobs
from vision_batch.cluster.schedule.admission import run_now
from vision_batch.cluster.schedule.folder import SpecFolder
from vision_batch.cluster.schedule.leader import Leadership
from vision_batch.cluster.schedule.run import ScheduledRun
from vision_batch.cluster.schedule.server import Server
from vision_batch.cluster.schedule.store import Store
from vision_batch.jobs.scheduled import read_scheduled
from vision_batch.ledger.holder import this_process

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


def write_jobs(folder: Path) -> None:
    (folder / "jobs" / "images").mkdir(parents=True)
    (folder / "jobs" / "nightly.yaml").write_text(SPEC)
    (folder / "local.yaml").write_text("kind: local")


def said(folder: Path, name: str) -> str:
    """What this server has said."""
    return (folder / name).read_text()


@contextmanager
def two_servers(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """One that acts, and one that stands by."""
    with server(folder, "first") as first:
        wait_until(lambda: "nightly: served" in said(folder, "first"), "the first serves")
        with server(folder, "second") as second:
            wait_until(lambda: "stands by" in said(folder, "second"), "the second stands by")
            yield first, second


def wait_until(happened: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.005)


def test_a_server_that_is_killed_is_followed_and_its_job_runs_once(tmp_path: Path) -> None:
    write_jobs(tmp_path)
    with two_servers(tmp_path) as (first, second):
        store = Store(tmp_path / "state.sqlite")

        def run() -> ScheduledRun:
            return store.history("nightly")[0]

        run_now(store, "nightly", datetime.now(UTC).replace(microsecond=0))
        wait_until(lambda: run().state != "due", "a job is submitted")
        first.kill()
        first.wait()
        killed = time.monotonic()
        wait_until(lambda: store.leader().token == 2, "the second acts")
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


@pytest.mark.slow
def test_a_server_that_was_suspended_stands_by_when_it_wakes_up(tmp_path: Path) -> None:
    """It holds no lock while it sleeps between two ticks: that is when it is stopped, all but always."""
    write_jobs(tmp_path)
    with two_servers(tmp_path) as (first, second):
        first.send_signal(signal.SIGSTOP)
        store = Store(tmp_path / "state.sqlite")
        run_now(store, "nightly", datetime.now(UTC).replace(microsecond=0))
        wait_until(lambda: not store.runs_in_work(), "the second has had the job run")
        first.send_signal(signal.SIGCONT)
        wait_until(lambda: f"process {second.pid} on" in said(tmp_path, "first"), "the first stands by")
        assert [(run.state, run.exit_code, run.attempt) for run in store.history()] == [("failed", 2, 1)]
        store.close()


class KilledAfter(BaseException):
    """Ends a server when it has submitted a job, before it can say so."""


class DeadlyJobs(RayJobs):
    """The jobs of a real cluster, whose submitters die of it as often as `lives` says."""

    lives = 2

    def submit(self, package: JobPackage, job_id: str) -> None:
        super().submit(package, job_id)
        if self.lives:
            self.lives -= 1
            raise KilledAfter


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.s3
@pytest.mark.parametrize("s3", ["moto"], indirect=True)
def test_on_a_ray_cluster_too_a_job_is_submitted_once_and_says_why_it_failed(
    submit_cluster: SubmitCluster, s3: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", submit_cluster.head.token)
    write_jobs(tmp_path)
    spec = tmp_path / "jobs" / "nightly.yaml"
    text = SPEC.replace("uri: images", f"uri: '{s3.uri}/in/'").replace("uri: labels", f"uri: '{s3.uri}/out-{{date}}/'")
    spec.write_text(text.replace("model.pt2", f"{s3.uri}/model.pt2"))
    (tmp_path / "ray.yaml").write_text(f"kind: ray\naddress: http://127.0.0.1:{submit_cluster.head.port}\n")
    profile = load_profile(str(tmp_path / "ray.yaml"))
    assert isinstance(profile.settings, RayProfile)
    jobs = DeadlyJobs(profile.settings)

    def serve_until(happened: Callable[[Store], bool]) -> Store:
        store = Store(tmp_path / "state.sqlite")
        nobody = replace(this_process(), pid=1, ticks=1)  # so that each server finds the one before dead
        server = Server(
            store=store,
            leadership=Leadership(store, nobody, serves="", alive=lambda holder: False),
            folder=SpecFolder(tmp_path / "jobs", partial(read_scheduled, profile=profile)),
            service=jobs,
            clock=WallClock(),
        )
        server.serve(lambda: happened(store))
        return store

    store = serve_until(lambda store: bool(store.schedules()))
    asked = run_now(store, "nightly", datetime.now(UTC).replace(microsecond=0))
    for _ in range(2):
        with pytest.raises(KilledAfter):
            serve_until(lambda store: False)
    (run,) = serve_until(lambda store: not store.runs_in_work()).history()
    assert (run.state, run.exit_code, run.attempt) == ("failed", 2, 1)
    assert run.message.count("input.uri: found no files") == 1
    (job,) = [job for job in jobs.list() if job.job_id == run.job_id]
    assert job.output == f"{s3.uri}/out-{asked.scheduled_time:%Y-%m-%d}"
