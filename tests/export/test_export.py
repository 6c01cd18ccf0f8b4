"""What is true of every export: whole, in its own folder, nothing lost without a word."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import S3Bucket
from tests.datasets.reading import FaultyStorage, samples_of, settings_of
from tests.export.predicted import (
    BOXES,
    CLASSIFIED,
    ERROR,
    MASKED,
    SEGMENTED,
    box,
    classified,
    picture,
    pictures,
    predicted,
)
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import SpecError, UnavailableError
from vision_batch.export.export import Exported, export
from vision_batch.export.job import Options
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.local_file import _temporary
from vision_batch.storage.table import STORAGES, storage_for


@pytest.fixture
def detected(tmp_path: Path) -> str:
    """Six pictures, of which `b.png` is an error and `c/d.png` has no box."""
    names = ["a.png", "b.png", "c/d.png", "e.png", "f.png", "g.png"]

    def predict(name: str) -> dict[str, Any]:
        if name == "b.png":
            return ERROR
        return {"boxes": [] if name == "c/d.png" else [box(1, 2, 3.5, 4, 1, 0.9), box(0, 0, 40, 30, 0, 0.3)]}

    return predicted(tmp_path, pictures(tmp_path / "in", *names), [BOXES], predict)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def listed_errors(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "_errors.csv").read_text().splitlines()))


def exported(uri: str, format: str, to: Path, **options: Any) -> Exported:
    return export(uri, format=format, to=str(to), options=Options(**options))


def test_error_rows_are_counted_and_listed(detected: str, tmp_path: Path) -> None:
    found = exported(detected, "coco", tmp_path / "to")
    assert (found.images, found.annotations, found.errors, found.unread) == (5, 8, {"empty": 1}, 0)
    assert files(tmp_path / "to") == {"instances.json", "_errors.csv", "_export.json"}
    assert listed_errors(tmp_path / "to") == [
        {"image_id": "b.png", "shard": "files-000001", "row": "1", "error_code": "empty", "error": "0 bytes"}
    ]
    marker = json.loads((tmp_path / "to" / "_export.json").read_text())
    assert marker["complete"] is True
    assert marker["summary"]["images"] == 5


def test_an_earlier_export_of_the_same_is_replaced(detected: str, tmp_path: Path) -> None:
    exported(detected, "yolo", tmp_path / "to", copy_images=True)
    before = files(tmp_path / "to")
    (tmp_path / "to" / "labels" / "of-an-image-that-left.txt").write_text("")
    found = exported(detected, "yolo", tmp_path / "to")
    assert files(tmp_path / "to") == before - {f"images/{name}.png" for name in ("a", "c/d", "e", "f", "g")}
    assert found.files == len(files(tmp_path / "to")) - 1, "all but what says that it is an export"


@pytest.mark.parametrize("strange", ["mine.txt", "_export.json", "instances.json"])
def test_a_folder_with_anything_else_is_refused(detected: str, tmp_path: Path, strange: str) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / strange).write_text("{}")
    with pytest.raises(SpecError, match="expected a new or empty folder, or an earlier export of the same"):
        exported(detected, "coco", tmp_path / "to")
    assert files(tmp_path / "to") == {strange}
    exported(detected, "csv", tmp_path / "other")
    with pytest.raises(SpecError, match=r"--to: found .*other/_e"):
        exported(detected, "coco", tmp_path / "other")


@pytest.mark.parametrize("strange", ["NOTES.txt", "notes.txt", "runs/best.pt", "images/mine.png", "labels/a.json"])
def test_what_no_export_has_written_is_never_removed(detected: str, tmp_path: Path, strange: str) -> None:
    exported(detected, "yolo", tmp_path / "to")
    (tmp_path / "to" / strange).parent.mkdir(exist_ok=True)
    (tmp_path / "to" / strange).write_text("mine")
    before = files(tmp_path / "to")
    with pytest.raises(SpecError, match="which no export has written; expected only the earlier export, to replace it"):
        exported(detected, "yolo", tmp_path / "to", copy_images=True)
    assert files(tmp_path / "to") == before


def test_what_a_link_leads_to_is_never_removed(detected: str, tmp_path: Path) -> None:
    exported(detected, "yolo", tmp_path / "to", copy_images=True)
    (tmp_path / "to" / "images").rename(tmp_path / "elsewhere")
    (tmp_path / "to" / "images").symlink_to(tmp_path / "elsewhere")
    before = files(tmp_path / "elsewhere")
    with pytest.raises(SpecError, match="which no export has written"):
        exported(detected, "yolo", tmp_path / "to", copy_images=True)
    assert files(tmp_path / "elsewhere") == before
    (tmp_path / "link").symlink_to(tmp_path / "new")
    (tmp_path / "new").mkdir()
    for _ in range(2):
        exported(detected, "yolo", tmp_path / "link")


def test_a_format_that_cannot_say_it_is_refused_with_those_that_can(detected: str, tmp_path: Path) -> None:
    for format, message in [
        (
            "folders",
            "folders, which cannot say detection; expected for these predictions coco, yolo, csv, labelstudio,",
        ),
        ("xml", "'xml'; expected coco or yolo or csv or labelstudio or folders or webdataset"),
    ]:
        with pytest.raises(SpecError, match=message):
            exported(detected, format, tmp_path / "to")
    with pytest.raises(SpecError, match="--scores: found --format coco; expected it with yolo only"):
        exported(detected, "coco", tmp_path / "to", scores=True)
    with pytest.raises(SpecError, match="--min-score: found the number 50; expected a number from 0 to 1"):
        exported(detected, "coco", tmp_path / "to", min_score=50)
    with pytest.raises(SpecError, match="inside the predictions"):
        exported(detected, "coco", tmp_path / "out" / "coco")
    assert not (tmp_path / "to").exists()


def test_boxes_of_a_lower_score_are_left_out(detected: str, tmp_path: Path) -> None:
    found = exported(detected, "coco", tmp_path / "to", min_score=0.9)
    assert (found.images, found.annotations) == (5, 4), "0.9 as float32 is not below 0.9"


def test_what_has_no_score_has_no_lower_one(tmp_path: Path) -> None:
    masks = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), SEGMENTED, lambda name: {"mask_png": b""})
    with pytest.raises(SpecError, match="--min-score: found segmentation, which has no scores"):
        exported(masks, "webdataset", tmp_path / "to", min_score=0.5)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("name", ["../../up.png", "/etc/x.png", "C:\\x.png", "a/./b.png", "x" * 3000, "nul.png", ""])
def test_hostile_names_stay_inside(tmp_path: Path, name: str) -> None:
    boxes = pa.array([[box(0, 0, 1, 1)]], BOXES.type)
    columns = {"image_id": [name], "width": pa.array([40], pa.int32()), "height": pa.array([30], pa.int32())}
    pq.write_table(pa.table({**columns, "boxes": boxes}), tmp_path / "t.parquet")
    found = exported(str(tmp_path / "t.parquet"), "yolo", tmp_path / "deep" / "to")
    assert (found.images, found.errors, found.files) == (1, {}, 2)
    assert files(tmp_path) == {"t.parquet"} | {f"deep/to/{file}" for file in files(tmp_path / "deep" / "to")}
    assert len(files(tmp_path / "deep" / "to" / "labels")) == 1


def test_two_images_of_one_name_are_not_one(tmp_path: Path) -> None:
    rows = [
        {"image_id": name, "width": 40, "height": 30, "boxes": [box(0, 0, number, 1)]}
        for number, name in enumerate(["a.png", "a.jpg", "a.png"], start=1)
    ]
    schema = pa.schema([("image_id", pa.string()), ("width", pa.int32()), ("height", pa.int32()), BOXES])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "t.parquet")
    found = exported(str(tmp_path / "t.parquet"), "yolo", tmp_path / "to")
    assert (found.images, found.errors, found.unread) == (1, {"name_taken": 2}, 2)
    assert len(listed_errors(tmp_path / "to")) == 2


@pytest.mark.parametrize("names", [["q.txt/x.jpg", "q.jpg"], ["q.jpg", "q.txt/x.jpg"]])
def test_a_file_that_would_be_a_folder_is_listed(tmp_path: Path, names: list[str]) -> None:
    rows = [{"image_id": name, "width": 40, "height": 30, "boxes": [box(0, 0, 9, 9)]} for name in names]
    schema = pa.schema([("image_id", pa.string()), ("width", pa.int32()), ("height", pa.int32()), BOXES])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "t.parquet")
    found = exported(str(tmp_path / "t.parquet"), "yolo", tmp_path / "to")
    assert (found.images, found.errors) == (1, {"name_taken": 1})


def test_a_copied_image_whose_name_is_taken_is_counted_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(picture(shade=len(name) + ord(name)))
    pq.write_table(pa.table({"image": ["a/1.png", "b/1.png"], "id": ["same.png"] * 2}), tmp_path / "t.parquet")
    settings = InputSettings(uri=str(tmp_path / "t.parquet"), format="parquet", id_column="id")
    output = predicted(tmp_path, settings, [BOXES], lambda name: {"boxes": [box(0, 0, 9, 9)]})
    found = exported(output, "yolo", tmp_path / "to", copy_images=True, min_score=0.1)
    assert (found.images, found.errors) == (1, {"name_taken": 1})


@pytest.mark.parametrize("format", ["coco", "yolo"])
def test_no_image_is_given_the_boxes_of_another_one(tmp_path: Path, format: str) -> None:
    """`a.jpg` and `a.png` have one file of labels; images of one id one copy."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(picture(shade=ord(name)))
    ids = ["a.jpg", "a.png"] if format == "yolo" else ["same.png"] * 2
    pq.write_table(pa.table({"image": ["a/1.png", "b/1.png"], "id": ids}), tmp_path / "t.parquet")
    settings = InputSettings(uri=str(tmp_path / "t.parquet"), format="parquet", id_column="id")
    places = iter([box(0, 0, 9, 9), box(20, 20, 30, 30)])
    output = predicted(tmp_path, settings, [BOXES], lambda name: {"boxes": [next(places)]})
    found = exported(output, format, tmp_path / "to", copy_images=True)
    assert (found.images, found.annotations, found.errors) == (1, 1, {"name_taken": 1})
    (copied,) = (tmp_path / "to" / "images").iterdir()
    uri = tmp_path / "to" / ("instances.json" if format == "coco" else "")
    (sample,) = samples_of(settings_of(uri, format=format, label_column="boxes"))
    assert sample.image_id == copied.name
    shade = cv2.imread(str(copied))[0, 0, 0]
    assert sample.truth[0]["x_min"] == {ord("a"): 0, ord("b"): 20}[int(shade)]


