"""Ray clusters of several nodes on this machine, runs on them, and which node did what."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from tests.integration.job import MODEL, Job, digits, write_tar
from vision_batch.inference.event import worker_facts
from vision_batch.inference.worker import NODE_ID_CHARACTERS
from vision_batch.ledger.verify import verify
from vision_batch.storage.table import storage_for

PATIENCE_S = 120.0

TELL = """
import os, pathlib, time

TOLD = pathlib.Path({folder!r})

def tell():
    (TOLD / os.environ["NODE_NAME"]).touch()
    if not (TOLD / "hurry").exists():
        time.sleep(0.4)

def look(pixels):
    {before}return pixels
"""


@contextmanager
def cluster() -> Iterator[Any]:
    """A head that does no work, as on Kubernetes; `named_node` adds those that do."""
    from ray.cluster_utils import Cluster

    with tempfile.TemporaryDirectory(prefix="vb-") as folder:
        head = {"num_cpus": 0, "temp_dir": folder, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield made
        finally:
            made.shutdown()


def named_node(cluster: Any, name: str, *, cpus: int = 1, gpus: int = 0) -> Any:
    """Adds a node whose workers know its name. GPUs are numbers only."""
    return cluster.add_node(num_cpus=cpus, num_gpus=gpus, env_vars={"NODE_NAME": name})


def kill(node: Any) -> None:
    """kill -9 of all of a node's own processes: raylet and agents, and for the head the GCS."""
    for processes in node.all_processes.values():
        for process in processes:
            process.process.send_signal(signal.SIGKILL)


class Told:
    """What a run's plug-ins have told: on which nodes they were called. They are slow until they are told to hurry."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "told"
        self._folder.mkdir()

    def code(self, slow: Literal["model", "preprocess"]) -> str:
        """A model, and a function to preprocess with, of which one is slow."""
        model = MODEL.replace("return self.layers", "tell()\n        return self.layers") if slow == "model" else MODEL
        return TELL.format(folder=str(self._folder), before="tell(); " if slow == "preprocess" else "") + model

    def called_on(self, name: str) -> bool:
        return (self._folder / name).exists()

    def hurry(self) -> None:
        (self._folder / "hurry").touch()


class Run:
    """The run command as a process of its own; what it says is kept in a file."""

    def __init__(self, job: Job, address: str, overrides: Sequence[str], there: Sequence[str]) -> None:
        options = [part for override in ("compute.batch_size=5", *overrides) for part in ("-o", override)]
        run = [sys.executable, "-m", "vision_batch", "run", str(job.spec), "--json", "--progress"]
        here = [*run, "--address", address, *options]
        command = [*there, *here]
        self._said = job.folder / "said.txt"
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)

    @property
    def said(self) -> str:
        return self._said.read_text()

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits while the run goes on."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def summary(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """Waits for its end, which is a good one."""
        code, out = self.ended(timeout)
        assert code == 0, self.said
        return dict(json.loads(out.splitlines()[-1]))

    def ended(self, timeout: float = PATIENCE_S) -> tuple[int, str]:
        """Waits for its end: exit code and standard output."""
        out, _ = self._process.communicate(timeout=timeout)
        return self._process.returncode, out

    def terminate(self) -> None:
        self._process.terminate()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def running(job: Job, address: str, *overrides: str, there: Sequence[str] = ()) -> Iterator[Run]:
    """`there` goes before the command, to have it run elsewhere."""
    run = Run(job, address, overrides, there)
    try:
        yield run
    finally:
        run.end()


def images_by(fact: str, output: str, run_id: str) -> Counter[str]:
    """How many images were predicted on each `node`, or on each `host`."""
    predicted: Counter[str] = Counter()
    for worker in _table(output, run_id, "workers"):
        predicted[worker_facts(worker["worker"])[fact]] += worker["images"]
    return predicted


def stages_by_node(output: str, run_id: str) -> dict[str, set[str]]:
    """Which stages were at work on each node."""
    busy: dict[str, set[str]] = defaultdict(set)
    for row in _table(output, run_id, "stages"):
        busy[worker_facts(row["worker"])["node"]].add(row["stage"])
    return busy


def parts(output: str) -> int:
    """How many there are by now."""
    return sum(info.uri.endswith(".parquet") for info in storage_for(output).list(output))


def demand_exact(output: str, shards: int, images: int) -> None:
    """Every image of `tars` has its one row, and the same prediction as in all other tars."""
    storage = storage_for(output)
    found = [info.uri for info in storage.list(output) if info.uri.endswith(".parquet")]
    columns = ["shard", "row", "label_index", "score"]
    table = pa.concat_tables([pq.read_table(io.BytesIO(storage.read(uri)), columns=columns) for uri in found])
    rows = table.to_pylist()
    assert len({(row["shard"], row["row"]) for row in rows}) == len(rows) == shards * images
    first = {row["row"]: row for row in rows}
    assert all(row["label_index"] == first[row["row"]]["label_index"] for row in rows)
    assert all(abs(row["score"] - first[row["row"]]["score"]) < 1e-5 for row in rows)
    assert verify(output, deep=True).ok


def short_id(node: Any) -> str:
    return str(node.node_id)[:NODE_ID_CHARACTERS]


def tars(job: Job, put: Callable[[str, bytes], None], shards: int, images: int) -> None:
    """Gives the job so many tars of the same digits."""
    path = job.folder / "some.tar"
    write_tar(path, digits(images))
    for number in range(shards):
        put(f"{number:02d}.tar", path.read_bytes())


def _table(output: str, run_id: str, name: str) -> list[dict[str, Any]]:
    uri = f"{output}-metrics/{run_id}/{name}.parquet"
    return pq.read_table(io.BytesIO(storage_for(uri).read(uri))).to_pylist()
