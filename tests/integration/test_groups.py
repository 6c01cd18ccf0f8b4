"""Groups of workers on Ray Train: what happens when they fail, are told to end, or when nodes come and go.

The workers only count, together; what they have counted lies in a file, as a checkpoint would.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.integration.nodes import cluster, kill, named_node
from vision_batch.errors import EngineError, ModelError, UnavailableError
from vision_batch.training.event import TrainEvent
from vision_batch.training.execute import execute
from vision_batch.training.layout import TrainLayout

pytestmark = [pytest.mark.ray, pytest.mark.slow]

LAST = 60
"""So many steps of 0.05 s, or more as long as there is a file `hold`; and a checkpoint after each 20."""


def counting(
    folder: Path,
    *,
    failing: Callable[[int], None] = lambda step: None,
    finishing: Callable[[], None] = lambda: None,
) -> Any:
    """A worker's body; the last rank does `failing` after step 25, the first one `finishing` when all are done."""

    def body(job: Any, layout: Any, context: Any) -> None:
        import torch
        import torch.distributed

        from vision_batch.training.event import TrainEvent

        def tell(kind: Any, step: int) -> None:
            if context.rank == 0:
                context.tell(TrainEvent(kind=kind, step=step, workers=context.workers))

        (folder / f"pid-{context.rank}").write_text(str(os.getpid()))
        stored = folder / "stored"
        step = int(stored.read_text()) if stored.exists() else 0
        tell("begin", step)
        while step < LAST or (folder / "hold").exists():
            time.sleep(0.05)
            asked = torch.tensor(float(context.wish() == "stop"))
            if context.workers > 1:
                torch.distributed.all_reduce(asked)
            step += 1
            if step == 25 and context.rank == context.workers - 1:
                failing(step)
            if context.rank == 0 and (step % 20 == 0 or asked):
                stored.write_text(str(step))
                tell("checkpoint", step)
            if asked:
                return
        tell("done", step)
        if context.rank == 0:
            finishing()

    return body


@pytest.fixture
def connected(ray_address: str) -> Iterator[None]:
    import ray

    ray.init(address=ray_address, log_to_driver=False)
    yield
    ray.shutdown()


def trained(body: Any, workers: tuple[int, int] = (2, 2), hear: Any = lambda event, stop: None) -> list[TrainEvent]:
    layout = TrainLayout(
        name="joined", reason="", workers=workers, cpus_per_worker=1, gpus_per_worker=0, decode_threads=1
    )
    stop, job, heard = threading.Event(), SimpleNamespace(run_id="run"), []
    with closing(execute(job, layout, stop=stop, body=body, grow_after_s=1)) as events:  # type: ignore[arg-type]
        for event in events:
            heard.append(event)
            hear(event, stop)
    return heard


def steps(events: list[TrainEvent], kind: str) -> list[int]:
    return [event.step for event in events if event.kind == kind]


def notes(events: list[TrainEvent]) -> str:
    return "\n".join(event.message for event in events if event.kind == "note")


def pid(folder: Path, rank: int) -> int:
    return int((folder / f"pid-{rank}").read_text())


@pytest.mark.usefixtures("connected")
def test_an_error_of_ours_comes_to_the_driver_as_itself(tmp_path: Path) -> None:
    def failing(step: int) -> None:
        raise ModelError("it cannot do that")

    with pytest.raises(ModelError, match="it cannot do that"):
        trained(counting(tmp_path, failing=failing))


@pytest.mark.usefixtures("connected")
def test_a_model_that_cannot_be_written_is_an_error_and_a_worker_that_dies_of_it_is_replaced(tmp_path: Path) -> None:
    def finishing() -> None:
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(3)
        raise UnavailableError("s3://bucket/model.yaml", "503")

    heard: list[TrainEvent] = []
    with pytest.raises(UnavailableError, match=r"model\.yaml"):
        trained(counting(tmp_path, finishing=finishing), hear=lambda event, stop: heard.append(event))
    assert steps(heard, "begin") == [0, LAST]


