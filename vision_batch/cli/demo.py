"""`vision-batch demo`: the whole product on real handwritten digits, on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json, warn
from vision_batch.cli.progress import Progress
from vision_batch.cli.run import exit_code, print_summary, terminated_like_interrupted
from vision_batch.cli.train_report import print_train_summary
from vision_batch.jobs.demo.demo import ACCURACY_WANTED, DemoSummary, run_demo
from vision_batch.jobs.demo.score import Score
from vision_batch.jobs.summary import RunSummary
from vision_batch.models.trained import CURVES
from vision_batch.storage.uri import is_inside, join

SUMMARY = "the whole product on real handwritten digits, on this machine"

COUNTS = "truth, count(*) AS images, count_if(label = truth) AS correct, count(error_code) AS failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", default="demo", metavar="DIR", help="made if needed; default: ./demo")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    with terminated_like_interrupted():
        demo = run_demo(Path(arguments.folder), reporter=Progress(), verbose=arguments.verbose)
    print_demo(demo)
    if arguments.json:
        emit_json(demo.as_dict())
    code = exit_code(demo.last, demo.spec.settings.limits.max_error_fraction)
    return ExitCode.FAILED if code == ExitCode.DONE and not demo.is_good else code


def print_demo(demo: DemoSummary) -> None:
    """How the run went, what came of it, and what to try next."""
    print_train_summary(demo.training)
    if demo.run is None:
        return
    print()
    print_summary(demo.run)
    if demo.score is None:
        return
    print_score(demo.score)
    print()
    print("try next:")
    for purpose, command in next_commands(demo, demo.run).items():
        print(f"  {purpose:<8} {command}")


def print_score(score: Score) -> None:
    print()
    print(f"held-out accuracy {score.accuracy:.3f}: {score.correct} of {score.held_out} digits that training never saw")
    if score.accuracy < ACCURACY_WANTED:
        warn(f"an accuracy of at least {ACCURACY_WANTED} was expected")
    print()
    print(f"failures: {len(score.failures)}, each of which costs one row")
    width = max((len(failure.image_id) for failure in score.failures), default=0)
    for failure in score.failures:
        print(f"  {failure.code:<11} {failure.image_id:<{width}}  {failure.error}")


def next_commands(demo: DemoSummary, run: RunSummary) -> dict[str, str]:
    """Lines for the shell by what they are for, as they can be pasted here."""
    output = _typed(run.output)
    files = f"{output}/*.parquet".replace('"', '""')
    query = f'SELECT {COUNTS} FROM "{files}" GROUP BY ALL ORDER BY ALL'
    python = _typed(sys.executable)
    script = Path(sys.executable).with_name("vision-batch")
    program = [_typed(str(script))] if script.exists() else [python, "-m", "vision_batch"]
    return {
        "query": shlex.join([python, "-c", f"import duckdb; duckdb.sql({json.dumps(query)}).show()"]),
        "audit": shlex.join([*program, "verify", output]),
        "resume": shlex.join([*program, "run", str(demo.spec.path)]),
        "curves": shlex.quote(_typed(join(demo.training.output, CURVES))),
    }


def _typed(path: str) -> str:
    """`path` as short as it can be typed here: a program on the PATH, a path from the current folder, or as it is."""
    if shutil.which(os.path.basename(path)) == path:
        return os.path.basename(path)
    return os.path.relpath(path) if is_inside(path, os.getcwd()) else path
