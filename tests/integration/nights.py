"""Simulated nights: a real server on a clock that tests set, real runs, and an object store that changes by day.

Everything is as it is at work but the server's clock, which a file shows. What has happened is read from where an
operator would: the output's Parquet files, its run records, and the schedule's history.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.faults.chaos_dataset import Dataset
from tests.faults.chaos_processes import Process, Session, session
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import MODEL, Job
from tests.integration.nights_bucket import Bucket, NightsPlace, predictions
from tests.object_store.servers import S3Server
from vision_batch.cluster.schedule.admission import run_now
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import Times

PATIENCE_S = 240.0
"""For anything: in darkness a run waits for two minutes before it ends."""
SCHEDULE = {
    "cron": "30 2 * * *",
    "timezone": "Europe/Berlin",
    "retries": {"limit": 2, "backoff": "5m"},
    "on_failure": "diary",
}
BEGIN = datetime(2026, 10, 22, 12, tzinfo=UTC)
"""The third night is the one that has 02:30 twice in Berlin."""
NEW_MODEL = MODEL.replace("manual_seed(0)", "manual_seed(1)")

OUTAGE = Rule(kind="status", status=403, code="AccessDenied", match=r"^PUT .*/part-")
"""The output takes nothing; at once, where other refusals are waited out for two minutes."""
DARKNESS = Rule(kind="status", status=503)
"""Nothing answers."""
HOLD = Rule(kind="silence", match=r"^GET .*/data/s")
"""An image or tar is awaited as long as the rule stands."""


class Nights:
    """One schedule, its server, its bucket and its days. `model` is the code of today's model."""

    def __init__(self, folder: Path, bucket: Bucket, proxy: FaultProxy) -> None:
        self.bucket = bucket
        self.proxy = proxy
        self.model = MODEL
        self.now = BEGIN
        self._folder = folder
        self._specs = folder / "specs"
        self._times = Times(str(SCHEDULE["cron"]), str(SCHEDULE["timezone"]))
        self._records: set[str] = set()
        self._references: dict[str, list[dict[str, Any]]] = {}
        self._specs.mkdir()
        self._write_configuration()
        self.store = Store(folder / "schedules.db")
        self.start_server()

    def close(self) -> None:
        """Kills what is left."""
        self.proxy.rules = []
        self.store.close()
        self._server.kill_all()
        for process in self._job_processes():
            process.send(signal.SIGKILL)

    # What people do, and what happens to them

    def write_spec(self, **schedule: Any) -> None:
        """The spec with the model and the output of today, and other rules; returns when it is served."""
        settings = {
            "name": "nightly",
            "input": {"uri": self.bucket.place.uri("data/")},
            "output": {"uri": self.bucket.place.uri(self.bucket.place.output)},
            "limits": {"max_error_fraction": 1.0},
            "schedule": SCHEDULE | schedule,
            "code": self.model,
        }
        before = self.store.schedule("nightly")
        Job(self._specs, settings)
        self._until(lambda: self.store.schedule("nightly") != before, "the spec to be served")

    def kill_server(self) -> None:
        """kill -9, and another one is started."""
        self._server.kill()
        self.start_server()

    def stop_server(self) -> None:
        """In order."""
        self._server.terminate()

    def start_server(self) -> None:
        """One that goes on from where the last one was."""
        self._clock_shows(self.now)
        self._server = NightServer(self._folder, self._specs)

    def run_now(self) -> datetime:
        """A run by hand; its time."""
        return run_now(self.store, "nightly", self.now).scheduled_time

    # Time

    def next_night(self) -> datetime:
        """It is night: the next time of the schedule has come."""
        self._clock_shows(self._times.after(self.now))
        return self.now

    def held_night(self) -> datetime:
        """It is night, and the run waits for what it reads as long as the proxy's rule stands."""
        self.proxy.log.clear()
        self.proxy.rules = [HOLD]
        night = self.next_night()
        self._until(lambda: bool(self.proxy.log), "the run to read its input")
        return night

    def pass_hours(self, hours: int) -> None:
        """Nothing but time."""
        self._clock_shows(self.now + timedelta(hours=hours))

    def await_end(self, moment: datetime) -> None:
        """Returns when the run of that time is over; waits before further attempts pass at once."""

        def is_over() -> bool:
            run = self.store.run("nightly", moment)
            if run is not None and run.state == "due" and run.not_before > self.now:
                self._clock_shows(run.not_before)
            return run is not None and run.is_over

        self._until(is_over, f"the run of {moment} to end")

    def await_due(self, moment: datetime, attempt: int) -> None:
        """Returns when the run of that time waits after so many attempts."""

        def is_due() -> bool:
            run = self.store.run("nightly", moment)
            return run is not None and (run.state, run.attempt) == ("due", attempt)

        self._until(is_due, f"the run of {moment} to wait for attempt {attempt + 1}")

    def await_told(self, count: int) -> None:
        """Returns when so many failures were told."""
        self._until(lambda: len(self.told) >= count, "the failure to be told")

    # What an operator sees

    def settle(self) -> None:
        """Demands that all that is new was processed and nothing else, and that the output is right."""
        computed, new = self.computed(), self.bucket.new_images()
        assert computed == new, f"{computed} images were computed where {new} are new"
        self.bucket.settle()
        if self.model not in self._references:
            self._references[self.model] = predictions(self.model)
        wrong = self.bucket.wrong(self._references[self.model])
        assert not wrong, wrong

    def computed(self) -> int:
        """How many images were computed since this was last asked, as the records count them of runs that were done."""
        records = self.bucket.place.run_records()
        new = [record for name, record in records.items() if name not in self._records and record["status"] == "done"]
        self._records = set(records)
        counts = [record["counts"] for record in new]
        return sum(count["images_ok"] + count["images_failed"] - count["images_resumed"] for count in counts)

    @property
    def jobs(self) -> list[Path]:
        """The folders of all jobs that were ever begun."""
        return sorted(self._folder.glob("state/vision-batch/jobs/*"))

    @property
    def told(self) -> list[dict[str, Any]]:
        """What was told of failures."""
        diary = self._folder / "diary"
        return [json.loads(line) for line in diary.read_text().splitlines()] if diary.exists() else []

    def command(self, *arguments: str) -> dict[str, Any]:
        """The answer of a `vision-batch schedule` command."""
        command = [sys.executable, "-m", "vision_batch", "schedule", *arguments, "--json"]
        state = ["--state", str(self._folder / "schedules.db")]
        done = subprocess.run([*command, *state], check=True, capture_output=True, text=True, timeout=60)
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def _job_processes(self) -> Iterator[Process]:
        for job in self.jobs:
            with suppress(FileNotFoundError):
                yield from session(json.loads((job / "process.json").read_text())["pid"])

    def _clock_shows(self, moment: datetime) -> None:
        self.now = moment
        new = self._folder / "clock.new"
        new.write_text(moment.isoformat())
        new.replace(self._folder / "clock")

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self._server.exit_code is None, self._server.said()
            assert time.monotonic() < end, f"waited in vain for {what}: {self._server.said()}"
            time.sleep(0.05)

    def _write_configuration(self) -> None:
        (self._folder / "local.yaml").write_text("kind: local\n")
        program = self._folder / "tell"
        program.write_text(f'#!/bin/sh\n{{ cat; echo; }} >> "{self._folder / "diary"}"\n')
        program.chmod(0o700)
        (self._folder / "server.yaml").write_text(f"contacts: {{diary: {{command: ['{program}']}}}}\n")