def test_an_image_that_is_gone_is_an_error_of_its_own(tmp_path: Path) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png", "b.png"), CLASSIFIED, lambda name: classified())
    (tmp_path / "in" / "a.png").unlink()
    found = exported(output, "folders", tmp_path / "to")
    assert (found.images, found.errors, found.unread) == (1, {"not_copied": 1}, 1)
    assert files(tmp_path / "to") == {"cat/b.png", "_errors.csv", "_export.json"}


def test_a_table_without_an_output_has_no_images_to_copy(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "label": ["cat"]}), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match="whose definition says where the images are"):
        exported(str(tmp_path / "t.parquet"), "folders", tmp_path / "to")
    assert not (tmp_path / "to").exists()


@pytest.mark.s3
def test_on_s3(s3: S3Bucket, tmp_path: Path) -> None:
    settings = pictures(tmp_path / "in", "a.png", "b/c.png")
    output = predicted(tmp_path, settings, [BOXES], lambda name: {"boxes": [box(0, 0, 1, 1)]}, uri=f"{s3.uri}/out")
    to = f"{s3.uri}/to"
    for _ in range(2):
        found = export(output, format="coco", to=to, options=Options(copy_images=True))
        assert (found.images, found.errors, found.files) == (2, {}, 3)
        names = {info.uri.removeprefix(f"{to}/") for info in storage_for(to).list(to)}
        assert names == {"_export.json", "images/a.png", "images/b/c.png", "instances.json"}
    assert len(json.loads(storage_for(to).read(f"{to}/instances.json"))["images"]) == 2


