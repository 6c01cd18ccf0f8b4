"""What a run leaves beside its output: OUTPUT-metrics/<run_id>/*.parquet."""

from __future__ import annotations

import io
import time
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.inference.event import Event, worker_facts
from vision_batch.inference.stopwatch import NOTHING, Lap
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join

PERIOD_S = 10.0
"""How long one row of the throughput lasts."""

THROUGHPUT = pa.schema([("seconds", pa.float64()), ("images", pa.int64()), ("failed", pa.int64())])
SECONDS = pa.float64()
STAGES = pa.schema(
    [("worker", pa.string()), ("stage", pa.string()), ("busy_seconds", SECONDS), ("cpu_seconds", SECONDS)]
)
WORKERS = pa.schema(
    [
        ("worker", pa.string()),
        ("node", pa.string()),
        ("images", pa.int64()),
        ("seconds", SECONDS),
        ("cpu_seconds", SECONDS),
    ]
)
FAILURES = pa.schema([("seconds", pa.float64()), ("error_code", pa.string()), ("images", pa.int64())])


class Metrics:
    """Adds events up by period, worker and stage: O(workers + periods), whatever the number of images.

    throughput  images whose row was computed in the period that ends `seconds` after the start, `failed` among them
    stages      by worker and stage, `busy_seconds` of the clock and `cpu_seconds` of the CPUs, summed over its threads
    workers     by worker, its `node` of the cluster, the `images` that it predicted, the `seconds` that it was there
                and the `cpu_seconds` that its process took of the CPUs
    failures    error rows by period and code
    """

    def __init__(self, started: float) -> None:
        """`started` is the run's start on the monotonic clock."""
        self._started = started
        self._images: Counter[int] = Counter()
        self._predicted: Counter[str] = Counter()
        self._failures: Counter[tuple[int, str]] = Counter()
        self._laps: dict[str, Lap] = {}

    def add(self, event: Event) -> None:
        period = int((time.monotonic() - self._started) / PERIOD_S) + 1
        if event.kind == "progress":
            self._images[period] += event.images
            self._predicted[event.worker_name] += event.images
        for code, count in event.errors.items():
            self._failures[period, code] += count
        for worker, lap in event.laps.items():
            self._laps[worker] = self._laps.get(worker, NOTHING) + lap

    def write(self, folder: str) -> None:
        """Puts the four tables into `folder`; nothing when no event came."""
        if not self._images:
            return
        failed: Counter[int] = Counter()
        for (period, _), count in self._failures.items():
            failed[period] += count
        throughput = [
            {"seconds": period * PERIOD_S, "images": images, "failed": failed[period]}
            for period, images in sorted(self._images.items())
        ]
        laps = sorted(self._laps.items())
        stages = [
            {"worker": worker, "stage": stage, "busy_seconds": spent.wall_s, "cpu_seconds": spent.cpu_s}
            for worker, lap in laps
            for stage, spent in sorted(lap.stages.items())
        ]
        workers = [
            {
                "worker": worker,
                "node": worker_facts(worker).get("node"),
                "images": self._predicted[worker],
                "seconds": lap.wall_s,
                "cpu_seconds": lap.cpu_s,
            }
            for worker, lap in laps
        ]
        failures = [
            {"seconds": period * PERIOD_S, "error_code": code, "images": count}
            for (period, code), count in sorted(self._failures.items())
        ]
        _put(join(folder, "throughput.parquet"), pa.Table.from_pylist(throughput, THROUGHPUT))
        _put(join(folder, "stages.parquet"), pa.Table.from_pylist(stages, STAGES))
        _put(join(folder, "workers.parquet"), pa.Table.from_pylist(workers, WORKERS))
        _put(join(folder, "failures.parquet"), pa.Table.from_pylist(failures, FAILURES))


def _put(uri: str, table: pa.Table) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    storage_for(uri).put(uri, sink.getvalue())
