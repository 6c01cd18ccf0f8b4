"""One output of the chaos test, its input and the runs on it: starts them, watches them, and judges what is seen."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from tests.faults.chaos_cluster import RayCluster
from tests.faults.chaos_dataset import DATASETS, Dataset
from tests.faults.chaos_place import Place
from tests.faults.chaos_processes import Process, Role, RunProcess
from tests.faults.chaos_table import Look, look, wrong_ending, wrong_rows
from tests.integration.job import MODEL, Job

BATCH_S = 0.25
"""What the model sleeps for each batch, so that a run is caught in the middle of its work."""
SLOW = MODEL.replace("return self.layers", f"import time; time.sleep({BATCH_S})\n        return self.layers")
PLUG_IN = """
import os

def step(image):
    if not image.any():
        os.kill(os.getpid(), 9)
    return image
"""
"""A black picture is deadly."""
CELL_ROWS = 16
"""Small cells, so that a shard of 50 images has several."""

PART_BYTES = 3_500
"""The smallest part is larger, and a lease or a definition smaller."""

DEADLY, CLUSTERS = 0.25, 0.2
"""How many of the rounds have images that kill, and how many a cluster of several nodes."""

STOP_S = 120.0
"""The longest that a run may take to end when it was told to stop. Ray's own end takes some of it."""
RAY_IS_DEAD = {2, -signal.SIGABRT}
"""More exit codes of a run whose Ray is killed: it did not come up, or its core aborts the driver."""


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