class NightServer(Session):
    """`vision-batch schedule serve`, but for its clock."""

    def __init__(self, folder: Path, specs: Path) -> None:
        files = {"cluster": "local.yaml", "state": "schedules.db", "config": "server.yaml"}
        options = [text for name, file in files.items() for text in (f"--{name}", str(folder / file))]
        module = ["-m", "tests.integration.nights_server", str(folder / "clock")]
        command = [sys.executable, *module, str(specs), *options]
        environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
        super().__init__(command, folder / f"server-{time.monotonic_ns()}.log", env=environment)

    def kill(self) -> None:
        self._leader.kill()
        self._leader.wait()

    def terminate(self) -> None:
        self._leader.terminate()
        assert self._leader.wait(60) == 0, self.said()

    @property
    def exit_code(self) -> int | None:
        return self._leader.poll()

    def said(self) -> str:
        return self.log.read_text()[-4000:]


@contextmanager
def nights(folder: Path, kind: type[Dataset], server: S3Server, seed: int) -> Iterator[Nights]:
    """Nights over a bucket of a format; server and runs reach it through a proxy."""
    bucket = Bucket(kind, NightsPlace(server), random.Random(seed))
    with FaultProxy(server.address) as proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        it = Nights(folder, bucket, proxy)
        try:
            it.write_spec()
            yield it
        finally:
            it.close()
