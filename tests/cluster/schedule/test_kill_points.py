"""A server that is killed at any step, and started again, changes nothing of what is run."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cluster.schedule.world import BEGIN, Crash, World
from vision_batch.cluster.schedule.times import Times


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

    def __init__(self, folder: Path, spec: dict[str, str], seed: int, gaps: list[int], fuses: list[int]) -> None:
        self.world = World(folder)
        self.world.jobs.course = lambda job_id: _course(random.Random(f"{seed} {job_id}"))
        self.world.spec(**spec)  # type: ignore[arg-type]
        self.fuses = list(fuses)
        self.light()
        self.tick(0)
        for gap in gaps:
            self.tick(gap)
        (self.world.specs / "nightly.yaml").unlink()  # nothing more begins
        self.tick(2)
        self.expected = list(Times(spec["cron"], "UTC").between(BEGIN, self.world.time))
        for _ in range(100):
            self.tick(3)

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


@settings(max_examples=15, deadline=None)
@given(
    spec=specs(),
    seed=st.integers(0, 10**6),
    gaps=st.lists(st.sampled_from([1, 2, 5, 30, 70]), min_size=5, max_size=25),
    fuses=st.lists(st.integers(0, 30), min_size=10, max_size=80),
)
def test_killed_anywhere_it_runs_the_same(spec: dict[str, str], seed: int, gaps: list[int], fuses: list[int]) -> None:
    with TemporaryDirectory() as calm_folder, TemporaryDirectory() as killed_folder:
        calm = Night(Path(calm_folder), spec, seed, gaps, fuses=[])
        killed = Night(Path(killed_folder), spec, seed, gaps, fuses)
        assert killed.world.runs() == calm.world.runs()
        assert killed.world.jobs.jobs == calm.world.jobs.jobs
        check(killed)
        calm.world.store.close()
        killed.world.store.close()


def check(night: Night) -> None:
    """Every time has one run, every run its own jobs, and every failure was told."""
    runs = night.world.runs()
    assert [run.scheduled_time for run in runs] == night.expected
    assert all(run.is_over for run in runs)
    stem = [f"nightly-{run.scheduled_time:%Y%m%dT%H%M%SZ}" for run in runs]
    ids = [
        name if attempt == 1 else f"{name}-{attempt}"
        for name, run in zip(stem, runs, strict=True)
        for attempt in range(1, run.attempt + 1)
    ]
    assert sorted(night.world.jobs.jobs) == sorted(ids)
    failed = {run.scheduled_time for run in runs if run.state == "failed"}
    assert {run.scheduled_time for run in night.world.told} == failed