class Scene:
    """All its choices come from its seed; moments are as they are. `stopped` are the workers that sleep."""

    def __init__(self, seed: int, folder: Path, place: Place, reference: list[dict[str, Any]], tally: Tally) -> None:
        self.dice = random.Random(seed)
        self.place = place
        self.tally = tally
        self.runs: list[RunProcess] = []
        self.stopped: list[Process] = []
        self.violations = 0
        self.dataset: Dataset = self.dice.choice(DATASETS)(place, self.dice, deadly=self.dice.random() < DEADLY)
        self._seed = seed
        self._folder = folder
        self._reference = reference
        self._started = time.monotonic()
        self._next_look = 0.0
        (folder / "steps.py").write_text(PLUG_IN)
        self._job = Job(
            folder,
            {
                "code": SLOW,
                "input": {"uri": place.uri("data/"), "format": self.dataset.format, **_id_column(self.dataset)},
                "preprocess": {"resize_px": [28, 28], "function": "steps:step"},
                "output": {"uri": place.uri("out")},
                "limits": {"max_error_fraction": 1.0},
            },
        )
        if self.dice.random() < 0.7:
            _claim(self._job.spec)
        self.cluster = RayCluster(folder / "cluster.txt") if self.dice.random() < CLUSTERS else None
        words = {type(self.dataset).__name__.lower(): True, "deadly": self.dataset.is_deadly, "cluster": self.cluster}
        self._kind = " ".join(word for word, holds in words.items() if holds)

    def run(self, *options: str) -> RunProcess:
        """Starts a run of the job, with a batch size and a layout of its own."""
        self.tally.runs += 1
        self.tally.resumes += bool(self.place.parts())
        batch_size, layout = self.dice.choice([5, 8, 11]), self.dice.choice(["joined", "joined", "split"])
        overrides = ("-o", f"compute.batch_size={batch_size}", "-o", f"compute.layout={layout}")
        address = () if self.cluster is None else ("--address", self.cluster.address)
        return self.command("run", str(self._job.spec), *overrides, *address, *options)

    def retries(self, probability: float) -> tuple[str, ...]:
        """Perhaps the options of a run that computes error rows again."""
        if self.dice.random() >= probability:
            return ()
        self.dataset.parts_may_move = True
        self.tally.faults["retry errors"] += 1
        return ("--retry-errors", "all")

    def move_input(self, how: Literal["grow", "change", "mend", "remove"]) -> None:
        """Lets the input be another than before."""
        data = self.dataset
        deeds = {"grow": data.grow, "change": data.change, "mend": data.mend, "remove": data.remove}
        self.fault(f"{how} input", deeds[how]())

    def command(self, *arguments: str) -> RunProcess:
        """Starts a command."""
        run = RunProcess(arguments, self._folder / f"log-{len(self.runs):03d}.txt", {})
        self.runs.append(run)
        return run

    def processes(self, run: RunProcess, *roles: Role) -> list[Process]:
        """Those of a run; on a cluster those of all nodes that do work."""
        return run.processes(*roles) if self.cluster is None else self.cluster.working(*roles)

    def kill_leftovers(self) -> None:
        """Kills what is left of all runs, but for the workers that sleep."""
        for run in self.runs:
            run.kill_all(but=self.stopped)

    def close(self) -> None:
        """Kills everything."""
        for session in (*self.runs, *([] if self.cluster is None else [self.cluster])):
            session.kill_all()

    def watch(
        self, run: RunProcess, seconds: float, happened: Callable[[], bool] = lambda: False, pause: float = 0.05
    ) -> None:
        """Waits for something, or the run's end, or so long, and reads the table at random moments."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and run.exit_code is None and not happened():
            if time.monotonic() > self._next_look:
                self.look()
                self._next_look = time.monotonic() + self.dice.uniform(0.2, 3.0)
            time.sleep(pause)

    def is_writing(self) -> bool:
        """Whether a part lies in the ledger's scratch folder, not yet linked into place."""
        with suppress(FileNotFoundError):
            scratch = self._folder / "out" / "_ledger" / "tmp"
            return any(file.stat().st_size >= PART_BYTES for file in scratch.iterdir())
        return False

    def await_end(self, run: RunProcess, seconds: float = STOP_S) -> None:
        """Demands that a run ends by itself."""
        self.watch(run, seconds)
        if run.exit_code is None:
            self.violate(f"{' '.join(run.arguments)} did not end within {seconds:.0f} s")
            run.kill_all()

    def judge(self, run: RunProcess, allowed: set[int]) -> None:
        """Demands one of these exit codes, and words for a failure."""
        said = run.said()
        if run.is_wounded:
            allowed = allowed | RAY_IS_DEAD
        is_silent = run.exit_code in {1} | RAY_IS_DEAD and "error: " not in said
        if run.exit_code not in allowed or is_silent or "error: unexpected" in said:
            self.violate(f"exit code {run.exit_code}, expected one of {sorted(allowed)}: {said}")

    def look(self) -> None:
        """Reads the table in mid-run and demands whole rows, none twice and none wrong."""
        self.tally.looks += 1
        try:
            self.violate(*wrong_rows(look(self.place), self.dataset, self._reference))
        except (pa.ArrowException, OSError, AssertionError) as error:
            self.violate(f"the table could not be read: {error}")

    def look_at_the_end(self) -> Look:
        """Reads the table when a run is done and demands exactly the rows of the input."""
        self.look()
        seen = look(self.place)
        self.violate(*wrong_ending(seen, self.dataset.current, self._reference))
        return seen

    def fault(self, kind: str, what: str) -> None:
        """Counts and tells what was done."""
        self.tally.faults[kind] += 1
        self.say(f"{kind}: {what}; {len(self.place.parts())} parts")

    def violate(self, *violations: str) -> None:
        """Counts and tells what is wrong."""
        for violation in violations:
            self.violations += 1
            self.tally.violations.append(f"seed {self._seed}: {violation}")
            self.say(f"VIOLATION {violation}")

    def say(self, text: str) -> None:
        where = f"seed {self._seed} {self._kind:<24} {time.monotonic() - self._started:6.1f} s"
        print(f"{where}  run {self.tally.runs}  {text}", flush=True)

    def choose(self, *options: tuple[Any, int]) -> Any:
        """One of the values, each with its weight."""
        values, weights = zip(*options, strict=True)
        return self.dice.choices(values, weights)[0]


def _claim(spec: Path) -> None:
    """Creates the output with small cells, as its first run would with large ones."""
    from vision_batch.jobs.prepare import prepare
    from vision_batch.jobs.spec import load_spec
    from vision_batch.ledger.definition import claim_definition

    prepared = prepare(load_spec(spec))
    claim_definition(prepared.paths, prepared.definition, cell_rows=CELL_ROWS)


def _id_column(dataset: Dataset) -> dict[str, str]:
    return {"id_column": "id"} if dataset.format == "parquet" else {}
