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


def work(stage: ActorStage, call: str, *what: str) -> list[str | None]:
    with stage.entered(call) as run:
        (done,) = run(iter([chunk(*what)]), Stopwatch())
    return [row.error_code for row in done.rows]


def pids(folder: Path) -> list[int]:
    path = folder / "starts"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_an_actor_works_in_its_own_process(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=False)
    assert (work(stage, "a", ""), stage.device, pids(tmp_path)) == ([None], "toy:0", [os.getpid()])


def test_a_reborn_actor_is_careful_for_its_first_calls(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=True)
    assert pids(tmp_path) == []
    assert work(stage, "0", "", "kill", "") == [None, "worker_killed", None]
    for call in range(CAREFUL_CALLS):
        for _ in range(3):  # works of one call
            assert work(stage, str(call), "") == [None]
    assert os.getpid() not in pids(tmp_path)
    assert work(stage, "later", "") == [None]
    assert pids(tmp_path)[-1] == os.getpid()
    assert not Path(f"/proc/{pids(tmp_path)[-2]}").exists()


def test_careful_calls_and_others_never_work_at_the_same_time(tmp_path: Path) -> None:
    stage = actor_stage(tmp_path, reborn=True)
    for call in range(CAREFUL_CALLS):
        work(stage, str(call), "")
    order: list[str] = []

    def later() -> None:
        with stage.entered("later"):
            order.append("later")

    with stage.entered("0"):
        other = threading.Thread(target=later)
        other.start()
        other.join(0.1)
        order.append("careful")
    other.join()
    assert order == ["careful", "later"]


@pytest.mark.parametrize("reborn", [False, True])
def test_a_stage_that_cannot_be_set_up_is_told_when_it_is_needed(reborn: bool) -> None:
    stage = ActorStage(partial(deadly.make_none, ""), reborn=reborn, proven=True)
    for _ in range(2):
        with pytest.raises(ModelError, match="no weights"):
            work(stage, "a", "")


@pytest.mark.parametrize("what", ["memory", "exit"])
def test_what_an_actor_cannot_survive_ends_its_process(tmp_path: Path, what: str) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.inference.test_actor_stage import actor_stage, work\n"
        f"work(actor_stage(Path(sys.argv[1]), reborn=False), 'a', {what!r})"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 1
