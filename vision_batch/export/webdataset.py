"""Tars of samples: an image and its prediction side by side."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import numpy as np

from vision_batch.export.copied_image import image_extension
from vision_batch.export.job import Job
from vision_batch.export.json_text import json_text
from vision_batch.export.row import Row, is_below
from vision_batch.export.safe_name import safe_part

TAR_BYTES: Final = 256 << 20
"""A tar ends with the sample that reaches this size."""
TAR_SAMPLES: Final = 10_000
NAME_CHARACTERS: Final = 80


def write(job: Job) -> None:
    """`00000.tar`, …: samples `<number>-<name>` of an image, its `.json`, and more by kind of prediction.

    The number makes keys differ whatever the images are called; `image_id` in the JSON says which one it is. Besides,
    classification has the class's index as `.cls`, segmentation `.mask.png`, an embedding `.npy`.
    """
    samples = _samples(job)
    first = next(samples, None)
    number = 0
    while first is not None:
        with tempfile.TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                count = 0
                while first is not None and count < TAR_SAMPLES and file.tell() < TAR_BYTES:
                    for name, data in first:
                        _add(archive, name, data)
                    count += 1
                    first = next(samples, None)
            job.target.put_file(f"{number:05d}.tar", cast(BinaryIO, file))
        number += 1


def _samples(job: Job) -> Iterator[list[tuple[str, bytes]]]:
    for row in job.rows_with_images():
        if is_below(row, job.options.min_score):
            job.left_out += 1
            continue
        assert row.data is not None
        key = f"{job.images:09d}-{_short(row.image_id)}"
        job.images += 1
        job.annotations += len(row.values["boxes"]) if "boxes" in row.values else 1
        yield [(f"{key}.{image_extension(row.data)}", row.data), *((f"{key}.{k}", d) for k, d in _members(job, row))]


def _members(job: Job, row: Row) -> Iterator[tuple[str, bytes]]:
    facts = {"image_id": row.image_id, "shard": row.shard, "row": row.row, "width": row.width, "height": row.height}
    told = {name: value for name, value in row.values.items() if name not in ("mask_png", "embedding")}
    yield "json", json_text({**facts, **told}).encode()
    if row.values.get("label") is not None:
        yield "cls", str(job.names.index(row.values["label"], row.values.get("label_index"))).encode()
    if row.values.get("mask_png") is not None:
        yield "mask.png", row.values["mask_png"]
    if row.values.get("embedding") is not None:
        file = io.BytesIO()
        is_half = job.predictions.schema.field("embedding").type.value_type == "halffloat"
        np.save(file, np.asarray(row.values["embedding"], np.float16 if is_half else np.float32))
        yield "npy", file.getvalue()


def _short(image_id: str) -> str:
    """For people: without folders, and without a dot, which would end a key."""
    return safe_part(image_id.rpartition("/")[2].partition(".")[0][:NAME_CHARACTERS])


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
