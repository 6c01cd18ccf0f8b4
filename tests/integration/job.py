"""A small predict job on real handwritten digits, written to disk as a user would."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from sklearn.datasets import load_digits

from vision_batch.jobs.predict import run_predict
from vision_batch.jobs.spec import load_spec
from vision_batch.jobs.summary import RunSummary
from vision_batch.ledger.verify import verify

MODEL = '''
import torch

class Model(torch.nn.Module):
    """Logits that depend on every pixel, so that no two digits share them."""

    def __init__(self, classes):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(),
            torch.nn.Linear(128, classes),
        )

    def forward(self, images):
        return self.layers(images)

def build(classes=10):
    return Model(classes)
'''


def digits(count: int) -> list[bytes]:
    """The first `count` digits as JPEGs of 32x32 px."""
    return [_jpeg(image) for image in load_digits().images[:count]]


def _jpeg(image: np.ndarray) -> bytes:
    grey = cv2.resize((image * 15.9).astype(np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))[1].tobytes()


def write_folder(folder: Path, images: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(images):
        (folder / f"{number:05d}.jpg").write_bytes(content)


def write_tar(path: Path, images: list[bytes], labels: list[str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, content in enumerate(images):
            _add(tar, f"{number:05d}.jpg", content)
            if labels is not None:
                _add(tar, f"{number:05d}.cls", labels[number].encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def write_parquet(path: Path, column: list[Any], **others: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": column, **others}), path, row_group_size=50)


class Job:
    """A spec, its plug-in and its data in one folder."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.spec = folder / "spec.yaml"
        (folder / "model_code.py").write_text(settings.pop("code", MODEL))
        defaults: dict[str, Any] = {
            "job": "predict",
            "input": {"uri": "data/"},
            "model": {"source": "python:model_code:build"},
            "task": {"type": "classification", "top_k": 3},
            "preprocess": {"resize_px": [28, 28]},
            "output": {"uri": "out"},
            "compute": {"precision": "fp32"},  # auto would be tried first wherever a test's Ray has GPUs
        }
        self.settings = {**defaults, **settings}
        self.spec.write_text(yaml.safe_dump(self.settings))

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def run(self, address: str | None, *overrides: str, alone: bool = False, **options: Any) -> RunSummary:
        """Runs the job on the cluster at an address, or (None) on a fresh local Ray.

        The latter, and what is to be `alone`, is driven by a process of its own: one process does not go from a cluster
        to another Ray and back, and Ray tells monitoring as many times over as a process has connected.
        """
        if address is not None and not alone:
            return _run(self.spec, overrides, address, options)
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            return pool.submit(_run, self.spec, overrides, address, options).result()

    def table_of_both_layouts(self, address: str, *, images_ok: int, failures: dict[str, int]) -> pa.Table:
        """The rows, which are the same whatever the layout."""
        tables: dict[str, pa.Table] = {}
        for layout in ("joined", "split"):
            output = self.folder / layout
            summary = self.run(address, f"compute.layout={layout}", "compute.batch_size=5", output=str(output))
            assert (summary.status, summary.images_ok, summary.failures) == ("done", images_ok, failures)
            assert verify(str(output), deep=True).ok
            tables[layout] = self.table(output)
        assert tables["joined"].equals(tables["split"])
        return tables["joined"]

    def table(self, output: Path | None = None) -> pa.Table:
        """All parts, as any reader of OUTPUT/*.parquet sees them, in the order of (shard, row)."""
        parts = sorted((output or self.output).glob("*.parquet"))
        return pa.concat_tables([pq.read_table(part) for part in parts]).sort_by(
            [("shard", "ascending"), ("row", "ascending")]
        )


def _run(path: Path, overrides: tuple[str, ...], address: str | None, options: dict[str, Any]) -> RunSummary:
    spec = load_spec(path, overrides, output=options.pop("output", None))
    return run_predict(spec, address=address, **options)
