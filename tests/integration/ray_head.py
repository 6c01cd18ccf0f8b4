"""A Ray cluster as others run it: `ray start --head`, with a dashboard, and a token without which nobody gets in.

Its processes know nothing of this checkout: what is to run there has to be brought along. It has one node, unless a
test adds another. Then logs are not to be had: Ray takes all nodes of one host for the same where it looks for them.
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
    """A running cluster. `port` is its dashboard's, on loopback; `folder` holds its logs and what it unpacked.

    `gcs` is what nodes join, with `environment`.
    """

    port: int
    gcs: str
    token: str
    folder: Path
    environment: Mapping[str, str]

    def get(self, path: str) -> requests.Response:
        """What the dashboard says, asked without the code under test."""
        url = f"http://127.0.0.1:{self.port}{path}"
        return requests.get(url, headers={"Authorization": f"Bearer {self.token}"}, timeout=30)

    def nodes(self) -> dict[str, bool]:
        """The nodes that live, by id, and whether they are the head."""
        found = self.get("/api/v0/nodes").json()["data"]["result"]["result"]
        return {node["node_id"]: node["is_head_node"] for node in found if node["state"] == "ALIVE"}


@contextmanager
def running_head(environment: Mapping[str, str], *, auth: str = "token", cpus: int = CPUS) -> Iterator[RayHead]:
    """Starts the cluster; its processes have `environment` besides their own. `auth` is a RAY_AUTH_MODE."""
    gcs, dashboard, client = _free_ports(3)
    token = secrets.token_hex(16)
    own = {
        "RAY_AUTH_MODE": auth,
        "RAY_AUTH_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="vb-", ignore_cleanup_errors=True) as folder:
        head = RayHead(
            port=dashboard,
            gcs=f"127.0.0.1:{gcs}",
            token=token,
            folder=Path(folder),
            environment={**inherited, **environment, **own},
        )
        as_head = ["--head", f"--port={gcs}", f"--ray-client-server-port={client}", f"--dashboard-port={dashboard}"]
        with _ray_start(head, "127.0.0.1", [*as_head, f"--num-cpus={cpus}", f"--temp-dir={folder}"]):
            yield head


@contextmanager
def another_node(head: RayHead) -> Iterator[None]:
    """Adds a node with CPUs, and with an address and a folder of its own, as on another machine."""
    with (
        tempfile.TemporaryDirectory(prefix="vb-", ignore_cleanup_errors=True) as folder,
        _ray_start(head, "127.0.0.2", [f"--address={head.gcs}", f"--num-cpus={CPUS}", f"--temp-dir={folder}"]),
    ):
        yield


@contextmanager
def _ray_start(head: RayHead, host: str, arguments: list[str]) -> Iterator[None]:
    (agent,) = _free_ports(1)
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *arguments]
    command += [f"--node-ip-address={host}", f"--dashboard-agent-listen-port={agent}"]
    before = 0 if "--head" in arguments else len(head.nodes())
    with (head.folder / f"start-{host}.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=dict(head.environment), cwd=head.folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(head, before + 1, process)
        yield
    finally:
        process.terminate()  # it ends what it has started
        process.wait(60)


def _wait_for(head: RayHead, nodes: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(requests.RequestException, TypeError):  # it answers before it knows
            if len(head.nodes()) == nodes:
                return
        time.sleep(0.1)
    raise TimeoutError(f"no {nodes} nodes within {START_S:.0f} s; exit code {process.poll()}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
