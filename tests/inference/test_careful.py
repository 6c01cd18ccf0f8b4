"""Work in a child process: an image that kills costs its row, and only what has killed again and again is blamed."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference import deadly
from tests.inference.deadly import chunk, starts
from vision_batch.errors import CrashError, ModelError
from vision_batch.inference.careful import KILLERS_AT_FIRST, STARTS, Careful, places
from vision_batch.inference.child_process import ChildProcess
from vision_batch.inference.chunk import EncodedChunk
from vision_batch.inference.stage import Stage
from vision_batch.inference.stopwatch import Spent, Stopwatch


@pytest.fixture
def careful(tmp_path: Path) -> Iterator[Careful]:
    it = Careful(partial(deadly.make, tmp_path), proven=False, pause_s=0.05)
    yield it
    it.close()


def codes(careful: Careful, *chunks: EncodedChunk) -> list[list[str | None]]:
    return [[row.error_code for row in done.rows] for done in careful.run(iter(chunks), Stopwatch())]


def test_harmless_chunks_share_one_process(careful: Careful, tmp_path: Path) -> None:
    watch = Stopwatch()
    results = list(careful.run(iter([chunk("", "bad", ""), chunk(), chunk("")]), watch))
    assert [[row.error_code for row in done.rows] for done in results] == [[None, "unreadable", None], [], [None]]
    assert results[0].pixels[:, 0, 0, 0].tolist() == [0, 2]
    assert (starts(tmp_path), careful.device) == (1, "toy:0")
    assert watch.take().stages == {"decode": Spent(3.0, 0.0)}


@pytest.mark.parametrize(
    ("what", "how", "deaths"),
    [
        ("kill", "killed by signal 9 (SIGKILL)", 3),
        ("segfault", "killed by signal 11 (SIGSEGV)", 2),
        ("exit", "exit code 3", 2),
        ("memory", "ran out of memory", 3),
    ],
)
def test_an_image_that_kills_costs_its_row_and_few_processes(
    careful: Careful, tmp_path: Path, what: str, how: str, deaths: int
) -> None:
    """Two where it was a fault of the process itself, three where somebody else may have ended it."""
    (done,) = careful.run(iter([chunk("", what, "bad", "")]), Stopwatch())
    assert [row.row for row in done.rows] == [0, 1, 2, 3]
    assert [row.error_code for row in done.rows] == [None, "worker_killed", "unreadable", None]
    assert done.pixels[:, 0, 0, 0].tolist() == [0, 3]
    assert (done.rows[1].error or "").startswith(f"{deaths} processes died")
    assert how in (done.rows[1].error or "")
    assert starts(tmp_path) == deaths + 2


@given(st.data(), st.integers(1, 300))
def test_killers_side_by_side_are_soon_passed(data: st.DataObject, count: int) -> None:
    """Where they are half of the images or less, they are never all that is tried at first."""
    assert sorted(places(count)) == list(range(count))
    start = data.draw(st.integers(0, count - 1))
    killers = range(start, start + count // 2)
    assert not all(place in killers for place in places(count)[:KILLERS_AT_FIRST])


def test_killers_side_by_side_are_told_from_code_that_kills_on_everything(careful: Careful) -> None:
    count = KILLERS_AT_FIRST + 1
    assert codes(careful, chunk(*["segfault"] * count, *[""] * 10)) == [["worker_killed"] * count + [None] * 10]


def test_a_process_that_dies_once_blames_nobody(careful: Careful) -> None:
    """Neither in a chunk, nor with an image alone: as when somebody kills it from outside."""
    assert codes(careful, chunk("once")) == [[None]]


def test_processes_killed_from_outside_blame_nobody(careful: Careful, tmp_path: Path) -> None:
    def kill() -> None:
        """First the process that holds the chunk, then two that hold the image alone."""
        for kills in (1, 2, 3):
            while not (tmp_path / "waiting").exists():
                time.sleep(0.01)
            (tmp_path / "waiting").unlink()
            pid = int((tmp_path / "starts").read_text().split()[-1])
            if kills == 3:
                (tmp_path / "go").touch()
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    done = codes(careful, chunk("", "wait"), chunk("", ""))
    killer.join()
    assert (done, starts(tmp_path)) == ([[None, None]] * 2, 4)


def test_code_that_kills_on_every_image_blames_none(careful: Careful, tmp_path: Path) -> None:
    with pytest.raises(CrashError, match=rf"{KILLERS_AT_FIRST} images one after the other.*signal 11"):
        codes(careful, chunk(*["segfault"] * 20))
    assert starts(tmp_path) <= 2 + 2 * KILLERS_AT_FIRST + KILLERS_AT_FIRST


def test_many_killers_in_a_row_are_believed_where_images_have_survived(careful: Careful) -> None:
    count = KILLERS_AT_FIRST + 1
    first, second = codes(careful, chunk(""), chunk(*["segfault"] * count))
    assert (first, second) == ([None], ["worker_killed"] * count)


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_code_that_kills_before_the_first_image_is_at_fault(how: str) -> None:
    with pytest.raises(CrashError, match=f"before the first image.*{STARTS} times"):
        codes(Careful(partial(deadly.make_none, how), proven=True), chunk(""))


def test_what_the_stage_raises_is_raised_here(careful: Careful, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        codes(Careful(partial(deadly.make_none, ""), proven=True), chunk(""))
    with pytest.raises(ModelError, match="does not fit"):
        codes(careful, chunk("", "model"))
    with pytest.raises(RuntimeError, match="KeyError: 'bug'"):
        codes(careful, chunk("bug"))
    assert (codes(careful, chunk("")), starts(tmp_path)) == ([[None]], 1)


def test_an_answer_that_cannot_be_sent_blames_no_image(tmp_path: Path) -> None:
    careful = Careful(partial(_make_unsendable, tmp_path), proven=True)
    with pytest.raises(RuntimeError, match="pickle"):
        codes(careful, chunk(""))
    careful.close()


def test_no_question_gets_the_answer_to_an_earlier_one(careful: Careful, monkeypatch: pytest.MonkeyPatch) -> None:
    codes(careful, chunk(""))
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="no number"):
        patch.setattr(ChildProcess, "_look", _fail)
        codes(careful, chunk("wait"))
    (done,) = careful.run(iter([chunk("", "", "bad")]), Stopwatch())
    assert [row.error_code for row in done.rows] == [None, None, "unreadable"]


def _fail(child: ChildProcess) -> None:
    raise ValueError("no number")


def _make_unsendable(folder: Path) -> Stage:
    return Stage(device="toy:0", run=lambda chunks, watch: map(_unsendable, chunks))


def _unsendable(chunk: EncodedChunk) -> object:
    return lambda: chunk
