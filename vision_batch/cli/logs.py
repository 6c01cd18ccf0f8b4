"""`vision-batch logs`: what a submitted job has written."""

from __future__ import annotations

import argparse

from vision_batch.cli.cluster_job import add_cluster_arguments, add_job_argument, service_of
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.progress import for_people

SUMMARY = "show what a submitted job has written"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """ID --cluster PROFILE [--follow] [--raw] [--json]."""
    add_job_argument(parser)
    add_cluster_arguments(parser)
    parser.add_argument("--follow", action="store_true", help="go on until the job has ended")
    parser.add_argument(
        "--raw", action="store_true", help="progress as the lines of JSON that it is; so it is in --json"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Prints the lines as they come; ClusterError where there is no such job."""
    lines = []
    for line in service_of(arguments.cluster).logs(arguments.job_id, follow=arguments.follow):
        print(line if arguments.raw else for_people(line), flush=True)
        if arguments.json:
            lines.append(line)
    if arguments.json:
        emit_json({"job_id": arguments.job_id, "lines": lines})
    return ExitCode.DONE
