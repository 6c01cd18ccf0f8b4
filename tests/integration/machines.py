"""Machines of a network, on this one: namespaces with addresses, host names and processes of their own. For root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

HOST_NAME = "hostname $0 && echo up && exec sleep infinity"
MOST_MACHINES = 200


class Network:
    """A bridge, and machines on it. `address` is this machine's own on it, where it can be reached."""

    def __init__(self) -> None:
        self._name = f"vb{os.getpid()}"
        self._prefix = f"10.213.{os.getpid() % 256}"
        self.address = f"{self._prefix}.1"
        self.machines: list[Machine] = []
        _do("ip", "link", "add", self._name, "type", "bridge")
        _do("ip", "address", "add", f"{self.address}/24", "dev", self._name)
        _do("ip", "link", "set", self._name, "up")

    def machine(self, name: str) -> Machine:
        """One more, which everybody on the network reaches."""
        number = len(self.machines) + 2
        made = Machine(name, f"{self._prefix}.{number}", f"{self._name}-{number}", self._name, self.address)
        self.machines.append(made)
        return made

    def end(self) -> None:
        for machine in self.machines:
            machine.end()
        _do("ip", "link", "delete", self._name)


class Machine:
    """What is started in it ends with it."""

    def __init__(self, name: str, address: str, link: str, bridge: str, router: str) -> None:
        self.name, self.address, self._link = name, address, link
        self._folder = f"/tmp/{link}"  # short: names of sockets are limited
        apart = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        command = ["unshare", *apart, "sh", "-c", HOST_NAME, name]
        self._leader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._leader.stdout is not None
        assert self._leader.stdout.readline() == "up\n"
        first = Path(f"/proc/{self._leader.pid}/task/{self._leader.pid}/children").read_text().strip()
        self.there = ("nsenter", "--target", first, "--net", "--mount", "--uts", "--pid")
        """Goes before a command that is to run in it."""
        _do("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", first)
        _do("ip", "link", "set", link, "master", bridge, "up")
        _do(*self.there, "ip", "address", "add", f"{address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _do(*self.there, "ip", "link", "set", device, "up")
        _do(*self.there, "ip", "route", "add", "default", "via", router)

    def cut(self) -> None:
        """Takes it off the network; its processes go on."""
        _do("ip", "link", "set", self._link, "down")

    def mend(self) -> None:
        _do("ip", "link", "set", self._link, "up")

    def end(self) -> None:
        self._leader.kill()
        self._leader.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start_ray(self, environment: Mapping[str, str], *options: str) -> None:
        """A node of Ray, as `ray start` makes it."""
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats"]
        place = (f"--node-ip-address={self.address}", f"--temp-dir={self._folder}")
        own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # as elsewhere
        known = {**own, "NODE_NAME": self.name, **environment}
        _do(*self.there, *command, *place, *options, environment=known)


def _do(*command: str, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])


def missing() -> str:
    """Why there can be no machines here; empty if there can."""
    if os.geteuid() != 0:
        return "only root may make networks"
    tried = subprocess.run(["unshare", "--net", "--pid", "--fork", "ip", "link"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.decode()}"


@contextmanager
def network() -> Iterator[Network]:
    made = Network()
    try:
        yield made
    finally:
        made.end()
