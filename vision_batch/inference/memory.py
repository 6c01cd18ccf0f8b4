"""How much memory a process takes, and how much is left for it before Ray kills workers. Linux; elsewhere unknown."""

from __future__ import annotations

import os
from pathlib import Path

THRESHOLD = 0.95
"""The share of the memory in use at which Ray's memory monitor kills workers, unless its own variable says another."""
THRESHOLD_VARIABLE = "RAY_memory_usage_threshold"

CGROUPS = (
    ("memory.max", "memory.current"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
)
"""Limit and usage, by version 2 and 1 of the kernel's interface."""


def resident_bytes(pid: int) -> int:
    """What the process holds in memory now; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def left_bytes(system: Path = Path("/")) -> int | None:
    """What may still be taken on this machine, or in this container, before Ray's memory monitor kills workers.

    None where the system does not say. `system` is where /proc and /sys are found.
    """
    memory = memory_bytes(system)
    if memory is None:
        return None
    total, used = memory
    return int(total * float(os.environ.get(THRESHOLD_VARIABLE, THRESHOLD))) - used


def memory_bytes(system: Path = Path("/")) -> tuple[int, int] | None:
    """What there is and what of it is used, as Ray's memory monitor counts it."""
    try:
        host = _table(system / "proc/meminfo", scale=1024)
        total, used = host["MemTotal:"], host["MemTotal:"] - host["MemAvailable:"]
    except (OSError, KeyError):
        return None
    for limit_name, usage_name in CGROUPS:
        group = _cgroup(system / "sys/fs/cgroup" / limit_name, system / "sys/fs/cgroup" / usage_name)
        if group is not None and group[0] < total:
            total, used = group
    return total, used


def _cgroup(limit: Path, usage: Path) -> tuple[int, int] | None:
    """The limit and what is used of it; files in the page cache are not, for the kernel gives them back."""
    try:
        cache = _table(usage.with_name("memory.stat"))
        files = sum(cache.get(f"total_{name}", cache.get(name, 0)) for name in ("inactive_file", "active_file"))
        return int(limit.read_text()), int(usage.read_text()) - files
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return None


def _table(path: Path, *, scale: int = 1) -> dict[str, int]:
    """A file of lines that begin with a name and a number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {line[0]: int(line[1]) * scale for line in lines if len(line) > 1}
