"""What lies in the folder of a job of this machine, and in which order it gets there.

    job.json        what was submitted; there from the first moment on that the folder is
    package/        the spec and its plug-ins: the folder that the job runs in
    log             all that it wrote
    process.json    who began it, once and for all; its modification time says that this process was alive then
    stop            there once somebody has asked for the job's end
    driver.json     the process of `vision-batch run`, which writes it itself before it begins
    exit.json       how that ended; blank until then, and of the size that it will have: a full disk takes no end away

Whoever creates process.json has the job: so it is begun once, however many try, and whoever dies meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vision_batch.errors import ClusterError
from vision_batch.ledger.holder import Holder, is_alive

ASIDE = ".aside-"
"""Begins the names of what is being made or removed."""
EXIT_BYTES = 128
"""More than a code and a time need."""

BEAT_S = 5.0
SILENT_S = 60.0
"""A process that cannot be seen from here, as in another container, counts as dead after this time without a beat."""


class JobFolder:
    """One job of this machine. Reading what is not there gives None.

    OSError where the file system refuses, ClusterError for what is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.package = path / "package"
        self.log = path / "log"
        self._job = path / "job.json"
        self._process = path / "process.json"
        self._driver = path / "driver.json"
        self._exit = path / "exit.json"
        self._stop = path / "stop"

    def create(self, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Makes the folder whole or not at all; one that is there already stays as it is."""
        new = JobFolder(self.path.parent / f"{ASIDE}{uuid.uuid4().hex}")
        try:
            new._fill(facts, files)
            new.path.rename(self.path)
        except OSError:
            shutil.rmtree(new.path, ignore_errors=True)
            if not self._job.is_file():
                raise
        _sync(self.path.parent)

    def _fill(self, facts: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        self.package.mkdir(parents=True)
        self.path.chmod(0o700)  # a spec's variables are expanded in it, and logs name what only their owner may see
        for name, content in files.items():
            (self.package / name).parent.mkdir(parents=True, exist_ok=True)
            _write(self.package / name, content)
        _write(self.log, b"")
        _write(self._exit, b" " * EXIT_BYTES)
        _write(self._job, json.dumps(facts).encode())
        _sync(self.path)

    def claim(self, holder: Holder | None) -> bool:
        """Whether the job is this process's from now on, to begin it; with None it is nobody's, and never begins."""
        return self._put(self._process, None if holder is None else asdict(holder), if_absent=True)

    @property
    def is_claimed(self) -> bool:
        return self._process.exists()

    def beat(self) -> None:
        """The process that has the job is alive."""
        os.utime(self._process)

    def begin(self, driver: Holder) -> None:
        self._put(self._driver, asdict(driver))

    def end(self, code: int) -> None:
        """`code` is the exit code, or minus the signal that ended the process."""
        text = json.dumps({"code": code, "ended": time.time()})
        with self._exit.open("r+b") as file:
            file.write(text.ljust(EXIT_BYTES).encode())  # in one piece: no reader finds half of it
            file.flush()
            os.fsync(file.fileno())

    def ask_to_stop(self) -> None:
        """Leaves word that the job's end is wanted; a disk that has no room for that is no reason not to end it."""
        with suppress(OSError):
            self._stop.touch()

    @property
    def was_asked_to_stop(self) -> bool:
        return self._stop.exists()

    def facts(self) -> dict[str, Any] | None:
        """What was submitted."""
        return _read(self._job)

    def exit(self) -> dict[str, Any] | None:
        """`code` and `ended`, in seconds since 1970."""
        return _read(self._exit)

    def ended(self) -> float | None:
        """When the job ended, or was last seen alive before it vanished, in seconds since 1970; None where it has not
        begun, or goes on."""
        exit = self.exit()
        if exit is not None:
            return float(exit["ended"])
        try:
            return None if self.is_alive() else self._process.stat().st_mtime
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Nobody finds half of the job; one that is not there stays so."""
        aside = self.path.parent / f"{ASIDE}{uuid.uuid4().hex}"
        with suppress(FileNotFoundError):
            self.path.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)

    def process_to_stop(self) -> Holder | None:
        """Who is to be told that the job is to end: who began it, or else the driver, which outlived that; None where
        neither lives here."""
        return next((holder for holder in self._holders() if is_alive(holder)), None)

    def is_alive(self) -> bool:
        """Whether some process of the job that has begun still runs."""
        states = [is_alive(holder) for holder in self._holders()]
        if None not in states:
            return True in states
        return True in states or time.time() - self._process.stat().st_mtime < SILENT_S

    def _holders(self) -> Sequence[Holder]:
        found = [_read(path) for path in (self._process, self._driver)]
        return [Holder(**facts) for facts in found if facts is not None]

    def _put(self, path: Path, value: object, *, if_absent: bool = False) -> bool:
        """Writes a file whole or not at all; False where it is there already and was to be absent."""
        new = self.path / f"{ASIDE}{uuid.uuid4().hex}"
        _write(new, json.dumps(value).encode())
        try:
            if if_absent:
                os.link(new, path)
            else:
                new.replace(path)
        except FileExistsError:
            return False
        finally:
            with suppress(FileNotFoundError):
                new.unlink()
        _sync(self.path)
        return True


def _read(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_bytes().strip()
    except FileNotFoundError:
        return None
    try:
        facts: dict[str, Any] | None = json.loads(text) if text else None
    except ValueError as error:
        raise ClusterError(f"{path}: damaged ({error}); remove {path.parent} when its job has ended") from error
    return facts


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A crash of the machine leaves what the folder lists by now."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
