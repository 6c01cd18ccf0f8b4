"""`vision-batch run`: runs a job here until it is done; running it again resumes."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import get_args

from vision_batch.cli.evaluate import print_evaluation
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.last_words import last_words
from vision_batch.cli.moment import add_moment_argument, scheduled_moment
from vision_batch.cli.output import emit_json, warn
from vision_batch.cli.progress import Progress
from vision_batch.cli.progress_lines import ProgressLines
from vision_batch.cli.termination import terminated_like_interrupted
from vision_batch.cli.train_report import print_train_summary
from vision_batch.errors import ErrorCode, Problem, SpecError
from vision_batch.jobs.evaluate import EvaluateSummary, run_evaluate
from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.reporter import Reporter
from vision_batch.jobs.settings import EvaluateJobSettings, ImageJobSettings, TrainJobSettings
from vision_batch.jobs.spec import AnySpec, load_spec, spec_of_kind
from vision_batch.jobs.summary import RunSummary
from vision_batch.jobs.train import run_train
from vision_batch.jobs.train_summary import TrainSummary

ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)

NO_REPORT = "`vision-batch report` of the predictions, with --truth"
TRIAL = "a predict job; to try a training: -o train.epochs=1 -o input.uri=FEWER_IMAGES --output trial"
SUMMARY = "run a job until it is done; run it again to resume"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_spec_arguments(parser)
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only the first N images, to try a predict spec; needs --output"
    )
    parser.add_argument(
        "--progress", action="store_true", help="progress as lines of JSON on standard error, for programs"
    )
    parser.add_argument("--address", help="a running Ray cluster (host:port, or auto) instead of a fresh local one")
    parser.add_argument("--report", action="store_true", help="in the end, write a page to look at beside the output")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def add_spec_arguments(parser: argparse.ArgumentParser) -> None:
    """SPEC and the options that mean the same wherever it runs."""
    parser.add_argument("spec", help="the job's YAML file")
    parser.add_argument(
        "-o",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override, as compute.batch_size=32",
    )
    parser.add_argument("--output", metavar="URI", help="write here instead of the spec's output.uri")
    parser.add_argument(
        "--retry-errors",
        nargs="+",
        default=[],
        metavar="CODE",
        help=f"process error rows with these codes again: all, or of {', '.join(ERROR_CODES)}; after the spec",
    )
    parser.add_argument("--prune", action="store_true", help="remove the rows of what is no longer in the input")
    add_moment_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    if arguments.limit is not None and arguments.limit < 1:
        raise SpecError(Problem("--limit", str(arguments.limit), "a number above 0"))
    if arguments.limit is not None and arguments.output is None:
        raise SpecError(Problem("--limit", "no --output", "--output URI too: the first images go to a scratch output"))
    if arguments.prune and arguments.limit is not None:
        raise SpecError(Problem("--prune", "--limit too", "one of them: a trial's output is made anew"))
    retry_errors = error_codes(arguments.retry_errors)
    moment = scheduled_moment(arguments.scheduled_time, arguments.spec)
    spec = load_spec(arguments.spec, arguments.overrides, output=arguments.output, scheduled_time=moment)
    reporting = ProgressLines() if arguments.progress else nullcontext(Progress())
    with last_words(json=arguments.json), terminated_like_interrupted(), reporting as reporter:
        summary = done(spec, arguments, retry_errors, reporter)
    if isinstance(summary, EvaluateSummary):
        print_evaluation(summary.evaluation, summary.output)
        if arguments.json:
            emit_json(summary.as_dict())
        return ExitCode.DONE
    if isinstance(summary, TrainSummary):
        print_train_summary(summary)
    else:
        print_summary(summary)
    report = {"report": report_of(summary)} if arguments.report else {}
    if arguments.json:
        emit_json({**summary.as_dict(), **report})
    allowed = spec_of_kind(spec, ImageJobSettings).settings.limits.max_error_fraction
    code = exit_code(summary, allowed)
    if code is ExitCode.TOO_MANY_ERRORS:
        warn(f"more images failed than limits.max_error_fraction = {allowed} allows")
    return code


def report_of(summary: RunSummary | TrainSummary) -> str | None:
    """Writes the report of a run and says where it is; None where it could not be written, or the run was interrupted.

    Whatever is wrong with a page for people, the run has ended as it has: it is a warning. It is made in a process of
    its own, since an image that kills its decoder may be among those shown.
    """
    if summary.status == "interrupted":
        return None
    command = [sys.executable, "-P", "-m", "vision_batch", "report", summary.output]  # -P: imports nothing from here
    try:
        with terminated_like_interrupted():
            made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except (OSError, KeyboardInterrupt) as error:
        warn(f"no report: {str(error) or 'interrupted'}")
        return None
    if made.returncode:
        killed = f"its process was killed by signal {-made.returncode}"
        why = killed if made.returncode < 0 else " ".join(made.stderr.removeprefix("error: ").split())
        warn(f"no report: {why}; to try again: vision-batch report {shlex.quote(summary.output)}")
        return None
    place = made.stdout.splitlines()[-1].removeprefix("report: ")
    print(f"  report      {place}")
    return place


def done(
    spec: AnySpec, arguments: argparse.Namespace, retry_errors: Sequence[str], reporter: Reporter
) -> RunSummary | TrainSummary | EvaluateSummary:
    """Runs the job, of whatever kind it is."""
    if isinstance(spec.settings, EvaluateJobSettings):
        demand_no_rows(spec, arguments)
        return run_evaluate(spec)
    if isinstance(spec.settings, TrainJobSettings):
        demand_no_rows(spec, arguments)
        return run_train(spec, address=arguments.address, reporter=reporter, verbose=arguments.verbose)
    summary = run_predict(
        spec,
        address=arguments.address,
        limit=arguments.limit,
        retry_errors=retry_errors,
        prune=arguments.prune,
        reporter=reporter,
        verbose=arguments.verbose,
    )
    if isinstance(reporter, ProgressLines):
        reporter.end(summary)
    return summary


def demand_no_rows(spec: AnySpec, arguments: argparse.Namespace) -> None:
    """SpecError where a job that makes no rows is asked to do something to them."""
    if spec.settings.job == "predict":
        return
    is_training = isinstance(spec.settings, TrainJobSettings)
    found, what = ("a train job", "a training") if is_training else ("an evaluate job", "an evaluation")
    no_rows = f"a predict job: {what} has no rows"
    given = {
        "--limit": (getattr(arguments, "limit", None), TRIAL if is_training else no_rows),
        "--retry-errors": (arguments.retry_errors, no_rows),
        "--prune": (arguments.prune, no_rows),
        "--report": (getattr(arguments, "report", False) and not is_training, NO_REPORT),
    }
    problems = [
        Problem(option, f"{found}, {spec.path}", expected) for option, (value, expected) in given.items() if value
    ]
    if problems:
        raise SpecError(problems)


def error_codes(texts: Sequence[str]) -> tuple[str, ...]:
    """The codes in texts like `empty,missing` or `all`; SpecError naming every one that there is not."""
    codes = [code for text in texts for code in text.replace(",", " ").split()]
    problems = [
        Problem("--retry-errors", repr(code), f"all, or of {', '.join(ERROR_CODES)}")
        for code in codes
        if code not in (*ERROR_CODES, "all")
    ]
    if problems:
        raise SpecError(problems)
    return ERROR_CODES if "all" in codes else tuple(dict.fromkeys(codes))


def exit_code(summary: RunSummary | TrainSummary, max_error_fraction: float) -> ExitCode:
    """The interface's: interrupted and incomplete outrank too many errors."""
    if summary.status == "interrupted":
        return ExitCode.INTERRUPTED
    if summary.status == "incomplete":
        return ExitCode.INCOMPLETE
    return ExitCode.TOO_MANY_ERRORS if summary.exceeds(max_error_fraction) else ExitCode.DONE


