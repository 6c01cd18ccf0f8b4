"""`vision-batch schedule`: jobs that run by themselves, and the service that has them run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import Any

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cli.schedule_state import add_state_arguments, open_store, person_moment, warn_without_server
from vision_batch.cluster.schedule.admission import pause, resume, run_now
from vision_batch.cluster.schedule.store import Store

SUMMARY = "run jobs at the times that their specs give"

# Each of these is a module schedule_<name> in this folder with add_arguments and execute, and this line.
COMMANDS = {
    "serve": "serve a folder of specs: run the job of each at its times; a second server stands by",
    "list": "list the schedules: when they run next, how they ran last, what is wrong with their specs",
    "history": "list the runs, the latest first",
    "export": "print schedules for cron or systemd, on a single machine without a server",
}

Answer = tuple[str, dict[str, Any]]
Request = Callable[[Store, str, datetime], Answer]
"""What is asked of the state, of a schedule, at a time: the answer for people, and as JSON."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each command of this one."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        module = import_module(f"vision_batch.cli.schedule_{name}")
        child = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        module.add_arguments(child)
        child.set_defaults(execute=module.execute)
    for name, (summary, request) in REQUESTS.items():
        child = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        child.add_argument("name", metavar="NAME", help="the schedule: the `name` of its spec")
        add_state_arguments(child)
        child.set_defaults(execute=partial(_ask, request))


def execute(arguments: argparse.Namespace) -> int:
    """Does what the chosen command does."""
    code: int = arguments.execute(arguments)
    return code


def _ask(request: Request, arguments: argparse.Namespace) -> int:
    store = open_store(arguments)
    said, value = request(store, arguments.name, datetime.now(UTC).replace(microsecond=0))
    print(f"{arguments.name}: {said}")
    warn_without_server(store)
    if arguments.json:
        emit_json(value)
    return ExitCode.DONE


def _run(store: Store, name: str, now: datetime) -> Answer:
    run = run_now(store, name, now)
    return f"a run of its own is due, at {person_moment(run.scheduled_time)}", run.as_dict()


def _pause(store: Store, name: str, now: datetime) -> Answer:
    schedule = pause(store, name, now)
    return "paused: its times are skipped", {"schedule": schedule.name, "paused": True}


def _resume(store: Store, name: str, now: datetime) -> Answer:
    schedule = resume(store, name, now)
    return "resumed: its next time runs", {"schedule": schedule.name, "paused": False}


REQUESTS: dict[str, tuple[str, Request]] = {
    "run": ("have a schedule's job run now, or when the run that is going has ended", _run),
    "pause": ("let a schedule's times pass: they are skipped", _pause),
    "resume": ("end the pause; what it had skipped is not caught up", _resume),
}
