"""The `schedule:` block."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from vision_batch.cluster.schedule.settings import RetrySettings, ScheduleSettings


def test_a_cron_is_enough() -> None:
    schedule = ScheduleSettings(cron="30 3 * * *")
    assert (schedule.timezone, schedule.overlap, schedule.catch_up, schedule.longest) == ("UTC", "skip", "latest", None)
    assert schedule.retries == RetrySettings(limit=3, backoff="1m", max_backoff="1h")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("cron", "30 3 * *", "4 fields instead of five"),
        ("timezone", "Europe/Atlantis", "the IANA name of a time zone"),
        ("timezone", "Europe", "the IANA name of a time zone"),
        ("timezone", "../etc/passwd", "the IANA name of a time zone"),
        ("timezone", "", "the IANA name of a time zone"),
        ("deadline", "6 hours", "a length of time, as 90s, 15m, 6h or 1d12h"),
        ("retries", {"backoff": "never"}, "a length of time"),
        ("overlap", "wait", "'skip', 'queue' or 'replace'"),
        ("catchup", "all", "Extra inputs"),
    ],
)
def test_what_is_wrong_is_refused(key: str, value: object, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ScheduleSettings.model_validate({"cron": "30 3 * * *", key: value})


def test_the_wait_doubles_up_to_its_bound() -> None:
    retries = RetrySettings(limit=100, backoff="1m", max_backoff="10m")
    assert [retries.wait(attempt).total_seconds() / 60 for attempt in (1, 2, 3, 4, 5, 100)] == [1, 2, 4, 8, 10, 10]
    assert RetrySettings(backoff="2h").wait(1) == timedelta(hours=1)
