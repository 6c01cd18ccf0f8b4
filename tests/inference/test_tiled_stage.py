"""Images in tiles: a mask at full size for each, and what a model does wrong costs the images that it is wrong for."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from vision_batch.errors import ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.inference.batch_size import BatchSize
from vision_batch.inference.chunk import DecodedChunk, Place, PredictedChunk, Row
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.inference.tiled_stage import TiledStage
from vision_batch.ledger.schema import output_schema
from vision_batch.models.predictor import Predictor
from vision_batch.models.tile_blend import TileBlend
from vision_batch.tasks.segmentation import Segmentation

TILE_PX = 32
POISON, NAN = 255, 254
LABELS = ("dark", "bright")


class Bright(torch.nn.Module):
    """Class 1 where a pixel is above 100 of 255. It fails on a tile with a POISON, and gives NaN for one with a NAN."""

    def __init__(self, most: int | None = None) -> None:
        super().__init__()
        self.most = most
        self.batches: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(images))
        if self.most is not None and len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        values = images[:, :1] * 255
        if (values.round() == POISON).any():
            raise ValueError("poison")
        values = torch.where(values.round() == NAN, torch.nan, values)
        return torch.cat([100.5 - values, values - 100.5], dim=1)


def stage(model: torch.nn.Module, labels: tuple[str, ...] | None = LABELS) -> TiledStage:
    task = Segmentation(labels=labels, tile_px=TILE_PX, tile_overlap=0.25)
    blend = TileBlend(model, TILE_PX, task.check)
    predictor = Predictor(blend, mean=[0] * 3, std=[1] * 3, precision="fp32", device=torch.device("cpu"))
    schema = output_schema(task.fields(), [])
    return TiledStage(predictor, blend, task, schema, batch_size=BatchSize(8, trial=False), threads=1)


def chunk(pixels: np.ndarray | None, index: int = 0) -> DecodedChunk:
    """Of one image; None for one that could not be decoded."""
    here = Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=0)
    height, width = (None, None) if pixels is None else pixels.shape[:2]
    row = Row(row=index, image_id=f"i{index}", width=width, height=height, geometry=here)
    row.error_code = "empty" if pixels is None else None
    place = Place(shard="s", version="v", cell=0, index=index, ends_cell=True, last_cell=True)
    many = np.empty((0, 1, 1, 3), np.uint8) if pixels is None else pixels[None]
    return DecodedChunk(place=place, rows=[row], good=[] if pixels is None else [0], pixels=many)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    grey = np.random.default_rng(seed).integers(0, 250, (height, width, 1), dtype=np.uint8)
    return np.repeat(grey, 3, axis=2)


def run(it: TiledStage, *pictures: np.ndarray | None) -> list[PredictedChunk]:
    return list(it.run((chunk(pixels, i) for i, pixels in enumerate(pictures)), Stopwatch()))


def mask_of(predicted: PredictedChunk) -> np.ndarray:
    (row,) = predicted.table.to_pylist()
    return cv2.imdecode(np.frombuffer(row["mask_png"], np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("labels", [LABELS, None])
def test_every_image_has_a_mask_of_its_own_size(labels: tuple[str, ...] | None) -> None:
    pictures = [picture(100, 70), picture(5, 200), None, picture(32, 32)]
    predicted = run(stage(Bright(), labels), *pictures)
    assert [each.table["error_code"][0].as_py() for each in predicted] == [None, None, "empty", None]
    for each, pixels in zip(predicted, pictures, strict=True):
        if pixels is not None:
            bright = pixels[:, :, 0] > 100
            assert (mask_of(each) == bright).all()
            counts = {item["label_index"]: item["pixels"] for item in each.table["class_pixels"][0].as_py()}
            assert counts == {0: (~bright).sum(), 1: bright.sum()}


def test_what_fails_in_one_tile_costs_that_image_alone() -> None:
    poisoned, strange = picture(100, 70), picture(100, 70)
    poisoned[90, 60], strange[0, 0] = POISON, NAN
    predicted = run(stage(Bright()), picture(50, 50), poisoned, strange, picture(50, 50, seed=1))
    rows = [row for each in predicted for row in each.table.to_pylist()]
    assert [row["error_code"] for row in rows] == [None, "model_error", "model_error", None]
    assert [row["error"] for row in rows][1:3] == ["ValueError: poison", "the model gave NaN or infinity"]
    assert rows[1]["width"] == 70
    assert (mask_of(predicted[3]) == (picture(50, 50, seed=1)[:, :, 0] > 100)).all()


def test_without_memory_for_a_batch_the_image_begins_anew_with_fewer_tiles() -> None:
    model, pixels = Bright(most=3), picture(150, 150)
    (predicted,) = run(stage(model), pixels)
    assert (mask_of(predicted) == (pixels[:, :, 0] > 100)).all()
    assert 8 in model.batches
    assert max(model.batches[-5:]) <= 3


def test_without_memory_for_one_tile_the_run_ends() -> None:
    with pytest.raises(ModelError, match=r"one tile of 32 pixels.*task\.tile_px"):
        run(stage(Bright(most=0)), picture(50, 50))


def test_a_model_that_answers_something_else_is_at_fault() -> None:
    with pytest.raises(ModelError, match="N, C, h, w"):
        run(stage(torch.nn.Flatten()), picture(50, 50))
