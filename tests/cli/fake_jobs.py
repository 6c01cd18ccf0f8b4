"""A JobService in memory: jobs that are what a test says of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vision_batch.cluster.job import JobInfo
from vision_batch.cluster.package import JobPackage
from vision_batch.errors import ClusterError

SUBMITTED = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)


def job(job_id: str = "nightly-1", **facts: Any) -> JobInfo:
    """A job that runs; keyword arguments say otherwise."""
    running = JobInfo(
        job_id=job_id,
        name="nightly",
        state="running",
        exit_code=None,
        message="",
        submitted=SUBMITTED,
        ended=None,
        output="s3://b/out",
    )
    return replace(running, **facts)


@dataclass
class FakeJobs:
    """`becomes` is how jobs are once their log has been followed or they were stopped.

    `trouble` comes at the end of a log; with `is_lost` nothing answers after that.
    """

    jobs: dict[str, JobInfo] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    becomes: dict[str, Any] = field(default_factory=dict)
    packages: list[JobPackage] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    trouble: BaseException | None = None
    is_lost: bool = False

    def submit(self, package: JobPackage, job_id: str) -> None:
        if job_id not in self.jobs:
            self.packages.append(package)
            self.jobs[job_id] = job(job_id, name=package.name, output=package.output)

    def list(self) -> list[JobInfo]:
        return [*self.jobs.values()]

    def info(self, job_id: str) -> JobInfo:
        if self.is_lost and self.trouble is None:
            raise ClusterError("no answer")
        if job_id not in self.jobs:
            raise ClusterError(f"no job {job_id}")
        return self.jobs[job_id]

    def logs(self, job_id: str, *, follow: bool) -> Iterator[str]:
        self.info(job_id)
        yield from self.lines
        trouble, self.trouble = self.trouble, None
        if follow and not self.is_lost:
            self._end(job_id)
        if trouble is not None:
            raise trouble

    def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)
        self._end(job_id)

    def forget(self, job_id: str) -> None:
        self.jobs.pop(job_id, None)

    def _end(self, job_id: str) -> None:
        self.jobs[job_id] = replace(self.info(job_id), **self.becomes)
