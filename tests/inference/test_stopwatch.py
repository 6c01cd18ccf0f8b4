"""Where an actor's time goes."""

from __future__ import annotations

import threading
import time

import pytest

from vision_batch.inference.stopwatch import NOTHING, Lap, Spent, Stopwatch


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_waiting_takes_the_clock_and_work_the_cpu_too() -> None:
    watch = Stopwatch()
    with watch.time("read"):
        time.sleep(0.03)
    with watch.time("decode"):
        spin(0.03)
    lap = watch.take()
    assert lap.stages["read"].wall_s >= 0.03 > 0.02 > lap.stages["read"].cpu_s
    assert lap.stages["decode"].cpu_s >= 0.03
    assert lap.wall_s >= 0.06
    assert lap.cpu_s >= 0.03


def test_a_block_that_raises_has_taken_its_time() -> None:
    watch = Stopwatch()
    with pytest.raises(OSError, match="gone"), watch.time("read"):
        raise OSError("gone")
    assert set(watch.take().stages) == {"read"}


def test_a_lap_begins_where_the_last_one_ended() -> None:
    watch = Stopwatch()
    watch.add("read", 1.0, 0.5)
    time.sleep(0.03)
    assert watch.take().stages == {"read": Spent(1.0, 0.5)}
    later = watch.take()
    assert later.stages == {}
    assert later.wall_s < 0.03


def test_threads_share_a_stopwatch() -> None:
    watch = Stopwatch()
    threads = [threading.Thread(target=lambda: [watch.add("decode", 1.0, 1.0) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.take().stages["decode"] == Spent(400.0, 400.0)


def test_only_time_without_any_call_is_waiting() -> None:
    watch = Stopwatch()
    with watch.call():
        watch.take()
        with watch.call():
            time.sleep(0.02)
        time.sleep(0.02)
    time.sleep(0.01)
    with watch.call():
        pass
    assert 0.01 <= watch.take().stages["wait"].wall_s < 0.03


def test_laps_add_up_by_stage() -> None:
    first = Lap(wall_s=2.0, cpu_s=1.0, stages={"read": Spent(1.0, 0.5)})
    later = Lap(wall_s=3.0, cpu_s=2.0, stages={"read": Spent(0.5, 0.25), "model": Spent(1.0, 1.0)})
    both = Lap(wall_s=5.0, cpu_s=3.0, stages={"read": Spent(1.5, 0.75), "model": Spent(1.0, 1.0)})
    assert first + later == both
    assert sum([first, later], NOTHING) == both
