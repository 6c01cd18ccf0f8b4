"""A child process: it ends with its parent, and before it takes the machine's memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.inference import deadly
from tests.inference.deadly import chunk
from vision_batch.inference.child_process import GROWTH_BYTES, ChildDied, ChildProcess
from vision_batch.inference.stopwatch import Stopwatch

PARENT = """
import sys
from functools import partial
from pathlib import Path
from tests.inference import deadly
from vision_batch.inference.child_process import ChildProcess
from vision_batch.inference.stopwatch import Stopwatch
ChildProcess(partial(deadly.make, Path(sys.argv[1])))(deadly.chunk("wait"), Stopwatch())
"""


def test_a_child_that_takes_all_that_is_left_is_ended(tmp_path: Path) -> None:
    child = ChildProcess(partial(deadly.make, tmp_path), left=lambda: 0)
    with pytest.raises(ChildDied, match=r"ran out of memory, having taken 0\.\d GiB"):
        child(chunk("grow"), Stopwatch())
    child.close()


def test_a_child_may_take_half_of_what_there_was(tmp_path: Path) -> None:
    there, looks = 3 * GROWTH_BYTES, []

    def left() -> int:
        looks.append(int(Path(f"/proc/{child.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return there - (looks[-1] - looks[0])

    child = ChildProcess(partial(deadly.make, tmp_path), left=left)
    with pytest.raises(ChildDied, match="ran out of memory"):
        child(chunk("grow"), Stopwatch())
    child.close()
    assert looks[-1] < there


def test_a_child_ends_with_its_parent_whatever_it_does(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)])
    while not (tmp_path / "waiting").exists():
        time.sleep(0.01)
    child = int((tmp_path / "starts").read_text())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_signal_that_the_starting_thread_blocks_kills_all_the_same(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSEGV])
    try:
        child = ChildProcess(partial(deadly.make, tmp_path))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with pytest.raises(ChildDied, match="SIGSEGV"):
        child(chunk("segfault"), Stopwatch())
    child.close()


def test_a_child_may_die_in_the_middle_of_its_answer_and_of_a_signal_without_a_name(tmp_path: Path) -> None:
    child = ChildProcess(partial(deadly.make, tmp_path))
    with pytest.raises(ChildDied, match=f"killed by signal {signal.SIGRTMIN + 1}"):
        child(chunk("half"), Stopwatch())
    assert child.closed
