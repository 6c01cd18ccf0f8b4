"""Ends the driver of a job in order: what the head's pod does before it ends, whoever ends it.

A job that is stopped, evicted or out of time, a node that is drained: Kubernetes always asks the pod first. Ray would
kill its driver; so the driver gets SIGTERM here, and the time to commit what is whole.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from vision_batch.cluster.kuberay_pods import JOB_FOLDER

PROCESSES = Path("/proc")
WAIT_S = 25.0
"""A driver needs up to 20 s for its end."""
POLL_S = 0.1


def drivers(folder: str) -> list[int]:
    """The processes that run a job in `folder`: `vision-batch run`, by any Python. Jobs elsewhere are none of ours."""
    found = []
    for process in PROCESSES.iterdir():
        if process.name.isdecimal():
            with suppress(OSError):  # it ended meanwhile, or is another user's
                arguments = (process / "cmdline").read_bytes().split(b"\0")
                if is_driver(arguments) and os.readlink(process / "cwd") == folder:
                    found.append(int(process.name))
    return found


def end_drivers(folder: str, wait_s: float = WAIT_S) -> None:
    """Asks every driver in `folder` once, and returns when all have ended or the time is over."""
    for pid in drivers(folder):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + wait_s
    while drivers(folder) and time.monotonic() < until:
        time.sleep(POLL_S)


def is_driver(arguments: Sequence[bytes]) -> bool:
    """`python -P -m vision_batch run …`, or the console script's `python …/vision-batch run …`."""
    words = [os.path.basename(argument) for argument in arguments[:5]]
    return any(after == b"run" and before in (b"vision-batch", b"vision_batch") for before, after in pairwise(words))


if __name__ == "__main__":
    end_drivers(JOB_FOLDER)
