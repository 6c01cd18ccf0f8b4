"""`--scheduled-time`: the time that `{date}` and `{scheduled_time}` of a spec stand for."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.spec import load_spec


def add_moment_argument(parser: argparse.ArgumentParser) -> None:
    """--scheduled-time TIME."""
    parser.add_argument(
        "--scheduled-time",
        metavar="TIME",
        help="what {date} and {scheduled_time} stand for, as 2026-11-21T03:30:00Z; latest: the last time of the spec's"
        " schedule; now by default",
    )


def scheduled_moment(text: str | None, spec: str) -> datetime | None:
    """What `--scheduled-time` says; with `latest` the last time that the schedule of `spec` had until now."""
    if text != "latest":
        return None if text is None else parse_moment(text)
    from vision_batch.cluster.schedule.times import times

    schedule = load_spec(spec, for_any_time=True).settings.schedule
    if schedule is None:
        expected = "a spec with a schedule, or a time as 2026-11-21T03:30:00Z"
        raise SpecError(Problem("--scheduled-time", "latest, and no schedule in the spec", expected))
    return times(schedule.cron, schedule.timezone).latest(datetime.now(UTC))


def parse_moment(text: str) -> datetime:
    """The time of an ISO 8601 text with a time zone, in UTC. SpecError for any other."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        found = f"{text!r}, which has no time zone"
    except (ValueError, OverflowError):
        found = repr(text)
    raise SpecError(Problem("--scheduled-time", found, "a time with its zone, as 2026-11-21T03:30:00Z or …+01:00"))
