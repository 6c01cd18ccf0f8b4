"""What predictions of each kind say: which label, of which row, how surely."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mentions:
    """M labels that were given: `labels` their names, `rows` (M,) the places of their images in the batch.

    `scores` (M,) are the model's, or of masks the share of the image that the class has.
    """

    labels: pa.Array
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A label that one image was given."""

    label: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How predictions of one kind are read, and the words for them.

    `read` takes good rows with `columns`. `shown` are the columns that are read of a row which is shown. A label is
    given to so many `counted`; `score` says what the numbers are, `most` and `least` which images have extreme ones.
    `is_of_image`: whether numbers of different labels can be compared.
    """

    columns: tuple[str, ...]
    read: Callable[[pa.Table], Mentions]
    shown: tuple[str, ...] = ()
    counted: str = "images"
    score: str = "score"
    most: str = "most certain"
    least: str = "least certain"
    is_of_image: bool = True


def _classification(rows: pa.Table) -> Mentions:
    return Mentions(
        labels=_whole(rows["label"]), rows=np.arange(len(rows), dtype=np.int64), scores=_floats(rows["score"])
    )


def _multi_label(rows: pa.Table) -> Mentions:
    labels, scores = _whole(rows["labels"]), _whole(rows["label_scores"])
    if not np.array_equal(_parents(labels), _parents(scores)):
        raise SpecError(Problem("label_scores", "more or fewer than labels", "one for each of the labels of an image"))
    return Mentions(labels=labels.flatten(), rows=_parents(labels), scores=_floats(scores.flatten()))


def _detection(rows: pa.Table) -> Mentions:
    boxes = _whole(rows["boxes"])
    inside = boxes.flatten()
    return Mentions(labels=_field(inside, "label"), rows=_parents(boxes), scores=_floats(_field(inside, "score")))


def _segmentation(rows: pa.Table) -> Mentions:
    classes = _whole(rows["class_pixels"])
    inside, parents = classes.flatten(), _parents(classes)
    pixels = _floats(_field(inside, "pixels")).astype(np.float64)
    whole = np.bincount(parents, pixels, len(rows))[parents]
    share = np.divide(pixels, whole, out=np.zeros_like(pixels), where=whole > 0)
    seen = pixels > 0
    return Mentions(
        labels=_field(inside, "label").filter(pa.array(seen)), rows=parents[seen], scores=share[seen].astype(np.float32)
    )


def _embedding(rows: pa.Table) -> Mentions:
    return Mentions(labels=pa.array([], pa.string()), rows=np.empty(0, np.int64), scores=np.empty(0, np.float32))


KINDS: Final[dict[str, Kind]] = {
    "classification": Kind(columns=("label", "score"), read=_classification, shown=("label", "score")),
    "multi_label": Kind(columns=("labels", "label_scores"), read=_multi_label, shown=("labels", "label_scores")),
    "detection": Kind(columns=("boxes",), read=_detection, shown=("boxes",), counted="boxes"),
    "segmentation": Kind(
        columns=("class_pixels",),
        read=_segmentation,
        shown=("class_pixels", "mask_png"),
        score="area",
        most="largest area",
        least="smallest area",
        is_of_image=False,
    ),
    "embedding": Kind(columns=(), read=_embedding),
}


def told(kind: str, row: Mapping[str, Any]) -> list[Told]:
    """The labels of one row, the surest first; none of an error row."""
    found: list[tuple[str, float]] = []
    if kind == "classification" and row.get("label") is not None:
        found = [(row["label"], row["score"])]
    elif kind == "multi_label":
        found = list(zip(row.get("labels") or (), row.get("label_scores") or (), strict=False))
    elif kind == "detection":
        found = [(box["label"], box["score"]) for box in row.get("boxes") or ()]
    elif kind == "segmentation":
        classes = row.get("class_pixels") or ()
        whole = sum(seen["pixels"] for seen in classes) or 1
        found = [(seen["label"], seen["pixels"] / whole) for seen in classes if seen["pixels"]]
    named = [Told(label=label or "", score=float("nan") if score is None else score) for label, score in found]
    return sorted(named, key=lambda mention: -mention.score)


def _field(structs: pa.StructArray, name: str) -> pa.Array:
    """One field of predictions; SpecError where foreign ones have not that field."""
    if structs.type.get_field_index(name) < 0:
        raise SpecError(Problem("predictions", f"a list of {structs.type}", f"structs with the field {name}"))
    return structs.field(name)


def _parents(lists: pa.Array) -> NDArray[np.int64]:
    """The row of each element of the lists."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths)


def _floats(values: Any) -> NDArray[np.float32]:
    """(M,) float32, NaN where there is nothing."""
    return np.asarray(pc.cast(values, pa.float32()).to_numpy(zero_copy_only=False), np.float32)


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """One array of what may be in several."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