def test_rows_of_tables_from_elsewhere_that_lack_something_are_listed(tmp_path: Path) -> None:
    bare = {"label": "cat", "x_min": 0.0, "y_min": 0.0, "x_max": 1.0, "y_max": 1.0}
    rows = [
        {"image_id": "a.png", "width": 40, "height": 30, "boxes": [bare]},
        {"image_id": None, "width": 40, "height": 30, "boxes": []},
        {"image_id": "b.png", "width": 40, "height": 30, "boxes": None},
        {"image_id": "c.png", "width": None, "height": None, "boxes": [bare]},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for format in ("coco", "yolo", "labelstudio"):
        found = exported(str(tmp_path / "t.parquet"), format, tmp_path / format, min_score=0.5)
        lacking = {"no_name": 1, "no_prediction": 1, "no_size": 1}
        assert (found.images, found.annotations, found.errors, found.unread) == (1, 1, lacking, 3)


@pytest.mark.parametrize("format", ["coco", "yolo", "labelstudio"])
@pytest.mark.parametrize(
    "change", [{"x_min": float("nan")}, {"y_max": float("inf")}, {"x_max": None}, {"label": None}, {"score": -np.inf}]
)
def test_a_box_that_is_none_costs_its_image(tmp_path: Path, format: str, change: dict[str, Any]) -> None:
    good, size = box(0, 0, 9, 9), {"width": [40] * 3, "height": [30] * 3}
    boxes = pa.array([[good, {**good, **change}], [None], [good]], BOXES.type)
    pq.write_table(pa.table({"image_id": ["a", "b", "c"], **size, "boxes": boxes}), tmp_path / "t.parquet")
    found = exported(str(tmp_path / "t.parquet"), format, tmp_path / "to")
    assert (found.images, found.annotations, found.errors, found.unread) == (1, 1, {"bad_prediction": 2}, 2)


def test_a_mask_that_is_none_costs_its_image(tmp_path: Path) -> None:
    settings = pictures(tmp_path / "in", "a.png")
    output = predicted(tmp_path, settings, [MASKED], lambda name: {"boxes": [box(0, 0, 9, 9, mask_rle="\x7f")]})
    for format in ("coco", "labelstudio"):
        assert exported(output, format, tmp_path / format).errors == {"bad_prediction": 1}
    columns = {"image_id": ["a"], "width": [40], "height": [30], "mask_png": [b"no png"], "class_pixels": [[]]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = exported(str(tmp_path / "t.parquet"), "labelstudio", tmp_path / "masks")
    assert (found.images, found.errors) == (0, {"bad_prediction": 1})


@pytest.mark.parametrize("index", [-1, 2_000_000_000])
def test_a_number_that_is_no_class_is_refused(tmp_path: Path, index: int) -> None:
    boxes = [[{**box(0, 0, 1, 1), "label_index": index}]]
    columns = {"image_id": ["a"], "width": [40], "height": [30], "boxes": boxes}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match=r"label_index: found .* of 'cat'; expected a number from 0 to 999999"):
        exported(str(tmp_path / "t.parquet"), "yolo", tmp_path / "to")


def test_what_was_broken_off_says_so_and_is_done_again(
    detected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = str(tmp_path / "in" / "e.png")
    with monkeypatch.context() as patch:
        patch.setitem(STORAGES, "", lambda: FaultyStorage({bad: UnavailableError(bad, "503")}))
        with pytest.raises(UnavailableError, match="503"):
            exported(detected, "coco", tmp_path / "to", copy_images=True)
    assert json.loads((tmp_path / "to" / "_export.json").read_text())["complete"] is False
    assert "instances.json" not in files(tmp_path / "to")
    assert exported(detected, "coco", tmp_path / "to", copy_images=True).images == 5
    assert json.loads((tmp_path / "to" / "_export.json").read_text())["complete"] is True


def test_what_a_killed_export_leaves_is_cleared(detected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that cannot clean up, as after a kill -9, leaves temporary files: beside nothing, or beside its labels."""
    written = LocalStorage.put
    for broken_off in ("_export.json", "labels/e.txt"):

        def put(self: LocalStorage, uri: str, data: bytes, broken_off: str = broken_off, **options: Any) -> object:
            if uri.endswith(broken_off):
                os.link(written(self, f"{uri}.whole", data).uri, _temporary(os.path.dirname(uri)))
                os.unlink(f"{uri}.whole")
                raise KeyboardInterrupt
            return written(self, uri, data, **options)

        with monkeypatch.context() as patch:
            patch.setattr(LocalStorage, "put", put)
            with pytest.raises(KeyboardInterrupt):
                exported(detected, "yolo", tmp_path / "to")
        assert [file for file in files(tmp_path / "to") if file.endswith(".tmp")]
        assert exported(detected, "yolo", tmp_path / "to").images == 5
        assert not [file for file in files(tmp_path / "to") if file.endswith(".tmp")]
        shutil.rmtree(tmp_path / "to")


def test_a_target_inside_the_input_is_refused(detected: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="inside the input"):
        exported(detected, "yolo", tmp_path / "in" / "to", copy_images=True)


def test_an_earlier_export_that_is_half_removed_is_not_complete(
    detected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported(detected, "yolo", tmp_path / "to")

    def delete(self: LocalStorage, uri: str, **_: object) -> None:
        raise UnavailableError(uri, "503")

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "delete", delete)
        with pytest.raises(UnavailableError):
            exported(detected, "yolo", tmp_path / "to")
    assert json.loads((tmp_path / "to" / "_export.json").read_text())["complete"] is False
    exported(detected, "yolo", tmp_path / "to")
    assert json.loads((tmp_path / "to" / "_export.json").read_text())["complete"] is True


def test_classes_of_two_names_are_refused(tmp_path: Path) -> None:
    boxes = [[box(0, 0, 1, 1, 0)], [{**box(0, 0, 1, 1, 0), "label": "cow"}]]
    size = {"width": [40, 40], "height": [30, 30]}
    pq.write_table(pa.table({"image_id": ["a", "b"], **size, "boxes": boxes}), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match="class 0 called 'cow', and 'cat' before; expected one name for each index"):
        exported(str(tmp_path / "t.parquet"), "coco", tmp_path / "to")
