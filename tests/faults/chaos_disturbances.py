"""What is done to runs. Each disturbance starts one, and ends with the end of its driver."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from contextlib import suppress

from tests.faults.chaos_processes import Role, RunProcess
from tests.faults.chaos_scene import STOP_S, Scene

KILLED = {0, 1, 4, -signal.SIGKILL}
"""Exit codes of a run that is killed, if it has not ended before."""

LEASE = "out/_ledger/lease"

Disturbance = Callable[[Scene], None]


def disturbed_run(scene: Scene) -> RunProcess:
    """A run of the job that may prune and retry besides."""
    return scene.run(
        *(["--prune"] if scene.dice.random() < 0.2 else []), *scene.retries(0.5 if scene.dataset.awaits_retry else 0.15)
    )


def early(scene: Scene) -> None:
    """A kill while the run plans, looks or waits for Ray."""
    run = disturbed_run(scene)
    scene.watch(run, scene.dice.uniform(0.1, 4.0))
    _end_by_kill(scene, run)


def strikes(scene: Scene) -> None:
    """Kills of whatever there is while the run works, and at last of the run itself, or its own end."""
    run = disturbed_run(scene)
    for _ in range(scene.dice.randint(1, 5)):
        _moment(scene, run)
        if scene.dice.random() < 0.2:
            _second_run(scene, run)
        if not _strike(scene, run):
            break
    scene.choose((_end_by_kill, 4), (_end_by_signal, 1), (_end_by_itself, 1))(scene, run)


def zombie(scene: Scene) -> None:
    """Workers that sleep from their driver's death on, and wake when all is done."""
    run = disturbed_run(scene)
    _moment(scene, run)
    workers = scene.processes(run, "worker")
    scene.fault("kill all but workers", f"{run.kill_all(but=[*workers, *scene.stopped])} processes")
    for worker in workers:  # not before: the kernel hangs up on stopped children of a raylet that dies
        worker.send(signal.SIGSTOP)
        scene.stopped.append(worker)
        scene.fault("stop worker", str(worker))
    scene.judge(run, KILLED)


def suspended(scene: Scene) -> None:
    """A driver that sleeps until another machine has taken the output over, and wakes beside that run or after it."""
    first = disturbed_run(scene)
    scene.watch(first, STOP_S, lambda: bool(scene.processes(first, "worker")))
    _moment(scene, first)
    if first.exit_code is not None:
        return scene.judge(first, {0})
    first.send(signal.SIGSTOP)
    scene.fault("stop driver", f"{len(scene.processes(first, 'worker'))} workers live on")
    if scene.dice.random() < 0.5:
        _second_run(scene, first)
    if scene.dice.random() < 0.5:
        scene.move_input("change")
    _estrange_lease(scene)
    second = disturbed_run(scene)
    scene.watch(second, STOP_S, lambda: _holds_output(second))
    scene.watch(second, scene.choose((scene.dice.uniform(0.0, 20.0), 2), (STOP_S, 1)))
    first.send(signal.SIGCONT)
    scene.fault("wake driver", f"the other run has {'ended' if second.exit_code is not None else 'not ended'}")
    scene.await_end(first)
    scene.judge(first, {0, 5})
    _end_by_itself(scene, second)


def rivals(scene: Scene) -> None:
    """Two runs that are started at the same time: only one of them works."""
    pair = [disturbed_run(scene), disturbed_run(scene)]
    scene.watch(pair[0], STOP_S, lambda: pair[1].exit_code is not None)
    pair.sort(key=lambda run: run.exit_code is None)
    loser, winner = pair
    scene.fault("rivals", f"exit code of the first to end: {loser.exit_code}")
    scene.judge(loser, {0, 5})
    _end_by_itself(scene, winner)


DISTURBANCES: tuple[tuple[Disturbance, int], ...] = (
    (early, 5),
    (strikes, 6),
    (zombie, 2),
    (suspended, 1),
    (rivals, 1),
)
"""Each with its weight."""


def _moment(scene: Scene, run: RunProcess) -> None:
    """Waits until a random moment of the run's work."""
    parts = len(scene.place.parts()) + scene.dice.randint(0, 4)
    scene.choose(
        (lambda: scene.watch(run, scene.dice.uniform(0.5, 12.0)), 1),
        (lambda: scene.watch(run, 25.0, lambda: len(scene.place.parts()) > parts), 2),
        (lambda: scene.watch(run, 25.0, scene.is_writing, pause=0.001), 1),
    )()


def _holds_output(run: RunProcess) -> bool:
    """Whether a run has the lease, and work."""
    return "shards to do" in run.log.read_text(errors="replace")


def _estrange_lease(scene: Scene) -> None:
    """Makes the lease one of another machine, of whose processes nothing can be seen from here."""
    with suppress(FileNotFoundError):  # given back in the moment before
        lease = json.loads(scene.place.read(LEASE))
        lease["holder"]["boot"] = "another machine"
        scene.place.put(LEASE, json.dumps(lease).encode())


def _second_run(scene: Scene, first: RunProcess) -> None:
    """Another run on the same output, which must be refused while the first one lives."""
    if not _holds_output(first):
        return
    second = disturbed_run(scene)
    scene.await_end(second)
    if first.exit_code is None:
        scene.judge(second, {5})
        scene.fault("second run", f"exit code {second.exit_code}")


def _strike(scene: Scene, run: RunProcess) -> bool:
    """Kills a process of a run, or a node of its cluster, which another one follows; whether its Ray lives on."""
    on_cluster = scene.cluster is not None
    roles = (("worker", 2), ("raylet", 1)) if on_cluster else (("worker", 6), ("other", 2), ("raylet", 1), ("gcs", 1))
    role: Role = scene.choose(*roles)
    candidates = scene.processes(run, role)
    if candidates:
        process = scene.dice.choice(candidates)
        process.send(signal.SIGKILL)
        run.is_wounded |= role != "worker"
        scene.fault(f"kill {'node' if on_cluster and role == 'raylet' else role}", str(process))
        if scene.cluster is not None and role == "raylet":
            scene.cluster.add_node()
    return on_cluster or role not in ("raylet", "gcs")


def _end_by_kill(scene: Scene, run: RunProcess) -> None:
    if run.exit_code is None:
        if scene.dice.random() < 0.4:
            scene.fault("kill tree", f"{run.kill_all(but=scene.stopped)} processes")
        else:
            run.kill_driver()
            scene.fault("kill driver", f"{len(run.processes())} others live on")
    scene.judge(run, KILLED)


def _end_by_signal(scene: Scene, run: RunProcess) -> None:
    if run.exit_code is None:
        run.terminate()
        scene.fault("terminate driver", "SIGTERM")
    scene.await_end(run)
    scene.judge(run, {0, 1, 4, 130, -signal.SIGTERM})


def _end_by_itself(scene: Scene, run: RunProcess) -> None:
    """A run may give up when its workers keep dying; if it does not see its end, the next one goes on."""
    scene.watch(run, scene.dice.uniform(5.0, 30.0))
    _end_by_kill(scene, run)
