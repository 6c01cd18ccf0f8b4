"""What is done to runs. Each disturbance starts one, and ends with the end of its driver."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.faults.chaos_processes import Role, RunProcess
from tests.faults.chaos_scene import Scene

KILLED = {0, 1, 4, -signal.SIGKILL}
"""Exit codes of a run that is killed, if it has not ended before."""

Disturbance = Callable[[Scene], None]


def disturbed_run(scene: Scene) -> RunProcess:
    """A run that has everything before it."""
    return scene.run(*(["--prune"] if scene.dice.random() < 0.2 else []))


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
        role = scene.choose(("worker", 6), ("other", 2), ("raylet", 1), ("gcs", 1))
        _kill_one(scene, run, role)
        if role in ("raylet", "gcs"):
            break
    scene.choose((_end_by_kill, 4), (_end_by_signal, 1), (_end_by_itself, 1))(scene, run)


def zombie(scene: Scene) -> None:
    """Workers that sleep from their driver's death on, and wake when all is done."""
    run = disturbed_run(scene)
    _moment(scene, run)
    workers = run.processes("worker")
    scene.fault("kill all but workers", f"{run.kill_all(but=[*workers, *scene.stopped])} processes")
    for worker in workers:  # not before: the kernel hangs up on stopped children of a raylet that dies
        worker.send(signal.SIGSTOP)
        scene.stopped.append(worker)
        scene.fault("stop worker", str(worker))
    scene.judge(run, KILLED)


DISTURBANCES: tuple[tuple[Disturbance, int], ...] = ((early, 5), (strikes, 6), (zombie, 2))
"""Each with its weight."""


def _moment(scene: Scene, run: RunProcess) -> None:
    """Waits until a random moment of the run's work."""
    parts = len(scene.place.parts()) + scene.dice.randint(0, 4)
    scene.choose(
        (lambda: scene.watch(run, scene.dice.uniform(0.5, 12.0)), 1),
        (lambda: scene.watch(run, 25.0, lambda: len(scene.place.parts()) > parts), 2),
        (lambda: scene.watch(run, 25.0, scene.is_writing, pause=0.001), 1),
    )()


def _second_run(scene: Scene, first: RunProcess) -> None:
    """Another run on the same output, which must be refused while the first one lives."""
    if "shards to do" not in first.said():  # said when the output is held
        return
    second = disturbed_run(scene)
    scene.await_end(second)
    if first.exit_code is None:
        scene.judge(second, {5})
        scene.fault("second run", f"exit code {second.exit_code}")


def _kill_one(scene: Scene, run: RunProcess, role: Role) -> None:
    candidates = run.processes(role)
    if candidates:
        process = scene.dice.choice(candidates)
        process.send(signal.SIGKILL)
        run.is_wounded |= role != "worker"
        scene.fault(f"kill {role}", str(process))


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
