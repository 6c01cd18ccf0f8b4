"""What the process's exit code says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    WRONG = 2
    TOO_MANY_ERRORS = 3
    INCOMPLETE = 4
    HELD = 5
    INTERRUPTED = 130
