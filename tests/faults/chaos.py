"""Kills and disturbs runs at random, resumes them, and demands the table of an undisturbed run. Linux.

    python -m tests.faults.chaos --minutes 10 --seed 0

A round is one output: a dataset, attempts to run the job over it that are killed and disturbed in all ways, input that
grows, changes and is mended in between, and at last a run that is left alone. Some datasets have images that kill, some
rounds a cluster whose nodes vanish. At random moments the table is read as anyone would. Each round has a seed of its
own, printed on each of its lines: `--seed` with it begins with that round.

A violation is a row that is missing, double or not what the undisturbed run says; a part that is not whole; an exit
code that the documents do not have for what happened; a run that does not end; a `verify --deep` that is not ok. The
exit code is 1 if there is any, and the files of the round are kept.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from tests.faults.chaos_dataset import MISSING, contents
from tests.faults.chaos_place import LocalPlace, S3Place
from tests.faults.chaos_processes import RunProcess
from tests.faults.chaos_round import END_S, play
from tests.faults.chaos_scene import Scene, Tally
from tests.faults.chaos_table import COLUMNS, look
from tests.faults.fault_proxy import FaultProxy, Rule
from tests.integration.job import Job
from tests.object_store.servers import S3Server, missing_rgw_packages, moto_server, rgw_server

RESUME_S = 25.0
"""What the end of a round takes: kept of the program's time."""


def undisturbed(folder: Path) -> list[dict[str, Any]]:
    """What a run that nobody disturbs says of each content; what it says of the last two is known."""
    place = LocalPlace(folder)
    there = [content for content in contents()[:MISSING] if content is not None]
    for number, content in enumerate(there):
        place.put(f"data/{number:05d}.jpg", content)
    job = Job(folder, {"output": {"uri": place.uri("out")}, "limits": {"max_error_fraction": 1.0}})
    run = RunProcess(["run", str(job.spec)], folder / "log.txt", {"AWS_ENDPOINT_URL": ""})
    try:
        if run.wait(END_S) != 0:
            raise RuntimeError(f"the undisturbed run ended with {run.exit_code}: {run.said()}")
    finally:
        run.kill_all()
    table = look(place).table.sort_by("image_id")
    if table.num_rows != len(there):
        raise RuntimeError(f"the undisturbed run has {table.num_rows} rows for {len(there)} images")
    empty = dict.fromkeys(COLUMNS)
    return [
        *table.select(COLUMNS).to_pylist(),
        empty | {"error_code": "missing"},
        empty | {"error_code": "worker_killed"},
    ]


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
                if play(Scene(seed, here, place, reference, tally), end - RESUME_S):
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


def report(tally: Tally, minutes: float) -> None:
    """The figures, for people and for the tests."""
    print(f"\n{minutes:.1f} minutes, {tally.rounds} rounds, {tally.looks} looks at the table in mid-run")
    for fault, count in sorted(tally.faults.items()):
        print(f"  {fault:<20} {count:4d}")
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
