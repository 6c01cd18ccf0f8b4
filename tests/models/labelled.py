"""Real pictures, files of several sizes and orientations, through our preprocessing, a model and a task."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from skimage import data as pictures
from sklearn.datasets import load_sample_image

from vision_batch.images.preprocess import Preprocessor
from vision_batch.inference.chunk import stacked
from vision_batch.models.bundle import ModelBundle
from vision_batch.models.predictor import Predictor
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for
from vision_batch.tasks.task import View


def file(picture: np.ndarray, orientation: int = 1) -> bytes:
    encoded, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(encoded, "PNG", exif=exif)
    return encoded.getvalue()


CHINA, FLOWER = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
FILES = {
    "wide": file(CHINA),
    "tall by its EXIF": file(CHINA, 6),
    "upside down": file(FLOWER[:, :500], 3),
    "square": file(pictures.astronaut()),
    "very wide": file(pictures.coffee()[100:200]),
    "small": file(pictures.chelsea()[100:150, 100:165]),
}


def shown(data: bytes) -> Image.Image:
    """A file as Pillow shows it."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))


def labelled(bundle: ModelBundle, **task: Any) -> list[Any]:
    """What the first column of the `task` says of each of FILES, which go to the model together."""
    steps = bundle.preprocess
    assert steps is not None
    images = [Preprocessor(steps, max_pixels=10**7)(data) for data in FILES.values()]
    views = [View(width=image.width, height=image.height, geometry=image.geometry) for image in images]
    pixels = stacked(image.pixels for image in images)
    predict = Predictor(bundle.load(), mean=steps.mean, std=steps.std, precision="fp32", device=torch.device("cpu"))
    outputs = predict(pixels, [view.size_px for view in views] if steps.longest_px is not None else None)
    kind = task_for(TaskSettings.model_validate(task), bundle.labels)
    kind.check(outputs, len(images))
    column: list[Any] = kind.columns(outputs, views, (pixels.shape[1], pixels.shape[2]))[0].to_pylist()
    return column
