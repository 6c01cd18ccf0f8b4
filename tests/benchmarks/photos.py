"""Photo-like JPEGs in tar or Parquet shards: seeded crops of scikit-image's pictures, so that nothing is downloaded."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from skimage import data

UNIQUE = 256
SHARD_IMAGES = 1000
PICTURES = ("astronaut", "chelsea", "coffee", "rocket", "retina", "immunohistochemistry")


def make_jpegs(width: int, height: int, count: int = UNIQUE, seed: int = 0) -> list[bytes]:
    """Different JPEGs (quality 90, 4:2:0) of `width` x `height` px: random crops, flips, and a little noise."""
    random = np.random.default_rng(seed)
    pictures = [np.asarray(getattr(data, name)())[..., 2::-1] for name in PICTURES]
    return [_jpeg(pictures[i % len(pictures)], width, height, random) for i in range(count)]


def _jpeg(picture: np.ndarray, width: int, height: int, random: np.random.Generator) -> bytes:
    rows, columns = picture.shape[:2]
    scale = random.uniform(0.5, 1.0) * min(rows / height, columns / width)
    crop_rows, crop_columns = int(height * scale), int(width * scale)
    top, left = random.integers(rows - crop_rows + 1), random.integers(columns - crop_columns + 1)
    crop = picture[top : top + crop_rows, left : left + crop_columns]
    image = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)[:, :: random.choice([1, -1])]
    noisy = np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def write_tars(folder: Path, jpegs: list[bytes], images: int) -> None:
    """WebDataset shards of 1,000 images each."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, images, SHARD_IMAGES)):
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(start, min(start + SHARD_IMAGES, images)):
                content = jpegs[number % len(jpegs)]
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_parquets(folder: Path, jpegs: list[bytes], images: int) -> None:
    """Parquet files of 1,000 images each in row groups of 250, with the columns `id` and `image`."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard, start in enumerate(range(0, images, SHARD_IMAGES)):
        numbers = range(start, min(start + SHARD_IMAGES, images))
        content = pa.array([jpegs[number % len(jpegs)] for number in numbers], pa.binary())
        table = pa.table({"id": [f"{number:08d}" for number in numbers], "image": content})
        pq.write_table(table, folder / f"{shard:05d}.parquet", row_group_size=250, compression="none")
