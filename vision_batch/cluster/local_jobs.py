"""Jobs as processes of this machine, which go on when whoever submitted them ends, and are remembered in its files."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vision_batch.cluster.job import ENDED, JobInfo, JobState, meaning_of_exit, state_of_exit
from vision_batch.cluster.job_folder import JobFolder
from vision_batch.cluster.job_history import clean
from vision_batch.cluster.local_job_process import INTERRUPTED
from vision_batch.cluster.package import JobPackage
from vision_batch.cluster.state_folder import state_folder
from vision_batch.errors import ClusterError

PROGRAM = (sys.executable, "-P", "-m", "vision_batch")
"""Without `-P` a plug-in beside the spec would stand in the way of a library of its name."""

START_S = 60.0
POLL_S = 0.3
JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
VANISHED = (
    "its process vanished without an exit code (killed, out of memory, or the machine was restarted); "
    "what was committed stays, run again to resume"
)


def jobs_folder() -> Path:
    """Where the jobs of this user lie."""
    return state_folder() / "jobs"


class LocalJobs:
    """A `vision_batch.cluster.job.JobService`: each job is a process in a session of its own.

    A job is begun once, whenever its submitter dies: one that has not begun is begun by the next `submit` of its id.
    """

    def __init__(self, folder: Path | None = None, program: tuple[str, ...] = PROGRAM) -> None:
        self._folder = folder or jobs_folder()
        self._program = program

    def submit(self, package: JobPackage, job_id: str) -> None:
        with self._files(job_id):
            job = self._job(job_id)
            if not job.path.is_dir():
                clean(self._folder)
                job.create(self._facts(package), package.files)
            if not job.is_claimed:
                _start(job, job_id)

    def list(self) -> list[JobInfo]:
        with self._files("jobs"):
            names = os.listdir(self._folder) if self._folder.is_dir() else []
            found = [_info(name, JobFolder(self._folder / name)) for name in names if JOB_ID.fullmatch(name)]
            return sorted(filter(None, found), key=lambda info: (str(info.submitted), info.job_id))

    def info(self, job_id: str) -> JobInfo:
        with self._files(job_id):
            return self._existing(job_id)[1]

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        job, _ = self._existing(job_id)
        return self._lines(job_id, job, follow)

    def stop(self, job_id: str) -> None:
        with self._files(job_id):
            job, info = self._existing(job_id)
            if info.state not in ENDED:
                job.ask_to_stop()
            if job.claim(None):  # it has not begun, and never will
                job.end(INTERRUPTED)
            elif (holder := job.process_to_stop()) is not None:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(holder.pid, signal.SIGTERM)
            elif info.state not in ENDED:
                raise ClusterError(
                    f"{job_id}: its process runs on another machine or in another container: stop it there"
                )

    def forget(self, job_id: str) -> None:
        with self._files(job_id):
            job = self._job(job_id)
            info = _info(job_id, job)
            if info is not None and info.state not in ENDED:
                raise ClusterError(f"{job_id} is {info.state}: only what has ended can be removed")
            job.remove()

    def _lines(self, job_id: str, job: JobFolder, follow: bool) -> Iterator[str]:
        begun = ""
        with self._files(job_id), job.log.open(encoding="utf-8", errors="replace", newline="\n") as log:
            while True:
                is_over = not follow or self.info(job_id).state in ENDED  # asked before reading: nothing comes later
                for text in iter(log.readline, ""):
                    begun += text
                    if begun.endswith("\n"):
                        yield begun[:-1]
                        begun = ""
                if is_over:
                    break
                time.sleep(POLL_S)
        if begun:
            yield begun

    def _facts(self, package: JobPackage) -> dict[str, Any]:
        return {
            "name": package.name,
            "command": [*self._program, *package.arguments],
            "output": package.output,
            "submitted": time.time(),
        }

    def _job(self, job_id: str) -> JobFolder:
        if not JOB_ID.fullmatch(job_id):
            raise ClusterError(f"{job_id!r} is no job's id: letters, digits, and - . _ between them")
        return JobFolder(self._folder / job_id)

    def _existing(self, job_id: str) -> tuple[JobFolder, JobInfo]:
        job = self._job(job_id)
        info = _info(job_id, job)
        if info is None:
            raise ClusterError(f"{job_id}: there is no such job in {self._folder}; `vision-batch list` shows them")
        return job, info

    @contextmanager
    def _files(self, job_id: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ClusterError(f"{job_id}: {error.strerror or error}: {error.filename or self._folder}") from error


def _start(job: JobFolder, job_id: str) -> None:
    """Returns when the job has begun, by us or by another submitter."""
    command = [sys.executable, "-P", "-m", "vision_batch.cluster.local_job_process", str(job.path.absolute())]
    with job.log.open("ab") as log:
        try:
            subprocess.run(
                command,
                cwd=job.package,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=START_S,
                check=True,
            )
        except subprocess.SubprocessError as error:
            raise ClusterError(f"{job_id}: its process did not start ({error}); {job.log} says more") from error
    if not job.is_claimed:
        raise ClusterError(f"{job_id}: its process ended before it began the job; {job.log} says why")


def _info(job_id: str, job: JobFolder) -> JobInfo | None:
    """None where there is no such job."""
    state, code, message, ended = _standing(job)
    facts = job.facts()  # asked last: what stands there of a job that is being removed is not true
    if facts is None:
        return None
    return JobInfo(
        job_id=job_id,
        name=facts["name"],
        state=state,
        exit_code=code,
        message=message,
        submitted=datetime.fromtimestamp(facts["submitted"], UTC),
        ended=ended,
        output=facts["output"],
    )


def _standing(job: JobFolder) -> tuple[JobState, int | None, str, datetime | None]:
    """State, exit code, message, and when it ended."""
    if not job.is_claimed:
        return "pending", None, "its submitter ended before it had begun; submit it again, or stop it", None
    lives = job.is_alive()
    exit = job.exit()  # asked last: a process writes it before it ends
    if exit is not None:
        code: int = exit["code"]
        return (
            state_of_exit(code, asked=job.was_asked_to_stop),
            code,
            meaning_of_exit(code),
            datetime.fromtimestamp(exit["ended"], UTC),
        )
    return ("running", None, "", None) if lives else ("failed", None, VANISHED, None)
