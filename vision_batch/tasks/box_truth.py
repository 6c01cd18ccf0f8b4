"""What a dataset says of the objects in an image: their boxes and classes, perhaps their masks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vision_batch.datasets.naming import shortened
from vision_batch.errors import ImageError
from vision_batch.tasks.class_index import class_name

EDGES: Final = ("x_min", "y_min", "x_max", "y_max")
LARGEST_PX: Final = 1e9
EXPECTED: Final = "a list of boxes, each with label, x_min, y_min, x_max and y_max in pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrueBox:
    """One object: its edges in pixels of the full image as shown, 0 at the left and upper edge.

    `is_crowd` says that the box is around many objects of its class, so that none of them is to be found by itself.
    `mask_rle` has the object's pixels as COCO's compressed counts, of the size of the image. `area` is how large the
    object is in square pixels, where that is known otherwise than by its box or mask.
    """

    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    is_crowd: bool = False
    mask_rle: str | None = None
    area: float | None = None

    @property
    def edges(self) -> tuple[float, float, float, float]:
        return self.x_min, self.y_min, self.x_max, self.y_max


def parse_boxes(value: Any) -> tuple[TrueBox, ...]:
    """The boxes that a label says; an empty list is an image without any.

    `value` is a list of mappings (structs of Parquet), its text in JSON, or an object that has it as `boxes`. Other
    keys than those of a TrueBox mean nothing here. A box may be empty, but not turned round. ImageError `invalid_label`
    for all else.
    """
    if isinstance(value, str | bytes):
        value = _parsed(value)
    if isinstance(value, Mapping):
        value = value.get("boxes")
    if not isinstance(value, list | tuple):
        raise _invalid(f"the label is {_shown(value)}; expected {EXPECTED}")
    return tuple(_box(number, box) for number, box in enumerate(value))


def _parsed(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the label is no JSON: {error}; expected {EXPECTED}") from error


def _box(number: int, box: Any) -> TrueBox:
    if not isinstance(box, Mapping):
        raise _invalid(f"box {number} is {_shown(box)}; expected {EXPECTED}")
    try:
        label = class_name(box.get("label"))
    except ImageError as error:
        raise _invalid(f"box {number}: {error.message}") from error
    x_min, y_min, x_max, y_max = (_number(number, name, box.get(name)) for name in EDGES)
    if x_max < x_min or y_max < y_min:
        found = f"from ({x_min:g}, {y_min:g}) to ({x_max:g}, {y_max:g})"
        raise _invalid(f"box {number} goes {found}; expected x_min <= x_max and y_min <= y_max")
    mask_rle = box.get("mask_rle")
    if not isinstance(mask_rle, str | None):
        raise _invalid(f"box {number}: mask_rle is {_shown(mask_rle)}; expected the text of COCO's compressed counts")
    return TrueBox(
        label=label,
        x_min=x_min,
        y_min=y_min,
        x_max=x_max,
        y_max=y_max,
        is_crowd=_is_crowd(number, box.get("is_crowd")),
        mask_rle=mask_rle,
        area=None if box.get("area") is None else _number(number, "area", box["area"]),
    )


def _number(number: int, name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= LARGEST_PX:
        raise _invalid(f"box {number}: {name} is {_shown(value)}; expected a number of pixels")
    return float(value)


def _is_crowd(number: int, value: Any) -> bool:
    if value not in (None, 0, 1):  # booleans are 0 and 1
        raise _invalid(f"box {number}: is_crowd is {_shown(value)}; expected true or false")
    return bool(value)


def _shown(value: Any) -> str:
    return "nothing" if value is None else shortened(f"{type(value).__name__} {value!r}", 80)


def _invalid(message: str) -> ImageError:
    return ImageError("invalid_label", message)
