"""`vision-batch verify`: audits an output."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.ledger.repair import repair
from vision_batch.ledger.verify import VerifyReport, verify
from vision_batch.storage.uri import normalise

SUMMARY = "audit an output: one row per image, parts intact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("output", help="the output.uri of a run")
    parser.add_argument("--deep", action="store_true", help="read every page and compare checksums and digests too")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="as --deep, then remove what is provably a copy or replaced, and temporary files; set aside into the "
        "ledger what lies damaged in a part's place, for the next run to compute again; and audit once more",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")


def execute(arguments: argparse.Namespace) -> int:
    output = normalise(arguments.output, Path.cwd())
    report = repair(output, note=print) if arguments.repair else verify(output, deep=arguments.deep)
    print_report(report)
    if arguments.json:
        emit_json(asdict(report))
    return ExitCode.DONE if report.ok else ExitCode.FAILED


def print_report(report: VerifyReport) -> None:
    """What was repaired, the verdict, the counts, and a line for each thing that is wrong."""
    for line in report.repaired:
        print(f"repaired: {line}")
    missing = "an unknown number of" if report.missing is None else f"{report.missing:,}"
    print(
        f"{'ok' if report.ok else 'NOT OK'}: {report.images:,} images in {report.rows:,} rows of {report.parts:,} parts"
    )
    print(f"  missing     {missing} images; {report.duplicated:,} rows twice")
    for problem in report.problems:
        print(f"  problem     {problem}")
    for warning in report.warnings:
        print(f"  warning     {warning}")
