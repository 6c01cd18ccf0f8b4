"""A Ray cluster as others run it: `ray start --head`, with a dashboard, and a token without which nobody gets in.

Its processes know nothing of this checkout: what is to run there has to be brought along. It has one node, for Ray
takes all nodes of one host for the same where it looks for the logs of a job.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import requests

START_S = 90.0
CPUS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RayHead:
    """A running cluster. `port` is its dashboard's, on loopback; `folder` holds its logs and what it unpacked."""

    port: int
    token: str
    folder: Path

    def get(self, path: str) -> requests.Response:
        """What the dashboard says, asked without the code under test."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.get(url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)


@contextmanager
def running_head(environment: Mapping[str, str], *, auth: str = "token") -> Iterator[RayHead]:
    """Starts the cluster; its processes have `environment` besides their own. `auth` is a RAY_AUTH_MODE."""
    gcs, dashboard, client, agent = _free_ports(4)
    token = secrets.token_hex(16)
    own = {
        "RAY_AUTH_MODE": auth,
        "RAY_AUTH_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="vb-", ignore_cleanup_errors=True) as folder:
        head = RayHead(port=dashboard, token=token, folder=Path(folder))
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
        command += [f"--port={gcs}", f"--ray-client-server-port={client}", "--node-ip-address=127.0.0.1"]
        command += [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--num-cpus={CPUS}", f"--temp-dir={folder}"]
        with (Path(folder) / "start.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env={**inherited, **environment, **own},
                cwd=folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _wait_for(head, process)
            yield head
        finally:
            process.terminate()  # it ends what it has started
            process.wait(60)


def _wait_for(head: RayHead, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(requests.RequestException):
            if head.get("/api/v0/nodes").status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"no dashboard within {START_S:.0f} s; exit code {process.poll()}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
