"""`vision-batch status`: how far a submitted job is, from anywhere, also while it runs."""

from __future__ import annotations

import argparse
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
from vision_batch.cluster.progress import JobProgress, describe, last_progress
from vision_batch.errors import ClusterError

SUMMARY = "say how far a submitted job is: images done, rate, failures, time left"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ID --cluster PROFILE [--json]."""
    add_job_argument(parser)
    add_cluster_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints the job's state and its last progress; ClusterError where there is no such job."""
    service = service_of(arguments.cluster)
    info = service.info(arguments.job_id)
    progress = None if info.state == "pending" else progress_of(service, info)
    print_status(info, progress)
    if arguments.json:
        emit_json(job_object(info) | {"progress": None if progress is None else asdict(progress)})
    return ExitCode.DONE


def progress_of(service: JobService, info: JobInfo) -> JobProgress | None:
    """The last that the job's log says; a log may be gone with the node that the job's driver was on."""
    try:
        return last_progress(service.logs(info.job_id, follow=False))
    except ClusterError as error:
        warn(f"its log cannot be read: {error}")
        return None


def print_status(info: JobInfo, progress: JobProgress | None) -> None:
    """What a person wants to know of a job."""
    print(f"{info.job_id} {job_line(info)}")
    if progress is not None:
        print(f"  progress    {describe(progress)}")
    print(f"  submitted   {person_time(info.submitted)}")
    if info.ended is not None:
        print(f"  ended       {person_time(info.ended)}")
    if info.output is not None:
        print(f"  output      {info.output}")
