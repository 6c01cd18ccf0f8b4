"""`vision-batch init KIND`: a commented starter spec on standard output."""

from __future__ import annotations

import argparse

from vision_batch.cli.exit_code import ExitCode
from vision_batch.errors import Problem, SpecError
from vision_batch.jobs.starter import starter_kinds, starter_spec

SUMMARY = "print a commented starter spec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """KIND."""
    parser.add_argument("kind", metavar="KIND", help=f"the kind of job: {', '.join(starter_kinds())}")


def execute(arguments: argparse.Namespace) -> int:
    """Prints the starter spec; SpecError for an unknown kind."""
    kinds = starter_kinds()
    if arguments.kind not in kinds:
        raise SpecError(Problem("KIND", repr(arguments.kind), f"one of {', '.join(kinds)}"))
    print(starter_spec(arguments.kind), end="")
    return ExitCode.DONE
