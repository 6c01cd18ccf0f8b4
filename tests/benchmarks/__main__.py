"""Measures, prints one table, and says what has got worse since the last one. `python -m tests.benchmarks --help`"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path

from tests.benchmarks.foreign import ForeignWork
from tests.benchmarks.measurement import CannotMeasureError, Measurement
from tests.benchmarks.report import details, losses, sources, table
from tests.benchmarks.results import LAST, Result, merge_results, read_results, result
from tests.benchmarks.table import MEASUREMENTS

ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 where a ratio is worse than in the last table; a missed target is none."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # servers and folders are cleaned up
    if options.last:
        return _show_last()
    chosen = [m for m in MEASUREMENTS if not options.name or any(fnmatch(m.name, name) for name in options.name)]
    if not chosen:
        sys.exit(f"no measurement is called {' or '.join(options.name)}; see --help")
    results = []
    for measurement in chosen:
        size = options.size or (measurement.quick_size if options.quick else measurement.size)
        results.append(_measure(measurement, size, options.rounds))
        print(details(results[-1]), file=sys.stderr, flush=True)
        if options.json is not None:
            merge_results(options.json, results)
    print(table(results, chosen))
    worse = list(losses(results, read_results(LAST), chosen))
    print(*(f"worse: {sentence}" for sentence in worse), sep="\n")
    return 1 if worse else 0


def _show_last() -> int:
    last = read_results(LAST)
    print(table(last, MEASUREMENTS), sources(last), sep="\n\n")
    return 0


def _measure(measurement: Measurement, size: int, rounds: int) -> Result:
    found, missing = [], ""
    with tempfile.TemporaryDirectory(prefix="vision-batch-benchmark-") as folder, ForeignWork() as others:
        try:
            for figures in islice(measurement.rounds(Path(folder), size), rounds):
                found.append(figures)
        except (CannotMeasureError, RuntimeError) as error:  # the others are measured all the same
            missing = str(error).splitlines()[0]
            print(f"{measurement.name}: not measured: {error}", file=sys.stderr)
    return result(measurement.name, size, found, missing=missing, foreign=others.share)


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {m.name:32} {m.size:>12,}, {m.quick_size:,} with --quick" for m in MEASUREMENTS)
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=f"{__doc__}\n\nmeasurements, and how many images (or tars) they take:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="*", help="measurements, also as patterns (`steady-*`); default: all")
    parser.add_argument("--quick", action="store_true", help="fewer images: for a look, not for the targets")
    parser.add_argument("--size", type=int, help="so many images in every measurement")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"medians are taken over them; default: {ROUNDS}")
    parser.add_argument("--last", action="store_true", help="prints the committed table and measures nothing")
    parser.add_argument("--json", type=Path, help="puts the results into this file, beside others that it holds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
