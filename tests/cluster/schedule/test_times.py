"""Which moments a cron expression means: on plain days, and on those when the clock is changed."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_batch.cluster.schedule.cron import Cron, parse_cron
from vision_batch.cluster.schedule.times import Times
from vision_batch.errors import SpecError

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Havana",  # at midnight
    "Africa/Casablanca",  # its summer time pauses
    "Asia/Kathmandu",
    "Pacific/Apia",
]
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days(cron: str, zone: str, first: str, count: int) -> list[str]:
    """The times of `count` days from the midnight of `first`, as the zone's clock shows them."""
    begin = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(zone))
    end = begin + count * DAY  # by the clock
    found = Times(cron, zone).between(begin - timedelta(seconds=1), end - timedelta(seconds=1))
    return [f"{moment.astimezone(ZoneInfo(zone)):%d %H:%M %z}" for moment in found]


def test_the_clock_of_the_zone_is_read() -> None:
    assert Times("30 3 * * *", "Europe/Berlin").after(utc("2026-11-21T12:00")) == utc("2026-11-22T02:30")
    assert Times("30 3 * * *", "America/New_York").after(utc("2026-11-21T12:00")) == utc("2026-11-22T08:30")


def test_a_time_is_not_later_than_itself() -> None:
    times = Times("30 3 * * *", "UTC")
    assert times.after(utc("2026-11-21T03:30")) == utc("2026-11-22T03:30")
    assert list(times.between(utc("2026-11-21T03:30"), utc("2026-11-22T03:30"))) == [utc("2026-11-22T03:30")]


def test_weekdays_are_those_of_crontab() -> None:
    # 22 November 2026 is a Sunday
    assert Times("0 0 * * 0", "UTC").after(utc("2026-11-20T00:00")) == utc("2026-11-22T00:00")
    assert Times("0 0 * * mon", "UTC").after(utc("2026-11-20T00:00")) == utc("2026-11-23T00:00")


def test_a_day_of_either_kind() -> None:
    found = Times("0 0 24 * sun", "UTC").between(utc("2026-11-20T00:00"), utc("2026-11-30T00:00"))
    assert [moment.day for moment in found] == [22, 24, 29]


def test_a_nightly_time_that_the_clock_leaves_out_comes_when_it_has_passed() -> None:
    assert days("30 2 * * *", "Europe/Berlin", "2027-03-27", 3) == [
        "27 02:30 +0100",
        "28 03:00 +0200",
        "29 02:30 +0200",
    ]
    assert days("*/20 2 * * *", "Europe/Berlin", "2027-03-28", 1) == ["28 03:00 +0200"]
    assert days("0 2,3 * * *", "Europe/Berlin", "2027-03-28", 1) == ["28 03:00 +0200"]


def test_a_nightly_time_that_the_clock_shows_twice_comes_the_first_time() -> None:
    assert days("30 2 * * *", "Europe/Berlin", "2026-10-24", 3) == [
        "24 02:30 +0200",
        "25 02:30 +0200",
        "26 02:30 +0100",
    ]


def test_every_hour_is_every_hour_that_passes() -> None:
    assert days("0 * * * *", "Europe/Berlin", "2027-03-28", 1)[:4] == [
        "28 00:00 +0100",
        "28 01:00 +0100",
        "28 03:00 +0200",
        "28 04:00 +0200",
    ]
    assert days("*/30 0-23 * * *", "Europe/Berlin", "2026-10-25", 1)[3:8] == [
        "25 01:30 +0200",
        "25 02:00 +0200",
        "25 02:30 +0200",
        "25 02:00 +0100",
        "25 02:30 +0100",
    ]


def test_midnight_too_may_be_left_out_or_shown_twice() -> None:
    assert days("0 0 * * *", "America/Havana", "2026-03-07", 3)[1:] == ["08 01:00 -0400", "09 00:00 -0400"]
    assert days("30 0 * * *", "America/Havana", "2026-11-01", 2) == ["01 00:30 -0400", "02 00:30 -0500"]


