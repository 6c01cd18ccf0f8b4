"""From an exception to what a person reads and the exit code: the one place that maps them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from vision_batch.cli.exit_code import ExitCode
from vision_batch.cli.output import emit_json
from vision_batch.errors import DefinitionError, HeldError, Problem, SpecError, VisionBatchError


def report_failure(error: Exception, *, verbose: bool, json: bool) -> ExitCode:
    """Prints `error` on standard error, and as an object with `json`, and returns the exit code that it means."""
    if verbose and not isinstance(error, SpecError):
        traceback.print_exception(error)
    for line in _lines(error):
        print(line, file=sys.stderr)
    code = _exit_code(error)
    if json:
        emit_json(_as_object(error, code))
    return code


def _exit_code(error: Exception) -> ExitCode:
    if isinstance(error, SpecError):
        return ExitCode.WRONG
    if isinstance(error, HeldError):
        return ExitCode.HELD
    return ExitCode.FAILED


def _lines(error: Exception) -> list[str]:
    if isinstance(error, DefinitionError):
        return [
            "error: the output belongs to another definition; use another output, or undo:",
            *_table(error.problems),
        ]
    if isinstance(error, SpecError):
        return [f"error: {_one_line(str(problem))}" for problem in error.problems]
    if isinstance(error, VisionBatchError):
        return [f"error: {_one_line(str(error))}"]
    return [f"error: unexpected {_describe(error)}; run with --verbose to see where"]


def _describe(error: Exception) -> str:
    text = _one_line(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _table(problems: Sequence[Problem]) -> list[str]:
    """What differs, in three aligned columns."""
    rows = [("what", "found", "expected"), *((p.where, p.found, p.expected) for p in problems)]
    cells = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(2)]
    return [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}" for row in cells]


def _as_object(error: Exception, code: ExitCode) -> dict[str, object]:
    problems = error.problems if isinstance(error, SpecError) else ()
    return {
        "status": "failed",
        "exit_code": int(code),
        "error": str(error) if isinstance(error, VisionBatchError) else _describe(error),
        "problems": [{"where": p.where, "found": p.found, "expected": p.expected} for p in problems],
    }
