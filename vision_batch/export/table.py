"""The formats of exports, by name: which predictions each can say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vision_batch.export import coco, csv_table, folders, labelstudio, webdataset, yolo
from vision_batch.export.job import Job
from vision_batch.tasks.settings import Kind

ALL: Final[tuple[Kind, ...]] = ("classification", "multi_label", "detection", "segmentation", "embedding")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFormat:
    """`names` is a pattern of the names of its files, but for copies on request.

    `options` are those of `Options` that mean something for it; a `sized` one tells places by the image's size. With
    `copies` images are always copied.
    """

    write: Callable[[Job], None]
    kinds: tuple[Kind, ...]
    names: str
    options: tuple[str, ...] = ("min_score",)
    sized: bool = False
    copies: bool = False


FORMATS: Final[dict[str, ExportFormat]] = {
    "coco": ExportFormat(
        write=coco.write,
        names=r"instances\.json",
        kinds=("detection",),
        options=("min_score", "copy_images"),
        sized=True,
    ),
    "yolo": ExportFormat(
        write=yolo.write,
        names=r"data\.yaml|labels/.+\.txt",
        kinds=("detection",),
        options=("min_score", "copy_images", "scores"),
        sized=True,
    ),
    "csv": ExportFormat(write=csv_table.write, names=r"predictions\.csv", kinds=ALL, options=()),
    "labelstudio": ExportFormat(
        write=labelstudio.write,
        names=r"tasks-\d+\.json|config\.xml",
        kinds=ALL[:-1],
        options=("min_score", "image_prefix"),
        sized=True,
    ),
    "folders": ExportFormat(write=folders.write, names=r"[^/]+/[^/]+", kinds=("classification",), copies=True),
    "webdataset": ExportFormat(write=webdataset.write, names=r"\d+\.tar", kinds=ALL, copies=True),
}
