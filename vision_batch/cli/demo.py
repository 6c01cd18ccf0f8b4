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
from vision_batch.cli.run import exit_code, print_summary
from vision_batch.cli.termination import terminated_like_interrupted
from vision_batch.cli.train_report import print_train_summary
from vision_batch.jobs.demo.demo import run_demo
from vision_batch.jobs.demo.exercise import EVALUATE
from vision_batch.jobs.demo.score import Score
from vision_batch.jobs.demo.summary import DemoSummary, Done
from vision_batch.jobs.settings import ImageJobSettings
from vision_batch.jobs.spec import spec_of_kind
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
    specs = [spec_of_kind(done.spec, ImageJobSettings) for done in demo.done]
    allowed = [spec.settings.limits.max_error_fraction for spec in specs]
    codes = (exit_code(done.last, most) for done, most in zip(demo.done, allowed, strict=True))
    code = next((code for code in codes if code != ExitCode.DONE), ExitCode.DONE)
    return ExitCode.FAILED if code == ExitCode.DONE and not demo.is_good else code


def print_demo(demo: DemoSummary) -> None:
    """How the labelling went, or what the demo ended in; what came of it all, and what to try next."""
    shown = demo.done[0] if demo.last.value is not None else demo.last
    if shown.training is not None:
        print_train_summary(shown.training)
    if shown.run is not None:
        print()
        print_summary(shown.run)
    if demo.score is not None:
        print_score(demo.score)
    print()
    print("on images that training never saw:")
    for done in demo.done:
        print_value(done)
    if not demo.is_whole:
        return
    print()
    print("try next:")
    for purpose, command in next_commands(demo).items():
        print(f"  {purpose:<8} {command}")
    print()
    print("reports, to look at in a browser:")
    for done in demo.done:
        print(f"  {done.exercise.task:<15} {_typed(done.report or '')}")


def print_score(score: Score) -> None:
    print()
    print(f"held-out accuracy {score.accuracy:.3f}: {score.correct} of {score.held_out} digits that training never saw")
    print()
    print(f"failures: {len(score.failures)}, each of which costs one row")
    width = max((len(failure.image_id) for failure in score.failures), default=0)
    for failure in score.failures:
        print(f"  {failure.code:<11} {failure.image_id:<{width}}  {failure.error}")


def print_value(done: Done) -> None:
    """What an exercise came to, a line."""
    exercise = done.exercise
    if done.value is None:
        return print(f"  {exercise.task:<15} {done.last.status}")
    print(f"  {exercise.task:<15} {exercise.metric} {done.value:.3f}")
    if not done.is_good:
        warn(f"{exercise.task}: {exercise.metric} of at least {exercise.wanted} was expected")


def next_commands(demo: DemoSummary) -> dict[str, str]:
    """Lines for the shell by what they are for, as they can be pasted here."""
    runs = {done.exercise.task: done.run for done in demo.done if done.run is not None}
    labels = demo.done[0]
    assert labels.training is not None
    output, boxes = (_typed(runs[task].output) for task in ("classification", "detection"))
    files = f"{output}/*.parquet".replace('"', '""')
    query = f'SELECT {COUNTS} FROM "{files}" GROUP BY ALL ORDER BY ALL'
    python = _typed(sys.executable)
    script = Path(sys.executable).with_name("vision-batch")
    program = [_typed(str(script))] if script.exists() else [python, "-m", "vision_batch"]
    return {
        "query": shlex.join([python, "-c", f"import duckdb; duckdb.sql({json.dumps(query)}).show()"]),
        "audit": shlex.join([*program, "verify", output]),
        "measure": shlex.join([*program, "run", str(labels.spec.path.with_name(EVALUATE))]),
        "export": shlex.join([*program, "export", boxes, "--format", "coco", "--to", f"{boxes}-coco"]),
        "resume": shlex.join([*program, "run", str(labels.spec.path)]),
        "curves": shlex.quote(_typed(join(labels.training.output, CURVES))),
    }


def _typed(path: str) -> str:
    """`path` as short as it can be typed here: a program on the PATH, a path from the current folder, or as it is."""
    if shutil.which(os.path.basename(path)) == path:
        return os.path.basename(path)
    return os.path.relpath(path) if is_inside(path, os.getcwd()) else path