def test_a_whole_day_that_the_clock_leaves_out_comes_once() -> None:
    """Samoa went from 29 to 31 December 2011."""
    assert days("30 2 * * *", "Pacific/Apia", "2011-12-28", 4) == [
        "28 02:30 -1000",
        "29 02:30 -1000",
        "31 00:00 +1400",
        "31 02:30 +1400",
    ]


@pytest.mark.parametrize("zone", ZONES)
def test_a_nightly_job_runs_once_a_night_for_years(zone: str) -> None:
    found = list(Times("30 2 * * *", zone).between(utc("2024-06-01T12:00"), utc("2030-06-01T12:00")))
    assert len(found) == (datetime(2030, 6, 1) - datetime(2024, 6, 1)).days
    assert len({moment.astimezone(ZoneInfo(zone)).date() for moment in found}) == len(found)
    assert all(timedelta(hours=22) <= later - earlier <= timedelta(hours=26) for earlier, later in pairwise(found))


FIELD = st.one_of(st.just("*"), st.integers(0, 23).map(str), st.sampled_from(["*/7", "0-23", "1-3", "0,2,3", "*/2"]))
AROUND = st.sampled_from(
    ["2027-03-27", "2026-10-24", "2027-03-13", "2026-10-31", "2026-10-03", "2027-04-03", "2026-11-21", "2011-12-28"]
).map(utc)


@settings(max_examples=30, deadline=None)
@given(
    minute=st.sampled_from(["30", "*/7", "0,20", "59"]),
    hour=FIELD,
    zone=st.sampled_from(ZONES),
    begin=AROUND,
    offset=st.integers(0, 1440),
)
def test_the_clock_watched_minute_by_minute_says_the_same(
    minute: str, hour: str, zone: str, begin: datetime, offset: int
) -> None:
    begin += offset * MINUTE
    cron = f"{minute} {hour} * * *"
    found = list(Times(cron, zone).between(begin, begin + 2 * DAY))
    assert found == watched(parse_cron(cron), ZoneInfo(zone), begin, begin + 2 * DAY)
    assert all(earlier < later for earlier, later in pairwise(found))


@given(hour=FIELD, zone=st.sampled_from(ZONES), begin=AROUND)
def test_the_latest_time_is_the_one_that_nothing_comes_after(hour: str, zone: str, begin: datetime) -> None:
    found = Times(f"30 {hour} * * *", zone)
    latest = found.latest(begin)
    assert latest <= begin < found.after(latest)
    assert found.latest(latest) == latest


def test_the_latest_time_may_lie_years_back() -> None:
    assert Times("0 0 29 2 *", "UTC").latest(utc("2027-11-21T12:00")) == utc("2024-02-29T00:00")
    assert Times("0 0 29 2 *", "UTC").latest(utc("2103-11-21T12:00")) == utc("2096-02-29T00:00")


def watched(cron: Cron, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """What somebody notes who looks at the clock every minute, and knows what it has shown."""

    def wanted(reading: datetime) -> bool:
        return reading.minute in cron.minutes and reading.hour in cron.hours

    def shows(moment: datetime) -> datetime:
        return moment.astimezone(zone).replace(tzinfo=None)

    noted, shown = [], max(shows(begin - 26 * 60 * MINUTE + i * MINUTE) for i in range(26 * 60 + 1))
    moment = begin
    while (moment := moment + MINUTE) <= end:
        reading = shows(moment)
        passed = [shown + (i + 1) * MINUTE for i in range((reading - shown) // MINUTE)]
        if any(map(wanted, [reading] if len(cron.hours) == 24 else passed)):
            noted.append(moment)
        shown = max(shown, reading)
    return noted


def test_without_apscheduler_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apscheduler.triggers.cron", None)
    with pytest.raises(SpecError, match=r"pip install 'vision-batch\[schedule\]'"):
        Times("30 3 * * *", "UTC")
