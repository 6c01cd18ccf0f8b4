"""A round of chaos: runs that are disturbed over input that moves on, a run that is left alone, and the books."""

from __future__ import annotations

import signal
import time

from tests.faults.chaos_disturbances import DISTURBANCES
from tests.faults.chaos_scene import Scene
from tests.faults.chaos_table import fingerprint

END_S = 300.0
"""The longest that a run of these few images may take when it is left alone, on a machine that is busy."""
WAKE_S = 4.0
"""Workers were seen to write up to 2.8 s after their driver's death."""


def play(scene: Scene, until: float) -> bool:
    """Disturbs for a while, at most until this moment, then lets the job be done; whether all was right."""
    try:
        kills = scene.tally.kills + scene.dice.randint(8, 16)
        while scene.tally.kills < kills and time.monotonic() < until:
            scene.choose(*DISTURBANCES)(scene)
            _between(scene)
        _finish(scene)
    finally:
        scene.close()
    scene.tally.rounds += 1
    return not scene.violations


def _between(scene: Scene) -> None:
    """Between two runs the input may move on, and what is left of the last run may be gone or not."""
    if scene.dice.random() < 0.5:
        scene.kill_leftovers()
    if scene.runs[-1].exit_code == 0:
        for _ in range(3):  # so that the next run has something to do
            scene.move_input("grow")
        scene.move_input("mend")
    if scene.dice.random() < 0.4:
        scene.move_input(scene.dice.choice(["grow", "change", "mend", "remove"]))


def _finish(scene: Scene) -> None:
    """One run that is left alone, then the zombies wake, then the books are examined."""
    run = scene.run("--prune", *scene.retries(1.0 if scene.dataset.awaits_retry else 0.3))
    scene.await_end(run, END_S)
    scene.judge(run, {0})
    seen = scene.look_at_the_end()
    before = fingerprint(scene.place)
    _wake_zombies(scene)
    if fingerprint(scene.place) != before:
        scene.violate("the table is not what it was before the zombies woke")
    report = scene.command("verify", scene.place.uri("out"), "--deep")
    scene.await_end(report)
    if report.exit_code != 0:
        scene.violate(f"verify --deep ended with {report.exit_code}: {report.said()}")
    outcome = "not as they should be" if scene.violations else "as they should be"
    scene.tally.faults["deadly image"] += seen.table["error_code"].to_pylist().count("worker_killed")
    scene.say(f"done: {seen.table.num_rows} rows in {seen.parts} parts, {outcome}")


def _wake_zombies(scene: Scene) -> None:
    asleep = {process.pid for run in scene.runs for process in scene.processes(run)}
    for worker in scene.stopped:
        if worker.pid in asleep:
            worker.send(signal.SIGCONT)
            scene.fault("wake zombie", str(worker))
    if scene.stopped:
        time.sleep(WAKE_S)
