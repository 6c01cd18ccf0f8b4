"""What actors report adds up, and the first batch is no part of the pace."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from types import SimpleNamespace

import pytest

from vision_batch.datasets.shard import Shard
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.stopwatch import Lap, Spent
from vision_batch.jobs import tally as tally_module
from vision_batch.jobs.tally import Expectation, Tally
from vision_batch.ledger.holder import this_process
from vision_batch.ledger.state import Work
from vision_batch.storage.object_info import ObjectInfo


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tally_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def add_at(tally: Tally, clock: Clock, second: float, images: int) -> None:
    clock.now_s = second
    tally.add(Event(kind="progress", images=images))


def test_an_output_is_closed_when_it_refuses_three_parts_in_a_row() -> None:
    tally = Tally()
    refused, stored = Event(kind="unwritten", shard="a.tar", message="full"), Event(kind="part", shard="b.tar")
    for event in (refused, refused, stored, refused, refused):
        tally.add(event)
        assert not tally.output_is_closed
    tally.add(refused)
    assert tally.output_is_closed
    assert tally.troubles == {"a.tar": "full"}
    tally.begin_pass()
    assert not tally.output_is_closed


def test_nothing_reported_is_nothing_known() -> None:
    tally = Tally()
    assert (tally.images, tally.images_ok, tally.first_batch, tally.steady_s) == (0, 0, None, 0.0)
    assert tally.images_per_second is None


def test_the_pace_is_that_after_the_first_batch(clock: Clock) -> None:
    tally = Tally()
    add_at(tally, clock, 30, images=100)
    add_at(tally, clock, 31, images=200)
    add_at(tally, clock, 34, images=600)
    assert (tally.first_batch, tally.steady_s, tally.images) == (30, 4, 900)
    assert tally.images_per_second == 200


def test_one_batch_has_no_pace(clock: Clock) -> None:
    tally = Tally()
    add_at(tally, clock, 30, images=100)
    assert tally.images_per_second is None


def test_what_brings_no_images_does_not_move_the_clock(clock: Clock) -> None:
    tally = Tally()
    tally.add(Event(kind="progress", laps={"a": Lap(wall_s=1.0, cpu_s=0.0)}))
    assert tally.first_batch is None
    add_at(tally, clock, 10, images=1)
    add_at(tally, clock, 12, images=1)
    clock.now_s = 60
    tally.add(Event(kind="part", shard="a.tar", images=4096))
    assert (tally.images, tally.steady_s) == (2, 2)


def test_laps_add_up_without_the_first_of_each_worker_which_holds_its_start() -> None:
    tally = Tally()
    start = Lap(wall_s=100.0, cpu_s=50.0, stages={"read": Spent(90.0, 1.0)})
    lap = Lap(wall_s=2.0, cpu_s=1.0, stages={"decode": Spent(1.0, 0.5)})
    for worker, done in (("a", start), ("a", lap), ("b", start), ("a", lap), ("b", lap)):
        tally.add(Event(kind="progress", images=1, laps={worker: done}))
    assert tally.laps == {"a": lap + lap, "b": lap}
    assert tally.work == lap + lap + lap


def test_failed_images_are_not_ok() -> None:
    tally = Tally()
    tally.add(Event(kind="progress", images=100, errors={"empty": 2, "unreadable": 3}))
    tally.add(Event(kind="progress", images=10))
    assert (tally.images, tally.images_ok) == (110, 105)


def test_each_predictor_is_named_once_in_order_of_appearance() -> None:
    tally = Tally()
    for pid in ("7", "3", "7"):
        tally.add(Event(kind="progress", images=1, worker={"host": "a", "pid": pid}))
    assert list(tally.predictors) == ["host=a pid=7", "host=a pid=3"]


def test_batch_sizes_are_known_when_a_predictor_has_found_its_own() -> None:
    tally = Tally()
    for pid, batch_rows in (("7", 0), ("3", 128), ("7", 64), ("7", 32), ("3", 0)):
        tally.add(Event(kind="progress", images=1, batch_rows=batch_rows, worker={"pid": pid}))
    assert tally.batch_sizes == {"pid=3": 128, "pid=7": 32}


def test_a_shard_in_trouble_keeps_its_latest_reason() -> None:
    tally = Tally()
    tally.add(Event(kind="shard_failed", shard="a.tar", message="503"))
    tally.add(Event(kind="shard_failed", shard="b.tar", message="no permission"))
    tally.add(Event(kind="shard_failed", shard="a.tar", message="time-out"))
    assert tally.troubles == {"a.tar": "time-out", "b.tar": "no permission"}


def test_cells_that_have_no_place_are_all_told_and_do_not_close_the_output() -> None:
    tally = Tally()
    for cell in range(4):
        tally.add(Event(kind="whole", shard="a.tar", cell=cell))
        tally.add(Event(kind="cell_failed", shard="a.tar", cell=cell, message=f"part {cell} is damaged"))
    assert tally.troubles == {f"a.tar, cell {cell}": f"part {cell} is damaged" for cell in range(4)}
    assert not tally.writing()
    assert not tally.output_is_closed


def test_a_pass_begins_without_the_troubles_of_the_last_one() -> None:
    tally = Tally()
    tally.add(Event(kind="progress", images=5))
    tally.add(Event(kind="shard_failed", shard="a.tar", message="503"))
    tally.add(Event(kind="withheld", batches=2, message="shapes differ"))
    tally.add(Event(kind="withheld", batches=1, message="no such layer"))
    assert (tally.withheld_batches, tally.last_failure) == (3, "no such layer")
    tally.begin_pass()
    assert (tally.troubles, tally.withheld_batches, tally.images) == ({}, 0, 5)


@pytest.mark.parametrize("kind", ["shard_failed", "crashed"])
def test_an_interrupt_waits_for_no_cell_of_a_shard_that_failed(kind: str) -> None:
    tally = Tally()
    for shard, cell in (("a.tar", 0), ("a.tar", 1), ("b.tar", 0)):
        tally.add(Event(kind="whole", shard=shard, cell=cell))
    tally.add(Event(kind=kind, shard="a.tar", message="503"))
    assert tally.writing() == {("b.tar", 0)}


def test_an_interrupt_waits_for_no_cell_of_a_process_that_died_without_a_word() -> None:
    tally = Tally()
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        writer = pool.submit(this_process).result()
        for shard, told_by in (
            ("a.tar", writer),
            ("b.tar", this_process()),
            ("c.tar", replace(writer, boot="another")),
        ):
            (event,) = events_of(Event(kind="whole", shard=shard, writer=told_by).to_table())
            tally.add(event)
        assert tally.writing() == {("a.tar", 0), ("b.tar", 0), ("c.tar", 0)}
        os.kill(writer.pid, signal.SIGKILL)
    assert tally.writing() == {("b.tar", 0), ("c.tar", 0)}, "of another machine's processes nothing is known here"


CELL_ROWS = 100


def works(**sizes_bytes: int) -> list[Work]:
    return [Work(shard=_tar(name, size), done_cells=frozenset()) for name, size in sizes_bytes.items()]


def _tar(name: str, size_bytes: int) -> Shard:
    file = ObjectInfo(uri=f"/in/{name}", size_bytes=size_bytes, version="1")
    return Shard(key=name, input_name="", root="/in", format="webdataset", files=(file,))


def ended(shard: str, cell: int, rows: int) -> Event:
    return Event(kind="part", shard=shard, cell=cell, images=rows, last=True)


class TestExpectation:
    """How many images there will be: by bytes, until the shards have told."""

    def test_a_known_total_stays(self) -> None:
        expected = Expectation(works(a=1000), 70, 10, 0, CELL_ROWS)
        assert not expected.add(ended("a", 0, 99))
        assert expected.images == 70

    def test_the_estimate_stands_until_a_shard_ends(self) -> None:
        expected = Expectation(works(a=1000, b=1000), None, 10, 0, CELL_ROWS)
        assert not expected.add(Event(kind="part", shard="a", cell=0, images=CELL_ROWS))
        assert not expected.add(Event(kind="progress", shard="a", images=128))
        assert not expected.add(Event(kind="shard_failed", shard="a"))
        assert expected.images == 10

    def test_shards_to_come_are_taken_to_be_like_those_that_ended(self) -> None:
        expected = Expectation(works(a=1000, b=3000), None, 10, 0, CELL_ROWS)
        assert expected.add(ended("a", 1, 50))  # a whole cell and a half one
        assert expected.images == 150 + 450

    def test_when_all_have_ended_it_is_what_they_had(self) -> None:
        expected = Expectation(works(a=1000, b=3000, c=500), None, 10, 30, CELL_ROWS)
        for shard, rows in (("b", 40), ("a", 99), ("c", 1)):
            assert expected.add(ended(shard, 0, rows))
        assert expected.images == 30 + 140

    def test_an_end_that_is_told_twice_counts_once(self) -> None:
        expected = Expectation(works(a=1000, b=1000), None, 10, 0, CELL_ROWS)
        assert expected.add(ended("a", 0, 40))
        assert not expected.add(ended("a", 0, 40))
        assert expected.images == 80

    def test_shards_of_no_bytes_are_no_trouble(self) -> None:
        expected = Expectation(works(a=0, b=0), None, 0, 0, CELL_ROWS)
        assert expected.add(ended("a", 0, 1))
        assert expected.images == 1


def test_the_shards_that_ended_in_this_pass_are_counted_once() -> None:
    tally = Tally()
    for shard, last in [("a.tar", False), ("a.tar", True), ("a.tar", True), ("b.tar", True), ("c.tar", False)]:
        tally.add(Event(kind="part", shard=shard, last=last, images=10))
    assert tally.ended == {"a.tar", "b.tar"}
    tally.begin_pass()
    assert tally.ended == set()


def test_columns_from_the_input_that_stay_empty_are_worth_a_warning() -> None:
    tally = Tally()
    tally.add(Event(kind="progress", images=20))
    assert tally.warnings(["truth", "input_site"]) == ()
    tally.add(Event(kind="part", images=10, filled=["input_site"]))
    tally.add(Event(kind="part", images=10))
    (warning,) = tally.warnings(["truth", "input_site"])
    assert "column truth is null in every row" in warning
    assert tally.warnings([]) == ()


def test_where_every_image_failed_empty_columns_say_nothing() -> None:
    tally = Tally()
    tally.add(Event(kind="progress", images=10, errors={"unreadable": 10}))
    tally.add(Event(kind="part", images=10))
    assert tally.warnings(["truth"]) == ()


def test_shards_that_kill_are_in_a_row_until_an_image_survives() -> None:
    tally = Tally()
    crashed = Event(kind="crashed", shard="a.tar", message="it died")
    for event in (crashed, crashed, Event(kind="progress", images=2, errors={"worker_killed": 2})):
        tally.add(event)
    assert (tally.crashes_in_a_row, tally.troubles) == (2, {"a.tar": "it died"})
    tally.add(Event(kind="progress", images=2, errors={"worker_killed": 1}))
    assert tally.crashes_in_a_row == 0
