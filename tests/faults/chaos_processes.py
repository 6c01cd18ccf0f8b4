"""The processes of a run or a cluster, found by their session: what leads it, and Ray and its workers stay in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Role = Literal["leader", "worker", "raylet", "gcs", "other"]

WORKERS = ("ray::JoinedActor", "ray::Map")
"""How Ray titles the actors of the joined layout, and those of Ray Data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One live process. A worker is an actor of the pipeline, or any process below one."""

    pid: int
    role: Role
    title: str

    def __str__(self) -> str:
        """Its pid and what tells it from others: Ray's title, or its program's name."""
        words = self.title.split()
        name = self.title if self.title.startswith("ray::") else Path(words[0]).name if words else ""
        module = next((Path(word).name for word in words[1:] if word.endswith(".py")), "")
        return f"{self.pid} {name[:60]} {module}".strip()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; a process that has ended meanwhile is none."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


class Session:
    """A command and all that it starts."""

    def __init__(self, command: Sequence[str], log: Path, **options: Any) -> None:
        self.log = log
        with log.open("wb") as output:
            self._leader = subprocess.Popen(
                command,
                **{"stdin": subprocess.DEVNULL, "stdout": output, **options},
                stderr=output,
                start_new_session=True,
            )

    def processes(self, *roles: Role) -> list[Process]:
        """Those that live and have one of the roles; all without roles. The leader's end does not end the others."""
        found = session(self._leader.pid)
        return [process for process in found if not roles or process.role in roles]

    def kill_all(self, but: Collection[Process] = ()) -> int:
        """Kills until nobody of the session is left but those; how many there were."""
        killed, spared = set[int](), {process.pid for process in but}
        while processes := [process for process in self.processes() if process.pid not in spared]:
            for process in processes:
                process.send(signal.SIGKILL)
                killed.add(process.pid)
            self._leader.poll()
            time.sleep(0.01)
        self._leader.wait()
        return len(killed)


class RunProcess(Session):
    """A `vision-batch` command; the driver leads the session."""

    def __init__(self, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.arguments = list(arguments)
        self.is_wounded = False
        """Whether one of Ray's own processes was killed."""
        command = [sys.executable, "-m", "vision_batch", *arguments]
        super().__init__(command, log, env={**os.environ, **environment})

    @property
    def exit_code(self) -> int | None:
        """None while the driver lives; minus the signal that ended it."""
        return self._leader.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends the driver a signal."""
        self._leader.send_signal(number)

    def kill_driver(self) -> None:
        self._leader.kill()
        self._leader.wait()

    def terminate(self) -> None:
        self._leader.terminate()

    def wait(self, seconds: float) -> int | None:
        """The exit code, or None when the driver still lives after so long."""
        with suppress(subprocess.TimeoutExpired):
            return self._leader.wait(seconds)
        return None

    def said(self) -> str:
        """The end of what it printed."""
        return self.log.read_bytes()[-4000:].decode(errors="replace")


def session(leader: int) -> list[Process]:
    """The processes that live in the session of a process."""
    found: list[Process] = []
    workers: set[int] = set()
    for pid in sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with suppress(OSError):
            state, parent, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
            if int(session) != leader or state in "ZX":
                continue
            title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if title.startswith(WORKERS) or int(parent) in workers:
                workers.add(pid)
            found.append(Process(pid=pid, role=_role(pid, leader, title, pid in workers), title=title))
    return found


def _role(pid: int, leader: int, title: str, is_worker: bool) -> Role:
    if pid == leader:
        return "leader"
    if is_worker:
        return "worker"
    for role, program in (("raylet", "/raylet/raylet "), ("gcs", "/gcs/gcs_server ")):
        if program in title:
            return role  # type: ignore[return-value]
    return "other"
