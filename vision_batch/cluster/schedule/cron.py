"""A cron expression: minute, hour, day of month, month, day of week, as crontab(5) writes them.

Only what cron, systemd and Kubernetes understand alike is taken: `*`, `*/n`, `a`, `a-b`, `a-b/n`, lists of these, and
English names of months and weekdays. As in crontab, 0 and 7 are Sunday, and where both kinds of day are given a day of
either kind is meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:\*|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """When: `days` 1-31, `months` 1-12, `weekdays` 0-6 from Sunday. `either`: a day of `days` or one of `weekdays`."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()

    def parse(self, text: str) -> frozenset[int]:
        """The values that `text` lists."""
        return frozenset(value for part in text.lower().split(",") for value in self._range(part))

    def _range(self, text: str) -> range:
        found = _PART.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no {self.name}: *, */n, a, a-b or a-b/n, or a list of these")
        low, high, step = found.groups()
        start = self.first if low is None else self._value(low)
        end = self.last if low is None else start if high is None else self._value(high)
        if step is not None and low is not None and high is None:
            raise ValueError(f"{text!r} as {self.name} means different things to different crons: write a-b/n")
        if end < start:
            raise ValueError(f"{text!r} as {self.name} ends before it begins")
        if step is not None and int(step) == 0:
            raise ValueError(f"{text!r} as {self.name} has the step 0")
        return range(start, end + 1, int(step or 1))

    def _value(self, text: str) -> int:
        value = self.names.index(text) + self.first if text in self.names else int(text) if text.isdecimal() else -1
        if not self.first <= value <= self.last:
            allowed = f"{self.first} to {self.last}" + (
                f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
            )
            raise ValueError(f"{text!r} is no {self.name}: {allowed}")
        return value


_FIELDS = (
    _Field(name="minute", first=0, last=59),
    _Field(name="hour", first=0, last=23),
    _Field(name="day of month", first=1, last=31),
    _Field(name="month", first=1, last=12, names=_MONTHS),
    _Field(name="day of week", first=0, last=7, names=_WEEKDAYS),
)


def parse_cron(text: str) -> Cron:
    """The Cron of five fields. ValueError, saying which field and why, for what is none or never comes."""
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"{len(parts)} fields instead of five: minute hour day-of-month month day-of-week")
    minutes, hours, days, months, weekdays = (field.parse(part) for field, part in zip(_FIELDS, parts, strict=True))
    day, weekday = parts[2], parts[4]
    stars = [part in ("*", "*/1") for part in (day, weekday)]
    if not any(stars) and "*" in (day[0], weekday[0]):
        raise ValueError("a step in one kind of day and values in the other: crons disagree about what that means")
    if stars[1] and not any(day <= _LONGEST[month - 1] for month in months for day in days):
        raise ValueError("a day that none of its months has")
    return Cron(
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
        either=not any(stars),
    )
