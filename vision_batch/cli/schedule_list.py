"""`vision-batch schedule list`: the schedules and how they stand."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cli.schedule_state import acting_server, add_state_arguments, open_store, person_moment
from vision_batch.cluster.schedule.run import ScheduledRun, to_text
from vision_batch.cluster.schedule.schedule import Schedule
from vision_batch.cluster.schedule.store import Store
from vision_batch.cluster.schedule.times import times


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a schedule stands: `last` is its latest run, `next_time` None where none will come by itself."""

    schedule: Schedule
    last: ScheduledRun | None
    next_time: datetime | None
    problem: str | None

    @property
    def word(self) -> str:
        """In a word."""
        if not self.schedule.present:
            return "removed"
        if self.schedule.paused:
            return "paused"
        return "refused" if self.problem else "served"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        settings = self.schedule.settings
        return {
            "name": self.schedule.name,
            "spec": self.schedule.path,
            "cron": settings.cron,
            "timezone": settings.timezone,
            "standing": self.word,
            "paused": self.schedule.paused,
            "next_time": None if self.next_time is None else to_text(self.next_time),
            "last": None if self.last is None else self.last.as_dict(),
            "problem": self.problem,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[--state FILE] [--json]."""
    add_state_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Prints a line a schedule, and the specs that are refused."""
    store = open_store(arguments)
    standings = [_standing(store, schedule, datetime.now(UTC)) for schedule in store.schedules()]
    server, refusals = acting_server(store), store.refusals()
    _print_table(standings)
    for refusal in refusals:
        print(refusal)
    print(f"server: {server or 'none acts: `vision-batch schedule serve` begins'}")
    if arguments.json:
        refused = [{"spec": refusal.path, "problem": refusal.problem} for refusal in refusals]
        emit_json({"server": server, "schedules": [each.as_dict() for each in standings], "refused": refused})
    return ExitCode.DONE


def _standing(store: Store, schedule: Schedule, now: datetime) -> Standing:
    comes = schedule.present and not schedule.paused
    problems = {refusal.path: refusal.problem for refusal in store.refusals()}
    return Standing(
        schedule=schedule,
        last=next(iter(store.history(schedule.name, limit=1)), None),
        next_time=times(schedule.settings.cron, schedule.settings.timezone).after(now) if comes else None,
        problem=problems.get(schedule.path) if schedule.present else None,
    )


def _print_table(standings: list[Standing]) -> None:
    if not standings:
        print("no schedules")
        return
    rows = [("SCHEDULE", "CRON", "STANDING", "NEXT", "LAST RUN")]
    for each in standings:
        settings, last = each.schedule.settings, each.last
        ran = "-" if last is None else f"{person_moment(last.scheduled_time)} {last.state}"
        when = f"{settings.cron} {settings.timezone}"
        rows.append((each.schedule.name, when, each.word, person_moment(each.next_time), ran))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