@pytest.mark.usefixtures("connected")
def test_a_training_that_fails_again_and_again_ends_and_says_of_what(tmp_path: Path) -> None:
    def failing(step: int) -> None:
        os._exit(3)

    heard: list[TrainEvent] = []
    with pytest.raises(EngineError, match=r"3 groups of workers failed without a new checkpoint.*ActorDiedError"):
        trained(counting(tmp_path, failing=failing), hear=lambda event, stop: heard.append(event))
    # the first of these groups got as far as a checkpoint
    assert steps(heard, "begin") == [0, 20, 20, 20]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_killed_or_warned_costs_the_steps_since_its_checkpoint_or_none(
    tmp_path: Path, number: signal.Signals
) -> None:
    def hear(event: TrainEvent, stop: threading.Event) -> None:
        if event.kind == "checkpoint" and event.step == 20:
            os.kill(pid(tmp_path, 1), number)

    heard = trained(counting(tmp_path), hear=hear)
    first, second = steps(heard, "begin")
    assert (first, steps(heard, "done")) == (0, [LAST])
    goes_on = [event.kind for event in heard].index("begin", 1)
    assert second == steps(heard[:goes_on], "checkpoint")[-1]
    if number == signal.SIGKILL:
        assert second % 20 == 0
        assert "worker 1: ActorDiedError" in notes(heard)
    else:
        assert second % 20  # at that very step
        assert "worker 1 on" in notes(heard)


@pytest.mark.usefixtures("connected")
def test_a_training_that_is_stopped_stores_its_state_and_one_that_is_closed_ends_at_once(tmp_path: Path) -> None:
    def stopping(event: TrainEvent, stop: threading.Event) -> None:
        if event.kind == "checkpoint" and event.step == 20:
            stop.set()

    heard = trained(counting(tmp_path), hear=stopping)
    assert steps(heard, "checkpoint")[-1] == int((tmp_path / "stored").read_text()) < LAST
    assert not steps(heard, "done")

    class EnoughError(Exception):
        pass

    def closing_it(event: TrainEvent, stop: threading.Event) -> None:
        if event.kind == "begin":
            raise EnoughError

    with pytest.raises(EnoughError):
        trained(counting(tmp_path), hear=closing_it)
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid(tmp_path, rank)}").exists() for rank in (0, 1)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_nodes_that_come_drain_and_die_change_an_elastic_training(tmp_path: Path) -> None:
    """It grows with a second node, leaves a third in time, and survives the death of one."""
    import ray

    with cluster() as made:
        ray.init(address=made.address, log_to_driver=False)
        nodes = [named_node(made, "first")]

        def hear(event: TrainEvent, stop: threading.Event) -> None:
            if event.kind != "begin":
                return
            begins.append(event.workers)
            if len(begins) == 1:
                nodes.append(named_node(made, "second"))
            elif len(begins) == 2:
                drain(made.address, nodes[1].node_id)
            elif len(begins) == 3:
                nodes.append(named_node(made, "third"))
            elif len(begins) == 4:
                kill(nodes[2])
            else:
                (tmp_path / "hold").unlink()

        begins: list[int] = []
        (tmp_path / "hold").touch()
        try:
            heard = trained(counting(tmp_path), (1, 2), hear)
        finally:
            ray.shutdown()
    assert begins == [1, 2, 1, 2, 1]
    assert "there is room for more workers" in notes(heard)
    assert "1 of 2 nodes will soon be gone" in notes(heard)
    assert len(steps(heard, "done")) == 1
    assert steps(heard, "begin") == sorted(steps(heard, "begin"))


def drain(address: str, node: str) -> None:
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node]
    subprocess.run([*command, *reason, "--deadline-remaining-seconds", "600"], check=True, capture_output=True)
