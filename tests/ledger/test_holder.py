"""A process is told dead or alive on its own machine, and never guessed about elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vision_batch.ledger import holder as module
from vision_batch.ledger.holder import Holder, is_alive, this_process

DESCRIBE = """
from dataclasses import asdict
from vision_batch.ledger.holder import this_process
print(asdict(this_process()), flush=True)
input()
"""


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], Holder]]:
    """Another process that waits, and how it describes itself."""
    with subprocess.Popen(
        [sys.executable, "-c", DESCRIBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, Holder(**literal_eval(process.stdout.readline()))
        process.kill()


def test_a_process_knows_itself() -> None:
    me = this_process()
    assert (me.pid, is_alive(me)) == (os.getpid(), True)
    assert str(me) == f"process {me.pid} on {me.host}"


def test_another_process_is_seen_to_live_to_be_stopped_and_to_die(other: tuple[subprocess.Popen[str], Holder]) -> None:
    process, holder = other
    assert is_alive(holder)
    process.send_signal(signal.SIGSTOP)
    assert is_alive(holder)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_alive(holder) is False  # a zombie: its parent has not asked yet
    process.wait()
    assert is_alive(holder) is False


def test_a_pid_that_is_used_again_is_another_process() -> None:
    me = this_process()
    assert is_alive(replace(me, ticks=me.ticks - 1)) is False


@pytest.mark.parametrize("elsewhere", [{"boot": "another"}, {"pid_namespace": "pid:[1]"}, {"ticks": 0}])
def test_nothing_is_said_of_a_process_elsewhere(elsewhere: dict[str, str]) -> None:
    assert is_alive(replace(this_process(), **elsewhere)) is None


def test_without_proc_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOT_ID", "PID_NAMESPACE", "STATUS"):
        monkeypatch.setattr(module, name, str(tmp_path / "none"))
    me = this_process()
    assert (me.boot, me.pid_namespace, me.ticks) == ("", "", 0)
    assert is_alive(me) is None


def test_a_process_that_proc_hides_is_not_taken_for_dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    me = this_process()
    monkeypatch.setattr(module, "STATUS", str(tmp_path / "{pid}"))
    assert is_alive(me) is None
