"""What travels to a cluster for one job: the spec, its plug-ins, and how to run them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

SPEC_NAME = "spec.yaml"
"""What the spec is called in a package."""


@dataclass(frozen=True, kw_only=True)
class JobPackage:
    """One job, complete: nothing else of the machine that it comes from is needed.

    `files` are the spec, with every path and variable resolved, and the plug-ins that it names, by their path in the
    job's folder. `arguments` are those of `vision-batch`, to be run in that folder; a service adds `--address`.
    `output` is where the rows go. `resumes` says whether another attempt goes on where a failed one ended.
    """

    name: str
    files: Mapping[str, bytes]
    arguments: tuple[str, ...]
    output: str
    scheduled_time: datetime | None = None
    resumes: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the files and arguments, hexadecimal."""
        return hashlib.sha256(repr((sorted(self.files.items()), self.arguments)).encode()).hexdigest()
