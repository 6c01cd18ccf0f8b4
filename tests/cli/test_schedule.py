"""The commands of `vision-batch schedule` on a state that a server has left."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.schedule.world import World
from vision_batch.cli.main import main
from vision_batch.cluster.schedule.schedule import Refusal

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A schedule that ran twice, the second time in vain; its server is gone."""
    world = World(tmp_path)
    world.spec("0 * * * *", timezone="Europe/Berlin")
    world.jobs.course = lambda job_id: (timedelta(minutes=5), 2 if "T14" in job_id else 0)
    world.run_for(2.5)
    world.server._leadership.release()
    return world


def asked(world: World, capsys: Capture, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What a person sees, and the JSON object."""
    assert main(["schedule", *arguments, "--state", str(world.state)]) == 0
    text = capsys.readouterr().out
    assert main(["schedule", *arguments, "--state", str(world.state), "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def test_list(world: World, capsys: Capture) -> None:
    (world.specs / "broken.yaml").write_text("name: [")
    world.tick(2)
    world.server._leadership.release()
    text, found = asked(world, capsys, "list")
    header, line, refused, server = text.splitlines()
    assert header.split() == ["SCHEDULE", "CRON", "STANDING", "NEXT", "LAST", "RUN"]
    assert line.split()[:8] == ["nightly", "0", "*", "*", "*", "*", "Europe/Berlin", "served"]
    assert line.endswith(" failed")
    assert refused.startswith(f"refused: {world.specs / 'broken.yaml'}")
    assert server.startswith("server: none acts")
    assert found["server"] is None
    (schedule,) = found["schedules"]
    assert (schedule["name"], schedule["standing"], schedule["last"]["state"]) == ("nightly", "served", "failed")
    assert [each["spec"] for each in found["refused"]] == [str(world.specs / "broken.yaml")]


def test_further_problems_of_a_refused_spec_are_told_from_other_specs(world: World, capsys: Capture) -> None:
    with world.store.transaction():
        world.store.put_refusals([Refusal(path="a.yaml", problem="input: found nothing\ntask: found nothing")])
    text, _ = asked(world, capsys, "list")
    assert "\nrefused: a.yaml: input: found nothing\n  task: found nothing\nserver: " in text


def test_history_is_the_latest_first(world: World, capsys: Capture) -> None:
    text, found = asked(world, capsys, "history", "nightly")
    assert [(run["scheduled_time"], run["state"], run["exit_code"]) for run in found["runs"]] == [
        ("2026-11-21T14:00:00Z", "failed", 2),
        ("2026-11-21T13:00:00Z", "done", 0),
    ]
    first, second = text.splitlines()
    assert "failed after 5m: the spec, an option or the environment is wrong" in first
    assert "done after 5m" in second
    assert asked(world, capsys, "history", "--limit", "1")[1]["runs"] == found["runs"][:1]
    assert asked(world, capsys, "history", "other") == ("no runs of other\n", {"runs": []})


def test_history_says_when_nobody_could_be_told(world: World, capsys: Capture) -> None:
    (failed,) = (run for run in world.store.history() if run.state == "failed")
    with world.store.transaction():
        world.store.put_notice(failed, "failed")
    text, found = asked(world, capsys, "history", "nightly", "--limit", "1")
    assert text.endswith("; nobody could be told\n")
    assert found["runs"][0]["notice"] == "failed"


def test_pause_and_resume(world: World, capsys: Capture) -> None:
    assert asked(world, capsys, "pause", "nightly")[1] == {"schedule": "nightly", "paused": True}
    assert asked(world, capsys, "list")[1]["schedules"][0]["standing"] == "paused"
    assert asked(world, capsys, "resume", "nightly") == (
        "nightly: resumed: its next time runs\n",
        {"schedule": "nightly", "paused": False},
    )
    assert asked(world, capsys, "list")[1]["schedules"][0]["standing"] == "served"


def test_run_says_that_nobody_will_begin_it(world: World, capsys: Capture) -> None:
    assert main(["schedule", "run", "nightly", "--state", str(world.state), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["kind"] == "manual"
    assert "no server acts on this state" in printed.err
    assert world.store.runs_in_work()[0].kind == "manual"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "other"], "'other'"),
        (["history", "--limit", "0"], "--limit: found 0"),
        (["serve", "nowhere", "--cluster", "x"], "no folder nowhere"),
        (["begin"], "begin"),
    ],
)
def test_what_is_wrong_is_said(world: World, capsys: Capture, arguments: list[str], said: str) -> None:
    assert main(["schedule", *arguments, *(["--state", str(world.state)] if arguments != ["begin"] else [])]) == 2
    assert said in capsys.readouterr().err


def test_without_a_state_there_is_nothing_to_list(tmp_path: Path, capsys: Capture) -> None:
    assert main(["schedule", "list", "--state", str(tmp_path / "none.sqlite")]) == 2
    assert "the file that `vision-batch schedule serve` makes" in capsys.readouterr().err
    assert not (tmp_path / "none.sqlite").exists()


def test_serve_refuses_a_configuration_that_is_wrong(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "local.yaml").write_text("kind: local\n")
    (tmp_path / "server.yaml").write_text("contacts: {mail: {command: [mail]}}\n")
    options = ["--cluster", str(tmp_path / "local.yaml"), "--config", str(tmp_path / "server.yaml")]
    assert main(["schedule", "serve", str(tmp_path), *options, "--state", str(tmp_path / "state")]) == 2
    assert "server.yaml: contacts.mail.command: found a list of 1" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()
