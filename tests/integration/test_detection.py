"""Boxes and masks of things, from a folder of pictures to a table, in both layouts on real Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.images.pictures import oriented
from tests.integration.job import Job
from vision_batch.tasks.rle import decode

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

BRIGHT = """
import cv2
import torch

class BrightThings(torch.nn.Module):
    \"\"\"Finds each bright thing twice, the second time less surely and a little to the right.\"\"\"

    def forward(self, images):
        return [self.found(image.mean(dim=0)) for image in images]

    def found(self, white):
        count, parts, stats, _ = cv2.connectedComponentsWithStats((white > 0.5).byte().numpy())
        left, top, width, height, _ = torch.from_numpy(stats[1:]).float().unbind(dim=1)
        boxes = torch.stack([left, top, left + width, top + height], dim=1)
        masks = torch.stack([torch.from_numpy(parts == k) for k in range(1, count)]) if count > 1 else white[None][:0]
        return {
            "boxes": torch.cat([boxes, boxes + torch.tensor([1, 0, 1, 0])]),
            "scores": torch.cat([torch.full((len(boxes),), 0.75), torch.full((len(boxes),), 0.5)]),
            "labels": (width > height).long().repeat(2),
            "masks": torch.cat([masks, masks]),
        }

build = BrightThings
"""
CORNERS = ("x_min", "y_min", "x_max", "y_max")
SIZES = [(128, 96), (64, 128), (48, 64)]
"""What a letterbox of 64 px halves or leaves as it is, so that boxes and masks are exact."""


def things_of(number: int) -> list[tuple[int, int, int, int]]:
    """Boxes in twelfths of a picture's sides, as shown; none in every fourth one."""
    return [(0, 0, 4, 2), (6, 3, 9, 12), (1, 6, 4, 8)][: number % 4]


def scene(number: int) -> tuple[NDArray[np.uint8], list[tuple[int, ...]], bytes]:
    """The picture as shown, its boxes in pixels, and a file, which may be stored turned."""
    width, height = SIZES[number % len(SIZES)]
    shown = np.zeros((height, width), np.uint8)
    step = 4 * max(width, height) // 64
    boxes = []
    for left, top, right, bottom in things_of(number):
        edges = left * width, top * height, right * width, bottom * height
        box = tuple(step * round(edge / 12 / step) for edge in edges)
        shown[box[1] : box[3], box[0] : box[2]] = 255
        boxes.append(box)
    turned = number % 2 == 1
    stored = Image.fromarray(np.rot90(shown) if turned else shown).convert("RGB")
    return shown, boxes, oriented(stored, "png", 6 if turned else 1)


def test_things_are_found_where_they_are_in_both_layouts(job: MakeJob, ray_address: str) -> None:
    it = job(
        code=BRIGHT,
        model={"source": "python:model_code:build", "labels": ["high", "wide"]},
        task={"type": "detection", "nms_iou": 0.5, "masks": True},
        preprocess={"letterbox_px": 64, "mean": [0, 0, 0], "std": [1, 1, 1]},
    )
    scenes = [scene(number) for number in range(12)]
    it.data.mkdir()
    for number, (_, _, data) in enumerate(scenes):
        (it.data / f"{number:02d}.png").write_bytes(data[: len(data) // 2] if number == 5 else data)
    table = it.table_of_both_layouts(ray_address, images_ok=11, failures={"truncated": 1})
    for row, (shown, boxes, _) in zip(table.to_pylist(), scenes, strict=True):
        if row["error_code"] is None:
            assert_found(row["boxes"], boxes, shown)
        else:
            assert row["boxes"] is None


def assert_found(found: list[dict[str, Any]], boxes: list[tuple[int, ...]], shown: NDArray[np.uint8]) -> None:
    """Each thing once, exactly; the model names the scores and, by the shape, the classes."""
    assert {tuple(thing[corner] for corner in CORNERS) for thing in found} == set(boxes)
    assert len(found) == len(boxes)
    masks = np.zeros(shown.shape, np.uint8)
    for thing in found:
        is_wide = thing["x_max"] - thing["x_min"] > thing["y_max"] - thing["y_min"]
        assert (thing["label"], thing["score"]) == ("wide" if is_wide else "high", 0.75)
        masks += decode(thing["mask_rle"], *shown.shape)
    assert (masks == shown // 255).all()
