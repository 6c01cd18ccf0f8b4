"""Works are dealt to real actors: all of them, in order, and never to one that is not there."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from vision_batch.datasets.shard import Shard
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.inference.event import Event
from vision_batch.inference.joined_pool import dealt
from vision_batch.ledger.state import Work

pytestmark = pytest.mark.ray

WORKS = [
    Work(shard=Shard(key=str(number), input_name="", root="/in", format="webdataset"), done_cells=frozenset())
    for number in range(40)
]


class Teller:
    """Tells of each work twice; the first to find `deadly` there takes it and dies between the two."""

    def __init__(self, deadly: Path | None = None) -> None:
        self._deadly = deadly

    def predict(self, works: Sequence[Work]) -> Iterator[Event]:
        for work in works:
            yield Event(kind="progress", shard=work.shard.key, images=1)
            if self._deadly is not None and self._deadly.exists():
                self._deadly.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            yield Event(kind="part", shard=work.shard.key)


@pytest.fixture
def connected(ray_address: str) -> Iterator[None]:
    ray.init(address=ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def teller(deadly: Path | None = None, *, cpus: int = 1) -> Any:
    actor: Any = ray.remote(Teller)
    return actor.options(num_cpus=cpus, max_concurrency=2, **RESTARTED).remote(deadly)


def test_every_work_is_told_of_once_though_an_actor_never_finds_room_and_another_dies(
    connected: None, tmp_path: Path
) -> None:
    deadly = tmp_path / "deadly"
    deadly.touch()
    started = time.monotonic()
    events = list(dealt([teller(cpus=1000), teller(deadly), teller(deadly)], WORKS))
    assert not deadly.exists()
    assert time.monotonic() - started < 60
    for kind in ("progress", "part"):
        assert sorted(event.shard for event in events if event.kind == kind) == sorted(w.shard.key for w in WORKS)


def test_what_an_actor_raises_ends_the_pass(connected: None) -> None:
    class Broken(Teller):
        def predict(self, works: Sequence[Work]) -> Iterator[Event]:
            yield Event(kind="progress", shard=works[0].shard.key)
            raise ValueError("never works")

    actor: Any = ray.remote(Broken)
    with pytest.raises(ray.exceptions.RayError, match="ValueError: never works"):
        list(dealt([actor.remote()], WORKS))
