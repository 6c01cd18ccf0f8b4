"""Label Studio's JSON: tasks with predictions for people to go on from.

Source of the format: https://labelstud.io/guide/predictions. Places are in percent of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from vision_batch.errors import ImageError
from vision_batch.export.brush_rle import brush_rle
from vision_batch.export.job import Job
from vision_batch.export.json_text import json_text
from vision_batch.export.row import Row, is_below
from vision_batch.images.mask import decode_mask
from vision_batch.tasks.rle import decode

FILE_BYTES: Final = 64 << 20
"""A file ends with the task that reaches this size: Label Studio takes 250 MB at once."""
FILE_TASKS: Final = 10_000
TAG: Final = "label"
"""How the labelling configuration calls what labels the image."""
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
CONTROLS: Final = {"choices": ("Choices", "Choice"), "rectanglelabels": ("RectangleLabels", "Label")} | {
    "brushlabels": ("BrushLabels", "Label")
}


def write(job: Job) -> None:
    """`tasks-00000.json`, …, and `config.xml`, the labelling configuration that goes with them.

    An image's URL is `image_prefix` and its id, escaped where it is a URL of http or of Label Studio's own files.
    """
    texts: list[str] = []
    files = size_bytes = 0
    kinds: set[str] = set()
    for row in job.rows():
        if is_below(row, job.options.min_score):
            job.left_out += 1
            continue
        try:
            results = list(_results(job, row))
        except (ImageError, ValueError) as error:
            job.note_broken(row, error)
            continue
        kinds |= {result["type"] for result in results}
        texts.append(json_text(_task(job, row, results)))
        size_bytes += len(texts[-1])
        job.images += 1
        job.annotations += len(results)
        if size_bytes >= FILE_BYTES or len(texts) == FILE_TASKS:
            _write_tasks(job, files, texts)
            texts, size_bytes, files = [], 0, files + 1
    if texts or not files:
        _write_tasks(job, files, texts)
    with job.target.spool("config.xml") as file:
        file.write(_config(job.names.names, sorted(kinds), several=job.predictions.kind == "multi_label").encode())


def _write_tasks(job: Job, number: int, texts: list[str]) -> None:
    with job.target.spool(f"tasks-{number:05d}.json") as file:
        file.write(f"[\n{f',{chr(10)}'.join(texts)}\n]\n".encode())


def _task(job: Job, row: Row, results: list[dict[str, Any]]) -> dict[str, Any]:
    scores = [result["score"] for result in results if "score" in result]
    prediction = {"model_version": "vision-batch", "result": results}
    if scores:
        prediction["score"] = min(scores)
    return {"data": {"image": _url(job.options.image_prefix or "", row.image_id)}, "predictions": [prediction]}


def _url(prefix: str, image_id: str) -> str:
    escaped = prefix.startswith(("http://", "https://", "/data/"))
    return prefix + (quote(image_id) if escaped else image_id)


def _results(job: Job, row: Row) -> Iterator[dict[str, Any]]:
    """What Label Studio calls regions."""
    values = row.values
    if "label" in values:
        job.names.index(values["label"], values.get("label_index"))
        yield _result(0, row, "choices", [values["label"]], values.get("score"))
    elif "labels" in values:
        for label in values["labels"]:
            job.names.index(label, None)
        if values["labels"]:
            yield _result(0, row, "choices", values["labels"], None)
    elif "boxes" in values:
        for number, box in enumerate(values["boxes"]):
            job.names.index(box["label"], box.get("label_index"))
            counts = box.get("mask_rle")
            if counts is None:
                yield _result(number, row, "rectanglelabels", [box["label"]], box.get("score"), **_percent(box, row))
            else:
                rle = brush_rle(decode(counts, *reversed(row.size)) > 0)
                yield _result(number, row, "brushlabels", [box["label"]], box.get("score"), format="rle", rle=rle)
    else:
        mask = decode_mask(values["mask_png"])
        for number, entry in enumerate(values["class_pixels"] or ()):
            index = job.names.index(entry["label"], entry["label_index"])
            yield _result(
                number, row, "brushlabels", [entry["label"]], None, format="rle", rle=brush_rle(mask == index)
            )


def _result(number: int, row: Row, kind: str, labels: list[str], score: float | None, **value: Any) -> dict[str, Any]:
    scored = {} if score is None else {"score": score}
    return {
        "id": f"r{number}",
        "type": kind,
        "from_name": TAG,
        "to_name": "image",
        "original_width": row.width,
        "original_height": row.height,
        "image_rotation": 0,
        "value": {**value, kind: [_printable(label) for label in labels]},
        **scored,
    }


def _printable(label: str) -> str:
    """With a replacement for each character that XML cannot have."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", label)


def _percent(box: dict[str, Any], row: Row) -> dict[str, float]:
    width, height = (100 / side for side in row.size)
    return {
        "x": box["x_min"] * width,
        "y": box["y_min"] * height,
        "width": (box["x_max"] - box["x_min"]) * width,
        "height": (box["y_max"] - box["y_min"]) * height,
        "rotation": 0,
    }


def _config(names: list[str], kinds: list[str], *, several: bool) -> str:
    """`several` says that an image may have more labels than one."""
    controls = []
    for kind in kinds or ["choices"]:
        tag, choice = CONTROLS[kind]
        inner = "".join(f"    <{choice} value={quoteattr(_printable(name))}/>\n" for name in names)
        choices = f' choice="{"multiple" if several else "single"}"' if kind == "choices" else ""
        controls.append(f'  <{tag} name="{TAG}" toName="image"{choices}>\n{inner}  </{tag}>\n')
    return f'<View>\n  <Image name="image" value="$image"/>\n{"".join(controls)}</View>\n'
