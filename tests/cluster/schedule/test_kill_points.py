"""A server that is killed at any step, and started again, changes nothing of what is run, whatever else happens."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.schedule.world import BEGIN, Crash, World
from vision_batch.cluster.schedule.admission import pause, resume, run_now
from vision_batch.cluster.schedule.times import Times

Event = Literal[
    "nothing",
    "the cluster does not answer",
    "the cluster answers again",
    "the cluster loses its jobs",
    "somebody pauses it",
    "somebody resumes it",
    "somebody wants a run",
]
EVENTS = st.one_of(st.just("nothing"), st.sampled_from(get_args(Event)))


@st.composite
def specs(draw: st.DrawFn) -> dict[str, str]:
    block = {
        "cron": draw(st.sampled_from(["0 * * * *", "*/20 * * * *", "7,9,50 12-14 * * *"])),
        "overlap": draw(st.sampled_from(["skip", "queue", "replace"])),
        "catch_up": draw(st.sampled_from(["latest", "all", "none"])),
        "retries": draw(st.sampled_from(["{limit: 0}", "{limit: 2, backoff: 3m}"])),
    }
    if draw(st.booleans()):
        block["deadline"] = "25m"
    return block


class Night:
    """Some hours of one schedule, each job with a length and an exit code of its own.

    The server is killed after as many steps as the last of `fuses` says, and so on from there.
    """

    def __init__(
        self, folder: Path, spec: dict[str, str], seed: int, evening: list[tuple[int, Event]], fuses: list[int]
    ) -> None:
        self.world = World(folder)
        self.world.jobs.course = lambda job_id: _course(random.Random(f"{seed} {job_id}"))
        self.world.spec(**spec)  # type: ignore[arg-type]
        self.fuses = list(fuses)
        self.light()
        self.tick(0)
        for minutes, event in evening:
            self.happens(event)
            self.tick(minutes)
        self.happens("the cluster answers again")
        (self.world.specs / "nightly.yaml").unlink()  # nothing more begins
        self.tick(2)
        self.expected = list(Times(spec["cron"], "UTC").between(BEGIN, self.world.time))
        for _ in range(100):
            self.tick(3)

    def happens(self, event: Event) -> None:
        """Something that the server has no part in, so that no step of it is counted."""
        world = self.world
        left, world.fuse.left = world.fuse.left, None
        match event:
            case "the cluster does not answer":
                world.jobs.is_down = True
            case "the cluster answers again":
                world.jobs.is_down = False
            case "the cluster loses its jobs":
                world.jobs.jobs.clear()
            case "somebody pauses it":
                pause(world.store, "nightly", world.time)
            case "somebody resumes it":
                resume(world.store, "nightly", world.time)
            case "somebody wants a run":
                run_now(world.store, "nightly", world.time)
        world.fuse.left = left

    def light(self) -> None:
        self.world.fuse.left = self.fuses.pop() if self.fuses else None

    def tick(self, minutes: int) -> None:
        """One that may be killed, several times; the clock stands still meanwhile."""
        self.world.time += timedelta(minutes=minutes)
        while True:
            try:
                assert self.world.server.tick()
            except Crash:
                self.world.restart()
                self.light()
            else:
                return


def _course(chance: random.Random) -> tuple[timedelta, int]:
    return timedelta(minutes=chance.choice([1, 15, 40])), chance.choice([0, 0, 0, 1, 2, 4])


NIGHTS = {
    "spec": specs(),
    "seed": st.integers(0, 10**6),
    "evening": st.lists(st.tuples(st.sampled_from([1, 2, 5, 30, 70]), EVENTS), min_size=5, max_size=25),
    "fuses": st.lists(st.integers(0, 30), min_size=10, max_size=80),
}


@settings(max_examples=12, deadline=None)
@given(**NIGHTS)
def test_killed_anywhere_it_runs_the_same(
    spec: dict[str, str], seed: int, evening: list[tuple[int, Event]], fuses: list[int]
) -> None:
    compare(spec, seed, evening, fuses)


@pytest.mark.slow
@settings(max_examples=250, deadline=None)
@given(**NIGHTS)
def test_in_many_nights_too(
    spec: dict[str, str], seed: int, evening: list[tuple[int, Event]], fuses: list[int]
) -> None:
    compare(spec, seed, evening, fuses)


def compare(spec: dict[str, str], seed: int, evening: list[tuple[int, Event]], fuses: list[int]) -> None:
    """A night in which nobody is killed, and the same one with kills."""
    with TemporaryDirectory() as calm_folder, TemporaryDirectory() as killed_folder:
        calm = Night(Path(calm_folder), spec, seed, evening, fuses=[])
        killed = Night(Path(killed_folder), spec, seed, evening, fuses)
        assert killed.world.runs() == calm.world.runs()
        assert killed.world.jobs.jobs == calm.world.jobs.jobs
        check(killed)
        calm.world.store.close()
        killed.world.store.close()


def check(night: Night) -> None:
    """Every time has one run, every run its own jobs, and every failure was told."""
    runs = night.world.runs()
    assert [run.scheduled_time for run in runs if run.kind != "manual"] == night.expected
    assert all(run.is_over for run in runs)
    stem = [f"nightly-{run.scheduled_time:%Y%m%dT%H%M%SZ}" for run in runs]
    ids = [
        name if attempt == 1 else f"{name}-{attempt}"
        for name, run in zip(stem, runs, strict=True)
        for attempt in range(1, run.attempt + 1)
    ]
    assert set(night.world.jobs.packages) <= set(ids)  # what the cluster did not take in time was no job
    assert {run.job_id for run in runs if run.state == "done"} <= set(night.world.jobs.packages)
    failed = {run.scheduled_time for run in runs if run.state == "failed"}
    assert {run.scheduled_time for run in night.world.told} == failed
