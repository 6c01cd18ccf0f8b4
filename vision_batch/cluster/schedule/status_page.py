"""What monitoring asks a server, over HTTP: `/healthz`, and `/metrics` in the text format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from vision_batch.cluster.schedule.run import STATES
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import times
from vision_batch.errors import Problem, ScheduleError, SpecError

PREFIX = "vision_batch_schedule_"
METRICS = {
    "last_success_timestamp_seconds": "When the latest run that is done ended.",
    "lag_seconds": "How long ago the first time was that has come since, and has no run that is done; 0 for none.",
    "next_timestamp_seconds": "When the next run is due.",
    "runs": "Runs by state.",
    "paused": "Whether it is paused.",
}


@contextmanager
def status_page(address: str, state: Path, is_well: Callable[[], bool], now: Callable[[], datetime]) -> Iterator[int]:
    """Answers at `address`, HOST:PORT, while inside, and gives the port. SpecError where it cannot listen there."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise SpecError(Problem("--address", repr(address), "HOST:PORT, as 127.0.0.1:9180"))
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), partial(_Page, state, is_well, now))
    except (OSError, OverflowError) as error:
        raise SpecError(Problem("--address", f"{address}: {error}", "a free HOST:PORT of this machine")) from error
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


class _Page(BaseHTTPRequestHandler):
    timeout = 10

    def __init__(self, state: Path, is_well: Callable[[], bool], now: Callable[[], datetime], *request: Any) -> None:
        self._state = state
        self._is_well = is_well
        self._now = now
        super().__init__(*request)

    def do_GET(self) -> None:
        match self.path:
            case "/healthz" if self._is_well():
                self._answer(200, "ok\n")
            case "/healthz":
                self._answer(503, "no tick has ended for a while\n")
            case "/metrics":
                self._metrics()
            case _:
                self._answer(404, "/healthz or /metrics\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: monitoring asks every few seconds."""

    def _metrics(self) -> None:
        try:
            store = Store(self._state)
            try:
                text = metrics(store, self._now())
            finally:
                store.close()
        except ScheduleError as error:
            self._answer(500, f"{error}\n")
        else:
            self._answer(200, text)

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def metrics(store: Store, now: datetime) -> str:
    """The metrics of every schedule that has its spec, by name, and how many specs are refused."""
    samples = [
        sample for schedule in store.schedules() if schedule.present for sample in _samples(store, schedule, now)
    ]
    lines = []
    for name, help in METRICS.items():
        lines += [f"# HELP {PREFIX}{name} {help}", f"# TYPE {PREFIX}{name} gauge"]
        lines += [f"{PREFIX}{name}{{{labels}}} {value:.0f}" for found, labels, value in samples if found == name]
    lines += [
        f"# HELP {PREFIX}refused_specs Specs that are not taken as they are.",
        f"# TYPE {PREFIX}refused_specs gauge",
    ]
    return "\n".join([*lines, f"{PREFIX}refused_specs {len(store.refusals())}", ""])


def _samples(store: Store, schedule: Schedule, now: datetime) -> Iterator[tuple[str, str, float]]:
    label = f'schedule="{schedule.name}"'  # a name needs no escapes
    done = store.last_done(schedule.name)
    if done is not None and done.ended is not None:
        yield "last_success_timestamp_seconds", label, done.ended.timestamp()
    waiting = store.first_after(schedule.name, None if done is None else done.scheduled_time)
    yield "lag_seconds", label, 0 if waiting is None else max(0.0, (now - waiting.scheduled_time).total_seconds())
    following = times(schedule.settings.cron, schedule.settings.timezone).after(now)
    yield "next_timestamp_seconds", label, following.timestamp()
    counts = store.counts(schedule.name)
    for state in STATES:
        yield "runs", f'{label},state="{state}"', counts.get(state, 0)
    yield "paused", label, schedule.paused
