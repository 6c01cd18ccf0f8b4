"""Counts and their rate, at times that the test chooses."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from vision_batch.cli import pace as module
from vision_batch.cli.pace import Pace
from vision_batch.cluster.progress import JobProgress
from vision_batch.jobs.reporter import Standing

Now = Callable[[float], None]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    """Sets the clock, which begins at 0."""
    clock = SimpleNamespace(monotonic=lambda: 0.0)
    monkeypatch.setattr(module, "time", clock)

    def at(second: float) -> None:
        clock.monotonic = lambda: second

    return at


def test_before_the_plan_there_are_only_seconds(now: Now) -> None:
    pace = Pace()
    now(12.34)
    progress = pace.progress()
    assert (progress.images_total, progress.shards_total, progress.images_per_second) == (None, None, None)
    assert progress.seconds == 12.3


def test_the_rate_begins_with_the_first_batch_and_leaves_out_what_was_done_before(now: Now) -> None:
    pace = Pace()
    now(90)
    pace.start(Standing(images_total=10_000, images_done=6_000, images_failed=5, shards_total=10, shards_done=6))
    now(100)
    pace.advance(1, 0)
    now(110)
    pace.advance(1_999, 7)
    pace.complete(7)
    assert pace.progress() == JobProgress(
        images_total=10_000,
        images_done=8_000,
        images_failed=12,
        images_per_second=199.9,
        seconds=110,
        seconds_left=10,
        shards_total=10,
        shards_done=7,
    )


def test_a_run_after_another_has_nothing_of_it(now: Now) -> None:
    pace = Pace()
    pace.start(Standing(images_total=10, images_done=0))
    pace.learn({"epoch": 1, "epochs": 1, "loss": 0.5})
    pace.advance(10, 0)
    pace.start(Standing(images_total=20, images_done=0))
    now(10)
    assert (pace.progress().figures, pace.progress().images_per_second) == (None, None)


def test_more_than_expected_leaves_no_time(now: Now) -> None:
    pace = Pace()
    pace.start(Standing(images_total=10, images_done=0))
    pace.advance(1, 0)
    now(1)
    pace.advance(19, 0)
    assert pace.progress().seconds_left == 0


def test_the_first_batch_alone_leaves_an_unknown_time(now: Now) -> None:
    pace = Pace()
    pace.start(Standing(images_total=10, images_done=0))
    pace.advance(5, 0)
    now(1)
    assert (pace.progress().images_per_second, pace.progress().seconds_left) == (0, None)


def test_what_is_waited_for_and_a_better_known_total_are_taken(now: Now) -> None:
    pace = Pace()
    pace.wait("for 1 GPU")
    assert pace.progress().waiting == "for 1 GPU"
    pace.start(Standing(images_total=10, images_done=0))
    pace.expect(12)
    pace.wait(None)
    assert (pace.progress().images_total, pace.progress().waiting) == (12, None)
