"""`vision-batch status`: how far a submitted job is, from anywhere, also while it runs."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import asdict

from vision_batch.cli.cluster_job import (
    add_cluster_arguments,
    add_job_argument,
    job_line,
    job_object,
    person_time,
    service_of,
)
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json, warn
from vision_batch.cluster.job import JobInfo, JobService
from vision_batch.cluster.progress import MARK, JobProgress, describe, last_progress
from vision_batch.errors import ClusterError

ERROR = re.compile(r"error: (.+)")
"""A line with which `run` ends that has failed."""
SUMMARY = "say how far a submitted job is: images done, rate, failures, time left"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ID --cluster PROFILE [--json]."""
    add_job_argument(parser)
    add_cluster_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints the job's state, its last progress and what it failed of; ClusterError where there is no such job."""
    service = service_of(arguments.cluster)
    info = service.info(arguments.job_id)
    lines = [] if info.state == "pending" else log_of(service, info)
    progress = last_progress(lines)
    print_status(info, progress, last_error(lines) if info.state == "failed" else None)
    if arguments.json:
        emit_json(job_object(info) | {"progress": None if progress is None else asdict(progress)})
    return ExitCode.DONE


def log_of(service: JobService, info: JobInfo) -> list[str]:
    """What the job has said of how far it is and of errors; a log may be gone with the node of the job's driver."""
    lines = []
    try:
        lines += [line for line in service.logs(info.job_id, follow=False) if MARK in line or ERROR.match(line)]
    except ClusterError as error:
        warn(f"its log cannot be read: {error}")
    return lines


def last_error(lines: Sequence[str]) -> str | None:
    """What a run says when it ends: who holds its output, or what is wrong with its spec."""
    found = [match[1] for line in lines if (match := ERROR.match(line))]
    return found[-1] if found else None


def print_status(info: JobInfo, progress: JobProgress | None, error: str | None) -> None:
    """What a person wants to know of a job."""
    print(f"{info.job_id} {job_line(info)}")
    if error is not None:
        print(f"  error       {error}")
    if progress is not None:
        print(f"  progress    {describe(progress)}")
    print(f"  submitted   {person_time(info.submitted)}")
    if info.ended is not None:
        print(f"  ended       {person_time(info.ended)}")
    if info.output is not None:
        print(f"  output      {info.output}")
