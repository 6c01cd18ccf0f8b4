"""Lengths of time in a spec."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.cluster.schedule.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21_600), ("1d12h", 129_600), ("1d1h1m1s", 90_061)]
)
def test_days_hours_minutes_seconds(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "6", "h", "0s", "-1h", "1.5h", "1h 30m", "30m1h", "6H", "1w", "1h\n"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a length of time"):
        parse_duration(text)


@given(st.integers(1, 10**9))
def test_what_is_written_is_read_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


def test_no_time_at_all_is_written_too() -> None:
    assert format_duration(timedelta(0)) == "0s"
