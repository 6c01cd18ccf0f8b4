"""Where an actor's calls find their stage: in its own process, or after a rebirth first in a careful child."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.inference import deadly
from tests.inference.deadly import chunk
from vision_batch.errors import ModelError
from vision_batch.inference.actor_stage import CAREFUL_CALLS, ActorStage
from vision_batch.inference.stopwatch import Stopwatch


def actor_stage(folder: Path, *, reborn: bool) -> ActorStage:
    return ActorStage(partial(deadly.make, folder), reborn=reborn, proven=True)


def work(stage: ActorStage, *what: str) -> list[str | None]:
    with stage.entered() as turn:
        (done,) = turn.run(iter([chunk(*what)]), Stopwatch())
    return [row.error_code for row in done.rows]


def pids(folder: Path) -> list[int]:
    path = folder / "starts"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_actor_works_in_its_own_process(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=False)
    assert (work(stage, ""), stage.device, pids(tmp_path)) == ([None], "toy:0", [os.getpid()])


def test_a_reborn_actor_is_careful_for_its_first_calls(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=True)
    assert pids(tmp_path) == []
    assert work(stage, "", "kill", "") == [None, "worker_killed", None]
    for _ in range(CAREFUL_CALLS - 1):
        assert work(stage, "") == [None]
    assert os.getpid() not in pids(tmp_path)
    assert work(stage, "") == [None]
    assert pids(tmp_path)[-1] == os.getpid()
    assert not Path(f"/proc/{pids(tmp_path)[-2]}").exists()


def test_a_careful_call_is_alone_and_the_others_come_after_it(tmp_path: Path) -> None:
    """So that an actor sets its stage up once, however long calls are, and never beside a child's."""
    stage = actor_stage(tmp_path, reborn=True)
    order: list[bool] = []

    def call() -> None:
        with stage.entered() as turn:
            order.append(turn.careful)

    with stage.entered():
        others = [threading.Thread(target=call) for _ in range(CAREFUL_CALLS + 1)]
        for other in others:
            other.start()
        others[0].join(0.1)
        assert (order, pids(tmp_path)) == ([], [])
    for other in others:
        other.join()
    assert order == [True] * (CAREFUL_CALLS - 1) + [False] * 2
    assert pids(tmp_path) == [os.getpid()]


def test_calls_at_full_speed_work_at_the_same_time(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=False)
    with stage.entered():
        assert work(stage, "") == [None]


@pytest.mark.parametrize("reborn", [False, True])
def test_a_stage_that_cannot_be_set_up_is_told_when_it_is_needed(reborn: bool) -> None:
    stage = ActorStage(partial(deadly.make_none, ""), reborn=reborn, proven=True)
    for _ in range(2):
        with pytest.raises(ModelError, match="no weights"):
            work(stage, "")


@pytest.mark.parametrize("what", ["memory", "exit"])
def test_what_an_actor_cannot_survive_ends_its_process(tmp_path: Path, what: str) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.inference.test_actor_stage import actor_stage, work\n"
        f"work(actor_stage(Path(sys.argv[1]), reborn=False), {what!r})"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 1
