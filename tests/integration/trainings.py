"""Small train jobs on real digits, and what such a job comes to in processes that nobody disturbs."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest
import yaml
from sklearn.datasets import load_digits

from tests.integration.job import digits, write_tar
from vision_batch.cluster import connect
from vision_batch.inference.layout import Node, Resources
from vision_batch.jobs.reporter import Silent
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.train import run_train
from vision_batch.jobs.train_summary import TrainSummary
from vision_batch.training.context import Wish
from vision_batch.training.event import TrainEvent
from vision_batch.training.job import TrainJob
from vision_batch.training.layout import TrainLayout

NET = """
import os, pathlib, time
from torch import nn

class Slow(nn.Module):
    def forward(self, pixels):
        time.sleep({step_s})
        return pixels

def build():
    facts = f"{{os.getpid()}} {{os.environ.get('NODE_NAME')}}"
    pathlib.Path({folder!r}, "worker-" + os.environ["RANK"]).write_text(facts)
    return nn.Sequential(
        Slow(), nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(1352, 10)
    )
"""
EVERY_STEPS = 7


class Training:
    """A train job in a folder of its own: 390 digits, 310 or so to learn from, some steps a second.

    Its model makes it known which process is which worker. A checkpoint is stored every 7 steps.
    """

    def __init__(
        self, folder: Path, *, workers: int = 2, epochs: int = 3, step_s: float = 0.03, **compute: Any
    ) -> None:
        self.folder = folder
        self.spec = folder / "train.yaml"
        self.workers = workers
        labels = [str(label) for label in load_digits().target]
        for number in range(3):
            rows = slice(number * 130, number * 130 + 130)
            write_tar(folder / f"images/{number}.tar", digits(390)[rows], labels[rows])
        (folder / "slow_net.py").write_text(NET.format(folder=str(folder), step_s=step_s))
        spec = {
            "job": "train",
            "input": {"uri": "images/", "label_column": "cls"},
            "validation": {"fraction": 0.2},
            "model": {"source": "python:slow_net:build"},
            "task": {"type": "classification"},
            "preprocess": {"resize_px": [28, 28]},
            "augment": [{"affine": {"degrees": 10}}, {"gaussian_noise": {}}],
            "train": {
                "epochs": epochs,
                "batch_size": 8,
                "deterministic": True,
                "ema": {"decay": 0.9},
                "mixup": 0.2,
                "checkpoint": {"every_steps": EVERY_STEPS},
            },
            "compute": {"workers": workers, "cpus_per_worker": 1, "gpus_per_worker": 0, "precision": "fp32", **compute},
            "output": {"uri": "out"},
        }
        self.spec.write_text(yaml.safe_dump(spec))

    def run(self, address: str | None, *, output: str = "out") -> tuple[TrainSummary, str]:
        """The summary, and all notes."""
        heard = Heard()
        spec = load_spec(self.spec, output=str(self.folder / output))
        return run_train(spec, address=address, reporter=heard), "\n".join(heard.notes)

    def run_undisturbed(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
        """What is stored at the end where workers are plain processes, without Ray."""
        module = ModuleType("vision_batch.training.execute")
        module.execute = _execute  # type: ignore[attr-defined]

        @contextmanager
        def connected(address: str | None, *, verbose: bool = False) -> Iterator[Resources]:
            yield Resources(nodes=(Node(cpus=8, gpus=8),))

        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, module.__name__, module)
            patch.setattr(connect, "connected", connected)
            summary, _ = self.run("nowhere", output="alone")
        assert summary.status == "done"
        return self.stored("alone")

    def recorded(self) -> list[int]:
        """The epochs of all rows that all runs have written."""
        files = f"{self.folder}/out-metrics/*/epochs-*.parquet"
        return [number for (number,) in duckdb.sql(f"SELECT epoch FROM '{files}' ORDER BY epoch").fetchall()]

    def stored(self, output: str = "out") -> dict[str, str]:
        """The names of the last checkpoint's files, which are digests of all tensors of module, optimizer and averages,
        and the bytes of the model."""
        checkpoints = sorted((self.folder / output / "checkpoints").glob("[0-9]*"))
        names = sorted(path.name for path in checkpoints[-1].iterdir())
        return {
            "step": checkpoints[-1].name,
            "files": " ".join(names),
            "model": (self.folder / output / "model.safetensors").read_bytes().hex(),
        }

    def worker(self, rank: int) -> tuple[int, str]:
        """Process id, and the name of its node."""
        pid, node = (self.folder / f"worker-{rank}").read_text().split()
        return int(pid), node

    def steps_stored(self) -> int:
        """After how many steps the newest checkpoint was stored."""
        committed = (self.folder / "out" / "checkpoints").glob("[0-9]*/state.json")
        return max((int(path.parent.name) for path in committed), default=0)


class Heard(Silent):
    """A reporter that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def _execute(job: TrainJob, layout: TrainLayout, *, stop: threading.Event, **options: Any) -> Iterator[TrainEvent]:
    """As the real one, where nothing ever goes wrong."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = get_context("spawn")
    workers = layout.workers[1]
    processes = [spawn.Process(target=_work, args=(rank, workers, port, job, layout)) for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    yield TrainEvent(kind="done")


def _work(rank: int, workers: int, port: int, job: TrainJob, layout: TrainLayout) -> None:
    import torch

    from vision_batch.training.worker import train_on_worker

    os.environ["RANK"] = str(rank)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)
    train_on_worker(job, layout, _Plain(rank, workers, torch.device("cpu")))


class _Plain:
    def __init__(self, rank: int, workers: int, device: Any) -> None:
        self.rank, self.workers, self.device = rank, workers, device

    def tell(self, event: TrainEvent) -> None:
        pass

    def wish(self) -> Wish:
        return "go"
