"""What a crontab says of schedules."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.cluster.schedule.crontab import crontab
from vision_batch.cluster.schedule.exported import ExportedSchedule
from vision_batch.cluster.schedule.settings import ScheduleSettings
from vision_batch.errors import SpecError


def schedule(name: str = "nightly", spec: str = "/srv/jobs/nightly.yaml", **settings: Any) -> ExportedSchedule:
    settings = {"cron": "30 3 * * *", **settings}
    return ExportedSchedule(name=name, spec=Path(spec), settings=ScheduleSettings(**settings))


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_schedule_is_a_line_below_its_time_zone() -> None:
    assert lines(crontab([schedule(timezone="Europe/Berlin")])) == [
        "CRON_TZ=Europe/Berlin",
        f"30 3 * * *  {sys.executable} -P -m vision_batch run /srv/jobs/nightly.yaml --scheduled-time latest"
        " 2>&1 | logger -t vision-batch-nightly",
    ]


def test_each_time_zone_is_said_once() -> None:
    zones = {"a": "UTC", "b": "Europe/Berlin", "c": "UTC"}
    text = crontab([schedule(name, timezone=zone) for name, zone in zones.items()])
    said = [line if line.startswith("CRON_TZ") else line.rpartition("-")[2] for line in lines(text)]
    assert said == ["CRON_TZ=Europe/Berlin", "b", "CRON_TZ=UTC", "a", "c"]


def test_a_deadline_stops_the_run_and_not_its_processes() -> None:
    line = lines(crontab([schedule(deadline="1h30m")]))[-1]
    assert "  timeout --foreground --kill-after=30 5400 /" in line


def as_cron_reads(line: str) -> str:
    """The command of a line as crontab(5) hands it to the shell: up to the first % that is not escaped."""
    command, escaped = "", False
    for character in line.split(maxsplit=5)[5]:
        if character == "%" and not escaped:
            break
        command = command[:-1] + "%" if character == "%" else command + character
        escaped = character == "\\" and not escaped
    return command


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20))
def test_every_path_arrives_as_it_is(name: str) -> None:
    spec = Path(f"/srv/{name.replace('/', '-')}")
    try:
        text = crontab([schedule(spec=str(spec))])
    except SpecError:
        assert "\\%" in name
        return
    (line,) = (line for line in text.split("\n") if line.startswith("30 3"))
    assert shlex.split(as_cron_reads(line))[5] == str(spec)


def test_a_line_break_in_a_path_is_refused() -> None:
    with pytest.raises(SpecError, match="line break"):
        crontab([schedule(spec="/srv/a\n* * * * * touch b/nightly.yaml")])


def test_it_says_what_cron_will_not_do() -> None:
    settings = {"overlap": "queue", "retries": {"limit": 2}, "catch_up": "all", "on_failure": "on-call"}
    text = crontab([schedule(**settings)])
    for key in settings:
        assert f"#   {key}" in text
    plain = {"overlap": "skip", "retries": {"limit": 0}, "catch_up": "none"}
    assert "#   " not in crontab([schedule(**plain)])
