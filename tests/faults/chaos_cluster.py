"""A Ray cluster of several nodes on this machine, in processes of its own: nodes die, and others come."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from pathlib import Path

from tests.faults.chaos_processes import Process, Role, Session


class RayCluster(Session):
    """A head that does no work, as on Kubernetes, and two nodes that do."""

    def __init__(self, log: Path) -> None:
        command = [sys.executable, "-m", "tests.faults.chaos_cluster"]
        super().__init__(command, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @cached_property
    def address(self) -> str:
        """Where it is, as soon as it is there."""
        return self._answer()

    def working(self, *roles: Role) -> list[Process]:
        """Processes of the nodes that do work."""
        return [process for process in self.processes(*roles) if "--head" not in process.title]

    def add_node(self) -> None:
        """Returns when it is there."""
        assert self._leader.stdin is not None
        print(file=self._leader.stdin, flush=True)
        self._answer()

    def _answer(self) -> str:
        assert self._leader.stdout is not None
        answer = str(self._leader.stdout.readline()).strip()
        if not answer:
            raise RuntimeError(f"a node did not come up: {self.log.read_text()}")
        return answer


def serve() -> None:
    """Prints the address, and then for each line that is read a word when one more node is there."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    print(cluster.address, flush=True)
    for _ in sys.stdin:
        cluster.add_node(num_cpus=1)
        print("added", flush=True)


if __name__ == "__main__":
    serve()
