"""Parquet files of images, written and read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets.reading import (
    outcome,
    samples_of,
    settings_of,
)
from vision_batch.datasets.sample import Sample


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path, columns: dict[str, Any], **more: object) -> list[Sample]:
    return samples_of(settings_of(write(path / "x.parquet", columns), **more))


def outcomes(samples: list[Sample]) -> list[bytes | str]:
    return [outcome(sample) for sample in samples]


def replace(path: Path, content: bytes | bytearray) -> None:
    """Other bytes under the same version, as a disk's fault would leave them."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
