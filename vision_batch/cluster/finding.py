"""What a check of the environment found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of a check-up: what was checked, what was found, and how to mend it (empty when all is well)."""

    check: str
    level: Level
    found: str
    mend: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, level="ok", found=found)


def warn(check: str, found: str, mend: str) -> Finding:
    """It works, but not as well as it could."""
    return Finding(check=check, level="warn", found=found, mend=mend)


def fail(check: str, found: str, mend: str) -> Finding:
    """A job would not run."""
    return Finding(check=check, level="fail", found=found, mend=mend)
