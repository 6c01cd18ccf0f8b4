"""`vision-batch schedule serve`: runs the jobs of a folder of specs at their times."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event

from vision_batch.cli.cluster_job import PROFILE_HELP
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.schedule_state import add_state_argument
from vision_batch.cluster.profile import LoadedProfile, load_profile
from vision_batch.cluster.schedule.configuration import ServerSettings, load_configuration
from vision_batch.cluster.schedule.folder import ScheduledSpec, SpecFolder
from vision_batch.cluster.schedule.leader import Leadership
from vision_batch.cluster.schedule.notify import Notifier
from vision_batch.cluster.schedule.server import Server
from vision_batch.cluster.schedule.status_page import status_page
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import times
from vision_batch.cluster.services import job_service
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.scheduled import read_scheduled
from vision_batch.ledger.holder import this_process

WELL_S = 300.0
"""A tick that takes longer hangs, whatever the cluster does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """DIR --cluster PROFILE [--config FILE] [--state FILE] [--address HOST:PORT]."""
    parser.add_argument(
        "folder", metavar="DIR", type=Path, help="the folder of the specs; those with `schedule:` count"
    )
    parser.add_argument("--cluster", metavar="PROFILE", required=True, help=PROFILE_HELP)
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help="who may be told of failures: the contacts that specs may name"
    )
    parser.add_argument("--address", metavar="HOST:PORT", help="answer /healthz and /metrics there")
    add_state_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT, which end the server and leave its jobs running."""
    if not arguments.folder.is_dir():
        raise SpecError(Problem("DIR", f"no folder {arguments.folder}", "the folder of the specs"))
    profile = load_profile(arguments.cluster)
    service = job_service(profile)
    configuration = ServerSettings() if arguments.config is None else load_configuration(arguments.config)
    times("0 0 * * *", "UTC")  # says now, not at the first spec, that APScheduler is not there
    clock = WallClock()
    with ExitStack() as stack:
        store = Store(arguments.state)
        stack.callback(store.close)
        folder = SpecFolder(arguments.folder, partial(_read, profile=profile, configuration=configuration))
        serves = f"{folder.path} on {profile.path.absolute()}"
        if arguments.address:
            stack.enter_context(status_page(arguments.address, arguments.state, clock.is_well, clock.now))
        server = Server(
            store=store,
            leadership=Leadership(store, this_process(), serves=serves),
            folder=folder,
            service=service,
            clock=clock,
            notify=Notifier(store, configuration.contacts, clock.now),
        )
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, lambda *_: clock.stopped.set())
        _say_what_happens()
        print(f"serving {serves}; the state is {arguments.state}", file=sys.stderr, flush=True)
        server.serve(clock.stopped.is_set)
    return ExitCode.DONE


def _read(path: Path, profile: LoadedProfile, configuration: ServerSettings) -> ScheduledSpec | None:
    spec = read_scheduled(path, profile)
    if spec is not None:
        configuration.demand_contact(spec.settings.on_failure)
    return spec


class WallClock:
    """The machine's clock; `stopped` ends a sleep. It is asked to sleep after each tick: so it knows when one hangs."""

    def __init__(self) -> None:
        self.stopped = Event()
        self._ticked = time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        self._ticked = time.monotonic()
        self.stopped.wait(seconds)

    def is_well(self) -> bool:
        return time.monotonic() - self._ticked < WELL_S


def _say_what_happens() -> None:
    log = logging.getLogger("vision_batch.cluster.schedule")
    log.setLevel(min(logging.INFO, logging.getLogger("vision_batch").level or logging.INFO))
