"""The good rows of predictions, with the images behind them where these are copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from vision_batch.export.error_list import ErrorList
from vision_batch.export.json_text import json_text
from vision_batch.ledger.predictions import KIND_COLUMNS, Predictions
from vision_batch.ledger.schema import COMMON_FIELDS
from vision_batch.ledger.source_images import SourceImage, SourceImages
from vision_batch.tasks.box_truth import EDGES
from vision_batch.tasks.settings import Kind

SLICE_ROWS: Final = 256
"""How many rows are Python objects at a time: of embeddings and masks each is large."""
COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {
    "classification": ("label", "label_index", "score", "top_labels", "top_scores"),
    "multi_label": ("labels", "label_scores"),
    "detection": ("boxes",),
    "segmentation": ("mask_png", "class_pixels"),
    "embedding": ("embedding",),
}
"""Of these, the ones that the table has are exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The prediction of a good image, which has `width` and `height` in pixels where these are known.

    `values` are the task's columns; `data` is the encoded image where it is copied.
    """

    image_id: str
    shard: str | None
    row: int | None
    width: int | None
    height: int | None
    values: dict[str, Any]
    data: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, of rows that were to be `sized`."""
        assert self.width is not None
        assert self.height is not None
        return self.width, self.height


def good_rows(
    predictions: Predictions, errors: ErrorList, min_score: float | None = None, *, sized: bool = False
) -> Iterator[Row]:
    """Every row that has a prediction, a name and, if they are to be `sized`, a size; the others go to `errors`.

    With `min_score` an image keeps the boxes or labels of at least this score. One with a single label of less is still
    given: `is_below` says so.
    """
    wanted = [name for name in COLUMNS[predictions.kind] if name in predictions.schema.names]
    least = None if min_score is None else np.float32(min_score)  # as scores are: 0.7 is not below itself
    for fields in _fields(predictions, [*(field.name for field in COMMON_FIELDS), *wanted]):
        code, error = fields.pop("error_code"), fields.pop("error")
        if code is None:
            code, error = _lacking(fields, KIND_COLUMNS[predictions.kind], sized=sized)
        if code is not None:
            errors.add(fields["image_id"], fields["shard"], fields["row"], code, error)
            continue
        values = {name: fields.pop(name) for name in wanted}
        yield Row(**fields, values=values if least is None else _at_least(values, least))


def _lacking(fields: dict[str, Any], column: str, *, sized: bool) -> tuple[str | None, str | None]:
    """What keeps a row of a table from elsewhere away."""
    if fields["image_id"] is None:
        return "no_name", "image_id is null"
    if fields[column] is None:
        return "no_prediction", f"{column} is null"
    if broken := _broken(fields):
        return "bad_prediction", broken
    if sized and not (fields["width"] and fields["height"]):
        return "no_size", "the places of boxes and masks need the image's width and height"
    return None, None


def _broken(fields: dict[str, Any]) -> str | None:
    """What of labels and boxes nobody can name or place; masks are left to who decodes them."""
    for box in fields.get("boxes") or ():
        if box is None or any(box.get(name) is None for name in ("label", *EDGES)):
            return f"a box has no label or no edges: {box}"
    if None in (fields.get("labels") or ()):
        return "a label is null"
    try:
        json_text([fields.get(name) for name in ("boxes", "score", "top_scores", "label_scores")])
    except ValueError:
        return "a score or an edge is NaN or infinite"
    return None


def is_below(row: Row, min_score: float | None) -> bool:
    """Whether the row's only label has a lower score."""
    return min_score is not None and _is_less(row.values.get("score"), np.float32(min_score))


def with_images(rows: Iterator[Row], source: SourceImages, errors: ErrorList) -> Iterator[Row]:
    """The rows with their images' bytes; one whose image cannot be read any more goes to `errors`.

    Both come in the order of the parts, so that each shard is read once and nothing is kept.
    """
    images = source.all()
    image = next(images, None)
    for row in rows:
        place = source.place(row.shard or "", row.row or 0)
        while image is not None and source.place(image.shard, image.row) < place:
            image = next(images, None)
        found = image if image is not None and (image.shard, image.row) == (row.shard, row.row) else None
        if found is None or found.data is None:
            errors.add(row.image_id, row.shard, row.row, "not_copied", _reason(found))
        else:
            yield replace(row, data=found.data)


def _is_less(score: float | None, least: np.float32) -> bool:
    return score is not None and bool(score < least)


def _reason(image: SourceImage | None) -> str | None:
    return "the output has changed while it was exported; export again" if image is None else image.error


def _fields(predictions: Predictions, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    for batch in predictions.batches(columns):
        for start in range(0, batch.num_rows, SLICE_ROWS):
            yield from batch.slice(start, SLICE_ROWS).to_pylist()


def _at_least(values: dict[str, Any], least: np.float32) -> dict[str, Any]:
    if "boxes" in values:
        return {"boxes": [box for box in values["boxes"] if not _is_less(box.get("score"), least)]}
    if "label_scores" in values:
        pairs = [pair for pair in zip(values["labels"], values["label_scores"], strict=True) if pair[1] >= least]
        return {"labels": [label for label, _ in pairs], "label_scores": [score for _, score in pairs]}
    return values
