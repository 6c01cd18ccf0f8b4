"""Masks, from tars with masks to a table with masks, in both layouts on real Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.datasets.archives import written
from tests.images.pictures import oriented
from tests.integration.job import Job

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

BRIGHT = """
import torch

class Bright(torch.nn.Module):
    def forward(self, images):
        white = torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 2)
        return torch.cat([-white, white], dim=1)

build = Bright
"""
SIZES = [(90, 60), (40, 120), (33, 31), (200, 100)]


def scene(number: int) -> tuple[NDArray[np.uint8], bytes]:
    """White where the mask is 1, as it is to be shown; its file may be stored turned."""
    width, height = SIZES[number % len(SIZES)]
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2 + number, width // 3 :] = 1
    if number % 2:
        stored = Image.fromarray(255 * np.rot90(mask)).convert("RGB")
        return mask, oriented(stored, "png", 6)
    return mask, oriented(Image.fromarray(255 * mask).convert("RGB"), "png", 1)


@pytest.fixture(scope="module")
def scenes() -> list[tuple[NDArray[np.uint8], bytes]]:
    return [scene(number) for number in range(12)]


def test_masks_have_the_pictures_own_sizes_in_both_layouts(
    job: MakeJob, ray_address: str, scenes: list[tuple[NDArray[np.uint8], bytes]]
) -> None:
    it = job(
        code=BRIGHT,
        input={"uri": "data/", "label_column": "mask.png"},
        model={"source": "python:model_code:build", "labels": ["black", "white"]},
        task={"type": "segmentation"},
        preprocess={"letterbox_px": 64, "mean": [0.5] * 3, "std": [0.5] * 3},
    )
    table = table_of_both_layouts(it, ray_address, scenes)
    for row, (mask, _) in zip(table.to_pylist(), scenes, strict=True):
        assert unpacked(row["truth"]).tolist() == mask.tolist()
        if row["error_code"] is None:
            assert_agrees(row, mask)
        else:
            assert (row["mask_png"], row["class_pixels"]) == (None, None)


def test_tiles_give_masks_at_full_size_in_both_layouts(
    job: MakeJob, ray_address: str, scenes: list[tuple[NDArray[np.uint8], bytes]]
) -> None:
    it = job(
        code=BRIGHT.replace("torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 2)", "images[:, :1]"),
        input={"uri": "data/", "label_column": "mask.png"},
        model={"source": "python:model_code:build", "labels": ["black", "white"]},
        task={"type": "segmentation", "tile_px": 32, "tile_overlap": 0.5},
        preprocess={"mean": [0.5] * 3, "std": [0.5] * 3},
    )
    for row in table_of_both_layouts(it, ray_address, scenes).to_pylist():
        assert (row["mask_png"] is None) == (row["error_code"] is not None)
        if row["error_code"] is None:
            assert (unpacked(row["mask_png"]) == unpacked(row["truth"])).all()


def table_of_both_layouts(it: Job, ray_address: str, scenes: list[tuple[NDArray[np.uint8], bytes]]) -> pa.Table:
    """The rows of the job, one of whose pictures is cut off: the same ones whatever the layout."""
    members = []
    for number, (mask, data) in enumerate(scenes):
        content = data[: len(data) // 2] if number == 5 else data
        members += [(f"{number}.jpg", content), (f"{number}.mask.png", cv2.imencode(".png", mask)[1].tobytes())]
    it.data.mkdir()
    (it.data / "a.tar").write_bytes(written(members))
    return it.table_of_both_layouts(ray_address, images_ok=11, failures={"truncated": 1})


def unpacked(data: bytes) -> NDArray[Any]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def assert_agrees(row: dict[str, Any], truth: NDArray[np.uint8]) -> None:
    """But for a line along the edges, as wide as a pixel of the logits."""
    mask = unpacked(row["mask_png"])
    assert (mask.shape, mask.shape[::-1]) == (truth.shape, (row["width"], row["height"]))
    wide = 2 * int(np.ceil(2 * max(truth.shape) / 64)) + 1
    edge = cv2.dilate(truth, np.ones((wide, wide), np.uint8)) != cv2.erode(truth, np.ones((wide, wide), np.uint8))
    assert (mask == truth)[~edge].all()
    assert (mask == truth).mean() > 0.95
    assert {each["label"]: each["pixels"] for each in row["class_pixels"]} == {
        "black": int((mask == 0).sum()),
        "white": int((mask == 1).sum()),
    }
