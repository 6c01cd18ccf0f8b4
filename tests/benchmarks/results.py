"""What was measured: figures of every round, with the machine, the commit and the day. Kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from tests.benchmarks.measurement import Figures
from tests.benchmarks.process import ROOT

LAST = Path(__file__).with_name("last.json")
PACKAGES = ("ray", "torch", "daft")
DIGITS = 4
QUIET = 0.05
"""What others may take of the cores without a doubt on what is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The figures of one measurement of that size, a value for each round; `missing` says why there are none.

    `foreign` is the share of the machine's cores that other processes took meanwhile.
    """

    name: str
    size: int
    figures: Mapping[str, Sequence[float]]
    missing: str = ""
    foreign: float
    taken: str
    commit: str
    machine: str
    versions: str

    @property
    def is_disturbed(self) -> bool:
        return self.foreign > QUIET

    @property
    def rounds(self) -> int:
        return max(map(len, self.figures.values()), default=0)

    def median(self, figure: str) -> float | None:
        """None where the figure was not taken."""
        values = self.figures.get(figure)
        return median(values) if values else None

    def spread(self, figure: str) -> float | None:
        """The range of the rounds as a fraction of their median; None with fewer than two."""
        values = self.figures.get(figure, ())
        return (max(values) - min(values)) / abs(median(values)) if len(values) > 1 else None


def result(name: str, size: int, rounds: Sequence[Figures], *, missing: str = "", foreign: float) -> Result:
    """Of what has just been measured here."""
    names = dict.fromkeys(figure for figures in rounds for figure in figures)
    return Result(
        name=name,
        size=size,
        figures={figure: [_rounded(found[figure]) for found in rounds if figure in found] for figure in names},
        missing=missing,
        foreign=round(foreign, 3),
        taken=f"{datetime.now(UTC):%Y-%m-%d}",
        commit=_commit(),
        machine=_machine(),
        versions=", ".join(f"{package} {found}" for package in PACKAGES if (found := _version(package))),
    )


def read_results(path: Path) -> list[Result]:
    """In the order in which they are kept; none where there is no such file."""
    return [Result(**facts) for facts in json.loads(path.read_text())] if path.exists() else []


def merge_results(path: Path, new: Iterable[Result]) -> None:
    """Puts `new` results with figures into the file, each in the place of an older one of its name and size."""
    kept = {(old.name, old.size): old for old in read_results(path)}
    kept |= {(fresh.name, fresh.size): fresh for fresh in new if fresh.figures}
    path.write_text(json.dumps([asdict(entry) for entry in kept.values()], indent=1) + "\n")


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _commit() -> str:
    command = ["git", "-c", "safe.directory=*", "describe", "--always", "--dirty"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    cores = os.cpu_count() or 1
    return f"{cores} cores of {model or platform.processor() or platform.machine()}, {memory_gib:.0f} GiB"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
