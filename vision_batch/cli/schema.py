"""`vision-batch schema`: the JSON Schema of a spec, for editors and checks."""

from __future__ import annotations

import argparse
import json

from vision_batch.cli.exit_code import ExitCode
from vision_batch.jobs.schema import spec_schema

SUMMARY = "print the JSON Schema of a spec"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None of its own."""


def execute(arguments: argparse.Namespace) -> int:
    """Prints the schema."""
    print(json.dumps(spec_schema(), indent=2))
    return ExitCode.DONE
