"""Kills and disturbs runs at random, resumes them, and demands the table of an undisturbed run. Linux.

    python -m tests.faults.chaos --minutes 10 --seed 0

A round is one output: a dataset, attempts to run the job over it that are killed in all ways, input that grows and
changes in between, and at last a run that is left alone. At random moments the table is read as anyone would. Each
round has a seed of its own, printed on each of its lines: `--seed` with it begins with that round.

A violation is a row that is missing, double or not what the undisturbed run says; a part that is not whole; an exit
code that the documents do not have for what happened; a run that does not end; a `verify --deep` that is not ok. The
exit code is 1 if there is any, and the files of the round are kept.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa

from tests.faults.chaos_dataset import DATASETS, Dataset, contents
from tests.faults.chaos_place import LocalPlace, Place, S3Place
from tests.faults.chaos_processes import Process, Role, RunProcess
from tests.faults.chaos_table import COLUMNS, fingerprint, look, wrong_ending, wrong_rows
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import MODEL, Job
from tests.object_store.servers import S3Server, missing_rgw_packages, moto_server, rgw_server

BATCH_S = 0.25
"""What the model sleeps for each batch, so that a run is caught in the middle of its work."""
SLOW = MODEL.replace("return self.layers", f"import time; time.sleep({BATCH_S})\n        return self.layers")
CELL_ROWS = 16
"""Small cells, so that a shard of 50 images has several."""

END_S = 300.0
"""The longest that a run of these few images may take when it is left alone, on a machine that is busy."""
STOP_S = 120.0
"""The same for a run that was told to stop. Ray's own end takes some of it."""
RAY_IS_DEAD = {2, -signal.SIGABRT}
"""More exit codes of a run whose Ray is killed: it did not come up, or its core aborts the driver."""
RESUME_S = 25.0
"""What the end of a round takes: kept of the program's time."""


@dataclass
class Tally:
    """What was done so far."""

    faults: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    resumes: int = 0
    rounds: int = 0
    looks: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        return sum(count for fault, count in self.faults.items() if fault.startswith("kill"))


