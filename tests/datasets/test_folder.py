"""Folders of image files."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.reading import (
    FaultyStorage,
    assert_reads_alike_whatever_is_wanted,
    everything,
    format_of,
    outcome,
    samples_of,
    settings_of,
    shards_of,
)
from vision_batch.datasets import folder as folder_module
from vision_batch.datasets.folder import FolderFormat
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ChangedError, ForbiddenError, StorageError, UnavailableError
from vision_batch.storage.table import STORAGES


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for name in ("cat/1.jpg", "cat/2.JPEG", "dog/a b.png", "dog/ü.webp", "top.tif"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_files_with_an_image_extension_are_images() -> None:
    names = ["a.jpg", "a.JPEG", "a.b.png", "a.webp", "a.bmp", "a.tif", "a.TIFF", ".hidden.jpg"]
    others = ["._a.jpg", "a", "a.txt", "jpg", "a.jpg.txt", "a.gif", "a.tar"]
    assert [name for name in names + others if FolderFormat().is_member(f"/d/{name}")] == names


def test_a_file_is_a_row(images: Path) -> None:
    samples = samples_of(settings_of(images))
    assert [(sample.row, sample.image_id) for sample in samples] == list(
        enumerate(["cat/1.jpg", "cat/2.JPEG", "dog/a b.png", "dog/ü.webp", "top.tif"])
    )
    assert [outcome(sample) for sample in samples] == [sample.image_id.encode() for sample in samples]


def test_the_folder_can_be_the_label(images: Path) -> None:
    settings = settings_of(images, label_column="folder")
    assert [sample.truth for sample in samples_of(settings)] == ["cat", "cat", "dog", "dog", "images"]
    (shard,) = shards_of(settings)
    assert format_of(shard).extra_fields(shard, settings) == [pa.field("truth", pa.string())]


def test_without_a_label_there_is_no_truth(images: Path) -> None:
    settings = settings_of(images)
    (shard,) = shards_of(settings)
    assert format_of(shard).extra_fields(shard, settings) == []
    assert {sample.truth for sample in samples_of(settings)} == {None}


class TestMasks:
    @pytest.fixture
    def masks(self, tmp_path: Path) -> Path:
        """For all but `cat/2.JPEG`."""
        root = tmp_path / "masks"
        for name in ("cat/1.png", "dog/a b.png", "dog/ü.png", "top.png"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(f"mask of {name}".encode())
        return root

    def test_the_label_is_the_mask_of_the_same_name(self, images: Path, masks: Path) -> None:
        settings = settings_of(images, masks=str(masks))
        samples = samples_of(settings)
        names = ["cat/1", None, "dog/a b", "dog/ü", "top"]
        assert [sample.truth for sample in samples] == [name and f"mask of {name}.png".encode() for name in names]
        assert [outcome(sample) for sample in samples] == [sample.image_id.encode() for sample in samples]
        (shard,) = shards_of(settings)
        assert format_of(shard).extra_fields(shard, settings) == [pa.field("truth", pa.binary())]
        assert_reads_alike_whatever_is_wanted(settings, {0, 3})

    def test_with_several_inputs_it_lies_below_the_inputs_name(self, images: Path, masks: Path) -> None:
        masks.rename(masks.parent / "0")
        settings = InputSettings(uri=[str(images)], masks=str(masks.parent))
        assert samples_of(settings)[0].truth == b"mask of cat/1.png"

    def test_masks_may_lie_beside_the_images_that_a_glob_chooses(self, images: Path) -> None:
        (images / "cat/1.png").write_bytes(b"mask")
        settings = settings_of(f"{images}/**/*.jpg", masks=str(images))
        (sample,) = samples_of(settings)
        assert (sample.image_id, sample.truth) == ("cat/1.jpg", b"mask")
        assert FolderFormat().problems(settings) == []

    def test_masks_that_would_be_images_are_a_problem(self, images: Path) -> None:
        for place in (images, images / "masks"):
            (problem,) = FolderFormat().problems(settings_of(images, masks=str(place)))
            assert problem.where == "input.masks"
            assert "a glob" in problem.expected

    def test_one_kind_of_label_an_image(self) -> None:
        (problem,) = FolderFormat().problems(settings_of("/x", masks="/y", label_column="folder"))
        assert problem.expected == "nothing beside label_column: one label an image"

    def test_a_mask_of_unreasonable_size_is_an_invalid_label(
        self, images: Path, masks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(folder_module, "MAX_LABEL_BYTES", 16)
        assert [outcome(sample) for sample in samples_of(settings_of(images, masks=str(masks)))] == [
            "invalid_label",
            b"cat/2.JPEG",
            "invalid_label",
            "invalid_label",
            b"top.tif",
        ]

    def test_a_storage_that_does_not_give_a_mask_stops_the_reading(
        self, images: Path, masks: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = str(masks / "dog/a b.png")
        monkeypatch.setitem(STORAGES, "", lambda: FaultyStorage({uri: UnavailableError(uri, "503")}))
        with pytest.raises(UnavailableError):
            samples_of(settings_of(images, masks=str(masks)))


def test_columns_that_files_do_not_have_are_problems() -> None:
    settings = settings_of("/x", label_column="label", id_column="id", keep_columns=["a"])
    assert [problem.where for problem in FolderFormat().problems(settings)] == [
        "input.label_column",
        "input.id_column",
        "input.keep_columns",
    ]
    assert FolderFormat().problems(settings_of("/x", label_column="folder", image_column="image")) == []


def test_a_file_that_is_gone_is_a_missing_image(images: Path) -> None:
    settings = settings_of(images)
    (shard,) = shards_of(settings)
    (images / "cat/2.JPEG").unlink()
    outcomes = [outcome(sample) for sample in format_of(shard).read(shard, settings, everything)]
    assert outcomes == [b"cat/1.jpg", "missing", b"dog/a b.png", "dog/ü.webp".encode(), b"top.tif"]


def test_a_link_to_nothing_is_a_missing_image(images: Path) -> None:
    (images / "cat/3.jpg").symlink_to("nowhere.jpg")
    assert [outcome(sample) for sample in samples_of(settings_of(images / "cat"))][2] == "missing"


def test_an_empty_file_is_left_to_the_decoder(images: Path) -> None:
    (images / "cat/0.jpg").write_bytes(b"")
    assert outcome(samples_of(settings_of(images))[0]) == b""


def test_a_file_that_is_too_large_is_not_opened(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FaultyStorage()
    monkeypatch.setattr(folder_module, "MAX_IMAGE_BYTES", 10)
    monkeypatch.setitem(STORAGES, "", lambda: storage)
    outcomes = [outcome(sample) for sample in samples_of(settings_of(images))]
    assert outcomes == [b"cat/1.jpg", b"cat/2.JPEG", "too_large", "too_large", b"top.tif"]
    assert len(storage.opened) == 3


def test_a_file_that_changed_stops_the_shard(images: Path) -> None:
    settings = settings_of(images)
    (shard,) = shards_of(settings)
    (images / "cat/2.JPEG").write_bytes(b"another picture")
    samples = format_of(shard).read(shard, settings, everything)
    assert outcome(next(samples)) == b"cat/1.jpg"
    with pytest.raises(ChangedError):
        next(samples)


@pytest.mark.parametrize("kind", [ForbiddenError, UnavailableError])
def test_the_storages_troubles_are_no_rows(
    images: Path, kind: type[StorageError], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = str(images / "cat/2.JPEG")
    monkeypatch.setitem(STORAGES, "", lambda: FaultyStorage({uri: kind(uri, "no")}))
    with pytest.raises(kind):
        samples_of(settings_of(images))


def test_files_that_are_not_wanted_are_not_opened(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = FaultyStorage()
    monkeypatch.setitem(STORAGES, "", lambda: storage)
    samples = samples_of(settings_of(images), {1, 3}.__contains__)
    assert [sample.row for sample in samples] == [1, 3]
    assert [os.path.basename(uri) for uri in storage.opened] == ["2.JPEG", "ü.webp"]


@pytest.mark.parametrize("name", ["a b", "日本語", "n" * 200, "x%20y", "[1]"])
def test_names_come_along_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.jpg").write_bytes(b"x")
    assert [sample.image_id for sample in samples_of(settings_of(tmp_path))] == [f"{name}.jpg"]


def test_names_that_are_not_utf_8_become_valid(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (sample,) = samples_of(settings_of(tmp_path))
    assert (sample.image_id, outcome(sample)) == ("caf\\xe9.jpg", b"x")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.sets(st.integers(0, 6)))
def test_what_is_wanted_does_not_change_what_is_read(images: Path, chosen: set[int]) -> None:
    assert_reads_alike_whatever_is_wanted(settings_of(images, label_column="folder"), chosen)
