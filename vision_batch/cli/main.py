"""The console script: finds the command, parses its arguments, runs it, and turns errors into exit codes.

Importing this module loads nothing heavy: a command's module is imported when that command is called.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import NoReturn, Protocol, cast

from vision_batch import __version__
from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.failure import report_failure
from vision_batch.cli.output import reserved_stdout
from vision_batch.errors import Problem, SpecError

PROGRAM = "vision-batch"

# Each command is the module of that name in this folder, and this line.
COMMANDS = {
    "run": "run a job until it is done; run it again to resume",
    "plan": "say what a run would do; writes nothing",
    "preview": "draw what the model will see: images as they are preprocessed, augmented and labelled",
    "verify": "audit an output: one row per image, parts intact",
    "evaluate": "measure predictions against the truth: metrics with intervals, by class and by slice",
    "compare": "say what changed between two outputs and, with the truth, which is better by more than noise",
    "report": "write a page to look at: what ran, what came out, what failed",
    "export": "write predictions for other tools: COCO, YOLO, CSV, Label Studio, folders by class, WebDataset",
    "submit": "have a job run on a cluster; submit it again to resume",
    "list": "list the jobs that were submitted to a cluster",
    "status": "say how far a submitted job is: images done, rate, failures, time left",
    "logs": "show what a submitted job has written",
    "stop": "end a submitted job in order: what is whole is committed; submit it again to resume",
    "schedule": "run jobs at the times that their specs give",
    "manifest": "print what to apply so that Kubernetes runs a job, by its schedule if it has one",
    "init": "print a commented starter spec",
    "schema": "print the JSON Schema of a spec",
    "doctor": "check this machine and a spec, and say how to mend what is wrong",
    "demo": "the whole product on real handwritten digits, on this machine",
}


class Command(Protocol):
    """What the module of a command has."""

    SUMMARY: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's own arguments."""

    def execute(self, arguments: argparse.Namespace) -> int:
        """Does it and returns the exit code; raises VisionBatchError."""


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose complaints are problems, like those of a spec."""

    def error(self, message: str) -> NoReturn:
        raise SpecError(Problem("command line", message, f"what '{self.prog} --help' lists"))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `vision-batch` with `argv` (the process's own by default) and returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be printable
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()
        return ExitCode.FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except SystemExit as stop:  # argparse after --help and --version
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    return int(code)


def _main(argv: Sequence[str]) -> int:
    verbose = not {"-v", "--verbose"}.isdisjoint(argv)  # known before parsing, which may be what fails
    json = "--json" in argv
    _log_to_stderr(verbose=verbose)
    with reserved_stdout() if json else nullcontext():
        try:
            return _dispatch(argv)
        except BrokenPipeError:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost frame: whatever it is becomes a line and an exit code
            return report_failure(error, verbose=verbose, json=json)


def _dispatch(argv: Sequence[str]) -> int:
    options = _global_parser().parse_args(argv)
    if options.command is None:
        _global_parser().print_help(sys.stderr)
        return ExitCode.WRONG
    command = _command(options.command)
    arguments = _command_parser(options.command, command).parse_args(options.arguments)
    arguments.verbose = arguments.verbose or options.verbose
    return command.execute(arguments)


def _global_parser() -> ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    parser = ArgumentParser(
        prog=PROGRAM,
        usage=f"{PROGRAM} [-h] [--version] [-v] COMMAND ...",
        description="Runs vision models over image datasets of any size, and trains them: every image accounted for "
        "exactly once.",
        epilog=f"commands:\n{commands}\n\n'{PROGRAM} COMMAND --help' says more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more, and show where an error was raised")
    parser.add_argument("command", nargs="?", metavar="COMMAND", help="one of the commands below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _command_parser(name: str, command: Command) -> ArgumentParser:
    description = command.SUMMARY[:1].upper() + command.SUMMARY[1:] + "."
    parser = ArgumentParser(prog=f"{PROGRAM} {name}", description=description, allow_abbrev=False)
    parser.add_argument("-v", "--verbose", action="store_true", help="log more, and show where an error was raised")
    command.add_arguments(parser)
    return parser


def _command(name: str) -> Command:
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        found = f"{name!r} (did you mean {near[0]!r}?)" if near else repr(name)
        raise SpecError(Problem("command", found, f"one of {', '.join(COMMANDS)}"))
    return cast(Command, import_module(f"vision_batch.cli.{name}"))


def _log_to_stderr(*, verbose: bool) -> None:
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("vision_batch").setLevel(logging.DEBUG if verbose else logging.WARNING)


def _discard_stdout() -> None:
    """The reader of our output is gone; the interpreter's own flush at exit must not complain about it."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
