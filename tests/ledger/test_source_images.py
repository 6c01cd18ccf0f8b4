"""The images behind an output are those that its rows are of, or an error in their place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.datasets.archives import written
from tests.datasets.reading import FaultyStorage
from tests.ledger.outputs import Output
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import LedgerError, SpecError, UnavailableError
from vision_batch.jobs.prepare import input_facts
from vision_batch.ledger.definition import Definition, claim_definition
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.source_images import SourceImage, SourceImages
from vision_batch.storage.table import STORAGES, storage_for


def output_of(folder: Path, settings: InputSettings, rows: int | None = None, *, uri: str | None = None) -> Output:
    """A finished output over an input whose shards have `rows` each, where the plan does not know."""
    definition = Definition(input_facts(settings, "input"))
    paths = LedgerPaths(uri or str(folder / "out"))
    output = Output(paths=paths, input=settings, format=settings.format, definition=definition)
    claim_definition(paths, definition, cell_rows=4)
    for work in output.todo():
        count = work.shard.rows if rows is None else rows
        assert count is not None
        output.commit(work, count)
    return output


def folder_of(root: Path, images: int = 10) -> InputSettings:
    root.mkdir(parents=True, exist_ok=True)
    for index in range(images):
        (root / f"{index}.jpg").write_bytes(b"image %d" % index)
    return InputSettings(uri=str(root), format="folder")


def tar_of(path: Path, images: int = 10, first: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(first, first + images)
    members = [(f"{n:02d}.{kind}", b"%s %d" % (kind.encode(), n)) for n in numbers for kind in ("cls", "jpg")]
    path.write_bytes(written(members))


def seen(images: list[SourceImage]) -> list[tuple[str, int, str | None, bytes | None]]:
    assert all((image.data is None) != (image.error is None) for image in images)
    return [(image.shard, image.row, image.image_id, image.data) for image in images]


def test_the_files_of_a_folder(tmp_path: Path) -> None:
    output = output_of(tmp_path, folder_of(tmp_path / "in"))
    images = list(SourceImages.of(output.paths.output).all())
    assert seen(images) == [
        (shard.key, row, f"{4 * number + row}.jpg", b"image %d" % (4 * number + row))
        for shard, number in sorted(
            zip(output.plan().shards, range(3), strict=True), key=lambda pair: output.paths.part_name(pair[0].key, 0)
        )
        for row in range(shard.rows or 0)
    ]


def test_some_rows_in_the_order_of_the_shards_that_are_asked_for(tmp_path: Path) -> None:
    source = SourceImages.of(output_of(tmp_path, folder_of(tmp_path / "in")).paths)
    images = list(source.read({"files-000003": [1], "files-000001": [3, 0, 3]}))
    assert [image.data for image in images] == [b"image 9", b"image 0", b"image 3"]


def test_a_few_rows_of_a_tar_are_read_without_the_rest_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        tar_of(tmp_path / "in" / f"{name}.tar")
    settings = InputSettings(uri=str(tmp_path / "in"), format="webdataset", label_column="cls")
    source = SourceImages.of(output_of(tmp_path, settings, 10).paths)
    storage = FaultyStorage()
    monkeypatch.setitem(STORAGES, "", lambda: storage)
    images = list(source.read({"b.tar": [8, 2], "a.tar": [0]}))
    assert seen(images) == [
        ("b.tar", 2, "b/02", b"jpg 2"),
        ("b.tar", 8, "b/08", b"jpg 8"),
        ("a.tar", 0, "a/00", b"jpg 0"),
    ]
    assert storage.opened == [str(tmp_path / "in" / "b.tar"), str(tmp_path / "in" / "a.tar")]
    assert [image.row for image in source.all()] == [*range(10), *range(10)]


def test_rows_of_parquet(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "c.jpg").write_bytes(b"c")
    pq.write_table(pa.table({"image": ["c.jpg", "gone.jpg"], "id": ["x", "y"]}), tmp_path / "in" / "t.parquet")
    settings = InputSettings(uri=str(tmp_path / "in" / "t.parquet"), format="parquet", id_column="id")
    first, second = SourceImages.of(output_of(tmp_path, settings).paths).all()
    assert (first.image_id, first.data) == ("x", b"c")
    assert (second.image_id, second.data) == ("y", None)
    assert second.error is not None
    assert second.error.startswith("missing: ")


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"another image")])
def test_an_image_that_is_another_by_now_harms_no_neighbour(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    output = output_of(tmp_path, folder_of(tmp_path / "in", 4))
    harm(tmp_path / "in" / "1.jpg")
    images = list(SourceImages.of(output.paths).all())
    assert [image.data for image in images] == [b"image 0", None, b"image 2", b"image 3"]
    assert images[1].image_id == "1.jpg"
    assert "1.jpg" in (images[1].error or "")


def test_a_tar_that_is_another_by_now_costs_its_own_images(tmp_path: Path) -> None:
    for name in "ab":
        tar_of(tmp_path / "in" / f"{name}.tar", 5)
    settings = InputSettings(uri=str(tmp_path / "in"), format="webdataset")
    output = output_of(tmp_path, settings, 5)
    tar_of(tmp_path / "in" / "a.tar", 5, first=50)
    for planned_again in (False, True):
        images = list(SourceImages.of(output.paths).read({"a.tar": [1, 2], "b.tar": [1]}))
        assert [(image.row, image.data) for image in images] == [(1, None), (2, None), (1, b"jpg 1")], planned_again
        output.plan()


def test_rows_stay_with_the_version_that_they_are_of_while_a_newer_one_is_planned(tmp_path: Path) -> None:
    output = output_of(tmp_path, folder_of(tmp_path / "in", 3))
    (tmp_path / "in" / "1.jpg").write_bytes(b"newer")
    output.plan()
    images = list(SourceImages.of(output.paths).all())
    assert [image.data for image in images] == [b"image 0", None, b"image 2"]


def test_what_the_output_does_not_have_is_an_error(tmp_path: Path) -> None:
    source = SourceImages.of(output_of(tmp_path, folder_of(tmp_path / "in", 3)).paths)
    images = list(source.read({"files-000001": [2, 7], "files-000009": [0]}))
    assert [(image.row, image.data) for image in images] == [(2, b"image 2"), (7, None), (0, None)]
    assert [image.error for image in images[1:]] == [
        "files-000001 has no such row",
        f"{tmp_path / 'out'}: no part of files-000009 is there, or the plan does not know its version",
    ]


def test_inputs_with_names(tmp_path: Path) -> None:
    for name in "ab":
        folder_of(tmp_path / name, 1)
    uris = [{"uri": str(tmp_path / name), "name": name} for name in "ab"]
    settings = InputSettings.model_validate({"uri": uris, "format": "folder"})
    images = SourceImages.of(output_of(tmp_path, settings).paths).all()
    assert sorted(image.image_id or "" for image in images) == ["a/0.jpg", "b/0.jpg"]


def test_a_storage_that_does_not_answer_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceImages.of(output_of(tmp_path, folder_of(tmp_path / "in", 2)).paths)
    uri = str(tmp_path / "in" / "1.jpg")
    storage = FaultyStorage({uri: UnavailableError(uri, "503")})
    monkeypatch.setitem(STORAGES, "", lambda: storage)
    with pytest.raises(UnavailableError, match="503"):
        list(source.all())


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="found nothing; expected the output of a predict job"):
        SourceImages.of(str(tmp_path))
    claim_definition(LedgerPaths(str(tmp_path / "train")), Definition({"job": "train"}))
    with pytest.raises(SpecError, match="an output of a train job"):
        SourceImages.of(str(tmp_path / "train"))
    claim_definition(LedgerPaths(str(tmp_path / "odd")), Definition({"input.format": "folder"}))
    with pytest.raises(LedgerError, match="cannot read"):
        SourceImages.of(str(tmp_path / "odd"))


@pytest.mark.s3
def test_on_s3(moto_s3: S3Bucket, tmp_path: Path) -> None:
    for index in range(6):
        storage_for(moto_s3.uri).put(f"{moto_s3.uri}/in/{index}.jpg", b"image %d" % index)
    settings = InputSettings(uri=f"{moto_s3.uri}/in", format="folder")
    output = output_of(tmp_path, settings, uri=f"{moto_s3.uri}/out")
    storage_for(moto_s3.uri).delete(f"{moto_s3.uri}/in/4.jpg")
    images = {image.image_id: image.data for image in SourceImages.of(output.paths).all()}
    assert images == {f"{index}.jpg": None if index == 4 else b"image %d" % index for index in range(6)}
    (image,) = SourceImages.of(replace(output.paths)).read({"files-000001": [2]})
    assert image.data == b"image 2"
