"""`vision-batch list`: the jobs that were submitted to a cluster."""

from __future__ import annotations

import argparse

from vision_batch.cli.cluster_job import add_cluster_arguments, job_line, job_object, person_time, service_of
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.job import JobInfo

SUMMARY = "list the jobs that were submitted to a cluster"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--cluster PROFILE [--json]."""
    add_cluster_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints a line a job, the oldest first; ClusterError."""
    jobs = service_of(arguments.cluster).list()
    print_jobs(jobs)
    if arguments.json:
        emit_json({"jobs": [job_object(info) for info in jobs]})
    return ExitCode.DONE


def print_jobs(jobs: list[JobInfo]) -> None:
    """A table; the last column may be long."""
    if not jobs:
        print("no jobs")
        return
    rows = [("JOB", "SUBMITTED", "ENDED", "STATE")]
    rows += [(info.job_id, person_time(info.submitted), person_time(info.ended), job_line(info)) for info in jobs]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]))
