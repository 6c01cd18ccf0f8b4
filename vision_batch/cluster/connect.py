"""Connecting to the Ray that does the work: a fresh local one, or the cluster at an address."""

from __future__ import annotations

import io
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from typing import Any, TextIO

import ray
from ray.job_config import JobConfig

from vision_batch.cluster.auth import cluster_token, demand_token, fresh_token, wanted_auth
from vision_batch.cluster.one_ray import kept
from vision_batch.errors import Problem, SpecError
from vision_batch.inference.layout import Resources
from vision_batch.inference.room import cluster_resources

SPACE_BYTES = 10 << 20
"""Less than this in Ray's temporary folder does not last for a session's logs."""

PROBE_S = 5.0
"""How long the port of a cluster may take to answer."""


@contextmanager
def connected(address: str | None, *, verbose: bool = False) -> Iterator[Resources]:
    """Connects this process and says what the cluster has; a local Ray ends with the block, or with that of `one_ray`.

    `address` is `host:port`, or `auto` for the cluster of this node. SpecError when nothing
    answers there, or when it answers without a token, unless RAY_AUTH_MODE=disabled.
    """
    shared = kept() if address is None else None
    if shared is None:
        with _connected(address, verbose=verbose):
            yield cluster_resources()
    else:
        if not ray.is_initialized():
            shared.enter_context(_connected(None, verbose=verbose))
        yield cluster_resources()


@contextmanager
def _connected(address: str | None, *, verbose: bool) -> Iterator[None]:
    if address is None:
        _demand_space()
    else:
        _probe(address)
    auth = wanted_auth()
    level = logging.INFO if verbose else logging.ERROR
    logging.getLogger("ray").setLevel(level)
    with fresh_token() if address is None else cluster_token(auth, "--address"):
        if address not in (None, "auto") and auth == "token":
            demand_token(address)
        try:
            with _sigterm_as_before(), nullcontext() if verbose else _muted():
                _connect(address, verbose, level)
            if address == "auto" and auth == "token":
                demand_token(ray.get_runtime_context().gcs_address)
            yield
        finally:
            ray.shutdown()


class _OwnFolders(JobConfig):
    """Keeps the folders that the driver was started in and from out of the workers' import path.

    Ray puts them first there: whatever lies in the folder where somebody types a command would be imported in the
    place of installed modules. The name of the method is Ray's.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _connect(address: str | None, verbose: bool, level: int) -> None:
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": level, "job_config": _OwnFolders()}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except Exception as error:  # Ray raises Exception itself when a node of its own does not come up in time
        where = "a local Ray" if address is None else f"Ray at {address}"
        reason = " ".join(str(error).split())[:300]
        raise SpecError(Problem("--address", f"{where} did not come up: {reason}", "a Ray that answers")) from error


@contextmanager
def _sigterm_as_before() -> Iterator[None]:
    """Takes SIGTERM back from Ray, whose handler ends the process; one that comes meanwhile is a KeyboardInterrupt, and
    then no other is heard."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:  # what Ray's handler raises, with exit codes of its own
        before = signal.SIG_IGN
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _muted() -> Iterator[None]:
    """Keeps Ray's core from printing: an error line for every actor pool of Ray Data, which is none.

    The level is read from the environment when Ray starts, and its reading is printed too, from outside Python. What
    Python says meanwhile, as a line of the run's progress, is heard.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    voice = _Voice(kept)
    os.dup2(null, 2)
    try:
        with redirect_stderr(voice) if _is_standard_error(sys.stderr) else nullcontext():
            yield
    finally:
        os.dup2(kept, 2)
        voice.speak_on(2)
        os.close(kept)
        os.close(null)


class _Voice(io.TextIOBase):
    """Text to a file descriptor, by several threads. Whoever still has it later, as a handler of logging, goes on."""

    def __init__(self, descriptor: int) -> None:
        self._lock = threading.Lock()
        self._descriptor = descriptor

    def speak_on(self, descriptor: int) -> None:
        with self._lock:
            self._descriptor = descriptor

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]
        return len(text)


def _is_standard_error(file: TextIO) -> bool:
    try:
        return file.fileno() == 2
    except OSError:  # it has none
        return False


def _demand_space() -> None:
    """SpecError where Ray's workers could not write their logs: they would die and be started again without end."""
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    free_bytes = shutil.disk_usage(folder).free if os.path.isdir(folder) else SPACE_BYTES
    if free_bytes < SPACE_BYTES:
        found = f"no space left on device: {free_bytes:,} bytes free in {folder}"
        expected = f"at least {SPACE_BYTES:,}: free some, or set RAY_TMPDIR to a folder with space"
        raise SpecError(Problem("Ray's temporary folder", found, expected))


def _probe(address: str) -> None:
    """SpecError when nothing listens at host:port: Ray itself would wait for minutes.

    Also for an address of Ray Client, which cannot stream what actors yield.
    """
    if "://" in address:
        expected = "host:port, or auto, on a node of the cluster; from elsewhere: vision-batch submit"
        raise SpecError(Problem("--address", address, expected))
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S).close()
    except OSError as error:
        found = f"nothing that answers at {address} ({error.strerror or error})"
        raise SpecError(Problem("--address", found, "host:port of a running Ray, or auto")) from error
