"""The text files of Ultralytics' YOLO for detection: one per image, one line per box.

Source of the format: https://docs.ultralytics.com/datasets/detect/. `labels/a/b.txt` goes with `images/a/b.jpg`.
"""

from __future__ import annotations

from functools import partial

from vision_batch.datasets.yolo_line import yolo_line
from vision_batch.documents.yaml_text import yaml_text
from vision_batch.export.copied_image import copied_name
from vision_batch.export.job import Job
from vision_batch.export.row import Row
from vision_batch.export.safe_name import safe_name


def write(job: Job) -> None:
    """`data.yaml` with the classes, `labels/`, and with copies of the images `images/`.

    An image without a box has an empty file. Masks are left out: the format knows but polygons. Labels go first: an
    image whose labels have the name of another's is not copied, since the other's would count as its own.
    """
    for row in job.rows_with_images() if job.options.copy_images else job.rows():
        name = safe_name(row.image_id) if row.data is None else copied_name(row.image_id, row.data)
        lines = _lines(job, row)
        files = [(f"labels/{label_name(name)}", "".join(lines).encode())]
        if row.data is not None:
            files.append((f"images/{name}", row.data))
        job.put(row, files, partial(job.count, len(lines)))
    document = {"train": "images", "val": "images", "names": dict(enumerate(job.names.names))}
    with job.target.spool("data.yaml") as file:
        file.write(yaml_text(document).encode())


def label_name(name: str) -> str:
    """The name of an image's labels: its own, with `txt` for its extension."""
    folder, slash, base = name.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}.txt"


def _lines(job: Job, row: Row) -> list[str]:
    lines = []
    for box in row.values["boxes"]:
        edges = (box["x_min"], box["y_min"], box["x_max"], box["y_max"])
        place = yolo_line(edges, *row.size)
        score = f" {box['score']!r}" if job.options.scores and box.get("score") is not None else ""
        lines.append(f"{job.names.index(box['label'], box.get('label_index'))} {place}{score}\n")
    return lines
