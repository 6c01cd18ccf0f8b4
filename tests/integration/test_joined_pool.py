"""Works are dealt to real actors: all of them, in order, and never to one that is not there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from vision_batch.datasets.shard import Shard
from vision_batch.errors import EngineError
from vision_batch.inference import joined_pool
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.event import Event
from vision_batch.inference.joined_pool import JoinedPool
from vision_batch.ledger.state import Work

pytestmark = pytest.mark.ray

WORKS = [
    Work(shard=Shard(key=str(number), input_name="", root="/in", format="webdataset"), done_cells=frozenset())
    for number in range(40)
]


class Teller:
    """Tells of each work twice; the first to find `deadly` there takes it and dies between the two."""

    def __init__(self, deadly: Path | None = None, work_s: float = 0.0) -> None:
        self._deadly = deadly
        self._work_s = work_s

    def predict(self, works: Sequence[Work]) -> Iterator[Event]:
        for work in works:
            yield Event(kind="progress", shard=work.shard.key, images=1, worker={"pid": str(os.getpid())})
            time.sleep(self._work_s)
            if self._deadly is not None and self._deadly.exists():
                self._deadly.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            yield Event(kind="part", shard=work.shard.key)


@pytest.fixture
def connected(ray_address: str) -> Iterator[None]:
    ray.init(address=ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def teller(deadly: Path | None = None, *, cpus: int = 1, work_s: float = 0.0) -> Any:
    actor: Any = ray.remote(Teller)
    return actor.options(num_cpus=cpus, max_concurrency=2, **RESTARTED).remote(deadly, work_s)


def told(hire: Callable[[], Any], places: Callable[[], int]) -> list[Event]:
    pool = JoinedPool(hire, places, WORKS)
    try:
        return list(pool.events())
    finally:
        pool.end()


def shards(events: Sequence[Event], kind: str) -> list[str]:
    return sorted(event.shard for event in events if event.kind == kind)


ALL = sorted(work.shard.key for work in WORKS)


def test_every_work_is_told_of_once_though_an_actor_never_finds_room_and_another_dies(
    connected: None, tmp_path: Path
) -> None:
    deadly = tmp_path / "deadly"
    deadly.touch()
    started = time.monotonic()
    tellers = iter([teller(cpus=1000), teller(deadly), teller(deadly)])
    events = told(lambda: next(tellers), lambda: 3)
    assert not deadly.exists()
    assert time.monotonic() - started < 60
    assert shards(events, "progress") == shards(events, "part") == ALL


def test_the_works_of_an_actor_that_finds_no_room_any_more_are_done_by_another(
    connected: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who has waited for it takes the room of one that dies."""
    monkeypatch.setattr(joined_pool, "LOOK_S", 0.2)
    monkeypatch.setattr(joined_pool, "AWAY_S", 1.0)
    deadly = tmp_path / "deadly"
    deadly.touch()
    tellers = [teller(cpus=2), teller(deadly, cpus=2)]
    ray.get([each.__ray_ready__.remote() for each in tellers])
    waiting = teller(cpus=2)
    events = told(lambda: tellers.pop() if tellers else teller(cpus=2), lambda: 2)
    assert not deadly.exists()
    assert sorted({*shards(events, "part")}) == ALL  # what was done when the actor died may be done again
    ray.kill(waiting)


def test_actors_that_are_all_gone_for_good_end_the_pass(
    connected: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joined_pool, "LOOK_S", 0.2)
    monkeypatch.setattr(joined_pool, "AWAY_S", 1.0)
    deadly = tmp_path / "deadly"
    deadly.touch()
    only = teller(deadly, cpus=4)
    ray.get(only.__ray_ready__.remote())
    other = teller(cpus=4)
    hired = [only]
    with pytest.raises(EngineError, match="no other one has room"):
        told(lambda: hired.pop() if hired else teller(cpus=4), lambda: 1)
    ray.kill(other)


def test_where_nodes_come_more_actors_begin_at_once(connected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_pool, "LOOK_S", 0.2)
    looks = iter([1, 1])
    events = told(partial(teller, work_s=0.1), lambda: next(looks, 3))
    assert shards(events, "part") == ALL
    assert len({event.worker["pid"] for event in events if event.kind == "progress"}) == 3


def test_what_an_actor_raises_ends_the_pass(connected: None) -> None:
    class Broken(Teller):
        def predict(self, works: Sequence[Work]) -> Iterator[Event]:
            yield Event(kind="progress", shard=works[0].shard.key)
            raise ValueError("never works")

    actor: Any = ray.remote(Broken)
    with pytest.raises(ray.exceptions.RayError, match="ValueError: never works"):
        told(actor.remote, lambda: 1)
