"""Schedules as lines of a crontab, for a single machine without a server of ours."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from vision_batch.cluster.schedule.exported import STOP_S, ExportedSchedule
from vision_batch.errors import Problem, SpecError

HEAD = """\
# Made by `vision-batch schedule export`; make it again when a schedule changes. What the jobs say goes to syslog.
# CRON_TZ is known to cronie (Fedora, RHEL, Arch, SUSE), but the cron of Debian and Ubuntu takes no notice of it: there,
# let the machine's own time zone be that of the schedules, or export to systemd.
"""


def crontab(schedules: Sequence[ExportedSchedule]) -> str:
    """The text of a crontab. SpecError for a path that no crontab can hold."""
    schedules = sorted(schedules, key=lambda it: (it.settings.timezone, it.name))
    blocks = [
        "\n".join([f"CRON_TZ={zone}", *(line for schedule in group for line in _lines(schedule))])
        for zone, group in groupby(schedules, key=lambda it: it.settings.timezone)
    ]
    return "\n".join([HEAD, *blocks, ""])


def _lines(schedule: ExportedSchedule) -> Iterator[str]:
    command = shlex.join([*_limit(schedule), *schedule.command])
    if "\n" in command or "\\%" in command:  # a line cannot be continued, and what \\% means cron cannot be told
        raise SpecError(Problem(repr(str(schedule.spec)), "a line break or \\% in a path", "a path without"))
    yield f"# {schedule.name}: {schedule.title}"
    yield from (f"#   {difference}" for difference in _differences(schedule))
    tag = shlex.quote(f"vision-batch-{schedule.name}")
    # cron takes a bare % for a line break, also within quotes
    yield f"{schedule.settings.cron}  {command} 2>&1 | logger -t {tag}".replace("%", r"\%")


def _limit(schedule: ExportedSchedule) -> list[str]:
    """In the foreground `timeout` signals the run alone, which ends in order, and not its Ray's processes too."""
    longest = schedule.settings.longest
    if longest is None:
        return []
    return ["timeout", "--foreground", f"--kill-after={STOP_S}", str(round(longest.total_seconds()))]


def _differences(schedule: ExportedSchedule) -> Iterator[str]:
    yield from schedule.differences()
    if schedule.settings.catch_up != "none":
        yield f"catch_up: {schedule.settings.catch_up} is not done: cron passes over what it missed"
