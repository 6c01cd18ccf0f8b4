"""Cron expressions: what every cron reads alike, and nothing else."""

from __future__ import annotations

import pytest

from vision_batch.cluster.schedule.cron import Cron, parse_cron


def every(first: int, last: int) -> frozenset[int]:
    return frozenset(range(first, last + 1))


def test_five_fields() -> None:
    assert parse_cron("30 3 * * *") == Cron(
        minutes=frozenset({30}),
        hours=frozenset({3}),
        days=every(1, 31),
        months=every(1, 12),
        weekdays=every(0, 6),
        either=False,
    )


def test_lists_ranges_steps_and_names() -> None:
    cron = parse_cron("*/20 8-18/5,23 1,15 JAN-mar *")
    assert cron.minutes == {0, 20, 40}
    assert cron.hours == {8, 13, 18, 23}
    assert cron.days == {1, 15}
    assert cron.months == {1, 2, 3}


@pytest.mark.parametrize(
    ("text", "days"),
    [("0", {0}), ("7", {0}), ("sun", {0}), ("mon-fri", {1, 2, 3, 4, 5}), ("5-7", {5, 6, 0}), ("*/2", {0, 2, 4, 6})],
)
def test_0_and_7_are_sunday(text: str, days: set[int]) -> None:
    assert parse_cron(f"0 0 * * {text}").weekdays == days


def test_two_kinds_of_day_mean_either() -> None:
    assert parse_cron("0 0 13 * fri").either
    assert not parse_cron("0 0 13 * *").either
    assert not parse_cron("0 0 */2 * *").either


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("30 3 * *", "4 fields instead of five"),
        ("@daily", "1 fields instead of five"),
        ("60 3 * * *", "'60' is no minute: 0 to 59"),
        ("0 0 0 * *", "'0' is no day of month: 1 to 31"),
        ("0 0 * 13 *", "'13' is no month: 1 to 12 or jan to dec"),
        ("0 0 * * 8", "'8' is no day of week"),
        ("0 0 * * monday", "'monday' is no day of week"),
        ("0 22-2 * * *", "ends before it begins"),
        ("*/0 * * * *", "the step 0"),
        ("5/15 * * * *", "different things to different crons"),
        ("0 0 L * *", "'l' is no day of month"),
        ("0 0 * * mon#2", "is no day of week"),
        ("0 , * * *", "is no hour"),
        ("0 ٣ * * *", "is no hour"),
        ("0 0 */2 * fri", "disagree about what that means"),
        ("0 0 30 feb *", "a day that none of its months has"),
        ("0 0 31 4,6,9,11 *", "a day that none of its months has"),
    ],
)
def test_what_is_wrong_is_said(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_cron(text)


def test_a_leap_day_comes() -> None:
    assert parse_cron("0 0 29 2 *").days == {29}
