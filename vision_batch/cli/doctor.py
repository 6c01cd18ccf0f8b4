"""`vision-batch doctor [SPEC]`: checks this machine or a cluster, and a spec, and says how to mend what is wrong."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict

from packaging.requirements import InvalidRequirement, Requirement

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.cluster.checkup import check_machine, check_packages, check_python
from vision_batch.cluster.finding import Finding
from vision_batch.errors import Problem, SpecError

SUMMARY = "check this machine and a spec, and say how to mend what is wrong"


# Any of these says that S3 is to be used here.
S3_VARIABLES = frozenset(
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[SPEC] [-o key=value ...] [--cluster PROFILE | --address ADDR] [--require PACKAGE ...] [--json]."""
    parser.add_argument("spec", metavar="SPEC", nargs="?", help="also check all that this spec names")
    parser.add_argument("-o", dest="overrides", metavar="KEY=VALUE", action="append", default=[], help="as for run")
    parser.add_argument("--cluster", metavar="PROFILE", help="check this cluster instead, by a job that runs there")
    parser.add_argument("--address", metavar="ADDR", help="check the nodes of this Ray instead (host:port, or auto)")
    parser.add_argument(
        "--require",
        metavar="PACKAGE",
        action="append",
        type=_requirement,
        help="demand this of the packages there, as 'ray>=2.60', instead of what this installation demands",
    )
    parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")


def execute(arguments: argparse.Namespace) -> int:
    """Prints a line a check as it ends; ExitCode.WRONG if one failed."""
    if arguments.cluster is not None and arguments.address is not None:
        raise SpecError(Problem("--cluster", "--address too", "one of them"))
    found = []
    width = 15 if arguments.cluster is None else 22
    for finding in _findings(arguments):
        found.append(finding)
        print(f"{finding.level:<4}  {finding.check:<{width}}  {finding.found}", flush=True)
        if finding.mend:
            print(f"{'':<{width + 8}}to mend it: {finding.mend}", flush=True)
    good = all(finding.level != "fail" for finding in found)
    if arguments.json:
        emit_json({"ok": good, "checks": [asdict(finding) for finding in found]})
    return ExitCode.DONE if good else ExitCode.WRONG


def _requirement(text: str) -> str:
    try:
        return str(Requirement(text))
    except InvalidRequirement as error:
        raise SpecError(Problem("--require", repr(text), "a package and its versions, as 'ray>=2.60'")) from error


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    # What checks need is imported only when they are made: the lines of those before are to be seen also where a
    # package is missing.
    if arguments.cluster is not None:
        yield check_python()
        yield check_packages()
        from vision_batch.jobs.cluster_checkup import check_cluster

        yield from check_cluster(arguments.cluster, arguments.spec, arguments.overrides, arguments.require)
        return
    if arguments.address is not None:
        from vision_batch.cluster.node_checkup import check_nodes

        yield from check_nodes(arguments.address, arguments.require)
    else:
        yield from check_machine(arguments.require)
    from vision_batch.jobs.checkup import check_credentials, check_spec

    if arguments.spec is not None:
        yield from check_spec(arguments.spec, arguments.overrides, arguments.address)
    elif not S3_VARIABLES.isdisjoint(os.environ):
        yield check_credentials()
