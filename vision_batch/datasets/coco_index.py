"""What a COCO JSON says of each image, in as little memory as that can take: a worker has it once for all its shards.

Source of the format: https://cocodataset.org/#format-data (object detection).
"""

from __future__ import annotations

import json
import math
import threading
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np

from vision_batch.datasets.json_arrays import json_arrays
from vision_batch.datasets.naming import shortened
from vision_batch.errors import ChangedError, ImageError, Problem, SpecError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for

LARGEST_EDGE: Final = 1e30
"""Far below the largest float32, far above any picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoIndex:
    """Images in the file's order; annotations as JSON by their image's id."""

    names: tuple[str, ...]
    ids: tuple[Any, ...]
    annotations: dict[Any, str]
    categories: dict[Any, str]

    def boxes(self, row: int) -> list[dict[str, Any]]:
        """The truth of an image: what `parse_boxes` takes. ImageError `invalid_label` for an annotation that is none.

        A mask is there where the file has it as compressed runs; polygons are left to `evaluate`, which draws them.
        """
        text = self.annotations.get(self.ids[row])
        return [] if text is None else [self._box(annotation) for annotation in json.loads(f"[{text}]")]

    def labels(self, row: int) -> list[str]:
        """The classes of an image's objects, each once, in alphabetical order."""
        return sorted({box["label"] for box in self.boxes(row)})

    def _box(self, annotation: list[Any]) -> dict[str, Any]:
        number, category, bbox, is_crowd, mask = annotation
        try:
            x, y, width, height = map(float, bbox)
            label = self.categories[category]
            if not all(map(math.isfinite, (x, y, width, height))) or min(width, height) < 0:
                raise ValueError("no box")
        except (KeyError, TypeError, ValueError) as error:
            found = shortened(f"category_id {category!r}, bbox {bbox!r}", 80)
            expected = "the id of a category, and [x, y, width, height]"
            raise ImageError("invalid_label", f"annotation {number!r} has {found}; expected {expected}") from error
        edges = {"x_min": x, "y_min": y, "x_max": edge(x + width), "y_max": edge(y + height)}
        return {"label": label, **edges, "is_crowd": bool(is_crowd), "mask_rle": mask}


def edge(total: float) -> float:
    """A sum of float64 without its rounding: the float32 that is as near as that, if one is, as edges of boxes are."""
    if abs(total) > LARGEST_EDGE:
        return total
    near = float(np.float32(total))
    return near if abs(near - total) <= abs(total) * 2**-50 else total


def read_coco(file: ObjectInfo) -> CocoIndex:
    """Of this version of the file. SpecError where it is not COCO's; the storage's errors pass."""
    annotations: defaultdict[Any, list[str]] = defaultdict(list)
    names, ids, categories = [], [], {}
    try:
        with storage_for(file.uri).open(file) as stream:
            for section, item in json_arrays(stream):
                if section == "images":
                    names.append(_text(item["file_name"]))
                    ids.append(_key(item["id"]))
                elif section == "annotations":
                    annotations[_key(item["image_id"])].append(_compact(item))
                elif section == "categories":
                    categories[_key(item["id"])] = _text(item["name"])
        if not names:
            raise ValueError("no images")
        if len(set(ids)) < len(ids):
            raise ValueError("two images of one id")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        found = f"{type(error).__name__}: {shortened(str(error))}"
        raise SpecError(Problem(file.uri, found, "COCO's JSON, with images, annotations and categories")) from error
    return CocoIndex(
        names=tuple(names),
        ids=tuple(ids),
        annotations={key: ",".join(texts) for key, texts in annotations.items()},
        categories=categories,
    )


def coco_index(file: ObjectInfo) -> CocoIndex:
    """The same for who reads shards of a planned file, which cannot be another one by now: read once, then kept."""
    try:
        with _READING:
            return _kept(file)
    except SpecError as error:
        raise ChangedError(file.uri, f"came otherwise than when it was planned: {error}") from error


_kept: Final = lru_cache(maxsize=2)(read_coco)
_READING: Final = threading.Lock()
"""Threads that begin shards of one file together wait for the first one to read it."""


def _compact(annotation: dict[str, Any]) -> str:
    segmentation = annotation.get("segmentation")
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    mask = counts if isinstance(counts, str) else None
    kept = [annotation.get(key) for key in ("id", "category_id", "bbox", "iscrowd")]
    return json.dumps([*kept, mask], separators=(",", ":"))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no name")
    return value.encode("utf-8", "backslashreplace").decode()  # JSON can say halves of a character


def _key(value: Any) -> Any:
    if not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no id")
    return value
