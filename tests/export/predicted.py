"""Outputs over real files whose predictions the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from tests.ledger.outputs import Output, sealed
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.jobs.prepare import input_facts
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.members import load_members
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.schema import output_schema

CELL_ROWS = 4
BOX = {
    "label": pa.string(),
    "label_index": pa.int32(),
    **dict.fromkeys(("score", "x_min", "y_min", "x_max", "y_max"), pa.float32()),
}
BOXES = pa.field("boxes", pa.list_(pa.struct(list(BOX.items()))))
MASKED = pa.field("boxes", pa.list_(pa.struct([*BOX.items(), ("mask_rle", pa.string())])))
CLASSIFIED = [
    pa.field("label", pa.string()),
    pa.field("label_index", pa.int32()),
    pa.field("score", pa.float32()),
    pa.field("top_labels", pa.list_(pa.string())),
    pa.field("top_scores", pa.list_(pa.float32())),
]
SEVERAL = [pa.field("labels", pa.list_(pa.string())), pa.field("label_scores", pa.list_(pa.float32()))]
PIXELS = pa.list_(pa.struct([("label", pa.string()), ("label_index", pa.int32()), ("pixels", pa.int64())]))
SEGMENTED = [pa.field("mask_png", pa.binary()), pa.field("class_pixels", PIXELS)]
ERROR = {"error_code": "empty", "error": "0 bytes"}
LABELS = ("cat", "dog")

Predict = Callable[[str], Mapping[str, Any]]


def picture(width: int = 40, height: int = 30, shade: int = 128) -> bytes:
    """A PNG."""
    return bytes(cv2.imencode(".png", np.full((height, width, 3), shade, np.uint8))[1].tobytes())


def pictures(folder: Path, *names: str) -> InputSettings:
    """A folder with a picture of 40x30 for each name, each of its own shade."""
    for shade, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(shade=shade))
    return InputSettings(uri=str(folder), format="folder")


def box(
    x_min: float, y_min: float, x_max: float, y_max: float, index: int = 0, score: float = 0.5, **more: Any
) -> dict[str, Any]:
    edges = {"x_min": x_min, "y_min": y_min, "x_max": x_max, "y_max": y_max}
    return {"label": LABELS[index], "label_index": index, "score": score, **edges, **more}


def classified(index: int = 0, score: float = 0.75) -> dict[str, Any]:
    named = {"label": LABELS[index], "label_index": index, "score": score}
    return {**named, "top_labels": [LABELS[index]], "top_scores": [score]}


def predicted(
    folder: Path,
    settings: InputSettings,
    fields: list[pa.Field],
    predict: Predict,
    *,
    uri: str | None = None,
    labels: tuple[str, ...] | None = LABELS,
) -> str:
    """The URI of a finished output over images; `predict` says a row's columns by its image's id."""
    definition = Definition(input_facts(settings, "input"))
    paths = LedgerPaths(uri or str(folder / "out"))
    claim_definition(paths, definition, cell_rows=CELL_ROWS, labels=labels)
    output = Output(paths=paths, input=settings, format=settings.format, definition=definition)
    schema = output_schema(fields, [])
    for work in output.todo():
        shard = load_members(paths, work.shard)
        rows = []
        for sample in format_named(settings.format).read(shard, settings, lambda row: True):
            told = dict(predict(sample.image_id))
            size = {} if "error_code" in told else {"width": 40, "height": 30}
            rows.append({"image_id": sample.image_id, "shard": shard.key, "row": sample.row, **size, **told})
        table = pa.Table.from_pylist(rows, schema=schema)
        record = sealed(
            table, shard=work.shard.key, version=work.shard.version, definition=definition, cell_rows=CELL_ROWS
        )
        commit_part(paths, table, record)
    return paths.output
