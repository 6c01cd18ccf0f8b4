"""Schedules as timers and services of systemd, for a single machine without a server of ours."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from vision_batch.cluster.schedule.cron import Cron, parse_cron
from vision_batch.cluster.schedule.exported import STOP_S, ExportedSchedule
from vision_batch.errors import Problem, SpecError

FOLDER = "/etc/systemd/system"
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")

SERVICE = """\
# Made by `vision-batch schedule export`; make it again when the schedule changes.
{differences}[Unit]
Description=vision-batch {name}: {title}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
User={user}
# credentials of the storage, if it wants any, as NAME=value lines; nobody else need read the file
EnvironmentFile=-/etc/vision-batch/{name}.env
ExecStart={command}
# SIGTERM goes to the run alone, which commits what is whole, and not to its Ray's processes too
KillMode=mixed
TimeoutStartSec={longest}
TimeoutStopSec={stop_s}
SuccessExitStatus=130
"""

TIMER = """\
# Made by `vision-batch schedule export`; make it again when the schedule changes.
[Unit]
Description=when vision-batch runs {name}

[Timer]
{times}
Persistent={persistent}

[Install]
WantedBy=timers.target
"""


def units(schedules: Sequence[ExportedSchedule]) -> dict[str, str]:
    """Files by their names: a service and a timer for each schedule. SpecError for a path that no unit can hold."""
    return {name: text for schedule in schedules for name, text in _units(schedule).items()}


def concatenated(files: Mapping[str, str]) -> str:
    """All files in one text, each below its path, as `systemctl cat` shows them."""
    return "\n".join(f"# {FOLDER}/{name}\n{text}" for name, text in files.items())


def on_calendar(cron: str, timezone: str) -> list[str]:
    """The calendar expressions of systemd.time(7) that together mean `cron` in `timezone`."""
    parsed = parse_cron(cron)
    clock = f"{_listed(parsed.hours, 24)}:{_listed(parsed.minutes, 60)}:00 {timezone}"
    return [f"{days} {clock}" for days in _days(parsed)]


def _days(cron: Cron) -> Iterator[str]:
    months = _listed(cron.months, 12)
    weekdays = ",".join(_WEEKDAYS[day] for day in sorted(cron.weekdays))
    if cron.either:
        yield f"{weekdays} *-{months}-*"
        yield f"*-{months}-{_listed(cron.days, 31)}"
    else:
        prefix = "" if len(cron.weekdays) == len(_WEEKDAYS) else f"{weekdays} "
        yield f"{prefix}*-{months}-{_listed(cron.days, 31)}"


def _listed(values: frozenset[int], all_of_them: int) -> str:
    """`*`, or values and runs of them: `00,10..12`."""
    if len(values) == all_of_them:
        return "*"
    runs = [[value for _, value in run] for _, run in groupby(enumerate(sorted(values)), key=lambda it: it[1] - it[0])]
    return ",".join(f"{run[0]:02d}" if len(run) == 1 else f"{run[0]:02d}..{run[-1]:02d}" for run in runs)


def _units(schedule: ExportedSchedule) -> dict[str, str]:
    settings, unit = schedule.settings, f"vision-batch-{schedule.name}"
    longest = settings.longest
    service = SERVICE.format(
        differences="".join(f"# {difference}\n" for difference in _differences(schedule)),
        name=schedule.name,
        title=schedule.title.replace("%", "%%"),
        user=getpass.getuser(),
        command=" ".join(map(_quoted, schedule.command)),
        longest="infinity" if longest is None else f"{round(longest.total_seconds())}s",
        stop_s=STOP_S,
    )
    times = "\n".join(f"OnCalendar={time}" for time in on_calendar(settings.cron, settings.timezone))
    persistent = "false" if settings.catch_up == "none" else "true"
    timer = TIMER.format(name=schedule.name, times=times, persistent=persistent)
    return {f"{unit}.service": service, f"{unit}.timer": timer}


def _differences(schedule: ExportedSchedule) -> Iterator[str]:
    yield from schedule.differences()
    if schedule.settings.catch_up == "all":
        yield "catch_up: all is not done: systemd makes up for the latest run that it missed"


def _quoted(argument: str) -> str:
    """An argument of ExecStart=, as systemd.syntax(7) and systemd.service(5) want it."""
    if not argument.isprintable():
        raise SpecError(Problem(repr(argument), "a character that cannot be printed", "a path of printable characters"))
    for special, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        argument = argument.replace(special, escaped)
    return f'"{argument}"' if set(argument) & set(" ;'\\\"") else argument