class Round:
    """One output, its input, and the runs on it. All its choices come from its seed; moments are as they are."""

    def __init__(
        self, seed: int, folder: Path, place: Place, reference: list[dict[str, Any]], tally: Tally, until: float
    ) -> None:
        self._seed = seed
        self._dice = random.Random(seed)
        self._folder = folder
        self._place = place
        self._reference = reference
        self._tally = tally
        self._until = until
        self._started = time.monotonic()
        self._runs: list[RunProcess] = []
        self._stopped: list[Process] = []
        self._violations = 0
        self._next_look = 0.0
        self._dataset: Dataset = self._dice.choice(DATASETS)(place, self._dice)
        self._job = Job(
            folder,
            {
                "code": SLOW,
                "input": {"uri": place.uri("data/"), "format": self._dataset.format, **_id_column(self._dataset)},
                "output": {"uri": place.uri("out")},
                "limits": {"max_error_fraction": 1.0},
            },
        )
        if self._dice.random() < 0.7:
            _claim(self._job.spec)

    def play(self) -> bool:
        """Disturbs for a while, then lets the job be done; whether all was right."""
        try:
            kills = self._tally.kills + self._dice.randint(8, 16)
            while self._tally.kills < kills and time.monotonic() < self._until:
                self._attempt()
                self._between()
            self._finish()
        finally:
            for run in self._runs:
                run.kill_all()
        self._tally.rounds += 1
        return not self._violations

    def _attempt(self) -> None:
        self._choose((self._early, 5), (self._strikes, 6), (self._zombie, 2))()

    def _between(self) -> None:
        """Between two runs the input may move on, and what is left of the last run may be gone or not."""
        if self._dice.random() < 0.5:
            for run in self._runs:
                run.kill_all(but=self._stopped)
        if self._runs[-1].exit_code == 0:
            for _ in range(3):  # so that the next run has something to do
                self._disturb_input("grow")
        if self._dice.random() < 0.3:
            self._disturb_input(self._dice.choice(["grow", "change", "change", "remove"]))

    def _disturb_input(self, how: str) -> None:
        deed = {"grow": self._dataset.grow, "change": self._dataset.change, "remove": self._dataset.remove}[how]
        self._fault(f"{how} input", deed())

    def _early(self) -> None:
        """A kill while the run plans, looks or waits for Ray."""
        run = self._start()
        self._watch(run, self._dice.uniform(0.1, 4.0), lambda: False)
        self._end_by_kill(run)

    def _strikes(self) -> None:
        """Kills of whatever there is while the run works, and at last of the run itself, or its own end."""
        run = self._start()
        for _ in range(self._dice.randint(1, 5)):
            self._moment(run)
            if self._dice.random() < 0.2:
                self._second_run(run)
            role = self._choose(("worker", 6), ("other", 2), ("raylet", 1), ("gcs", 1))
            self._kill_one(run, role)
            if role in ("raylet", "gcs"):
                break
        self._choose((self._end_by_kill, 4), (self._end_by_signal, 1), (self._end_by_itself, 1))(run)

    def _second_run(self, first: RunProcess) -> None:
        """Another run on the same output, which must be refused while the first one lives."""
        if "shards to do" not in first.said():  # said when the output is held
            return
        second = self._start()
        self._await(second, STOP_S)
        if first.exit_code is None:
            self._judge(second, {5})
            self._fault("second run", f"exit code {second.exit_code}")

    def _zombie(self) -> None:
        """Workers that sleep from their driver's death on, and wake when all is done."""
        run = self._start()
        self._moment(run)
        workers = run.processes("worker")
        self._fault("kill all but workers", f"{run.kill_all(but=[*workers, *self._stopped])} processes")
        for worker in workers:  # not before: the kernel hangs up on stopped children of a raylet that dies
            worker.send(signal.SIGSTOP)
            self._stopped.append(worker)
            self._fault("stop worker", str(worker))
        self._judge(run, {0, 1, 4, -signal.SIGKILL})

    def _moment(self, run: RunProcess) -> None:
        """Waits until a random moment of the run's work."""
        parts = len(self._place.parts()) + self._dice.randint(0, 4)
        self._choose(
            (lambda: self._watch(run, self._dice.uniform(0.5, 12.0), lambda: False), 1),
            (lambda: self._watch(run, 25.0, lambda: len(self._place.parts()) > parts), 2),
            (lambda: self._watch(run, 25.0, self._is_writing, pause=0.001), 1),
        )()

    def _is_writing(self) -> bool:
        """Whether a part lies in the ledger's scratch folder, not yet linked into place."""
        scratch = self._folder / "out" / "_ledger" / "tmp"
        return scratch.is_dir() and any(scratch.iterdir())

    def _watch(self, run: RunProcess, seconds: float, happened: Callable[[], bool], pause: float = 0.05) -> None:
        """Waits for something, or the run's end, or so long, and reads the table at random moments."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and run.exit_code is None and not happened():
            if time.monotonic() > self._next_look:
                self._look()
                self._next_look = time.monotonic() + self._dice.uniform(0.2, 3.0)
            time.sleep(pause)

    def _kill_one(self, run: RunProcess, role: Role) -> None:
        candidates = run.processes(role)
        if candidates:
            process = self._dice.choice(candidates)
            process.send(signal.SIGKILL)
            run.is_wounded |= role != "worker"
            self._fault(f"kill {role}", str(process))

    def _end_by_kill(self, run: RunProcess) -> None:
        if run.exit_code is None:
            if self._dice.random() < 0.4:
                self._fault("kill tree", f"{run.kill_all(but=self._stopped)} processes")
            else:
                run.kill_driver()
                self._fault("kill driver", f"{len(run.processes())} others live on")
        self._judge(run, {0, 1, 4, -signal.SIGKILL})

    def _end_by_signal(self, run: RunProcess) -> None:
        if run.exit_code is None:
            run.terminate()
            self._fault("terminate driver", "SIGTERM")
        self._await(run, STOP_S)
        self._judge(run, {0, 1, 4, 130, -signal.SIGTERM})

    def _end_by_itself(self, run: RunProcess) -> None:
        """A run may give up when its workers keep dying; if it does not see its end, that is for `_finish` to judge."""
        self._watch(run, self._dice.uniform(5.0, 30.0), lambda: False)
        self._end_by_kill(run)

    def _finish(self) -> None:
        """One run that is left alone, then the zombies wake, then the books are examined."""
        run = self._start(prune=True)
        self._await(run, END_S)
        self._judge(run, {0})
        self._look()
        seen = look(self._place)
        self._violate(*wrong_ending(seen, self._dataset, self._reference))
        before = fingerprint(self._place)
        self._wake_zombies()
        if fingerprint(self._place) != before:
            self._violate("the table is not what it was before the zombies woke")
        report = self._start("verify", self._place.uri("out"), "--deep")
        self._await(report, STOP_S)
        if report.exit_code != 0:
            self._violate(f"verify --deep ended with {report.exit_code}: {report.said()}")
        self._say(f"done: {seen.table.num_rows} rows in {seen.parts} parts, as they should be")

    def _wake_zombies(self) -> None:
        asleep = {process.pid for run in self._runs for process in run.processes()}
        for worker in self._stopped:
            if worker.pid in asleep:
                worker.send(signal.SIGCONT)
                self._fault("wake zombie", str(worker))
        if self._stopped:
            time.sleep(4.0)  # they were seen to write up to 2.8 s after their driver's death

    def _start(self, *command: str, prune: bool = False) -> RunProcess:
        if not command:
            command = ("run", str(self._job.spec), "-o", f"compute.batch_size={self._dice.choice([5, 8, 11])}")
            command += ("-o", f"compute.layout={self._dice.choice(['joined', 'joined', 'split'])}")
            command += ("--prune",) if prune or self._dice.random() < 0.2 else ()
            self._tally.runs += 1
            self._tally.resumes += bool(self._place.parts())
        run = RunProcess(command, self._folder / f"log-{len(self._runs):03d}.txt", {})
        self._runs.append(run)
        return run

    def _await(self, run: RunProcess, seconds: float) -> None:
        self._watch(run, seconds, lambda: False)
        if run.exit_code is None:
            self._violate(f"{' '.join(run.arguments)} did not end within {seconds:.0f} s")
            run.kill_all()

    def _judge(self, run: RunProcess, allowed: set[int]) -> None:
        said = run.said()
        if run.is_wounded:
            allowed = allowed | RAY_IS_DEAD
        is_silent = run.exit_code in {1} | RAY_IS_DEAD and "error: " not in said
        if run.exit_code not in allowed or is_silent or "error: unexpected" in said:
            self._violate(f"exit code {run.exit_code}, expected one of {sorted(allowed)}: {said}")

    def _look(self) -> None:
        self._tally.looks += 1
        try:
            self._violate(*wrong_rows(look(self._place), self._dataset, self._reference))
        except (pa.ArrowException, OSError, AssertionError) as error:
            self._violate(f"the table could not be read: {error}")

    def _fault(self, kind: str, what: str) -> None:
        self._tally.faults[kind] += 1
        self._say(f"{kind}: {what}; {len(self._place.parts())} parts")

    def _violate(self, *violations: str) -> None:
        for violation in violations:
            self._violations += 1
            self._tally.violations.append(f"seed {self._seed}: {violation}")
            self._say(f"VIOLATION {violation}")

    def _say(self, text: str) -> None:
        where = f"seed {self._seed} {self._dataset.format:<10} {time.monotonic() - self._started:6.1f} s"
        print(f"{where}  run {self._tally.runs}  {text}", flush=True)

    def _choose(self, *options: tuple[Any, int]) -> Any:
        values, weights = zip(*options, strict=True)
        return self._dice.choices(values, weights)[0]


def undisturbed(folder: Path) -> list[dict[str, Any]]:
    """What a run that nobody disturbs says of each content."""
    place = LocalPlace(folder)
    for number, content in enumerate(contents()):
        place.put(f"data/{number:05d}.jpg", content)
    job = Job(folder, {"output": {"uri": place.uri("out")}, "limits": {"max_error_fraction": 1.0}})
    run = RunProcess(["run", str(job.spec)], folder / "log.txt", {"AWS_ENDPOINT_URL": ""})
    try:
        if run.wait(END_S) != 0:
            raise RuntimeError(f"the undisturbed run ended with {run.exit_code}: {run.said()}")
    finally:
        run.kill_all()
    table = look(place).table.sort_by("image_id")
    if table.num_rows != len(contents()):
        raise RuntimeError(f"the undisturbed run has {table.num_rows} rows for {len(contents())} images")
    rows: list[dict[str, Any]] = table.select(COLUMNS).to_pylist()
    return rows


def chaos(*, minutes: float, seed: int, folder: Path, s3: bool) -> Tally:
    """Plays rounds until the time is over; the folders of those with violations are kept."""
    tally, end = Tally(), time.monotonic() + minutes * 60
    reference_folder = folder / "undisturbed"
    reference_folder.mkdir(parents=True)
    reference = undisturbed(reference_folder)
    with ExitStack() as stack:
        server = stack.enter_context(_stumbling_server(seed)) if s3 else None
        with suppress(KeyboardInterrupt):  # what was seen until then counts
            while tally.rounds == 0 or time.monotonic() < end - RESUME_S:
                here = folder / f"seed-{seed}"
                here.mkdir()
                place = LocalPlace(here) if server is None else S3Place(server)
                if Round(seed, here, place, reference, tally, end - RESUME_S).play():
                    shutil.rmtree(here)
                seed += 1
    return tally


@contextmanager
def _stumbling_server(seed: int) -> Iterator[S3Server]:
    """An S3 server whose clients find it through a proxy that makes trouble."""
    started = rgw_server() if not missing_rgw_packages() else moto_server()
    with started as server, FaultProxy(server.address, seed=seed) as proxy:
        proxy.rules = [Rule(kind=kind, p=0.03) for kind in ("status", "reset", "cut")]
        os.environ.update(server.environment() | {"AWS_ENDPOINT_URL": proxy.endpoint})
        yield server


def _claim(spec: Path) -> None:
    """Creates the output with small cells, as its first run would with large ones."""
    from vision_batch.jobs.prepare import prepare
    from vision_batch.jobs.spec import load_spec
    from vision_batch.ledger.definition import claim_definition

    prepared = prepare(load_spec(spec))
    claim_definition(prepared.paths, prepared.definition, cell_rows=CELL_ROWS)


def _id_column(dataset: Dataset) -> dict[str, str]:
    return {"id_column": "id"} if dataset.format == "parquet" else {}


def report(tally: Tally, minutes: float) -> None:
    """The figures, for people and for the tests."""
    print(f"\n{minutes:.1f} minutes, {tally.rounds} rounds, {tally.looks} looks at the table in mid-run")
    for fault, count in sorted(tally.faults.items()):
        print(f"  {fault:<18} {count:4d}")
    print(f"kills: {tally.kills}")
    print(f"runs: {tally.runs}, of which resumed: {tally.resumes}")
    print(f"violations: {len(tally.violations)}")
    for violation in tally.violations[:20]:
        print(f"  {violation}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=2.0, help="how long; the last round may take a little more")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; the next ones count on from it")
    parser.add_argument("--folder", type=Path, help="for all files; kept where something was wrong")
    parser.add_argument("--s3", action="store_true", help="data and output on an S3 server behind a stumbling proxy")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=arguments.folder))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="vb-", ignore_cleanup_errors=True) as sessions:
        os.environ["RAY_TMPDIR"] = sessions  # killed Rays leave theirs; a short path: names of sockets are limited
        tally = chaos(minutes=arguments.minutes, seed=arguments.seed, folder=folder, s3=arguments.s3)
    report(tally, (time.monotonic() - start) / 60)
    if tally.violations:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
