"""OUTPUT-metrics/<run_id>/*.parquet."""

from pathlib import Path

import pyarrow.parquet as pq

from vision_batch.inference.event import Event, events_of, worker_facts, worker_name
from vision_batch.inference.metrics import Metrics
from vision_batch.inference.stopwatch import Lap, Spent

WORKER = {"host": "a", "node": "6f2c", "pid": "1", "gpus": ""}
NAME = worker_name(WORKER)
READER = worker_name({**WORKER, "pid": "2"})
LAP = Lap(wall_s=4.0, cpu_s=1.5, stages={"decode": Spent(2.0, 1.0)})


def test_events_are_added_up_by_period_worker_and_stage(tmp_path: Path, monkeypatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("vision_batch.inference.metrics.time.monotonic", lambda: clock[0])
    metrics = Metrics(started=100.0)
    for now, images in ((101, 10), (104, 5), (115, 7)):
        clock[0] = now
        errors = {"empty": 1} if images == 5 else {}
        metrics.add(Event(kind="progress", images=images, errors=errors, laps={NAME: LAP, READER: LAP}, worker=WORKER))
    metrics.write(str(tmp_path / "m"))
    assert pq.read_table(tmp_path / "m/throughput.parquet").to_pylist() == [
        {"seconds": 10.0, "images": 15, "failed": 1},
        {"seconds": 20.0, "images": 7, "failed": 0},
    ]
    assert pq.read_table(tmp_path / "m/stages.parquet").to_pylist() == [
        {"worker": worker, "stage": "decode", "busy_seconds": 6.0, "cpu_seconds": 3.0} for worker in (NAME, READER)
    ]
    assert pq.read_table(tmp_path / "m/workers.parquet").to_pylist() == [
        {"worker": NAME, "node": "6f2c", "images": 22, "seconds": 12.0, "cpu_seconds": 4.5},
        {"worker": READER, "node": "6f2c", "images": 0, "seconds": 12.0, "cpu_seconds": 4.5},
    ]
    assert pq.read_table(tmp_path / "m/failures.parquet").to_pylist() == [
        {"seconds": 10.0, "error_code": "empty", "images": 1}
    ]


def test_a_run_that_did_nothing_leaves_nothing(tmp_path: Path) -> None:
    Metrics(started=0.0).write(str(tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_events_survive_their_way_through_the_dataset() -> None:
    event = Event(kind="part", shard="s", cell=3, images=2, errors={"empty": 1}, laps={"a": LAP}, worker=WORKER)
    assert events_of(event.to_table()) == [event]


def test_a_worker_is_known_by_its_name() -> None:
    assert worker_facts(NAME) == WORKER
