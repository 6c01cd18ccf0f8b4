"""A submitted job, and the seam between the commands and the services that look after jobs, one a kind of profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from vision_batch.cluster.package import JobPackage

JobState = Literal["pending", "running", "done", "failed", "stopped"]
ENDED: frozenset[JobState] = frozenset(("done", "failed", "stopped"))
"""States that do not change any more."""

EXIT_MEANINGS = {
    0: "done",
    1: "failed; what was committed stays, run again to resume",
    2: "the spec, an option or the environment is wrong; nothing was started",
    3: "every image has its row, but more failed than limits.max_error_fraction allows",
    4: "incomplete: some shards could not be read or written; run again to resume",
    5: "another run holds the output",
    130: "stopped; what was whole is committed, run again to resume",
}
"""What the exit code of `vision-batch run` says, in short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInfo:
    """What a service knows of a job. Times have a zone; what is not known is None.

    `message` says what the job waits for, or how it ended. `output` is where its rows, or its model, go.
    """

    job_id: str
    name: str
    state: JobState
    exit_code: int | None
    message: str
    submitted: datetime | None
    ended: datetime | None
    output: str | None


class JobService(Protocol):
    """Looks after the jobs of one cluster. ClusterError when that cannot be reached or refuses."""

    def submit(self, package: JobPackage, job_id: str) -> None:
        """Has the job begun, and returns. The same id twice is one job: the first."""

    def list(self) -> list[JobInfo]:
        """The jobs that vision-batch submitted and the cluster still remembers, the oldest first."""

    def info(self, job_id: str) -> JobInfo:
        """ClusterError when there is no such job."""

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        """The lines that the job has written, without line ends; with `follow` until it has ended."""

    def stop(self, job_id: str) -> None:
        """Asks the job to end in order, and returns: what is whole is committed within 20 s. One that ended stays."""

    def forget(self, job_id: str) -> None:
        """Removes a job that has ended from the list, and its log where the service keeps it. One that is not there is
        none; ClusterError for one that has not ended."""


def new_job_id(name: str, moment: datetime) -> str:
    """`nightly-20261121T033000Z`: the id of the job of that name that is scheduled for `moment`, which has a zone."""
    return f"{name}-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def state_of_exit(code: int, *, asked: bool) -> JobState:
    """How a job ended whose process ended with `code`; `asked` says whether somebody has called `stop`.

    A run that was interrupted by anything else (its machine is restarted, its node given up) has failed: it goes on
    when it is tried again, and nobody wanted its end.
    """
    return "done" if code == 0 else "stopped" if code == 130 and asked else "failed"


def meaning_of_exit(code: int) -> str:
    """In words, with the code; a negative one is the signal that killed the process."""
    if code < 0:
        return f"killed by signal {-code}; what was committed stays, run again to resume"
    return f"{EXIT_MEANINGS.get(code, 'ended for an unknown reason')} (exit code {code})"
