"""Labels of every kind of input, on their way to the targets of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.archives import written
from tests.training.catalogues import catalogue_of
from tests.training.inputs import SIDE_PX, number_of, picture
from vision_batch.datasets.settings import InputSettings
from vision_batch.images.example import ExampleMaker
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.tasks.box_targets import NO_BOX
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.tasks.task import IGNORE
from vision_batch.training.batch import Batch
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.ingest import JoinedIngest
from vision_batch.training.lane import Source
from vision_batch.training.made import BatchMaker

IMAGES = 12
UNLABELLED = 5
LABELS = ("a", "b", "c")


def mask_of(number: int) -> np.ndarray:
    """The left half is of a class that the number says, the right half of none."""
    mask = np.full((SIDE_PX, SIDE_PX), IGNORE, np.uint8)
    mask[:, : SIDE_PX // 2] = number % 3
    return mask


def mask_png(number: int) -> bytes | None:
    return None if number == UNLABELLED else cv2.imencode(".png", mask_of(number))[1].tobytes()


def in_folder(folder: Path) -> InputSettings:
    for number in range(IMAGES):
        for kind, data in (("images", picture(number)), ("masks", mask_png(number))):
            path = folder / kind / str(number % 2) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if data is not None:
                path.write_bytes(data)
    return InputSettings(uri=str(folder / "images"), format="folder", masks=str(folder / "masks"))


def in_tar(folder: Path) -> InputSettings:
    members = [
        (f"{number}.{extension}", data)
        for number in range(IMAGES)
        for extension, data in (("mask.png", mask_png(number)), ("png", picture(number)))
        if data is not None
    ]
    (folder / "a.tar").write_bytes(written(members))
    return InputSettings(uri=str(folder), format="webdataset", label_column="mask.png")


def in_parquet(folder: Path, values: list[Any] | None = None) -> InputSettings:
    labels = [mask_png(number) for number in range(IMAGES)] if values is None else values
    table = pa.table({"image": [picture(number) for number in range(IMAGES)], "label": labels})
    pq.write_table(table, folder / "a.parquet")
    return InputSettings(uri=str(folder), format="parquet", label_column="label")


def as_hugging_face(folder: Path) -> InputSettings:
    masks = [{"bytes": mask_png(number), "path": f"{number}.png"} for number in range(IMAGES)]
    return in_parquet(folder, masks)


def batch_of(folder: Path, settings: InputSettings, task: TaskSettings, labels: tuple[str, ...] | None) -> Batch:
    """All images of the input; those of no use are broken."""
    output = folder / "out"
    catalogue = catalogue_of(output, settings, task=task, labels=labels)
    preprocess = PreprocessSettings(resize_px=(SIDE_PX, SIDE_PX))
    maker = BatchMaker(
        ExampleMaker(preprocess, (), max_pixels=10**6, seed=0),
        trainable_task_for(task, catalogue.labels),
        augmented=True,
        output_px=preprocess.output_px,
    )
    source = Source(LedgerPaths(str(output)), settings, EpochPlan(catalogue, frozenset({0}), seed=0))
    with closing(JoinedIngest(source, maker, threads=1)) as ingest:
        (batch,) = ingest.batches(epoch=0, start=0, rank=0, workers=1, batch_images=IMAGES)
    return batch


@pytest.mark.parametrize("write", [in_folder, in_tar, in_parquet, as_hugging_face])
def test_masks_of_every_kind_of_input_become_targets(tmp_path: Path, write: Callable[[Path], InputSettings]) -> None:
    (tmp_path / "data").mkdir()
    batch = batch_of(tmp_path, write(tmp_path / "data"), TaskSettings(type="segmentation"), LABELS)
    assert (batch.targets.dtype, batch.targets.shape) == (np.uint8, (IMAGES - 1, SIDE_PX, SIDE_PX))
    for pixels, target in zip(batch.pixels, batch.targets, strict=True):
        assert target.tolist() == mask_of(number_of(pixels)).tolist()
    assert [image.error_code for image in batch.broken] == ["invalid_label"]


@pytest.mark.parametrize("as_text", [False, True])
def test_several_labels_become_rows_of_ones(tmp_path: Path, as_text: bool) -> None:
    def names(number: int) -> list[str] | None:
        return None if number == UNLABELLED else [label for i, label in enumerate(LABELS) if number >> i & 1]

    def stored(number: int) -> Any:
        found = names(number)
        return ";".join(found) if as_text and found is not None else found

    (tmp_path / "data").mkdir()
    settings = in_parquet(tmp_path / "data", [stored(number) for number in range(IMAGES)])
    batch = batch_of(tmp_path, settings, TaskSettings(type="classification", multi_label=True), None)
    expected = [[number_of(pixels) >> i & 1 for i in range(3)] for pixels in batch.pixels]
    assert (batch.targets.dtype, batch.targets.tolist()) == (np.float32, expected)
    assert [image.error_code for image in batch.broken] == ["invalid_label"]


def boxes_of(number: int) -> list[dict[str, Any]] | None:
    """As many as the number says, one after the other."""
    corners = {"y_min": 0, "y_max": SIDE_PX}
    if number == UNLABELLED:
        return None
    return [{"label": LABELS[k], "x_min": k, "x_max": k + 1, **corners} for k in range(number % 4)]


def boxes_in_tar(folder: Path) -> InputSettings:
    members = [
        (f"{number}.{extension}", data)
        for number in range(IMAGES)
        for extension, data in (("json", json.dumps({"boxes": boxes_of(number)}).encode()), ("png", picture(number)))
    ]
    (folder / "a.tar").write_bytes(written(members))
    return InputSettings(uri=str(folder), format="webdataset", label_column="json")


def boxes_in_parquet(folder: Path) -> InputSettings:
    return in_parquet(folder, [boxes_of(number) for number in range(IMAGES)])


@pytest.mark.parametrize("write", [boxes_in_tar, boxes_in_parquet])
def test_boxes_of_every_kind_of_input_become_targets(tmp_path: Path, write: Callable[[Path], InputSettings]) -> None:
    (tmp_path / "data").mkdir()
    batch = batch_of(tmp_path, write(tmp_path / "data"), TaskSettings(type="detection"), None)
    assert (batch.targets.dtype, batch.targets.shape) == (np.float32, (IMAGES - 1, 3, 5))
    for pixels, target in zip(batch.pixels, batch.targets, strict=True):
        count = number_of(pixels) % 4
        expected = [[k, k, 0, k + 1, SIDE_PX] for k in range(count)] + [[NO_BOX] * 5] * (3 - count)
        assert target.tolist() == expected
    assert [image.error_code for image in batch.broken] == ["invalid_label"]
