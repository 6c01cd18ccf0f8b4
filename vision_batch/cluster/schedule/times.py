"""The moments that a cron expression means in a time zone.

APScheduler finds the readings of the clock that match; it is asked in UTC, where every reading exists once. Which
moment a reading is, is decided here, as cron(8) does it:

- A reading that the clock leaves out (02:30 when it goes from 02:00 to 03:00) falls due when the clock is past it, at
  03:00: a nightly job is not left out. Several of them are one moment, and it counts once.
- A reading that the clock shows twice (02:30 when it goes from 03:00 back to 02:00) is the first of them: a nightly job
  does not run twice.
- Where the expression names every hour (`*/15 * * * *`) the job follows the hours that pass: readings left out do not
  happen, and those shown twice happen twice.

systemd and Kubernetes leave out what the clock leaves out, and Kubernetes runs twice what the clock shows twice:
https://github.com/systemd/systemd/issues/5595, https://github.com/kubernetes/kubernetes/issues/121594.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from vision_batch.cluster.schedule.cron import Cron, parse_cron
from vision_batch.errors import Problem, SpecError

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

_HOURS_OF_A_DAY = 24
_LOOKS_BACK_DAYS = (1, 31, 366, 8 * 366)
"""29 February comes every four years, and once in a while after eight."""


class Times:
    """The moments of `cron` in `zone`, an IANA name: in UTC, strictly increasing. SpecError without APScheduler."""

    def __init__(self, cron: str, zone: str) -> None:
        parsed = parse_cron(cron)
        self._zone = find_zone(zone)
        self._every_hour = len(parsed.hours) == _HOURS_OF_A_DAY
        self._triggers = _triggers(parsed)

    def after(self, moment: datetime) -> datetime:
        """The first one later than `moment`."""
        folds = (0, 1) if self._every_hour else (0,)
        return min(self._first(moment, fold) for fold in folds)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Those later than `after` and not later than `until`."""
        moment = self.after(after)
        while moment <= until:
            yield moment
            moment = self.after(moment)

    def latest(self, moment: datetime) -> datetime:
        """The last one that is not later than `moment`."""
        for days in _LOOKS_BACK_DAYS:
            if found := list(self.between(moment - timedelta(days=days), moment)):
                return found[-1]
        raise AssertionError("parse_cron takes only what comes at least every eight years")

    def _first(self, moment: datetime, fold: int) -> datetime:
        """The first of the readings' first (`fold` 0) or second occurrences that is later than `moment`."""
        local = moment.astimezone(self._zone)
        reading = local.replace(tzinfo=None) - _repeated(local)
        while True:
            reading = min(_next_reading(trigger, reading) for trigger in self._triggers)
            found = self._moment(reading, fold)
            if found is not None and found > moment:
                return found

    def _moment(self, reading: datetime, fold: int) -> datetime | None:
        found = reading.replace(tzinfo=self._zone, fold=fold).astimezone(UTC)
        if found.astimezone(self._zone).replace(tzinfo=None) == reading:
            return found
        return None if self._every_hour else self._passed(reading)

    def _passed(self, reading: datetime) -> datetime:
        """When the clock jumps past a reading that it leaves out, to the second."""
        # PEP 495: of a reading in a gap, fold 1 is a moment before the gap and fold 0 one after it
        before, after = (reading.replace(tzinfo=self._zone, fold=fold).astimezone(UTC) for fold in (1, 0))
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
            if middle.astimezone(self._zone).replace(tzinfo=None) > reading:
                after = middle
            else:
                before = middle
        return after


@lru_cache
def times(cron: str, zone: str) -> Times:
    """`Times`, made once."""
    return Times(cron, zone)


def find_zone(name: str) -> tzinfo:
    """The time zone of an IANA name. ValueError when there is none."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # KeyError: not known; the others: no name at all, or a folder
        raise ValueError("the IANA name of a time zone, as Europe/Berlin") from error


def _triggers(cron: Cron) -> list[CronTrigger]:
    """What matches `cron`, together. APScheduler demands of a day all that it is given, and counts from Monday."""
    try:
        from apscheduler.triggers.cron import CronTrigger
    except ImportError as error:
        found, expected = "no APScheduler", "it: pip install 'vision-batch[schedule]'"
        raise SpecError(Problem("this environment", found, expected)) from error
    days, weekdays = _listed(cron.days, of=31), _listed(frozenset((day - 1) % 7 for day in cron.weekdays), of=7)
    kinds = [(days, "*"), ("*", weekdays)] if cron.either else [(days, weekdays)]
    return [
        CronTrigger(
            month=_listed(cron.months, of=12),
            day=day,
            day_of_week=weekday,
            hour=_listed(cron.hours, of=_HOURS_OF_A_DAY),
            minute=_listed(cron.minutes, of=60),
            timezone=UTC,
        )
        for day, weekday in kinds
    ]


def _listed(values: frozenset[int], *, of: int) -> str:
    """In APScheduler's words: `*` for all, as it tries the values of a list one by one."""
    return "*" if len(values) == of else ",".join(map(str, sorted(values)))


def _next_reading(trigger: CronTrigger, reading: datetime) -> datetime:
    """The first matching reading of the clock later than `reading`."""
    later = (reading + timedelta(microseconds=1)).replace(tzinfo=UTC)
    found: datetime = trigger.get_next_fire_time(None, later)
    return found.replace(tzinfo=None)


def _repeated(local: datetime) -> timedelta:
    """How much of what the clock shows now it shows twice: none, but for an hour or so in a year."""
    first, second = (local.replace(fold=fold).utcoffset() or timedelta(0) for fold in (0, 1))
    return max(first - second, timedelta(0))
