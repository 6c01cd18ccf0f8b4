"""Which process holds something: enough to say, on the same machine, whether it still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PID_NAMESPACE = "/proc/self/ns/pid"
STATUS = "/proc/{pid}/stat"
DEAD_STATES = "ZX"
"""States of a process that runs no more, though nobody has asked yet how it ended: see proc(5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process. `boot`, `pid_namespace` and `ticks` are empty and 0 where the system does not tell them.

    `ticks` is when the process started, in clock ticks after the machine's: a number that is used again as a pid is
    told apart by it. In containers pids count within their namespace.
    """

    host: str
    boot: str
    pid_namespace: str
    pid: int
    ticks: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def this_process() -> Holder:
    """The process that asks."""
    return process(os.getpid())


def process(pid: int) -> Holder:
    """The process of this number on this machine."""
    status = _status(pid)
    return Holder(
        host=socket.gethostname(),
        boot=_boot(),
        pid_namespace=_pid_namespace(),
        pid=pid,
        ticks=0 if status is None else status[1],
    )


def is_alive(holder: Holder) -> bool | None:
    """Whether the process still runs (a stopped one does); None where that cannot be told from here."""
    if not holder.ticks or (holder.boot, holder.pid_namespace) != (_boot(), _pid_namespace()):
        return None
    status = _status(holder.pid)
    if status is not None:
        state, ticks = status
        return ticks == holder.ticks and state not in DEAD_STATES
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return None  # it is there, and somebody else's: /proc may hide it (hidepid)


def _status(pid: int) -> tuple[str, int] | None:
    """State and start of a process, the 3rd and 22nd field of its stat; its name, in parentheses, may hold anything."""
    try:
        with open(STATUS.format(pid=pid), "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _boot() -> str:
    try:
        with open(BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    try:
        return os.readlink(PID_NAMESPACE)
    except OSError:
        return ""
