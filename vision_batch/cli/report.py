"""`vision-batch report`: an HTML page about an output, to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.report.report import write_report
from vision_batch.storage.uri import normalise

SUMMARY = "write a page to look at: what ran, what came out, what failed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the output.uri of a run, or any Parquet with the columns of predictions")
    parser.add_argument("--run", metavar="ID", help="tell of this run; default: the newest that computed something")
    parser.add_argument(
        "--truth", metavar="URI", help="measure by this truth, as evaluate does; default: the output's own"
    )
    parser.add_argument("--to", metavar="FILE.html", help="where the page goes; default: OUTPUT-report.html")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    folder = Path.cwd()
    to = None if arguments.to is None else normalise(arguments.to, folder)
    truth = None if arguments.truth is None else TruthSettings(uri=normalise(arguments.truth, folder))
    place = write_report(normalise(arguments.output, folder), to=to, truth=truth, run_id=arguments.run)
    print(f"report: {place}")
    if arguments.json:
        emit_json({"report": place})
    return ExitCode.DONE
