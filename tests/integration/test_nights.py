"""Many nights over a bucket that grows and changes: each processes exactly what is new, whatever happens to it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import S3Bucket
from tests.faults.chaos_dataset import Dataset, Files, Tars
from tests.integration.nights import DARKNESS, NEW_MODEL, OUTAGE, Nights, nights

pytestmark = [pytest.mark.ray, pytest.mark.s3]

Story = list[tuple[datetime, dict[str, Any]]]
"""What the history is to tell of each time."""


def plain(it: Nights) -> Story:
    """A night like any other."""
    it.bucket.pass_day(changes=2)
    night = it.next_night()
    it.await_end(night)
    it.settle()
    return [(night, {"state": "done", "exit_code": 0, "attempt": 1})]


def idle(it: Nights) -> Story:
    """Nothing has come: nothing is done."""
    parts, night = it.bucket.parts(), it.next_night()
    it.await_end(night)
    it.settle()
    assert it.bucket.parts() == parts
    return [(night, {"state": "done", "exit_code": 0, "attempt": 1})]


def longer_than_a_day(it: Nights) -> Story:
    """A run that is still going when the next one is due, which is skipped; and its server is killed meanwhile."""
    it.bucket.pass_day(changes=1)
    night = it.held_night()
    it.kill_server()
    it.bucket.dataset.grow()
    next_night = it.next_night()
    it.await_end(next_night)
    it.proxy.rules = []
    it.await_end(night)
    it.settle()
    skipped = {"state": "skipped", "attempt": 0, "job_id": None}
    return [(night, {"state": "done", "exit_code": 0, "attempt": 1}), (next_night, skipped)]


def outage(it: Nights) -> Story:
    """The output takes nothing for a while: the second attempt does what the first could not."""
    it.bucket.pass_day(changes=2)
    parts = it.bucket.parts()
    it.proxy.rules = [OUTAGE]
    night = it.next_night()
    it.await_due(night, attempt=1)
    assert it.bucket.parts() == parts, "what the second attempt does is all that is done"
    it.proxy.rules = []
    it.await_end(night)
    it.settle()
    return [(night, {"state": "done", "exit_code": 0, "attempt": 2})]


def new_model(it: Nights) -> Story:
    """Refused onto the old output, and accepted onto a new one."""
    it.bucket.pass_day(changes=1)
    parts, told = it.bucket.parts(), len(it.told)
    it.model = NEW_MODEL
    it.write_spec()
    night = it.next_night()
    it.await_end(night)
    it.await_told(told + 1)
    assert (it.told[-1]["schedule"], it.told[-1]["exit_code"]) == ("nightly", 2)
    assert (it.computed(), it.bucket.parts()) == (0, parts)
    it.bucket.begin_output("out-of-the-new-model")
    it.write_spec()
    by_hand = it.run_now()
    it.await_end(by_hand)
    it.settle()
    return [
        (night, {"state": "failed", "exit_code": 2, "attempt": 1, "notice": "given"}),
        (by_hand, {"state": "done", "exit_code": 0, "attempt": 1, "kind": "manual"}),
    ]


def queued(it: Nights) -> Story:
    """A run that is still going when the next one is due, which waits for it."""
    it.write_spec(overlap="queue")
    it.bucket.pass_day(changes=1)
    night = it.held_night()
    next_night = it.next_night()
    it.await_due(next_night, attempt=0)
    it.proxy.rules = []
    it.await_end(next_night)
    it.settle()
    it.write_spec()
    done = {"state": "done", "exit_code": 0, "attempt": 1}
    return [(night, done), (next_night, done)]


def replaced(it: Nights) -> Story:
    """A run that is still going when the next one is due, which takes its place."""
    it.write_spec(overlap="replace")
    it.bucket.pass_day(changes=1)
    parts = it.bucket.parts()
    night = it.held_night()
    next_night = it.next_night()
    it.await_end(night)
    assert it.bucket.parts() == parts, "what the next run does is all that is done"
    it.proxy.rules = []
    it.await_end(next_night)
    it.settle()
    it.write_spec()
    return [(night, {"state": "replaced", "attempt": 1}), (next_night, {"state": "done", "attempt": 1})]


def darkness(it: Nights) -> Story:
    """The whole object store answers nobody, for longer than it is waited for."""
    it.bucket.pass_day(changes=1)
    it.proxy.rules = [DARKNESS]
    night = it.next_night()
    it.await_due(night, attempt=1)
    it.proxy.rules = []
    it.await_end(night)
    it.settle()
    return [(night, {"state": "done", "exit_code": 0, "attempt": 2})]


def nobody_serves(it: Nights) -> Story:
    """No server for three nights: the last of them is made up for, and does it all."""
    it.stop_server()
    missed = []
    for _ in range(3):
        it.bucket.pass_day(changes=1)
        missed.append(it.next_night())
    it.pass_hours(2)
    it.start_server()
    it.await_end(missed[-1])
    it.settle()
    skipped = {"state": "skipped", "attempt": 0}
    caught_up = {"state": "done", "attempt": 1, "kind": "caught_up"}
    return [*((night, skipped) for night in missed[:-1]), (missed[-1], caught_up)]


def tell(it: Nights, chapters: list[Callable[[Nights], Story]]) -> None:
    """Lives through the nights, and demands that the history tells of them and of nothing else."""
    story = [night for chapter in chapters for night in chapter(it)]
    history = it.command("history", "nightly")["runs"]
    assert [run["scheduled_time"] for run in history] == [f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment, _ in story][::-1]
    for run, (moment, expected) in zip(reversed(history), story, strict=True):
        assert run.items() >= expected.items(), moment
    attempts = sum(run["attempt"] for run in history)
    assert len(it.jobs) == attempts, "a job for each attempt, and none twice"
    failures = [run["scheduled_time"] for run in reversed(history) if run["state"] == "failed"]
    assert [record["scheduled_time"] for record in it.told] == failures


def test_five_nights(tmp_path: Path, moto_s3: S3Bucket) -> None:
    with nights(tmp_path, Tars, moto_s3.server, seed=0) as it:
        tell(it, [outage, longer_than_a_day, idle, new_model])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [Tars, Files])
def test_thirty_nights(tmp_path: Path, rgw_s3: S3Bucket, kind: type[Dataset]) -> None:
    dice = random.Random(kind.__name__)
    special = [longer_than_a_day, outage, new_model, queued, replaced, darkness, nobody_serves, idle, idle]
    common = dice.choices([plain, outage, longer_than_a_day], weights=[8, 1, 1], k=15)
    later = [*special, *common]
    dice.shuffle(later)
    with nights(tmp_path, kind, rgw_s3.server, seed=1) as it:
        tell(it, [plain, *later])
        assert len(it.store.history("nightly")) >= 30
