"""Boxes on their way from a label to a module that learns from them: K boxes an image, another K for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from vision_batch.tasks.box_truth import parse_boxes
from vision_batch.tasks.class_index import class_index
from vision_batch.tasks.task import Target

if TYPE_CHECKING:
    import torch

    from vision_batch.images.example import Example

NO_BOX: Final = -1.0
"""What a row is filled with where an image has fewer boxes than another one of its batch; as a class there is none."""


def box_names(truth: Any) -> tuple[str, ...]:
    """The classes of the boxes, each once, crowds too."""
    return tuple(dict.fromkeys(box.label for box in parse_boxes(truth)))


def box_target(truth: Any, labels: tuple[str, ...]) -> Target:
    """The boxes to be found: those of crowds are left out. ImageError where a class is none of `labels`."""
    from vision_batch.images.example import Annotation

    boxes = parse_boxes(truth)
    indices = [class_index(box.label, labels) for box in boxes]
    found = [(box.edges, index) for box, index in zip(boxes, indices, strict=True) if not box.is_crowd]
    corners = np.array([edges for edges, _ in found], np.float32).reshape(-1, 4)
    return Target(annotation=Annotation(boxes=corners, box_labels=np.array([index for _, index in found], np.int64)))


def packed(examples: Sequence[Example]) -> NDArray[np.float32]:
    """The boxes of n examples, float32 (n, K, 5): class, x_min, y_min, x_max, y_max in the model's pixels."""
    return stacked([_row(example) for example in examples]) if examples else np.empty((0, 0, 5), np.float32)


def _row(example: Example) -> NDArray[np.float32]:
    assert example.boxes is not None, "its target has boxes, be they none"
    assert example.box_labels is not None
    return np.column_stack([example.box_labels, example.boxes]).astype(np.float32)


def stacked(rows: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Targets of images as those of a batch; rows (K, 5) of unequal length are filled up with NO_BOX."""
    longest = max(row.shape[:1] for row in rows)
    if all(row.shape[:1] == longest for row in rows):
        return np.stack(rows)
    return np.stack([np.pad(row, ((0, longest[0] - len(row)), (0, 0)), constant_values=NO_BOX) for row in rows])


def unpacked(targets: torch.Tensor, images: int) -> list[dict[str, torch.Tensor]]:
    """What a module is given beside `images` images, which may be more than there are targets (n, K, 5).

    For each image `boxes` float32 (K, 4), x_min, y_min, x_max, y_max in pixels of its input, and `labels` int64 (K,).
    """
    filled = targets.new_full((max(0, images - len(targets)), 1, 5), NO_BOX)
    found = [row[row[:, 0] != NO_BOX] for part in (targets, filled) for row in part]
    return [{"boxes": row[:, 1:], "labels": row[:, 0].long()} for row in found]
