"""From columns of boxes to objects: those of predictions, and those of truth in every form that a dataset may have."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.evaluation.mask_overlap import Masks
from vision_batch.evaluation.matching import box_area
from vision_batch.evaluation.objects import Objects
from vision_batch.tasks.box_truth import EDGES, LARGEST_PX, parse_boxes
from vision_batch.tasks.coco_mask import mask_counts

TRUE_BOXES: Final = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            *((name, pa.float64()) for name in EDGES),
            ("is_crowd", pa.bool_()),
            ("area", pa.float64()),
            ("mask_rle", pa.string()),
            ("segmentation", pa.string()),
            ("height", pa.int32()),
            ("width", pa.int32()),
        ]
    )
)
"""Truth as this package reads it; of others all behind the edges may be missing.

`segmentation` is that of a COCO annotation, as JSON, in an image of `height` and `width`: a mask that is to be drawn.
"""


BAD_BOX: Final = "a box without a label, a score or an edge, or with a mask that is none"


class Classes:
    """The classes met so far, by name; a number stands for the model's class of that index where none is called so."""

    def __init__(self, labels: tuple[str, ...] | None = None) -> None:
        self.names: list[str] = []
        self._index: dict[str, int] = {}
        names = labels or ()
        by_index = () if any(name.removeprefix("-").isdecimal() for name in names) else names
        self._called = {str(index): name for index, name in enumerate(by_index)}

    def indices(self, names: pa.Array) -> NDArray[np.int64]:
        """The numbers (n,) of named classes; a name that is new gets the next one."""
        encoded = pc.dictionary_encode(names)
        known = np.array([self._of(name) for name in encoded.dictionary.to_pylist()], np.int64)
        indices: NDArray[np.int64] = known[encoded.indices.to_numpy(zero_copy_only=False)]
        return indices

    def _of(self, name: str) -> int:
        name = self._called.get(name, name)
        if name not in self._index:
            self._index[name] = len(self.names)
            self.names.append(name)
        return self._index[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """The objects of a column of n images, whose masks are numbered like the objects.

    `is_refused` (n,) are the images whose boxes cannot be understood, which have no objects here, and `reason` says why
    of one of them. `has_masks` (n,) are the images all of whose objects have a mask.
    """

    objects: Objects
    masks: Masks
    is_refused: NDArray[np.bool_]
    has_masks: NDArray[np.bool_]
    reason: str | None


def read_found(column: pa.ChunkedArray, classes: Classes) -> Boxes:
    """The boxes of predictions; images that failed have none. SpecError where the column has none at all."""
    column = _with_lists(column)
    if not (pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type)):
        raise SpecError(Problem("boxes", f"a column of {column.type}", "a list of structs with label, score and edges"))
    reader = _Reader(array=column.combine_chunks(), classes=classes)
    return reader.boxes(reader.number("score").astype(np.float32), BAD_BOX)


def read_true(column: pa.ChunkedArray, classes: Classes, *, masks: bool = True) -> Boxes:
    """The boxes of truth, in any form that `parse_boxes` takes. SpecError for columns that cannot hold boxes.

    Without `masks` those of COCO's annotations are not drawn, unless an area has to be known from them.
    """
    column = _with_lists(column)
    reasons: list[str | None] = [None] * len(column)
    if _is_plain(column.type):
        array = column.combine_chunks()
    elif _may_hold_boxes(column.type):
        array = _parsed(column, reasons)
    else:
        raise SpecError(
            Problem("truth", f"a column of {column.type}", "boxes: lists of structs, or their text in JSON")
        )
    reader = _Reader(array=array, classes=classes)
    reader.draws_masks = masks or bool(np.isnan(reader.number("area")).any())
    boxes = reader.boxes(np.zeros(len(reader.image), np.float32), None)
    refused = boxes.is_refused | array.is_null().to_numpy(zero_copy_only=False)
    first = next(iter(np.flatnonzero(refused).tolist()), None)
    reason = None if first is None else reasons[first] or _why(column[first].as_py())
    return replace(boxes, is_refused=refused, reason=reason)


