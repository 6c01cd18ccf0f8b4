"""`vision-batch doctor [SPEC]`: checks this machine, and a spec, and says how to mend what is wrong."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.checkup import check_machine
from vision_batch.cluster.finding import Finding

SUMMARY = "check this machine and a spec, and say how to mend what is wrong"


# Any of these says that S3 is to be used here.
S3_VARIABLES = frozenset(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[SPEC] [-o key=value ...] [--json]."""
    parser.add_argument("spec", metavar="SPEC", nargs="?", help="also check all that this spec names")
    parser.add_argument("-o", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help="as for run")
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")


def execute(arguments: argparse.Namespace) -> int:
    """Prints a line a check as it ends; ExitCode.WRONG if one failed."""
    found = []
    for finding in _findings(arguments.spec, arguments.overrides):
        found.append(finding)
        print(f"{finding.level:<4}  {finding.check:<15}  {finding.found}", flush=True)
        if finding.mend:
            print(f"{'':<23}to mend it: {finding.mend}", flush=True)
    good = all(finding.level != "fail" for finding in found)
    if arguments.json:
        emit_json({"ok": good, "checks": [asdict(finding) for finding in found]})
    return ExitCode.DONE if good else ExitCode.WRONG


def _findings(spec: str | None, overrides: list[str]) -> Iterator[Finding]:
    yield from check_machine()
    # Imported only now: the lines above are to be seen also where a package that this needs is missing.
    from vision_batch.jobs.checkup import check_credentials, check_spec

    if spec is not None:
        yield from check_spec(spec, overrides)
    elif not S3_VARIABLES.isdisjoint(os.environ):
        yield check_credentials()
