"""Train jobs on Ray: whatever is killed, what is learned in the end is what is learned undisturbed, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.nodes import cluster, named_node
from tests.integration.trainings import EVERY_STEPS, Training

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]


def when(holds: Callable[[], bool], act: Callable[[], None]) -> threading.Thread:
    """Does something as soon as something holds, beside the test."""

    def wait() -> None:
        while not holds():
            time.sleep(0.02)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_killed_changes_nothing_of_what_is_learned(
    tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(tmp_path)
    alone = training.run_undisturbed(monkeypatch)
    killed: list[int] = []

    def kill() -> None:
        killed.append(training.steps_stored())
        os.kill(training.worker(1)[0], signal.SIGKILL)

    when(lambda: training.steps_stored() >= 2 * EVERY_STEPS, kill)
    summary, notes = training.run(ray_address)
    assert (summary.status, summary.workers) == ("done", 2)
    assert training.stored() == alone
    assert "workers failed (worker 1: ActorDiedError" in notes
    went_on = int(notes.partition("going on after step ")[2].split(",")[0])
    assert killed[0] <= went_on
    assert training.recorded() == [1, 2, 3]
    again, notes = training.run(ray_address)
    assert (again.status, "nothing to do" in notes) == ("done", True)


@pytest.mark.slow
def test_drivers_that_are_killed_at_any_moment_change_nothing_either(
    tmp_path: Path, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their workers live on for seconds: those store nothing beside the next driver's."""
    training = Training(tmp_path, epochs=20)
    alone = training.run_undisturbed(monkeypatch)
    rng = random.Random(0)
    moments = [("run", signal.SIGKILL)] * 4 + [("run", signal.SIGINT), ("start", signal.SIGKILL)]
    rng.shuffle(moments)
    for moment, number in moments:
        run, stored = begin(training, ray_address), training.steps_stored()
        try:
            if moment == "run":
                until(run, lambda stored=stored: training.steps_stored() > stored)
                time.sleep(rng.uniform(0, 1))
            else:
                time.sleep(rng.uniform(1, 8))
            run.send_signal(number)
            asked_at = time.monotonic()
            code = run.wait(60)
            if number == signal.SIGINT:
                assert code == 130
                assert time.monotonic() - asked_at < 20
        finally:
            run.kill()
            run.wait()
    last = begin(training, ray_address)
    assert last.wait(300) == 0, (tmp_path / "said.txt").read_text()
    assert training.stored() == alone
    assert training.recorded() == [*range(1, 21)]


def begin(training: Training, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "vision_batch", "run", str(training.spec), "--address", address]
    with (training.folder / "said.txt").open("ab") as said:
        return subprocess.Popen(command, stdout=said, stderr=said)


def until(run: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert run.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_four_workers_on_four_nodes_with_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPUs are numbers only. One worker is killed."""
    import ray

    training = Training(tmp_path, workers=4, gpus_per_worker=1)
    alone = training.run_undisturbed(monkeypatch)
    names = ["one", "two", "three", "four"]
    when(lambda: training.steps_stored() > 0, lambda: os.kill(training.worker(2)[0], signal.SIGKILL))
    with cluster() as made:
        for name in names:
            named_node(made, name, gpus=1)
        try:
            summary, notes = training.run(made.address)
        finally:
            ray.shutdown()
    assert (summary.status, summary.workers, summary.gpus) == ("done", 4, 4)
    assert sorted(training.worker(rank)[1] for rank in range(4)) == sorted(names)
    assert "workers failed" in notes
    assert training.stored() == alone
