"""Real handwritten digits on real photographs, with exact masks and boxes, as WebDataset tars.

The digits are those of `digits.py`; the photographs are scikit-learn's `china.jpg` and `flower.jpg`. Scenes of the test
tars have digits and parts of photographs that no training scene has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from vision_batch.jobs.demo.digits import JPEG_QUALITY, TEST_PREFIX, TRAIN_PREFIX, Member, load_digits, tar

LABELS: Final = ("background", "digit")
TRAIN_TARS: Final = 6
TEST_TARS: Final = 2
SCENES_PER_TAR: Final = 160
SCENE_TAR_NAMES: Final = (
    *(f"{TRAIN_PREFIX}{k:02}.tar" for k in range(TRAIN_TARS)),
    *(f"{TEST_PREFIX}{k:02}.tar" for k in range(TEST_TARS)),
)
SIDES_PX: Final = (64, 96)
DIGIT_PX: Final = (28, 44)
MOST_DIGITS: Final = 3
PLACES_TRIED: Final = 8
TRAIN_SHARE: Final = 0.75
"""Of the digits, from the first one on, and of each photograph's width."""
BUSY: Final = 45
"""Where a photograph's standard deviation, of 255, exceeds this no digit is put: nobody could read it."""
CONTRAST: Final = 110
"""How much lighter or darker than the photograph behind it a digit is at least, of 255."""

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """`pixels` is uint8 (H, W, 3) RGB, `mask` uint8 (H, W) of indices into LABELS: where there is ink.

    A box is the digit's name and x_min, y_min, x_max, y_max: the edges of its pixels.
    """

    pixels: Picture
    mask: Picture
    boxes: tuple[tuple[str, int, int, int, int], ...]


def scene_tars(*, scenes_per_tar: int = SCENES_PER_TAR) -> Iterator[tuple[str, bytes]]:
    """Name and content of every tar, `train-00.tar` … and `test-00.tar` …: the same bytes every time.

    A sample is `jpg`, `mask.png`, and `json` with `boxes`. SpecError when scikit-learn is not installed.
    """
    digits, names = load_digits()
    photographs = [_photograph("china.jpg"), _photograph("flower.jpg")]
    edge = int(len(digits) * TRAIN_SHARE)
    for prefix, count, chosen, is_train in (
        (TRAIN_PREFIX, TRAIN_TARS, slice(0, edge), True),
        (TEST_PREFIX, TEST_TARS, slice(edge, None), False),
    ):
        grounds = [_part(photograph, is_train) for photograph in photographs]
        for number in range(count):
            name = f"{prefix}{number:02}"
            maker = _SceneMaker(255 - digits[chosen], names[chosen], grounds, seed=[number, is_train])
            scenes = (maker() for _ in range(scenes_per_tar))
            yield f"{name}.tar", tar(m for i, scene in enumerate(scenes) for m in _sample(f"{i:04}", scene))


def write_scenes(folder: str | Path, *, scenes_per_tar: int = SCENES_PER_TAR) -> None:
    """The tars as files of `folder`, which is made where it is not there."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, content in scene_tars(scenes_per_tar=scenes_per_tar):
        (Path(folder) / name).write_bytes(content)


class _SceneMaker:
    """Draws one scene after the other. `inks` are uint8 (N, 8, 8), 255 where there is ink."""

    def __init__(self, inks: Picture, names: list[str], grounds: list[Picture], *, seed: list[int]) -> None:
        self._inks = inks
        self._names = names
        self._grounds = grounds
        self._random = np.random.default_rng(seed)

    def __call__(self) -> Scene:
        width, height = self._between(*SIDES_PX), self._between(*SIDES_PX)
        pixels = self._ground(width, height)
        mask = np.zeros((height, width), np.uint8)
        boxes = []
        for _ in range(self._between(1, MOST_DIGITS)):
            boxes += self._draw(pixels, mask)
        return Scene(pixels=pixels, mask=mask, boxes=tuple(boxes))

    def _between(self, first: int, last: int) -> int:
        return int(self._random.integers(first, last + 1))

    def _ground(self, width: int, height: int) -> Picture:
        """A part of a photograph, at half of its size or more."""
        ground = self._grounds[self._between(0, len(self._grounds) - 1)]
        scale = self._random.uniform(1, min(2, ground.shape[0] / height, ground.shape[1] / width))
        taken_width, taken_height = int(width * scale), int(height * scale)
        left = self._between(0, ground.shape[1] - taken_width)
        top = self._between(0, ground.shape[0] - taken_height)
        taken = ground[top : top + taken_height, left : left + taken_width]
        return np.asarray(cv2.resize(taken, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

    def _draw(self, pixels: Picture, mask: Picture) -> list[tuple[str, int, int, int, int]]:
        """One digit where there is none yet; its box, or nothing where no place was found for it."""
        which = self._between(0, len(self._inks) - 1)
        side = self._between(*DIGIT_PX)
        ink = cv2.resize(self._inks[which], (side, side), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        for _ in range(PLACES_TRIED):
            left, top = self._between(0, mask.shape[1] - side), self._between(0, mask.shape[0] - side)
            window = slice(top, top + side), slice(left, left + side)
            ground = pixels[window].astype(np.float32)
            if mask[window].any() or ground.mean(axis=2).std() > BUSY:
                continue
            colour = self._colour(ground.mean())
            pixels[window] = (ground + (colour - ground) * ink[..., None]).round().clip(0, 255)
            drawn = ink >= 0.5
            mask[window][drawn] = LABELS.index("digit")
            rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
            x_min, y_min = left + int(columns[0]), top + int(rows[0])
            return [(self._names[which], x_min, y_min, left + int(columns[-1]) + 1, top + int(rows[-1]) + 1)]
        return []

    def _colour(self, ground: float) -> npt.NDArray[np.float32]:
        """Of any hue, and CONTRAST lighter or darker than `ground`, of 255."""
        low, high = (0.0, ground - CONTRAST) if ground > 255 / 2 else (ground + CONTRAST, 255.0)
        return self._random.uniform(low, high, 3).astype(np.float32)


def _photograph(name: str) -> Picture:
    """RGB. scikit-learn is there: it has given the digits."""
    data = files("sklearn.datasets.images").joinpath(name).read_bytes()
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB), np.uint8)


def _part(photograph: Picture, is_train: bool) -> Picture:
    edge = int(photograph.shape[1] * TRAIN_SHARE)
    return photograph[:, :edge] if is_train else photograph[:, edge:]


def _sample(key: str, scene: Scene) -> list[Member]:
    picture = cv2.cvtColor(scene.pixels, cv2.COLOR_RGB2BGR)
    names = ("label", "x_min", "y_min", "x_max", "y_max")
    boxes: dict[str, Any] = {"boxes": [dict(zip(names, box, strict=True)) for box in scene.boxes]}
    return [
        (f"{key}.jpg", cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()),
        (f"{key}.mask.png", cv2.imencode(".png", scene.mask)[1].tobytes()),
        (f"{key}.json", json.dumps(boxes).encode()),
    ]
