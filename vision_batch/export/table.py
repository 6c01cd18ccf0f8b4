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
    """`options` are those of `Options` that mean something for it; a `sized` one tells places by the image's size.

    With `copies` images are always copied.
    """

    write: Callable[[Job], None]
    kinds: tuple[Kind, ...]
    options: tuple[str, ...] = ("min_score",)
    sized: bool = False
    copies: bool = False


FORMATS: Final[dict[str, ExportFormat]] = {
    "coco": ExportFormat(write=coco.write, kinds=("detection",), options=("min_score", "copy_images"), sized=True),
    "yolo": ExportFormat(
        write=yolo.write, kinds=("detection",), options=("min_score", "copy_images", "scores"), sized=True
    ),
    "csv": ExportFormat(write=csv_table.write, kinds=ALL, options=()),
    "labelstudio": ExportFormat(
        write=labelstudio.write, kinds=ALL[:-1], options=("min_score", "image_prefix"), sized=True
    ),
    "folders": ExportFormat(write=folders.write, kinds=("classification",), copies=True),
    "webdataset": ExportFormat(write=webdataset.write, kinds=ALL, copies=True),
}
