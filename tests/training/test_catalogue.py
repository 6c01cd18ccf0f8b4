"""What a training knows of its images before it reads any."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.training.catalogues import catalogue_of
from tests.training.inputs import CLASSES, WRITERS, label_of, write_folder, write_parquet, write_tars
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import LedgerError, SpecError, UnavailableError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan, make_plan
from vision_batch.storage.table import storage_for
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.catalogue import Catalogue, load_catalogue
from vision_batch.training.catalogue_build import (
    DECODED_BYTES,
    LEAST_POOL_ROWS,
    MOST_POOL_ROWS,
    POOL_BYTES,
    build_catalogue,
    lanes_for,
    rows_of_pool,
)
from vision_batch.training.catalogue_rows import MOST_HELD_ROWS, ROW, Rows, RowsWriter
from vision_batch.training.settings import ValidationSettings

IMAGES = 100


def planned(output: Path | str, settings: InputSettings) -> Plan:
    return make_plan(LedgerPaths(str(output)), settings, format_named(settings.format), cell_rows=1024, write=False)


def assert_same(one: Catalogue, other: Catalogue) -> None:
    for name in ("shards", "labels", "lanes", "pool_rows"):
        assert getattr(one, name) == getattr(other, name)
    for name in ("counts", "sums", "class_images", "classes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name, column in one.blocks.items():
        np.testing.assert_array_equal(column, other.blocks[name])
    np.testing.assert_array_equal(one.split.edges, other.split.edges)


@pytest.mark.parametrize("format", WRITERS)
def test_images_are_counted_by_class(tmp_path: Path, format: str) -> None:
    settings = WRITERS[format](tmp_path / "data", IMAGES)
    catalogue = catalogue_of(tmp_path / "out", settings)
    expected = [sum(label_of(number) == name for number in range(IMAGES)) for name in CLASSES if name != "eel"]
    assert catalogue.labels == ("cat", "dog")
    assert catalogue.class_images.tolist() == [expected]
    assert catalogue.images(frozenset({0})) == IMAGES
    assert catalogue.blocks["rows"].sum() == IMAGES


@pytest.mark.parametrize("format", WRITERS)
def test_loaded_catalogue_is_the_one_that_was_made(tmp_path: Path, format: str) -> None:
    settings = WRITERS[format](tmp_path / "data", IMAGES)
    made = catalogue_of(tmp_path / "out", settings, validation=ValidationSettings(folds=3, stratify=True))
    loaded = load_catalogue(LedgerPaths(str(tmp_path / "out")))
    assert loaded is not None
    assert_same(made, loaded)


@pytest.mark.s3
def test_on_s3(moto_s3: S3Bucket, tmp_path: Path) -> None:
    write_tars(tmp_path / "data", IMAGES)
    for tar in (tmp_path / "data").iterdir():
        storage_for(moto_s3.uri).put(f"{moto_s3.uri}/data/{tar.name}", tar.read_bytes())
    settings = InputSettings(uri=f"{moto_s3.uri}/data", format="webdataset", label_column="cls")
    made = catalogue_of(f"{moto_s3.uri}/out", settings)
    loaded = load_catalogue(LedgerPaths(f"{moto_s3.uri}/out"))
    assert loaded is not None
    assert_same(made, loaded)
    assert not [info.uri for info in storage_for(moto_s3.uri).list(moto_s3.uri) if info.uri.endswith(".parquet")]


def test_there_is_no_catalogue_before_one_is_made(tmp_path: Path) -> None:
    assert load_catalogue(LedgerPaths(str(tmp_path))) is None


def test_image_is_known_by_shard_and_row(tmp_path: Path) -> None:
    """So that a checksum over identities tells a missing image from a doubled one."""
    settings = write_tars(tmp_path / "data", IMAGES)
    catalogue = catalogue_of(tmp_path / "out", settings)
    identities = catalogue.look(0, len(catalogue.counts)).identities
    assert len(set(identities.tolist())) == IMAGES
    again = catalogue_of(tmp_path / "other", settings)
    np.testing.assert_array_equal(again.look(0, len(again.counts)).identities, identities)
    assert int(catalogue.sums.sum()) == int(identities.sum())


def test_given_labels_decide_and_others_are_no_class(tmp_path: Path) -> None:
    settings = write_folder(tmp_path / "data", IMAGES)
    catalogue = catalogue_of(tmp_path / "out", settings, labels=("dog", "emu"))
    dogs = sum(label_of(number) == "dog" for number in range(IMAGES))
    assert catalogue.class_images.tolist() == [[dogs, 0]]
    assert catalogue.images(frozenset({0})) == IMAGES, "an image without a class is an image all the same"


def test_whole_numbers_are_classes_in_their_own_order(tmp_path: Path) -> None:
    table = pa.table({"image": [b""] * 12, "label": [10, 9, 2, 1] * 3})
    pq.write_table(table, tmp_path / "x.parquet")
    settings = InputSettings(uri=str(tmp_path / "x.parquet"), format="parquet", label_column="label")
    assert catalogue_of(tmp_path / "out", settings).labels == ("1", "2", "9", "10")


def test_images_of_several_classes_count_in_each(tmp_path: Path) -> None:
    table = pa.table({"image": [b""] * 4, "label": [["a", "b"], ["b"], [], None]})
    pq.write_table(table, tmp_path / "x.parquet")
    settings = InputSettings(uri=str(tmp_path / "x.parquet"), format="parquet", label_column="label")
    catalogue = catalogue_of(tmp_path / "out", settings, task=TaskSettings(type="classification", multi_label=True))
    assert (catalogue.labels, catalogue.class_images.tolist()) == (("a", "b"), [[1, 2]])


def test_of_several_classes_no_part_has_more_than_it_has_images(tmp_path: Path) -> None:
    """Else a class that most images have would weigh less than nothing."""
    table = pa.table({"image": [b""] * 40, "label": [["a", "b"]] * 30 + [["b"]] * 10})
    pq.write_table(table, tmp_path / "x.parquet")
    settings = InputSettings(uri=str(tmp_path / "x.parquet"), format="parquet", label_column="label")
    task = TaskSettings(type="classification", multi_label=True)
    catalogue = catalogue_of(tmp_path / "out", settings, task=task, validation=ValidationSettings(folds=4))
    images = catalogue.counts.sum(axis=0)
    np.testing.assert_array_equal(catalogue.class_images[:, 1], images)
    np.testing.assert_array_equal(catalogue.class_images[:, 0], np.rint(images * 0.75))


def test_images_of_several_classes_cannot_be_stratified(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b""] * 40, "label": [["a", "b"], ["b"]] * 20}), tmp_path / "x.parquet")
    settings = InputSettings(uri=str(tmp_path / "x.parquet"), format="parquet", label_column="label")
    task, validation = TaskSettings(type="classification", multi_label=True), ValidationSettings(fraction=0.5)
    catalogue_of(tmp_path / "out", settings, task=task, validation=validation)
    with pytest.raises(SpecError, match=r"validation\.stratify"):
        stratified = ValidationSettings(fraction=0.5, stratify=True)
        catalogue_of(tmp_path / "other", settings, task=task, validation=stratified)


def test_only_columns_of_ids_and_labels_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vision_batch.datasets import parquet

    asked: list[list[str]] = []
    opened = parquet.open_parquet
    monkeypatch.setattr(
        parquet,
        "open_parquet",
        lambda file, footer, groups, columns: asked.append(columns) or opened(file, footer, groups, columns),
    )
    catalogue_of(tmp_path / "out", write_parquet(tmp_path / "data", IMAGES))
    assert {tuple(columns) for columns in asked} == {("name", "label")}


def test_shard_that_cannot_be_read_leaves_no_catalogue(tmp_path: Path) -> None:
    settings = write_parquet(tmp_path / "data", IMAGES)
    plan = planned(tmp_path / "out", settings)
    (tmp_path / "data" / "00060.parquet").unlink()
    paths = LedgerPaths(str(tmp_path / "out"))
    with pytest.raises(Exception, match=r"00060\.parquet"):
        build_catalogue(paths, settings, plan, task=TaskSettings(type="classification"), labels=None, validation=None)
    assert load_catalogue(paths) is None


def test_input_that_could_not_be_listed_whole_is_no_catalogue(tmp_path: Path) -> None:
    settings = write_tars(tmp_path / "data", IMAGES)
    plan = Plan(format="webdataset", shards=planned(tmp_path / "out", settings).shards, unread=("a.tar: 503",))
    with pytest.raises(UnavailableError, match=r"a\.tar: 503"):
        build_catalogue(
            LedgerPaths(str(tmp_path / "out")),
            settings,
            plan,
            task=TaskSettings(type="classification"),
            labels=None,
            validation=None,
        )


def test_validation_without_an_image_is_refused(tmp_path: Path) -> None:
    settings = write_folder(tmp_path / "data", 4)
    with pytest.raises(SpecError, match=r"validation\.folds"):
        catalogue_of(tmp_path / "out", settings, validation=ValidationSettings(folds=50))


def test_damaged_catalogue_is_an_error(tmp_path: Path) -> None:
    catalogue_of(tmp_path / "out", write_folder(tmp_path / "data", 20))
    paths = LedgerPaths(str(tmp_path / "out"))
    for name in ("blocks", "shards", "catalogue.json"):
        file = Path(paths.catalogue) / name
        content = file.read_bytes()
        file.write_bytes(content[:-3])
        with pytest.raises(LedgerError, match=name):
            load_catalogue(paths)
        file.write_bytes(content)
    rows = Path(paths.catalogue) / "rows-000000"
    rows.write_bytes(bytes(len(rows.read_bytes())))
    catalogue = load_catalogue(paths)
    assert catalogue is not None
    with pytest.raises(LedgerError, match="not what was written"):
        catalogue.look(0, 1)


def test_rows_that_are_not_held_are_read_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vision_batch.training.catalogue_rows.OBJECT_ROWS", 10)
    writer = RowsWriter(str(tmp_path), str(tmp_path / "tmp"))
    for start in (0, 7, 30):
        count = {0: 7, 7: 23, 30: 4}[start]
        writer.add(np.arange(start, start + count, dtype=np.uint64), np.arange(start, start + count, dtype=np.int32))
    writer.finish()
    assert len(writer.digests) == 4
    for total in (writer.count, MOST_HELD_ROWS + 1):
        rows = Rows(str(tmp_path), total, writer.digests)
        for first, stop in ((0, 34), (9, 11), (33, 34), (5, 5), (10, 20)):
            assert rows[first:stop]["name"].tolist() == list(range(first, stop))
            assert rows[first:stop]["label"].tolist() == list(range(first, stop))


def test_rows_take_twelve_bytes(tmp_path: Path) -> None:
    assert ROW.itemsize == 12
    writer = RowsWriter(str(tmp_path), str(tmp_path / "tmp"))
    writer.add(np.zeros(5, np.uint64), np.zeros(5, np.int32))
    writer.finish()
    content = (tmp_path / "rows-000000").read_bytes()
    assert (len(content), writer.digests) == (60, [hashlib.sha256(content).hexdigest()])


def test_lanes_are_enough_for_every_worker() -> None:
    assert [lanes_for(workers) for workers in (1, 64, 65, 512, 513)] == [64, 64, 128, 512, 1024]


@pytest.mark.parametrize("side_px", [32, 224, 512, 1024])
def test_the_pools_of_all_lanes_have_room_in_memory_encoded_and_decoded(side_px: int) -> None:
    decoded_bytes = 3 * side_px**2
    rows = rows_of_pool(110_000, decoded_bytes, 64, 10_000_000)
    assert LEAST_POOL_ROWS <= rows <= MOST_POOL_ROWS
    assert 64 * rows * 110_000 <= POOL_BYTES
    assert 64 * rows * decoded_bytes <= DECODED_BYTES
    assert rows_of_pool(110_000, 1 << 30, 64, 10_000_000) == LEAST_POOL_ROWS
