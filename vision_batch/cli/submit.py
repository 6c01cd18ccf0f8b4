"""`vision-batch submit`: has a job run on a cluster."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from vision_batch.cli.cluster_job import add_cluster_arguments, job_line, job_object
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.moment import scheduled_moment
from vision_batch.cli.output import emit_json, warn
from vision_batch.cli.run import add_spec_arguments, demand_no_rows, error_codes
from vision_batch.cluster.job import ENDED, JobInfo, JobService, new_job_id
from vision_batch.cluster.profile import load_profile
from vision_batch.cluster.progress import for_people
from vision_batch.cluster.services import job_service
from vision_batch.errors import ClusterError
from vision_batch.jobs.package import job_package
from vision_batch.jobs.spec import load_spec

SUMMARY = "have a job run on a cluster; submit it again to resume"
POLL_S = 1.0
EPILOG = (
    "What travels is the spec with its variables and paths resolved, the plug-ins that it names, and nothing else of "
    "this machine; local paths are refused unless the profile says that every node sees them. The id is made of the "
    "job's name, the time and four hexadecimal digits; with --scheduled-time of name and time alone, so that the same "
    "command again is the same job. See also list, status, logs and stop."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SPEC --cluster PROFILE, and what a run takes that does not depend on where it is."""
    parser.epilog = EPILOG
    add_spec_arguments(parser)
    add_cluster_arguments(parser)
    parser.add_argument(
        "--wait",
        action="store_true",
        help="show the job's log until it has ended, and end with its exit code; Ctrl-C leaves the job running",
    )


def execute(arguments: argparse.Namespace) -> int:
    """Prints the job's id. With `--scheduled-time` it comes from that alone: the same command again is the same job."""
    moment = scheduled_moment(arguments.scheduled_time, arguments.spec)
    spec = load_spec(arguments.spec, arguments.overrides, output=arguments.output, scheduled_time=moment)
    demand_no_rows(spec, arguments)
    profile = load_profile(arguments.cluster)
    package = job_package(spec, profile, scheduled_time=moment, options=list(_run_options(arguments)))
    service = job_service(profile)
    job_id = new_job_id(package.name, moment or datetime.now(UTC))
    if moment is None:
        job_id += f"-{secrets.token_hex(2)}"
    print(f"submitting {job_id} to {profile.path}; its output is {package.output}", file=sys.stderr)
    service.submit(package, job_id)
    print(job_id, flush=True)
    info, code = service.info(job_id), int(ExitCode.DONE)
    if moment is not None and info.state in ("failed", "stopped"):
        warn(
            f"{job_id} has ended ({job_line(info)}), and one scheduled time is one job: to resume it, submit without "
            f"--scheduled-time and with --output {package.output}"
        )
    if arguments.wait:
        info, code = waited(service, info, arguments.cluster)
    if arguments.json:
        emit_json(job_object(info))
    return code


def waited(service: JobService, info: JobInfo, cluster: str) -> tuple[JobInfo, int]:
    """The job when it has ended, and the exit code that this means; its log goes to standard error.

    Whatever ends the wait leaves the job running: Ctrl-C, or a ClusterError where the cluster is not reached any more.
    """
    try:
        show_log(service, info.job_id)
        while (info := service.info(info.job_id)).state not in ENDED:
            time.sleep(POLL_S)
    except (KeyboardInterrupt, ClusterError) as error:
        command = f"`vision-batch status {info.job_id} --cluster {cluster}`"
        warn(f"nobody waits for {info.job_id} any more, which was not stopped; {command} says where it stands")
        if isinstance(error, ClusterError):
            raise
        return info, ExitCode.INTERRUPTED
    print(f"{info.job_id} {job_line(info)}", file=sys.stderr)
    return info, exit_code(info)


def show_log(service: JobService, job_id: str) -> None:
    """Prints the job's log until it ends; without one, as where the driver's node is gone, the job may go on."""
    try:
        for line in service.logs(job_id, follow=True):
            print(for_people(line), file=sys.stderr, flush=True)
    except ClusterError as error:
        warn(f"the log cannot be followed: {error}")


def exit_code(info: JobInfo) -> int:
    """The job's own; where that is not known, what its state means."""
    if info.exit_code is not None:
        return info.exit_code if info.exit_code >= 0 else ExitCode.FAILED
    return {"done": ExitCode.DONE, "stopped": ExitCode.INTERRUPTED}.get(info.state, ExitCode.FAILED)


def _run_options(arguments: argparse.Namespace) -> Iterator[str]:
    """What the run itself is to be told, checked here where somebody reads it."""
    if arguments.prune:
        yield "--prune"
    codes = error_codes(arguments.retry_errors)
    if codes:
        yield from ("--retry-errors", *codes)
