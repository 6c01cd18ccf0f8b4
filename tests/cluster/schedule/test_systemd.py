"""What the units of systemd say of schedules; systemd itself is asked where it is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_batch.cluster.schedule.exported import ExportedSchedule
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.cluster.schedule.systemd import concatenated, on_calendar, units
from vision_batch.cluster.schedule.times import Times
from vision_batch.errors import SpecError

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def schedule(name: str = "nightly", spec: str = "/srv/jobs/nightly.yaml", **settings: Any) -> ExportedSchedule:
    settings = {"cron": "30 3 * * *", **settings}
    return ExportedSchedule(name=name, spec=Path(spec), settings=ScheduleSettings(**settings))


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("30 3 * * *", ["*-*-* 03:30:00 UTC"]),
        ("* * * * *", ["*-*-* *:*:00 UTC"]),
        ("*/20 8-10 * * mon-fri", ["Mon,Tue,Wed,Thu,Fri *-*-* 08..10:00,20,40:00 UTC"]),
        ("0 0 1,2,3,15 jan,7 *", ["*-01,07-01..03,15 00:00:00 UTC"]),
        ("0 0 * * 7", ["Sun *-*-* 00:00:00 UTC"]),
        ("0 0 1 * sun", ["Sun *-*-* 00:00:00 UTC", "*-*-01 00:00:00 UTC"]),
    ],
)
def test_a_cron_is_written_as_calendar_expressions(cron: str, expected: list[str]) -> None:
    assert on_calendar(cron, "UTC") == expected


@st.composite
def fields(draw: st.DrawFn, first: int, last: int) -> str:
    low, high = sorted(draw(st.tuples(*[st.integers(first, last)] * 2)))
    return draw(st.sampled_from(["*", str(low), f"{low},{high}", f"{low}-{high}", f"{low}-{high}/3"]))


crons = st.tuples(fields(0, 59), fields(0, 23), fields(1, 28), fields(1, 12), fields(0, 7)).map(" ".join)


@needs_systemd
@settings(max_examples=25)
@given(crons)
def test_systemd_finds_the_times_that_the_server_finds(cron: str) -> None:
    began = datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    found = sorted({moment for time in on_calendar(cron, "UTC") for moment in elapses(time, began, count=3)})[:3]
    times, moment, expected = Times(cron, "UTC"), began, []
    for _ in range(3):
        moment = times.after(moment)
        expected.append(moment)
    assert found == expected


def elapses(time: str, began: datetime, count: int) -> list[datetime]:
    """When systemd says that a calendar expression elapses."""
    command = [
        "systemd-analyze",
        "calendar",
        f"--iterations={count}",
        f"--base-time={began:%Y-%m-%d %H:%M:%S} UTC",
        time,
    ]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"TZ": "UTC"}).stdout
    words = [line.partition(": ")[2] for line in answer.splitlines() if "Next elapse:" in line or "Iter. #" in line]
    return [datetime.strptime(word, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC) for word in words]


@needs_systemd
def test_a_nightly_job_keeps_its_time_of_day_when_clocks_change() -> None:
    (time,) = on_calendar("30 3 * * *", "Europe/Berlin")
    found = elapses(time, datetime(2027, 3, 27, tzinfo=UTC), count=3)
    assert found == list(
        Times("30 3 * * *", "Europe/Berlin").between(found[0] - timedelta(hours=1), found[0] + timedelta(days=2))
    )
    assert [moment.hour for moment in found] == [2, 1, 1]


ODD = '/srv/my "jobs"/100% $HOME \\n/%n;night\'s.yaml'
EVERYTHING = {"timezone": "Europe/Berlin", "deadline": "6h", "overlap": "queue", "catch_up": "all", "cron": "0 3 1 * 1"}


@needs_systemd
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    files = units([schedule(), schedule("odd", ODD, **EVERYTHING)])
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in files)], capture_output=True, text=True
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_an_argument_is_what_it_was_behind_all_of_systemds_escapes() -> None:
    service = units([schedule("odd", ODD)])["vision-batch-odd.service"]
    assert r'run "/srv/my \"jobs\"/100%% $$HOME \\n/%%n;night' in service
    assert f"ExecStart={sys.executable} -P -m vision_batch run " in service


def test_a_line_break_in_a_path_is_refused() -> None:
    with pytest.raises(SpecError, match="cannot be printed"):
        units([schedule(spec="/srv/a\nExecStartPre=touch b")])


def test_the_timer_makes_up_for_what_was_missed_as_the_spec_says() -> None:
    for catch_up, persistent in (("latest", "true"), ("all", "true"), ("none", "false")):
        files = units([schedule(catch_up=catch_up)])
        assert f"\nPersistent={persistent}\n" in files["vision-batch-nightly.timer"]
        assert ("# catch_up: all is not done" in files["vision-batch-nightly.service"]) == (catch_up == "all")


def test_a_run_is_ended_in_order_and_in_time() -> None:
    service = units([schedule(deadline="1h30m")])["vision-batch-nightly.service"]
    assert {"KillMode=mixed", "TimeoutStartSec=5400s", "TimeoutStopSec=30"} <= set(service.splitlines())
    assert "TimeoutStartSec=infinity" in units([schedule()])["vision-batch-nightly.service"]


def test_all_files_in_one_text_stand_below_their_paths() -> None:
    text = concatenated(units([schedule("a"), schedule("b")]))
    assert [line for line in text.splitlines() if line.startswith("# /etc")] == [
        f"# /etc/systemd/system/vision-batch-{name}.{kind}" for name in "ab" for kind in ("service", "timer")
    ]
