"""How close a predict job comes to the bare work. `python -m tests.benchmarks.throughput --help`

In one run, interleaved, for each round: (a) the limit: plain processes, one per core, that read the same shards and do
the same decode and preprocessing, and nothing else; (b) the predict job with a tiny model, as a user starts it, in each
layout. Printed are medians over the rounds: images/s, the ratio to the limit in the steady state and for the whole job
(the limit's processes count from their first image on), seconds to the first batch, peak memory of driver and workers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.photos import make_jpegs, write_parquets, write_tars

SPEC = """
job: predict
input: {{uri: {data}}}
model: {{source: "python:tiny:build"}}
task: {{type: classification}}
preprocess: {{resize_shorter_px: 256, crop_px: 224}}
output: {{uri: out}}
compute: {{layout: {layout}}}
"""
MODEL = """
import torch
def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1, 16), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
                               torch.nn.Flatten(), torch.nn.Linear(128, 10))
"""


@dataclass(frozen=True)
class Size:
    """One benchmark: images of width x height px."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass
class Figures:
    """The measurements of one way of doing it, one entry a round."""

    steady: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    first_batch_s: list[float] = field(default_factory=list)
    driver_mib: list[float] = field(default_factory=list)
    worker_mib: list[float] = field(default_factory=list)


def _bare(shards: list[str], format_name: str, ready: Any, results: Any) -> None:
    from vision_batch.datasets.settings import InputSettings
    from vision_batch.datasets.table import format_named
    from vision_batch.images.preprocess import Preprocessor
    from vision_batch.images.resize import limit_threads
    from vision_batch.images.settings import PreprocessSettings
    from vision_batch.storage.table import storage_for
    from vision_batch.storage.uri import parent

    limit_threads()
    preprocessor = Preprocessor(PreprocessSettings(resize_shorter_px=256, crop_px=224), max_pixels=178_956_970)
    settings, format = InputSettings(uri=parent(shards[0]), format=format_name), format_named(format_name)
    work = [s for uri in shards for s in format.cut(storage_for(uri).stat(uri), parent(uri), "", settings)]
    preprocessor(next(format.read(work[0], settings, lambda row: True)).data)
    ready.wait()
    start, count = time.perf_counter(), 0
    for shard in work:
        for sample in format.read(shard, settings, lambda row: True):
            preprocessor(sample.data)
            count += 1
    results.put((count, time.perf_counter() - start))


def measure_limit(folder: Path, format_name: str) -> float:
    """Images/s of one process per core, each over its own share of the shards."""
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    shards = sorted(str(path) for path in folder.iterdir())
    ready, results = context.Barrier(cores), context.Queue()
    processes = [
        context.Process(target=_bare, args=(shards[core::cores], format_name, ready, results)) for core in range(cores)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    figures = [results.get(timeout=1) for _ in processes]
    return sum(count / seconds for count, seconds in figures)


def measure_job(scratch: Path, data: Path, layout: str, images: int, figures: Figures) -> dict[str, Any]:
    """One run of the job as a process of its own, from command to exit; adds to `figures` and returns its summary."""
    shutil.rmtree(scratch / "out", ignore_errors=True)
    (scratch / "tiny.py").write_text(MODEL)
    (scratch / "spec.yaml").write_text(SPEC.format(data=data, layout=layout))
    start = time.perf_counter()
    command = [sys.executable, "-m", "vision_batch", "run", str(scratch / "spec.yaml"), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        with _PeakMemory(process.pid) as memory:
            output, _ = process.communicate()
        seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise RuntimeError(f"the job ended with {process.returncode}: {output}")
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    assert summary["images_ok"] == images, summary
    figures.steady.append(summary["images_per_second"])
    figures.whole.append(images / seconds)
    figures.first_batch_s.append(summary["first_batch_seconds"])
    figures.driver_mib.append(memory.driver_mib)
    figures.worker_mib.append(memory.worker_mib)
    return summary


class _PeakMemory:
    """Samples the proportional set size of a process and of the largest of its Ray workers, in MiB."""

    def __init__(self, pid: int) -> None:
        self.driver_mib = self.worker_mib = 0.0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> _PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.5):
            self.driver_mib = max(self.driver_mib, _pss_mib(self._pid))
            workers = [_pss_mib(pid) for pid in _descendants(self._pid) if _is_worker(pid)]
            self.worker_mib = max([self.worker_mib, *workers])


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _is_worker(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")
    except OSError:
        return False


def _descendants(pid: int) -> list[int]:
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children += [int(child) for child in task.read_text().split()]
        except OSError:
            continue
    return children + [found for child in children for found in _descendants(child)]


def measure(size: Size, format_name: str, images: int, rounds: int, layouts: list[str]) -> None:
    """Makes the data, measures, and prints one table."""
    write: dict[str, Callable[[Path, list[bytes], int], None]] = {"webdataset": write_tars, "parquet": write_parquets}
    with tempfile.TemporaryDirectory(prefix="vision-batch-throughput-") as folder:
        data = Path(folder) / "data"
        write[format_name](data, make_jpegs(size.width, size.height), images)
        limits: list[float] = []
        figures = {layout: Figures() for layout in layouts}
        for _ in range(rounds):
            limits.append(measure_limit(data, format_name))
            for layout in layouts:
                summary = measure_job(Path(folder), data, layout, images, figures[layout])
                print(f"  {layout}: limited by {summary['bottleneck']}", file=sys.stderr)
    _print_table(f"{images:,} images of {size}, {format_name}, {rounds} rounds", limits, figures)


def _print_table(title: str, limits: list[float], figures: dict[str, Figures]) -> None:
    print(f"\n{title}; the limit is {median(limits):,.0f} images/s")
    print("| layout | steady images/s | of the limit | whole job | first batch s | driver MiB | worker MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for layout, taken in figures.items():
        steady = median(s / limit for s, limit in zip(taken.steady, limits, strict=True))
        whole = median(w / limit for w, limit in zip(taken.whole, limits, strict=True))
        memory = f"{median(taken.driver_mib):,.0f} | {median(taken.worker_mib):,.0f}"
        speed = f"{median(taken.steady):,.0f} | {steady:.2f} | {whole:.2f} | {median(taken.first_batch_s):.1f}"
        print(f"| {layout} | {speed} | {memory} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=["500x375", "1280x960"], help="default: both")
    parser.add_argument("--format", default="webdataset", choices=["webdataset", "parquet"])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layout", action="append", choices=["joined", "split"], help="default: both")
    arguments = parser.parse_args()
    for size in arguments.size or ["500x375", "1280x960"]:
        width, height = map(int, size.split("x"))
        layouts = arguments.layout or ["joined", "split"]
        measure(Size(width, height), arguments.format, arguments.images, arguments.rounds, layouts)


if __name__ == "__main__":
    main()
