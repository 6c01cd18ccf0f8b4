"""What monitoring is told of a run, from its events."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.test_load import JOINED
from vision_batch.datasets.shard import Shard
from vision_batch.inference.event import Event
from vision_batch.inference.live_tally import (
    BUSY_SHARE,
    COUNTERS,
    FAILED_IMAGES,
    GAUGES,
    GPUS,
    IMAGES,
    IMAGES_LEFT,
    IMAGES_PER_SECOND,
    INPUT_BYTES,
    STAGE_SECONDS,
    LiveTally,
)
from vision_batch.inference.stopwatch import Lap, Spent
from vision_batch.ledger.state import Work
from vision_batch.storage.object_info import ObjectInfo

LAP = Lap(wall_s=4.0, cpu_s=2.0, stages={"read": Spent(1.0, 0.5), "model": Spent(2.0, 1.5)})


def work(key: str, size_bytes: int) -> Work:
    info = ObjectInfo(uri=f"/in/{key}", size_bytes=size_bytes, version="1")
    return Work(
        shard=Shard(key=key, input_name="", root="/in", format="webdataset", files=(info,)), done_cells=frozenset()
    )


def tally(left: int = 100) -> LiveTally:
    made = LiveTally()
    made.begin_pass(JOINED, [work("a.tar", 1000), work("b.tar", 50)])
    made.expect(left)
    return made


def test_images_are_counted_and_failures_by_their_code() -> None:
    live = tally()
    live.add(Event(kind="progress", images=10, errors={"empty": 1, "truncated": 2}))
    live.add(Event(kind="progress", images=5, errors={"empty": 1}))
    grown, now = live.read(seconds=5.0)
    assert grown == {(IMAGES, ""): 15, (FAILED_IMAGES, "empty"): 2, (FAILED_IMAGES, "truncated"): 2}
    assert now[IMAGES_LEFT, ""] == 85
    assert now[IMAGES_PER_SECOND, ""] == 3.0
    assert now[GPUS, ""] == 0


def test_counters_say_what_came_since_and_a_run_that_stands_still_has_no_pace() -> None:
    live = tally()
    live.add(Event(kind="progress", images=10))
    live.read(seconds=5.0)
    grown, now = live.read(seconds=5.0)
    assert grown == {}
    assert now[IMAGES_PER_SECOND, ""] == 0.0
    assert now[IMAGES_LEFT, ""] == 90


def test_a_shard_counts_with_its_bytes_when_it_ends_and_once() -> None:
    live = tally()
    live.add(Event(kind="part", shard="a.tar", cell=0, images=8))
    assert (INPUT_BYTES, "") not in live.read(seconds=1.0)[0]
    for _ in range(2):  # a replay
        live.add(Event(kind="part", shard="a.tar", cell=1, images=2, last=True))
    assert live.read(seconds=1.0)[0] == {(INPUT_BYTES, ""): 1000}


def test_every_lap_counts_for_its_stages_but_the_first_says_nothing_of_how_busy_a_worker_is() -> None:
    live = tally()
    live.add(Event(kind="progress", images=1, laps={"w": LAP}))
    grown, now = live.read(seconds=4.0)
    assert (grown[STAGE_SECONDS, "read"], grown[STAGE_SECONDS, "model"]) == (1.0, 2.0)
    assert not [part for measure, part in now if measure is BUSY_SHARE]
    live.add(Event(kind="progress", images=1, laps={"w": LAP}))
    _, now = live.read(seconds=4.0)
    assert now[BUSY_SHARE, "predictors"] == pytest.approx(0.5), "the model had it for 2 of 4 seconds"
    assert all(0 <= share <= 1 for (measure, _), share in now.items() if measure is BUSY_SHARE)


def test_more_images_than_expected_leave_none() -> None:
    live = tally(left=3)
    live.add(Event(kind="progress", images=10))
    assert live.read(seconds=1.0)[1][IMAGES_LEFT, ""] == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.booleans())))
def test_readings_add_up_to_the_events(steps: list[tuple[int, bool]]) -> None:
    live, told = tally(), 0.0
    for images, reads in steps:
        live.add(Event(kind="progress", images=images))
        told += live.read(seconds=1.0)[0].get((IMAGES, ""), 0.0) if reads else 0.0
    assert told + live.read(seconds=1.0)[0].get((IMAGES, ""), 0.0) == sum(images for images, _ in steps)


def test_names_are_what_prometheus_takes_and_labels_are_small() -> None:
    measures = [*COUNTERS, *GAUGES]
    assert len({measure.name for measure in measures}) == len(measures)
    for measure in measures:
        assert re.fullmatch(r"vision_batch_[a-z_]+", measure.name)
        assert not measure.name.endswith("_total"), "Ray adds it"
        assert measure.label in ("", "code", "stage", "part")
