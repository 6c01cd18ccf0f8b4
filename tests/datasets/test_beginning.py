"""The first images of an input."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.job import digits, write_folder, write_parquet, write_tar
from vision_batch.datasets import folder as folder_module
from vision_batch.datasets.beginning import first_samples
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.webdataset import WebDatasetFormat
from vision_batch.errors import ForbiddenError


def first(folder: Path, format_name: str, count: int) -> list[str]:
    settings = InputSettings(uri=str(folder), format=format_name)
    return [sample.image_id for sample in first_samples(settings, format_name, count)]


def test_a_folders_first_files_and_no_others_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, digits(10))
    (tmp_path / "00000.txt").touch()
    read: list[str] = []
    fits = folder_module._fits
    monkeypatch.setattr(folder_module, "_fits", lambda file: read.append(file.uri) or fits(file))
    assert first(tmp_path, "folder", 3) == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert len(set(read)) == 3


def test_small_files_are_read_until_there_are_enough_images(tmp_path: Path) -> None:
    for name in "abc":
        write_tar(tmp_path / f"{name}.tar", digits(2))
    assert first(tmp_path, "webdataset", 3) == ["a/00000", "a/00001", "b/00000"]
    assert len(first(tmp_path, "webdataset", 100)) == 6


def test_files_that_cannot_be_read_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        write_tar(tmp_path / f"{name}.tar", digits(2))
    refused, read = {"a.tar"}, WebDatasetFormat.read

    def refusing(self: WebDatasetFormat, shard: Shard, *rest: Any) -> Iterator[Sample]:
        if Path(shard.files[0].uri).name in refused:
            raise ForbiddenError(shard.files[0].uri, "403")
        yield from read(self, shard, *rest)

    monkeypatch.setattr(WebDatasetFormat, "read", refusing)
    assert first(tmp_path, "webdataset", 3) == ["b/00000", "b/00001", "c/00000"]
    refused |= {"b.tar", "c.tar"}
    with pytest.raises(ForbiddenError, match=r"a\.tar: 403"):
        first(tmp_path, "webdataset", 3)


def test_rows_of_a_table(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", digits(60))
    assert first(tmp_path, "parquet", 2) == ["a.parquet#0", "a.parquet#1"]


def test_several_inputs_follow_each_other(tmp_path: Path) -> None:
    for name in "ab":
        write_folder(tmp_path / name, digits(2))
    settings = InputSettings(uri=[str(tmp_path / "a"), str(tmp_path / "b")], format="folder")
    assert len([*first_samples(settings, "folder", 3)]) == 3
