"""One flipped bit in an input: what it costs, format by format. Every other image is as it was, or the row says so.

- In a loose file, a tar member's body or an uncompressed Parquet page it costs that image: an error row, or other
  pixels, which no decoder notices.
- In a tar header it is one error row that says where the damage is. What follows it in this tar is not read.
- In a Parquet page with a checksum it is error rows from that page to the end of its row group.
- In a compressed Parquet page without one it may change several images of the page: compressors refer back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.archives import BLOCK, written
from tests.datasets.reading import outcome, samples_of, settings_of
from tests.integration.job import digits
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ImageError
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings

IMAGES = digits(6)
VICTIM = 2

Rows = list[tuple[str, bytes | str]]


def rows_of(settings: InputSettings) -> Rows:
    """Each sample's name with its bytes, or the code of its error."""
    return [(sample.image_id, outcome(sample)) for sample in samples_of(settings)]


def flipped(path: Path, places: range, bits: range) -> Iterator[None]:
    """Has each of these bits flipped in each of these bytes of the file in turn, and then as it was."""
    whole = path.read_bytes()
    with path.open("r+b", buffering=0) as file:
        for place in places:
            for bit in bits:
                file.seek(place)
                file.write(bytes([whole[place] ^ (1 << bit)]))
                os.utime(path, ns=(0, place * 8 + bit))  # another version, whatever the clock's tick
                yield
                file.seek(place)
                file.write(whole[place : place + 1])


def differing(before: Rows, after: Rows) -> list[int]:
    assert len(before) == len(after)
    return [row for row, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    path = tmp_path / "a.tar"
    path.write_bytes(written((f"{number}.jpg", image) for number, image in enumerate(IMAGES)))
    return path


def body_of(path: Path, image: bytes) -> range:
    """Some bytes of an image in a file that holds it as it is."""
    begin = path.read_bytes().index(image)
    return range(begin, begin + len(image), 5)


def test_in_a_tar_s_body_it_costs_that_image(tar: Path) -> None:
    settings = settings_of(tar)
    before, body = rows_of(settings), body_of(tar, IMAGES[VICTIM])
    for _ in flipped(tar, body, range(3, 4)):
        assert differing(before, rows_of(settings)) == [VICTIM]
    end = body.start + len(IMAGES[VICTIM])
    for _ in flipped(tar, range(end, -(-end // BLOCK) * BLOCK), range(1)):
        assert rows_of(settings) == before


def test_in_a_tar_s_header_it_is_one_row_that_says_so(tar: Path) -> None:
    settings = settings_of(tar)
    before, body = rows_of(settings), body_of(tar, IMAGES[VICTIM]).start
    harmless = 0
    for _ in flipped(tar, range(body - BLOCK, body), range(8)):
        after = rows_of(settings)
        if after == before:
            harmless += 1
            continue
        assert differing(before, after) == [VICTIM]
        assert after[VICTIM] == (f"a/damage at byte {body - BLOCK}", "unreadable")
    assert harmless < 24  # behind the digits of the checksum


def test_in_a_tar_s_end_it_loses_no_image(tar: Path) -> None:
    settings = settings_of(tar)
    before, size = rows_of(settings), tar.stat().st_size
    for _ in flipped(tar, range(size - 2 * BLOCK, size, 5), range(5, 6)):
        after = rows_of(settings)
        assert after[: len(before)] == before
        assert [error for _, error in after[len(before) :]] == ["unreadable"]


def test_in_a_loose_file_it_costs_that_image_or_is_a_change_of_pixels(tmp_path: Path) -> None:
    for number, image in enumerate(IMAGES):
        (tmp_path / f"{number}.jpg").write_bytes(image)
    preprocessor = Preprocessor(PreprocessSettings(resize_px=(28, 28)), max_pixels=1 << 20)
    settings, victim = settings_of(tmp_path), tmp_path / f"{VICTIM}.jpg"
    before, said = rows_of(settings), {"error": 0, "pixels": 0, "nothing": 0}
    right = preprocessor(IMAGES[VICTIM]).pixels
    for _ in flipped(victim, range(0, len(IMAGES[VICTIM]), 3), range(2, 3)):
        after = rows_of(settings)
        assert differing(before, after) == [VICTIM]
        try:
            pixels = preprocessor(after[VICTIM][1]).pixels  # type: ignore[arg-type]
            said["nothing" if np.array_equal(pixels, right) else "pixels"] += 1
        except ImageError:
            said["error"] += 1
    assert min(said.values()) > 0  # a JPEG holds no checksum: other pixels are not always noticed


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_in_a_parquet_page_with_a_checksum_it_says_so_row_by_row(tmp_path: Path, compression: str) -> None:
    path = parquet(tmp_path, compression=compression, write_page_checksum=True)
    settings = settings_of(path)
    before, lost = rows_of(settings), [(image_id, "unreadable") for image_id, _ in rows_of(settings)[:3]]
    for _ in flipped(path, page_of(path), range(1, 2)):
        assert rows_of(settings) == [*lost, *before[3:]]


def test_in_a_parquet_page_without_a_checksum_it_costs_that_image(tmp_path: Path) -> None:
    path = parquet(tmp_path, compression="none")
    settings = settings_of(path)
    before = rows_of(settings)
    for _ in flipped(path, body_of(path, IMAGES[1]), range(1, 2)):
        assert differing(before, rows_of(settings)) == [1]


@pytest.mark.parametrize("compression", ["snappy", "zstd"])
def test_in_a_compressed_page_without_a_checksum_it_stays_within_its_row_group(
    tmp_path: Path, compression: str
) -> None:
    path = parquet(tmp_path, compression=compression)
    settings = settings_of(path)
    before = rows_of(settings)
    for _ in flipped(path, page_of(path), range(1, 2)):
        assert set(differing(before, rows_of(settings))) <= {0, 1, 2}


def parquet(folder: Path, **options: object) -> Path:
    """Two row groups of three images."""
    path = folder / "a.parquet"
    plain = {"row_group_size": 3, "use_dictionary": False, "write_statistics": False}  # no second copy of an image
    pq.write_table(pa.table({"image": IMAGES}), path, **plain, **options)
    return path


def page_of(path: Path) -> range:
    """Some bytes of the first row group's page, behind its header, which no checksum covers."""
    chunk = pq.read_metadata(path).row_group(0).column(0)
    begin: int = chunk.data_page_offset
    return range(begin + 100, begin + chunk.total_compressed_size, 7)
