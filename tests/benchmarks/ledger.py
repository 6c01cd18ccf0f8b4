"""What the ledger costs at size, in seconds and memory. `python -m tests.benchmarks.ledger --help`

The input is a simulated listing, the output and its ledger are real files on a local disk: one part for each tar, with
a truthful footer that says how many images it holds. Each step is a process of its own, as a run would be, so that its
peak memory is its own. Imports alone need about 110 MiB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks.photos import make_jpegs, write_tars
from tests.benchmarks.verify import DEFINITION, part_files
from tests.faults.chaos_processes import RunProcess
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import NotFoundError
from vision_batch.ledger.definition import CELL_ROWS
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.ledger.state import look, todo, write_manifest
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import STORAGES


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement: `count` files of a kind, `rows` images in each tar; every `changed`-th file is a new version."""

    folder: str
    kind: str
    count: int
    rows: int
    changed: int = 0

    @property
    def paths(self) -> LedgerPaths:
        return LedgerPaths(str(Path(self.folder) / self.kind))

    def plan(self, *, write: bool = True) -> Plan:
        STORAGES["sim"] = lambda: SimulatedListing(self)  # type: ignore[assignment, return-value]
        format = format_named("webdataset" if self.kind == "tar" else "folder")
        settings = InputSettings(uri="sim://bucket/dataset/of/images")
        return make_plan(self.paths, settings, format, cell_rows=CELL_ROWS, write=write)


@dataclass(frozen=True)
class SimulatedListing:
    """A folder that is listed as S3 lists one, and holds nothing."""

    case: Case

    def stat(self, uri: str) -> ObjectInfo:
        raise NotFoundError(uri, "simulated")

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        for number in range(self.case.count):
            version = number + (1 << 64 if self.case.changed and number % self.case.changed == 0 else 0)
            yield ObjectInfo(
                uri=f"{uri}/{number // 1000:06d}/{number:09d}.{self.case.kind}",
                size_bytes=100_000_000 + number,
                version=f"{version:032x}",
            )


def write_parts(case: Case) -> None:
    """A part for every planned tar but each twentieth."""
    shards = case.plan().shards
    for number, (shard, (_, data)) in enumerate(zip(shards, part_files(shards, case.rows), strict=True)):
        if number % 20:
            Path(case.paths.part(shard.key, 0)).write_bytes(data)


def plan(case: Case) -> str:
    made = case.plan()
    return f"{len(made.shards):,} shards, {made.added:,} recorded"


def look_and_todo(case: Case) -> str:
    made = case.plan()
    state = look(case.paths, made, DEFINITION.digest)
    works = todo(made, state)
    return f"{len(state.parts):,} parts, {state.images:,} images, {len(works):,} works"


def look_and_remember(case: Case) -> str:
    made = case.plan()
    state = look(case.paths, made, DEFINITION.digest)
    write_manifest(case.paths, state)
    return f"{len(state.parts):,} parts"


SPEC = """
job: predict
input: {uri: in, format: webdataset}
model: {source: "python:tiny:build"}
task: {type: classification}
preprocess: {resize_px: [8, 8]}
output: {uri: out}
"""
MODEL = """
import torch
def build():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
"""


def measure_start(folder: Path, count: int, *, resume: bool = False) -> None:
    """Seconds from the command to the first part of a run over `count` tars, which are one tar under many names.

    With `resume` the same for the run after one that was killed (kill -9) when it had 95 % of its parts.
    """
    source = folder / "in"
    source.mkdir(parents=True)
    write_tars(folder / "tar", make_jpegs(32, 32), 1)
    (tar,) = (folder / "tar").iterdir()
    for number in range(count):
        (source / f"{number:09d}.tar").symlink_to(tar)
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "tiny.py").write_text(MODEL)
    print(f"| first part of a run over {count:,} tars | {_seconds_until(folder, 1):.1f} | | | |", flush=True)
    if resume:
        _seconds_until(folder, count * 95 // 100)
        done = _parts(folder)
        seconds = _seconds_until(folder, done + 1)
        print(f"| its next part when {done:,} are there | {seconds:.1f} | | | |", flush=True)


def _seconds_until(folder: Path, parts: int) -> float:
    """Runs the job, and kills all of it when it has this many parts."""
    start = time.perf_counter()
    run = RunProcess(["run", str(folder / "spec.yaml")], folder / "log.txt", {})
    try:
        while _parts(folder) < parts:
            assert run.exit_code is None, run.said()
            time.sleep(0.05)
        return time.perf_counter() - start
    finally:
        run.kill_all()


def _parts(folder: Path) -> int:
    return sum(1 for _ in (folder / "out").glob("part-*.parquet"))


def measure(name: str, step: Callable[[Case], str | None], case: Case) -> None:
    """Prints one line of the table."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(step, case, sender))
    process.start()
    sender.close()
    seconds, cpu, mib, said = receiver.recv()
    process.join()
    print(f"| {name} | {seconds:.1f} | {cpu:.1f} | {mib:,.0f} | {said or ''} |", flush=True)


def _child(step: Callable[[Case], str | None], case: Case, sender: Any) -> None:
    start = time.perf_counter()
    said = step(case)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    sender.send((seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tars", type=int, default=100_000, help="each has one part; default: 100,000")
    parser.add_argument("--rows", type=int, default=1_000, help="images in a tar; default: 1,000")
    parser.add_argument("--only-planned", type=int, default=1_000_000, help="tars without parts; default: 1,000,000")
    parser.add_argument("--started", type=int, default=100_000, help="real tars of a run's start; default: 100,000")
    parser.add_argument("--resumed", type=int, default=2_000, help="real tars of a run that is resumed; default: 2,000")
    parser.add_argument("--images", type=int, default=1_000_000, help="files in a folder; default: 1,000,000")
    arguments = parser.parse_args()
    print("| step | seconds | CPU s | peak MiB | |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory(prefix="vision-batch-ledger-") as folder:
        if arguments.tars:
            tars = Case(folder=folder, kind="tar", count=arguments.tars, rows=arguments.rows)
            measure(f"plan {tars.count:,} tars", plan, tars)
            measure(f"(make parts of {tars.rows:,} images)", write_parts, tars)
            measure("resume without a manifest: every footer is read", look_and_remember, tars)
            measure("resume", look_and_todo, tars)
        if arguments.only_planned:
            tars = Case(folder=f"{folder}/more", kind="tar", count=arguments.only_planned, rows=0)
            measure(f"plan {tars.count:,} tars", plan, tars)
            measure("plan them again", plan, tars)
        for count in (100, arguments.started) if arguments.started else ():
            measure_start(Path(folder) / f"{count}-started", count)
        if arguments.resumed:
            measure_start(Path(folder) / "resumed", arguments.resumed, resume=True)
        if arguments.images:
            images = Case(folder=folder, kind="jpg", count=arguments.images, rows=1)
            measure(f"plan {images.count:,} files of a folder", plan, images)
            measure("plan them again", plan, images)
            measure("plan them again, 1 in 1,000 changed", plan, replace(images, changed=1000))


if __name__ == "__main__":
    main()
