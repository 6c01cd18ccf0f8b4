"""COCO's JSON of detection and instance segmentation, in one file.

Source of the format: https://cocodataset.org/#format-data. Annotations also have the `score` of their prediction.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import IO, Any, Final

from vision_batch.export.copied_image import copied_name
from vision_batch.export.job import Job
from vision_batch.export.json_text import json_text
from vision_batch.export.row import Row
from vision_batch.tasks.rle import area

NAME: Final = "instances.json"
FIRST_CATEGORY: Final = 1
"""Of the class of index 0: some tools take 0 for the background."""


def write(job: Job) -> None:
    """`instances.json`: images, annotations and categories; with copies of the images in `images/`.

    Both lists grow in temporary files, since COCO wants one after the other.
    """
    with ExitStack() as files:
        images, annotations = (
            files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n")) for _ in range(2)
        )
        for row in job.rows_with_images() if job.options.copy_images else job.rows():
            try:
                told = list(_annotations(job, row))
            except ValueError as error:
                job.note_broken(row, error)
                continue
            name, copies = _copies(row)
            image = {"file_name": name, "width": row.width, "height": row.height}
            job.put(row, copies, partial(_tell, job, image, told, images, annotations))
        job.target.flush()
        categories = [{"id": index + FIRST_CATEGORY, "name": name} for index, name in enumerate(job.names.names)]
        with job.target.spool(NAME) as file:
            file.write(b'{"images":[\n')
            _copy(images, file)
            file.write(b'],\n"annotations":[\n')
            _copy(annotations, file)
            file.write(f'],\n"categories":{json_text(categories)}}}\n'.encode())


def _copies(row: Row) -> tuple[str, list[tuple[str, bytes]]]:
    """What the image is called, and the files of its copy."""
    if row.data is None:
        return row.image_id, []
    name = copied_name(row.image_id, row.data)
    return name, [(f"images/{name}", row.data)]


def _tell(job: Job, image: dict[str, Any], told: list[dict[str, Any]], images: IO[str], annotations: IO[str]) -> None:
    """Of an image, once its copy is there: another image's is none."""
    first = job.annotations + 1
    job.count(len(told))
    _append(images, job.images, {"id": job.images, **image})
    for number, annotation in enumerate(told, first):
        _append(annotations, number, {"id": number, "image_id": job.images, **annotation})


def _annotations(job: Job, row: Row) -> Iterator[dict[str, Any]]:
    for box in row.values["boxes"]:
        width, height = box["x_max"] - box["x_min"], box["y_max"] - box["y_min"]
        counts = box.get("mask_rle")
        mask = {} if counts is None else {"segmentation": {"size": [row.height, row.width], "counts": counts}}
        yield {
            "category_id": job.names.index(box["label"], box.get("label_index")) + FIRST_CATEGORY,
            "bbox": [box["x_min"], box["y_min"], width, height],
            "area": width * height if counts is None else area(counts),
            "iscrowd": 0,
            **({"score": box["score"]} if box.get("score") is not None else {}),
            **mask,
        }


def _append(file: IO[str], number: int, item: dict[str, Any]) -> None:
    file.write(f"{',' if number > 1 else ''}{json_text(item)}\n")


def _copy(source: IO[str], to: IO[bytes]) -> None:
    source.seek(0)
    while piece := source.read(1 << 20):
        to.write(piece.encode())
