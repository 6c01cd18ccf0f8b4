"""Finished outputs over folders of real pictures, with predictions that a test chooses, and a run that made them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.ledger.outputs import sealed
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.inference.metrics import STAGES, THROUGHPUT
from vision_batch.jobs.prepare import input_facts
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.part import commit_part
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import make_plan
from vision_batch.ledger.run_record import RunRecord, write_run
from vision_batch.ledger.schema import output_schema
from vision_batch.storage.table import storage_for

ROWS = 4096
CLASSIFICATION = (pa.field("label", pa.string()), pa.field("label_index", pa.int32()), pa.field("score", pa.float32()))
BOX = pa.struct(
    [
        ("label", pa.string()),
        ("label_index", pa.int32()),
        *((name, pa.float32()) for name in ("score", "x_min", "y_min", "x_max", "y_max")),
    ]
)
DETECTION = (pa.field("boxes", pa.list_(BOX)),)
CLASS_PIXELS = pa.list_(pa.struct([("label", pa.string()), ("label_index", pa.int32()), ("pixels", pa.int64())]))
SEGMENTATION = (pa.field("mask_png", pa.binary()), pa.field("class_pixels", CLASS_PIXELS))
EMBEDDING = (pa.field("embedding", pa.list_(pa.float32())),)
MULTI_LABEL = (pa.field("labels", pa.list_(pa.string())), pa.field("label_scores", pa.list_(pa.float32())))


def picture(number: int, width: int = 120, height: int = 90) -> bytes:
    """A JPEG that differs from the others."""
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3)
    pixels = np.roll(ramp, number * 7, axis=1).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])


def make_output(
    folder: Path,
    fields: Sequence[pa.Field],
    predictions: Mapping[str, Mapping[str, Any]],
    *,
    broken: Mapping[str, tuple[str, str]] | None = None,
    truth: Mapping[str, str] | None = None,
    counts: Mapping[str, Any] | None = None,
    name: str = "a job",
    output: str | None = None,
) -> str:
    """An output of one shard over pictures of these names: their predictions, or for `broken` ones code and message.

    It is `output`, or `folder`/out.
    """
    source = folder / "in"
    broken = broken or {}
    for number, image in enumerate([*predictions, *broken]):
        path = source / image
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no picture" if image in broken else picture(number))
    settings = InputSettings(uri=str(source), format="folder")
    definition = Definition({**input_facts(settings, "input"), "model.source": "python:a:b"})
    paths = LedgerPaths(output or str(folder / "out"))
    claim_definition(paths, definition, cell_rows=ROWS)
    (shard,) = make_plan(paths, settings, format_named("folder"), cell_rows=ROWS, write=True).shards
    rows = []
    for row, image in enumerate(sorted([*predictions, *broken], key=str.encode)):
        known: dict[str, Any] = {"image_id": image, "shard": shard.key, "row": row}
        if image in broken:
            code, message = broken[image]
            rows.append({**known, "error_code": code, "error": message})
        else:
            rows.append({**known, "width": 120, "height": 90, "truth": (truth or {}).get(image), **predictions[image]})
    extra = [pa.field("truth", pa.string())] if truth else []
    table = pa.Table.from_pylist(rows, schema=output_schema(fields, extra))
    record = sealed(table, shard=shard.key, version=shard.version, definition=definition, cell_rows=ROWS)
    commit_part(paths, table, record)
    write_record(paths, definition, {"images_total": len(rows), **(counts or {})}, name=name)
    return paths.output


def write_record(paths: LedgerPaths, definition: Definition, counts: Mapping[str, Any], *, name: str) -> RunRecord:
    """A run that ended well, and its metrics."""
    spec = {"job": "predict", "name": name, "model": {"source": "python:a:b"}}
    begun = RunRecord.begun(definition=definition.digest, output=paths.output, spec=spec)
    record = replace(begun.ended_now("done", seconds=61.5, counts=counts))
    write_run(paths, record)
    throughput = [{"seconds": 10.0 * period, "images": 100 * period, "failed": 0} for period in (1, 2, 4)]
    stages = [{"worker": "w", "stage": stage, "busy_seconds": 3.5, "cpu_seconds": 3.0} for stage in ("model", "decode")]
    for kind, rows, schema in (("throughput", throughput, THROUGHPUT), ("stages", stages, STAGES)):
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema), sink)
        uri = f"{paths.metrics(record.run_id)}/{kind}.parquet"
        storage_for(uri).put(uri, sink.getvalue())
    return record