def _with_lists(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """With the ordinary kind of list, where a writer chose the one for very many entries."""
    return column.cast(pa.list_(column.type.value_type)) if pa.types.is_large_list(column.type) else column


def _is_plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own columns can be taken as they are."""
    if not (pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    names = [kind.value_type.field(index).name for index in range(kind.value_type.num_fields)]
    if not {"label", *EDGES} <= set(names):
        return False
    edges = (kind.value_type.field(name).type for name in EDGES)
    if not all(pa.types.is_integer(edge) or pa.types.is_floating(edge) for edge in edges):
        return False
    label = kind.value_type.field("label").type
    return any(test(label) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer))


def _may_hold_boxes(kind: pa.DataType) -> bool:
    tests = pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_struct, pa.types.is_list
    return any(test(kind) for test in tests)


def _parsed(column: pa.ChunkedArray, reasons: list[str | None]) -> pa.Array:
    """Row by row; null, with a reason, where a row is not understood."""
    rows: list[list[dict[str, Any]] | None] = []
    for number, value in enumerate(column.to_pylist()):
        try:
            boxes = parse_boxes(value)
        except ImageError as error:
            reasons[number] = error.message
            rows.append(None)
        else:
            rows.append([asdict(box) for box in boxes])
    return pa.array(rows, TRUE_BOXES)


def _why(value: Any) -> str:
    """What is wrong with the boxes of one image."""
    try:
        parse_boxes(value)
    except ImageError as error:
        return error.message
    return "a box has a mask that is none"


@dataclass(slots=True, kw_only=True)
class _Reader:
    """A list<struct> column, flattened."""

    array: pa.Array
    classes: Classes
    draws_masks: bool = False
    image: NDArray[np.int64] = field(init=False)
    _flat: pa.Array = field(init=False)

    def __post_init__(self) -> None:
        self.image = pc.list_parent_indices(self.array).to_numpy(zero_copy_only=False).astype(np.int64)
        self._flat = pc.list_flatten(self.array)

    def column(self, name: str) -> pa.Array | None:
        """A field of the structs, None where they have no such field."""
        return pc.struct_field(self._flat, name) if self._flat.type.get_field_index(name) >= 0 else None

    def number(self, name: str) -> NDArray[np.float64]:
        """A field as numbers (n,), nan where it is null or missing."""
        column = self.column(name)
        if column is None:
            return np.full(len(self.image), np.nan)
        try:
            numbers: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowException as error:
            raise SpecError(Problem(f"{name} of boxes", f"{column.type}: {error}", "numbers")) from None
        return numbers

    def boxes(self, score: NDArray[np.float32], bad: str | None) -> Boxes:
        """All that was understood; `bad` is what is said of an image that was not."""
        edges = np.stack([self.number(name) for name in EDGES], axis=1)
        names = self.column("label")
        names = pa.nulls(len(edges), pa.string()) if names is None else names.cast(pa.string())
        label = pc.fill_null(pc.utf8_trim_whitespace(names), "")
        masks, is_mask, is_bad_mask = _masks(self._mask_texts(), len(self.image))
        crowd, area = self.number("is_crowd"), self.number("area")
        good = (np.abs(edges) <= LARGEST_PX).all(axis=1) & (edges[:, :2] <= edges[:, 2:]).all(axis=1)
        good &= ~np.isnan(score) & ~is_bad_mask & pc.not_equal(label, "").to_numpy(zero_copy_only=False)
        good &= np.isnan(crowd) | (crowd == 0) | (crowd == 1)
        refused, has_masks = np.zeros(len(self.array), np.bool_), np.ones(len(self.array), np.bool_)
        refused[self.image[~good]] = True
        has_masks[self.image[~is_mask]] = False
        known_area = np.where(is_mask, masks.area, box_area(edges))
        objects = Objects(
            image=self.image,
            label=self.classes.indices(label),
            edges=edges,
            area=np.where(np.isnan(area), known_area, area),
            score=score,
            is_crowd=crowd == 1,
            mask=np.arange(len(self.image)),
        )
        kept = objects.take(np.flatnonzero(~refused[self.image]))
        reason = bad if refused.any() else None
        return Boxes(objects=kept, masks=masks, is_refused=refused, has_masks=has_masks, reason=reason)

    def _mask_texts(self) -> pa.Array | None:
        """The compressed counts of masks, drawn where they are outlines yet; null without a mask."""
        outlines = self.column("segmentation")
        if outlines is None or not self.draws_masks:
            return self.column("mask_rle")
        sizes = (pc.struct_field(self._flat, name).to_pylist() for name in ("height", "width"))
        return pa.array(map(_drawn, outlines.to_pylist(), *sizes), pa.string())


def _drawn(segmentation: str | None, height: int | None, width: int | None) -> str | None:
    """The mask's counts; a text that is none where they cannot be had."""
    if segmentation is None:
        return None
    try:
        return mask_counts(json.loads(segmentation), height or 0, width or 0)
    except ValueError:
        return "no mask"


def _masks(texts: pa.Array | None, count: int) -> tuple[Masks, NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask for each object, empty where it has none; whether it has one, and whether that is none (n,)."""
    if texts is None:
        return Masks.none(count), np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    counts = pc.fill_null(texts, _NO_MASK).to_pylist()
    is_mask = pc.is_valid(texts).to_numpy(zero_copy_only=False)
    bad = np.zeros(count, np.bool_)
    try:
        return Masks.of(counts), is_mask, bad
    except ValueError:
        for number, each in enumerate(counts):
            try:
                Masks.of([each])
            except ValueError:
                bad[number] = True
                counts[number] = _NO_MASK
        return Masks.of(counts), is_mask, bad


_NO_MASK: Final = "0"
"""COCO's text of one run without pixels."""
