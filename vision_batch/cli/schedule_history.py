"""`vision-batch schedule history`: what ran, when, and how it ended."""

from __future__ import annotations

import argparse

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cli.schedule_state import add_state_arguments, open_store, person_moment
from vision_batch.cluster.schedule.duration import format_duration
from vision_batch.cluster.schedule.run import ScheduledRun
from vision_batch.errors import Problem, SpecError

TOLD = {"owed": "; nobody has been told yet", "failed": "; nobody could be told"}
"""What is worth saying of a failure's notice."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[NAME] [--limit N] [--state FILE] [--json]."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only the runs of this schedule")
    parser.add_argument("--limit", type=int, metavar="N", default=50, help="the latest N; the default is %(default)s")
    add_state_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints a line a run, the latest first; also of schedules whose specs are gone."""
    if arguments.limit < 1:
        raise SpecError(Problem("--limit", str(arguments.limit), "a number above 0"))
    runs = open_store(arguments).history(arguments.name, limit=arguments.limit)
    for run in runs:
        print(_line(run))
    if not runs:
        print("no runs" if arguments.name is None else f"no runs of {arguments.name}")
    if arguments.json:
        emit_json({"runs": [run.as_dict() for run in runs]})
    return ExitCode.DONE


def _line(run: ScheduledRun) -> str:
    took = f" after {format_duration(run.ended - run.started)}" if run.ended and run.started else ""
    kind = "" if run.kind == "scheduled" else f" ({run.kind.replace('_', ' ')})"
    message = f": {run.message}" if run.message and run.message != run.state else ""
    told = TOLD.get(run.notice, "")
    return f"{person_moment(run.scheduled_time)}  {run.schedule}{kind}  {run.state}{took}{message}{told}"
