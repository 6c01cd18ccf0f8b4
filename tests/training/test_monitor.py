"""What stands between workers and driver, without Ray: it passes on what is told, and what is asked."""

from __future__ import annotations

import asyncio
import time

import pytest

from vision_batch.training import monitor as module
from vision_batch.training.event import TrainEvent
from vision_batch.training.monitor import Monitor


def note(text: str) -> TrainEvent:
    return TrainEvent(kind="note", message=text)


def test_all_that_is_told_is_taken_once_in_order_and_without_delay() -> None:
    async def run() -> None:
        monitor = Monitor()
        assert await monitor.take(0) == []
        await monitor.exchange("node", [note("a"), note("b")])
        await monitor.exchange("node", [note("c")])
        assert [event.message for event in await monitor.take(10)] == ["a", "b", "c"]
        waiting = asyncio.create_task(monitor.take(10))
        await asyncio.sleep(0)
        await monitor.exchange("node", [note("d")])
        began = time.monotonic()
        assert [event.message for event in await waiting] == ["d"]
        assert time.monotonic() - began < 5
        assert await monitor.take(0) == []

    asyncio.run(run())


def test_every_worker_hears_that_it_is_to_stop() -> None:
    async def run() -> None:
        monitor = Monitor()
        assert await monitor.exchange("node", []) == "go"
        await monitor.stop()
        assert await monitor.exchange("node", []) == "stop"

    asyncio.run(run())


def test_workers_stop_when_one_of_their_nodes_is_about_to_go(monkeypatch: pytest.MonkeyPatch) -> None:
    leaving: dict[str, int] = {"another": 0}

    class State:
        def get_draining_nodes(self) -> dict[str, int]:
            return leaving

    monkeypatch.setattr(module, "state", State())
    monkeypatch.setattr(module, "LOOK_S", 0.01)

    async def run() -> None:
        monitor = Monitor()
        await monitor.exchange("one", [])
        await monitor.exchange("two", [])
        watch = asyncio.create_task(monitor._watch_nodes())
        await asyncio.sleep(0.1)
        assert await monitor.exchange("one", []) == "go"
        leaving["two"] = 0
        await asyncio.wait_for(watch, 10)
        assert await monitor.exchange("one", []) == "stop"
        assert "1 of 2 nodes" in (await monitor.take(0))[0].message

    asyncio.run(run())