def print_summary(summary: RunSummary) -> None:
    """What a person wants to know when a run has ended."""
    total = "?" if summary.images_total is None else f"{summary.images_total:,}"
    print(f"{summary.status}: {summary.images_ok + summary.images_failed:,} of {total} images have their row")
    counts = f"{summary.images_ok:,} predicted, {summary.images_failed:,} failed"
    retried = f", {summary.images_retried:,} retried" if summary.images_retried else ""
    print(f"  images      {counts}, {summary.images_resumed:,} done before{retried}")
    if summary.files_pruned:
        print(f"  pruned      the rows of {summary.files_pruned:,} files that left the input")
    if summary.failures:
        print(f"  failures    {', '.join(f'{code} {count:,}' for code, count in sorted(summary.failures.items()))}")
    print(f"  shards      {summary.shards_done:,} of {summary.shards_total:,}")
    print(f"  time        {summary.seconds:.1f} s{_pace(summary)}")
    if summary.first_batch_seconds is not None:
        print(f"  limited by  {summary.bottleneck or 'its start: too little came after the first batch to tell more'}")
    for warning in summary.warnings:
        print(f"  warning     {warning}")
    print(f"  output      {summary.output}")
    print(f"  query       {query_command(summary.output)}")


def query_command(output: str) -> str:
    """A line for the shell that shows the table."""
    folder = re.sub(r"([*?\[])", r"[\1]", output.rstrip("/"))  # DuckDB takes the path for a pattern
    table = f"{folder}/*.parquet".replace("'", "''")
    query = f"SELECT * FROM '{table}' LIMIT 10"
    return f"python -c {shlex.quote(f'import duckdb; print(duckdb.sql({query!r}))')}"


def _pace(summary: RunSummary) -> str:
    if summary.first_batch_seconds is None:
        return ""
    pace = f"; first batch after {summary.first_batch_seconds:.1f} s"
    rate = summary.images_per_second
    return pace if rate is None else f"{pace}, then {rate:,.{0 if rate >= 10 else 1}f} images/s"
