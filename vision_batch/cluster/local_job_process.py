"""The process that a job of this machine belongs to: `python -m vision_batch.cluster.local_job_process FOLDER`.

It leaves the process that started it behind, begins the job unless somebody has, passes on the wish to stop, and
writes down how the job ended. Nothing heavy is imported: it stays as long as the job runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

from vision_batch.cluster.job_folder import BEAT_S, JobFolder
from vision_batch.ledger.holder import this_process

POLL_S = 0.1
FAILED, INTERRUPTED = 1, 130
"""The exit codes of a run that did not start, and of one that was stopped."""


def main(path: str) -> None:
    """Returns when the job has ended."""
    wish = StopWish()
    signal.signal(signal.SIGTERM, wish.hear)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where a submitter ignores it, nobody would learn how the job ended
    told = _leave()
    folder = JobFolder(Path(path))
    is_ours = folder.claim(this_process())
    os.close(told)
    if is_ours:
        folder.end(keep(folder, wish))


class StopWish:
    """Whether somebody has asked for the job's end."""

    def __init__(self) -> None:
        self.asked = False

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _leave() -> int:
    """Goes on in a process of its own session that is nobody's child; the caller's one ends when the returned file
    descriptor is closed."""
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    os.setsid()
    return told


def keep(folder: JobFolder, wish: StopWish) -> int:
    """Runs the job's command and returns its exit code. It is told to stop once, however often that is asked for."""
    if wish.asked:
        return INTERRUPTED
    facts = folder.facts()
    assert facts is not None
    try:
        driver = subprocess.Popen(facts["command"], preexec_fn=partial(_enter, folder, os.getpid()))
    except (OSError, subprocess.SubprocessError) as error:
        with suppress(OSError):  # the disk is full: the end has its room, these words may have none
            print(f"error: the job's process did not start: {error}", flush=True)
        return FAILED
    is_told, next_beat = False, time.monotonic()
    while (code := driver.poll()) is None:
        if wish.asked and not is_told:
            driver.send_signal(signal.SIGTERM)
            is_told = True
        if time.monotonic() >= next_beat:
            with suppress(OSError):  # a storage that fails for a moment does not part the run from its keeper
                folder.beat()
            next_beat = time.monotonic() + BEAT_S
        time.sleep(POLL_S)
    return INTERRUPTED if code == -signal.SIGTERM else code  # told before it listened, by us or with all of a service


def _enter(folder: JobFolder, keeper: int) -> None:
    """What the run's process does before it becomes that: no run is there that is not on record.

    Where its keeper was killed meanwhile the job has failed, and nothing begins any more.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.getppid() != keeper:
        os._exit(FAILED)
    folder.begin(this_process())


if __name__ == "__main__":
    main(sys.argv[1])
