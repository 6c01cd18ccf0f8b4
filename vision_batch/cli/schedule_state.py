"""What the commands of `vision-batch schedule` share: where the state is, and how times are shown."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from vision_batch.cli.output import warn
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.state_folder import state_folder
from vision_batch.errors import Problem, SpecError
from vision_batch.ledger.holder import is_alive


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """[--state FILE] [--json]."""
    add_state_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """[--state FILE]."""
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FILE",
        default=state_folder() / "schedules.sqlite",
        help="what the server remembers, on a disk of this machine; the default is %(default)s",
    )


def open_store(arguments: argparse.Namespace) -> Store:
    """The state that a server has made; SpecError where there is none."""
    if not arguments.state.exists():
        expected = "the file that `vision-batch schedule serve` makes"
        raise SpecError(Problem("--state", f"no file {arguments.state}", expected))
    return Store(arguments.state)


def person_moment(moment: datetime | None) -> str:
    """In the zone of this machine, which is named, to the second; a dash for none."""
    return "-" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def acting_server(store: Store) -> str | None:
    """Who acts, as far as can be told from here; None where nobody does."""
    holder = store.leader().holder
    return None if holder is None or is_alive(holder) is False else str(holder)


def warn_without_server(store: Store) -> None:
    """Says that nothing happens before a server is there."""
    if acting_server(store) is None:
        warn("no server acts on this state: nothing begins before `vision-batch schedule serve` does")
