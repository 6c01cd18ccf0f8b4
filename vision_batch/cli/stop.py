"""`vision-batch stop`: ends a submitted job in order."""

from __future__ import annotations

import argparse
import time

from vision_batch.cli.cluster_job import add_cluster_arguments, add_job_argument, job_line, job_object, service_of
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.job import ENDED, JobInfo, JobService
from vision_batch.errors import ClusterError

SUMMARY = "end a submitted job in order: what is whole is committed; submit it again to resume"

WAIT_S = 90.0
"""A job ends within 20 s; where it is between two steps, or its cluster is busy, it takes longer."""
POLL_S = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ID --cluster PROFILE [--json]."""
    add_job_argument(parser)
    add_cluster_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Asks the job to stop and waits until it has; ClusterError where it does not."""
    service = service_of(arguments.cluster)
    info = stopped(service, arguments.job_id, WAIT_S)
    print(f"{info.job_id} {job_line(info)}")
    if arguments.json:
        emit_json(job_object(info))
    return ExitCode.DONE


def stopped(service: JobService, job_id: str, wait_s: float) -> JobInfo:
    """The job when it has ended; one that had ended before is left as it is."""
    info = service.info(job_id)
    if info.state in ENDED:
        return info
    service.stop(job_id)
    deadline = time.monotonic() + wait_s
    while (info := service.info(job_id)).state not in ENDED:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"{job_id} was asked to stop and is still {info.state} after {wait_s:.0f} s; see "
                "`vision-batch status` and `vision-batch logs`"
            )
        time.sleep(POLL_S)
    return info
