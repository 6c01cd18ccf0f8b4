"""A command from its start to its exit: seconds, output, and the peak memory of it and of its Ray workers."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a command ran. `started` is time.time(); memory is the peak resident set, pages shared with others included.

    `worker_mib` is the largest of its Ray workers, 0 where there were none.
    """

    started: float
    seconds: float
    output: str
    driver_mib: float
    worker_mib: float


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ran:
    """Runs `command` with `environment` besides this process's own; RuntimeError when it fails."""
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {})
    started, start = time.time(), time.perf_counter()
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=surroundings) as process:
            with _PeakMemory(process.pid) as memory:
                output, _ = process.communicate()
            seconds = time.perf_counter() - start
        if process.returncode != 0:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {errors.read()[-2000:]}")
    return Ran(
        started=started,
        seconds=seconds,
        output=output,
        driver_mib=memory.driver_mib,
        worker_mib=memory.worker_mib,
    )


class _PeakMemory:
    """Asks the kernel again and again for the peak resident sets, which only grow: nothing between is missed."""

    def __init__(self, pid: int) -> None:
        self.driver_mib = self.worker_mib = 0.0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.driver_mib = max(self.driver_mib, peak_mib(self._pid))
            workers = [peak_mib(pid) for pid in _descendants(self._pid) if _is_worker(pid)]
            self.worker_mib = max([self.worker_mib, *workers])


def peak_mib(pid: int) -> float:
    """The peak resident set of a living process, 0 where it is gone. (getrusage() would count its parent's too.)"""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def _is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return children + [found for child in children for found in _descendants(child)]
