"""What the driver holds of an input before Ray gets the work: listings are simulated, the ledger is a real one.

Each figure is of a process of its own, which has imported Ray as a driver has; peak memory is its peak resident set.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks.ledger import Case
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.process import peak_mib
from tests.benchmarks.verify import DEFINITION

FEW_IMAGES = 10_000
TAR_IMAGES = 1_000
FLAT = 1.1
"""So much more than for 10,000 images counts as flat."""
PLAN_S, PLAN_MIB = 20, 1536


def growth(folder: Path, size: int) -> Iterator[Figures]:
    """Memory for `size` images over that for few, as tars of 1,000 and as files of a folder."""
    for number in range(1 << 30):
        figures: dict[str, float] = {}
        for kind, each in (("tar", TAR_IMAGES), ("jpg", 1)):
            few, many = (
                _measured(Case(folder=f"{folder}/{number}-{images}", kind=kind, count=images // each, rows=each))[1]
                for images in (FEW_IMAGES, size)
            )
            figures |= {f"{kind} growth": many / few, f"{kind} MiB few": few, f"{kind} MiB many": many}
        yield figures


def plan(folder: Path, size: int) -> Iterator[Figures]:
    """Seconds and memory of the first plan of `size` tars, and of what comes before Ray gets the work."""
    for number in range(1 << 30):
        seconds, mib = _measured(Case(folder=f"{folder}/{number}", kind="tar", count=size, rows=0), only_plan=True)
        yield {"plan s": seconds, "plan MiB": mib}


def _measured(case: Case, *, only_plan: bool = False) -> tuple[float, float]:
    """Seconds and peak MiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_drive, args=(case, only_plan, sender))
    process.start()
    sender.close()
    try:
        figures: tuple[float, float] = receiver.recv()
    except EOFError as error:
        raise RuntimeError(f"{case} failed") from error
    process.join()
    return figures


def _drive(case: Case, only_plan: bool, sender: Any) -> None:
    import ray  # noqa: F401 - what a driver has in its memory

    from vision_batch.ledger.state import look, todo

    start = time.perf_counter()
    made = case.plan()
    seconds = time.perf_counter() - start
    if not only_plan:
        works = todo(made, look(case.paths, made, DEFINITION.digest))
        assert len(works) == len(made.shards)
    sender.send((seconds, peak_mib(os.getpid())))


MEASUREMENTS = (
    Measurement(
        name="driver-memory",
        rounds=growth,
        size=10_000_000,
        quick_size=1_000_000,
        lines=(
            Line(
                figure="tar growth",
                what="driver memory over that for 10,000 images, simulated tars of 1,000",
                better="less",
                bound=FLAT,
                steadfast=True,
            ),
            Line(
                figure="jpg growth",
                what="the same, simulated files of a folder",
                better="less",
                bound=FLAT,
                steadfast=True,
            ),
        ),
    ),
    Measurement(
        name="plan",
        rounds=plan,
        size=1_000_000,
        quick_size=100_000,
        lines=(
            Line(figure="plan s", what="first plan of simulated tars", better="less", bound=PLAN_S, unit="s"),
            Line(figure="plan MiB", what="its memory", better="less", bound=PLAN_MIB, unit="MiB", steadfast=True),
        ),
    ),
)
