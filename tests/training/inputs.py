"""Small inputs whose images say which they are: the same labelled pictures in every format."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.datasets.settings import InputSettings

CLASSES = ("cat", "dog", "eel")
SIDE_PX = 16


def picture(number: int) -> bytes:
    """A PNG of one colour: red and green are the low and high byte of its number."""
    pixels = np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    pixels[...] = (number * 37 % 256, number // 256, number % 256)  # OpenCV writes BGR
    return cv2.imencode(".png", pixels)[1].tobytes()


def number_of(pixels: np.ndarray) -> int:
    """The number of the picture that these pixels show."""
    return int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])


def label_of(number: int) -> str:
    return CLASSES[number * number % 3]


def write_folder(folder: Path, images: int) -> InputSettings:
    for number in range(images):
        path = folder / label_of(number) / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return InputSettings(uri=str(folder), format="folder", label_column="folder")


def write_tars(folder: Path, images: int, per_tar: int = 37) -> InputSettings:
    folder.mkdir(parents=True)
    for start in range(0, images, per_tar):
        with tarfile.open(folder / f"{start:05d}.tar", "w") as tar:
            for number in range(start, min(start + per_tar, images)):
                members = {"cls": label_of(number).encode(), "png": picture(number)}
                for extension, content in members.items():
                    info = tarfile.TarInfo(f"{number:05d}.{extension}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return InputSettings(uri=str(folder), format="webdataset", label_column="cls")


def write_parquet(folder: Path, images: int, per_file: int = 60) -> InputSettings:
    folder.mkdir(parents=True)
    for start in range(0, images, per_file):
        numbers = range(start, min(start + per_file, images))
        table = pa.table(
            {
                "image": pa.array([picture(number) for number in numbers], pa.binary()),
                "name": [f"n{number}" for number in numbers],
                "label": [label_of(number) for number in numbers],
            }
        )
        pq.write_table(table, folder / f"{start:05d}.parquet", row_group_size=11)
    return InputSettings(uri=str(folder), format="parquet", id_column="name", label_column="label")


WRITERS: dict[str, Callable[[Path, int], InputSettings]] = {
    "folder": write_folder,
    "tars": write_tars,
    "parquet": write_parquet,
}


def write_coco(folder: Path, images: int) -> InputSettings:
    """Each picture is a box of its class."""
    write_folder(folder / "images", images)
    listed = [
        {"id": number, "file_name": f"{label_of(number)}/{number:05d}.png", "width": SIDE_PX, "height": SIDE_PX}
        for number in range(images)
    ]
    boxes = [
        {"id": number, "image_id": number, "category_id": CLASSES.index(label_of(number)), "bbox": [0, 0, SIDE_PX, 8]}
        for number in range(images)
    ]
    categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES)]
    document = {"images": listed, "annotations": boxes, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    return InputSettings(uri=str(folder / "instances.json"), format="coco", label_column="boxes")


def write_yolo(folder: Path, images: int) -> InputSettings:
    """The same."""
    write_folder(folder / "images", images)
    for number in range(images):
        labels = folder / "labels" / label_of(number) / f"{number:05d}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(f"{CLASSES.index(label_of(number))} 0.5 0.25 1 0.5")
    (folder / "data.yaml").write_text(f"names: [{', '.join(CLASSES)}]")
    return InputSettings(uri=str(folder), format="yolo", label_column="boxes")


OBJECT_WRITERS: dict[str, Callable[[Path, int], InputSettings]] = {"coco": write_coco, "yolo": write_yolo}
"""Inputs whose labels are boxes."""
