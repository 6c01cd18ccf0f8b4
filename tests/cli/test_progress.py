"""Progress on standard error: a line now and then, or a bar on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from vision_batch.cli import progress as progress_module
from vision_batch.cli.progress import Progress
from vision_batch.jobs.reporter import Standing

Capture = pytest.CaptureFixture[str]

LINE = re.compile(r"(?P<done>[\d,]+) of about (?P<total>[\d,]+) images, (?P<rate>[\d,]+)/s, .*(?P<failed>\d+) failed")


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Iterator[Progress]:
    """One that tells all the time; it ends with the test."""
    monkeypatch.setattr(progress_module, "LINE_EVERY_S", 0.01)
    progress = Progress()
    yield progress
    progress.finish()


def until(found: Callable[[str], bool], capsys: Capture) -> str:
    """What is said until `found` holds."""
    said, deadline = "", time.monotonic() + 10
    while not found(said):
        assert time.monotonic() < deadline, said
        time.sleep(0.01)
        said += capsys.readouterr().err
    return said


def test_lines_come_one_after_another(progress: Progress, capsys: Capture) -> None:
    progress.start(Standing(images_total=1000, images_done=0))
    said = until(lambda said: said.count("\n") >= 3, capsys)
    assert set(said.splitlines()) == {"waiting for the first batch"}


def test_a_line_follows_what_is_done(progress: Progress, capsys: Capture) -> None:
    progress.start(Standing(images_total=1000, images_done=0))
    progress.advance(100, 2)
    progress.advance(150, 1)
    said = until(lambda said: "250 of" in said, capsys)
    line = LINE.fullmatch(said.splitlines()[-1])
    assert line is not None, said
    assert (line["done"], line["total"], line["failed"]) == ("250", "1,000", "3")


def test_what_it_waits_for_is_said(progress: Progress, capsys: Capture) -> None:
    progress.start(Standing(images_total=1000, images_done=40, images_failed=2))
    progress.wait("for 1 GPU")
    until(lambda said: "40 of about 1,000 images, 2 failed, waiting for 1 GPU\n" in said, capsys)
    progress.wait(None)
    until(lambda said: "waiting for the first batch\n" in said, capsys)


def test_a_better_known_total_is_taken(progress: Progress, capsys: Capture) -> None:
    progress.start(Standing(images_total=1000, images_done=0))
    progress.advance(100, 0)
    progress.expect(1234)
    until(lambda said: "100 of about 1,234 images" in said, capsys)


def test_nothing_is_said_after_the_end(progress: Progress, capsys: Capture) -> None:
    progress.start(Standing(images_total=1000, images_done=0))
    until(lambda said: "\n" in said, capsys)
    progress.finish()
    capsys.readouterr()
    time.sleep(0.05)
    assert capsys.readouterr().err == ""


def test_a_run_with_nothing_to_do_needs_no_start(progress: Progress, capsys: Capture) -> None:
    progress.advance(1, 0)
    progress.expect(3)
    progress.finish()
    progress.finish()
    assert capsys.readouterr().err == ""


def test_notes_are_lines_before_and_between(progress: Progress, capsys: Capture) -> None:
    progress.note("3 shards to do")
    progress.start(Standing(images_total=1000, images_done=0))
    progress.note("1 shards remain; trying again")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "3 shards to do"
    assert "1 shards remain; trying again" in lines


def test_nothing_goes_to_standard_output(progress: Progress, capsys: Capture) -> None:
    progress.note("a note")
    progress.start(Standing(images_total=10, images_done=0))
    progress.advance(10, 0)
    time.sleep(0.05)
    assert capsys.readouterr().out == ""


SCRIPT = """
import sys
from vision_batch.cli.progress import Progress
from vision_batch.jobs.reporter import Standing
progress = Progress()
progress.note("before the bar")
progress.start(Standing(images_total=1000, images_done=40))
progress.advance(60, 2)
progress.note("beside the bar")
progress.expect(250)
progress.advance(100, 1)
progress.finish()
print("standard output")
"""


def on_a_terminal(script: str) -> str:
    """What a terminal of 120 columns gets on standard error."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        received = b""
        try:
            while block := os.read(ours, 4096):
                received += block
        except OSError:  # Linux says so when the other side has closed
            pass
        finally:
            os.close(ours)
        assert process.wait(timeout=30) == 0, received
    return received.decode()


def test_a_terminal_gets_a_bar_with_images_and_failures() -> None:
    shown = on_a_terminal(SCRIPT)
    last = [state for state in re.split(r"[\r\n]+", shown) if state.strip()][-1]
    assert "200/250" in last
    assert "images/s" in last
    assert "failed=3" in last
    assert "80%" in last
    assert "40/1000" in shown
    assert "waiting" not in shown


def test_notes_stand_beside_the_bar() -> None:
    states = re.split(r"[\r\n]+", on_a_terminal(SCRIPT))
    assert "before the bar" in states
    assert "beside the bar" in states
