"""The formats, by name."""

from __future__ import annotations

from vision_batch.datasets.coco import CocoFormat
from vision_batch.datasets.folder import FolderFormat
from vision_batch.datasets.format import Format
from vision_batch.datasets.parquet import ParquetFormat
from vision_batch.datasets.webdataset import WebDatasetFormat
from vision_batch.datasets.yolo import YoloFormat
from vision_batch.errors import Problem, SpecError

FORMATS: dict[str, Format] = {
    "folder": FolderFormat(),
    "webdataset": WebDatasetFormat(),
    "parquet": ParquetFormat(),
    "coco": CocoFormat(),
    "yolo": YoloFormat(),
}
AUTO = ("folder", "webdataset", "parquet")
"""What `format: auto` looks for: files of the others lie in folders that hold more."""


def format_named(name: str) -> Format:
    """The format called `name`; SpecError for any other."""
    if name not in FORMATS:
        raise SpecError(Problem("input.format", repr(name), " or ".join(FORMATS)))
    return FORMATS[name]
