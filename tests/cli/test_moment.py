"""`--scheduled-time`: a time with its zone, or the last one of the spec's schedule."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.job import Job
from vision_batch.cli.main import main
from vision_batch.cli.moment import parse_moment, scheduled_moment

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("text", ["2026-11-21T03:30:00Z", "2026-11-21T04:30:00+01:00", "20261120T223000-0500"])
def test_a_scheduled_time_is_of_iso_8601_with_a_zone(text: str) -> None:
    assert parse_moment(text) == datetime(2026, 11, 21, 3, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-11-21T03:30:00", "'2026-11-21T03:30:00', which has no time zone"),
        ("2026-11-21", "'2026-11-21', which has no time zone"),
        ("last night", "'last night'"),
        ("0001-01-01T00:00:00+10:00", "'0001-01-01T00:00:00+10:00'"),
    ],
)
def test_any_other_scheduled_time_is_refused(text: str, found: str, capsys: Capture) -> None:
    assert main(["plan", "spec.yaml", "--scheduled-time", text]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: --scheduled-time: found {found}; expected a time with its zone, as 2026-")


def test_latest_is_the_last_time_of_the_schedule(tmp_path: Path) -> None:
    job = Job(tmp_path, {"output": {"uri": "out/{date}"}, "schedule": {"cron": "30 3 * * *"}})
    moment = scheduled_moment("latest", str(job.spec))
    assert moment is not None
    assert (moment.hour, moment.minute) == (3, 30)
    assert timedelta(0) <= datetime.now(UTC) - moment <= timedelta(days=1)


def test_latest_needs_a_schedule(tmp_path: Path, capsys: Capture) -> None:
    assert main(["plan", str(Job(tmp_path, {}).spec), "--scheduled-time", "latest"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --scheduled-time: found latest, and no schedule in the spec; expected a spec with")
