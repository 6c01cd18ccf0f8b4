"""Progress for programs: lines that come whatever the run does, and a last one however it ends."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.cli.test_run import SUMMARY
from vision_batch.cli import progress_lines as module
from vision_batch.cli.progress_lines import ProgressLines
from vision_batch.cluster.progress import MARK, JobProgress, last_progress
from vision_batch.jobs.reporter import Standing

Capture = pytest.CaptureFixture[str]


def said(capsys: Capture) -> JobProgress:
    """What the last line says."""
    progress = last_progress(capsys.readouterr().err.splitlines())
    assert progress is not None
    return progress


def test_lines_come_while_it_plans_and_waits(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.01)
    lines, deadline = "", time.monotonic() + 10
    with ProgressLines() as progress:
        progress.wait("for 1 GPU")
        while lines.count(MARK) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            lines += capsys.readouterr().err
    assert {
        (each.images_total, each.waiting) for each in [last_progress([line]) for line in lines.splitlines()][1:]
    } == {(None, "for 1 GPU")}


def test_what_is_told_is_in_the_next_line(capsys: Capture) -> None:
    with ProgressLines() as progress:
        progress.start(Standing(images_total=100, images_done=40, images_failed=3, shards_total=4, shards_done=1))
        progress.advance(20, 1)
        progress.complete(2)
        progress.expect(90)
        progress.note("a word between")
        progress.finish()
    last = said(capsys)
    assert (last.images_total, last.images_done, last.images_failed) == (90, 60, 4)
    assert (last.shards_total, last.shards_done) == (4, 2)


def test_a_run_that_fails_has_a_last_line(capsys: Capture) -> None:
    with pytest.raises(KeyboardInterrupt), ProgressLines() as progress:
        progress.start(Standing(images_total=100, images_done=40))
        raise KeyboardInterrupt
    assert said(capsys).images_done == 40


def test_a_total_that_the_end_does_not_tell_is_the_last_that_was_expected(capsys: Capture) -> None:
    with ProgressLines() as progress:
        progress.start(Standing(images_total=100, images_done=40))
        progress.expect(90)
        progress.end(replace(SUMMARY, images_total=None))
    assert said(capsys).images_total == 90


@pytest.mark.parametrize(("status", "seconds_left"), [("done", 0), ("interrupted", None)])
def test_the_last_line_is_of_the_summary(status: str, seconds_left: int | None, capsys: Capture) -> None:
    with ProgressLines() as progress:
        progress.end(replace(SUMMARY, status=status))
    assert said(capsys) == JobProgress(
        images_total=100_000,
        images_done=100_000,
        images_failed=10,
        images_per_second=1_391.6,
        seconds=81.3,
        seconds_left=seconds_left,
        shards_total=25,
        shards_done=25,
    )
