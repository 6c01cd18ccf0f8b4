"""What the head's pod does before it ends: the driver is asked, once, and waited for; nobody else is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vision_batch.cluster.driver_end import drivers, end_drivers, is_driver

IN_ORDER = """
import signal, sys, time
def end(*_):
    time.sleep({takes_s})
    sys.exit(130)
signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def running(folder: Path, command: str, takes_s: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """A process in `folder` that calls itself `vision-batch COMMAND` and takes its time to end."""
    script = folder / "vision-batch"
    script.write_text(IN_ORDER.format(takes_s=takes_s))
    arguments = [sys.executable, str(script), command, "spec.yaml"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_driver_is_asked_and_waited_for(tmp_path: Path) -> None:
    with running(tmp_path, "run", takes_s=0.5) as driver:
        start = time.monotonic()
        end_drivers(str(tmp_path), wait_s=10)
        assert 0.4 < time.monotonic() - start < 5
        assert driver.wait(timeout=5) == 130


def test_a_driver_that_takes_too_long_is_left_to_kubernetes(tmp_path: Path) -> None:
    with running(tmp_path, "run", takes_s=30) as driver:
        start = time.monotonic()
        end_drivers(str(tmp_path), wait_s=0.3)
        assert time.monotonic() - start < 5
        assert driver.poll() is None


def test_other_commands_are_let_be(tmp_path: Path) -> None:
    with running(tmp_path, "verify") as other:
        end_drivers(str(tmp_path), wait_s=1)
        assert other.poll() is None


def test_jobs_in_other_folders_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "another").mkdir()
    with running(tmp_path / "another", "run") as other:
        assert drivers(str(tmp_path / "another")) == [other.pid]
        end_drivers(str(tmp_path / "ours"), wait_s=1)
        assert other.poll() is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["python", "-P", "-m", "vision_batch", "run", "spec.yaml"], True),
        (["/opt/vision-batch/bin/python", "/opt/vision-batch/bin/vision-batch", "run", "spec.yaml"], True),
        (["sh", "-c", "cd /opt/job && exec python -m vision_batch run spec.yaml"], False),
        (["python", "-m", "vision_batch", "verify", "run"], False),
        ([], False),
    ],
)
def test_a_driver_is_known_by_its_arguments(arguments: list[str], expected: bool) -> None:
    assert is_driver([argument.encode() for argument in arguments]) == expected
