"""What each format holds, as other readers see it."""

from __future__ import annotations

import base64
import csv
import io
import json
import tarfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pycocotools.coco import COCO

from tests.datasets.reading import samples_of, settings_of
from tests.export.predicted import (
    BOXES,
    CLASSIFIED,
    ERROR,
    MASKED,
    SEGMENTED,
    SEVERAL,
    box,
    classified,
    pictures,
    predicted,
)
from vision_batch.export import webdataset
from vision_batch.export.brush_rle import brush_rle
from vision_batch.export.export import Exported, export
from vision_batch.export.job import Options
from vision_batch.tasks.box_truth import parse_boxes
from vision_batch.tasks.rle import encode


def exported(uri: str, format: str, to: Path, **options: Any) -> Exported:
    return export(uri, format=format, to=str(to), options=Options(**options))


def mask() -> NDArray[np.bool_]:
    whole = np.zeros((30, 40), bool)
    whole[5:20, 3:11] = True
    return whole


@pytest.fixture
def instances(tmp_path: Path) -> str:
    """Two pictures: one with a masked object, one with none, and an error row."""

    def predict(name: str) -> dict[str, Any]:
        found = box(2.5, 4.75, 11.125, 20, 1, 0.875, mask_rle=encode(mask()))
        return {"a/1.png": {"boxes": [found]}, "b.png": {"boxes": []}}.get(name, ERROR)

    return predicted(tmp_path, pictures(tmp_path / "in", "a/1.png", "b.png", "c.png"), [MASKED], predict)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
def test_coco_is_what_pycocotools_reads(instances: str, tmp_path: Path) -> None:
    exported(instances, "coco", tmp_path / "to", copy_images=True)
    coco = COCO(str(tmp_path / "to" / "instances.json"))
    assert [coco.imgs[number]["file_name"] for number in (1, 2)] == ["a/1.png", "b.png"]
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert (annotation["image_id"], annotation["category_id"], annotation["score"]) == (1, 2, 0.875)
    assert annotation["bbox"] == [2.5, 4.75, 8.625, 15.25]
    assert annotation["area"] == mask().sum()
    assert np.array_equal(coco.annToMask(annotation), mask())
    for name in ("a/1.png", "b.png"):
        assert (tmp_path / "to" / "images" / name).read_bytes() == (tmp_path / "in" / name).read_bytes()


def test_coco_of_nothing_is_whole(tmp_path: Path) -> None:
    output = predicted(tmp_path, pictures(tmp_path / "in", "a.png"), [BOXES], lambda name: ERROR)
    exported(output, "coco", tmp_path / "to")
    stored = json.loads((tmp_path / "to" / "instances.json").read_text())
    assert (stored["images"], stored["annotations"], len(stored["categories"])) == ([], [], 2)


def test_yolo_is_a_text_for_each_image(instances: str, tmp_path: Path) -> None:
    exported(instances, "yolo", tmp_path / "to")
    assert yaml.safe_load((tmp_path / "to" / "data.yaml").read_text()) == {
        "train": "images",
        "val": "images",
        "names": {0: "cat", 1: "dog"},
    }
    number, *shares = (tmp_path / "to" / "labels" / "a" / "1.txt").read_text().split()
    assert number == "1"
    assert [float(share) for share in shares] == pytest.approx([13.625 / 80, 24.75 / 60, 8.625 / 40, 15.25 / 30])
    assert (tmp_path / "to" / "labels" / "b.txt").read_text() == ""
    exported(instances, "yolo", tmp_path / "to", scores=True)
    assert (tmp_path / "to" / "labels" / "a" / "1.txt").read_text().endswith(" 0.875\n")


def test_csv_has_every_row_and_every_column(instances: str, tmp_path: Path) -> None:
    found = exported(instances, "csv", tmp_path / "to")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "to" / "predictions.csv").read_text())))
    assert found.images == len(rows) == 3
    assert [row["image_id"] for row in rows] == ["a/1.png", "b.png", "c.png"]
    assert [row["error_code"] for row in rows] == ["", "", "empty"]
    assert [row["width"] for row in rows] == ["40", "40", ""]
    assert json.loads(rows[0]["boxes"])[0]["x_max"] == 11.125
    assert [row["boxes"] for row in rows[1:]] == ["[]", ""]


def test_csv_tells_empty_text_from_none_and_keeps_bytes(tmp_path: Path) -> None:
    odd = {**classified(score=0.1), "label": 'a "quoted",\n=1+1'}
    settings = pictures(tmp_path / "in", "a.png", "b.png")
    fields = [*CLASSIFIED, pa.field("mask", pa.binary())]
    rows = {"a.png": {**odd, "mask": b"\0x"}, "b.png": {**classified(), "label": ""}}
    output = predicted(tmp_path, settings, fields, rows.__getitem__)
    exported(output, "csv", tmp_path / "to")
    text = (tmp_path / "to" / "predictions.csv").read_text()
    first, second = csv.DictReader(io.StringIO(text))
    assert first["label"] == odd["label"]
    assert np.float32(first["score"]) == np.float32(0.1)
    assert base64.b64decode(first["mask"]) == b"\0x"
    assert ',"",' in text
    assert second["mask"] == ""


def test_folders_hold_the_images_of_their_class(tmp_path: Path) -> None:
    rows = {"a/1.png": classified(0), "b.png": classified(1, 0.25), "c.png": {**classified(1), "label": "do/g"}}
    settings = pictures(tmp_path / "in", *rows)
    output = predicted(tmp_path, settings, CLASSIFIED, rows.__getitem__, labels=None)
    (tmp_path / "other").mkdir()
    rows["c.png"]["label_index"] = 2
    found = exported(output, "folders", tmp_path / "to", min_score=0.5)
    assert (found.images, found.left_out) == (2, 1)
    assert {
        (sample.image_id, sample.truth) for sample in samples_of(settings_of(tmp_path / "to", label_column="folder"))
    } == {
        ("cat/a%2F1.png", "cat"),
        ("do%2Fg/c.png", "do%2Fg"),
    }


def test_webdataset_has_images_and_predictions_side_by_side(
    instances: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webdataset, "TAR_SAMPLES", 1)
    found = exported(instances, "webdataset", tmp_path / "to")
    assert (found.images, found.annotations, found.files) == (2, 1, 3)
    samples = samples_of(settings_of(tmp_path / "to", label_column="json"))
    assert [sample.image_id for sample in samples] == ["00000/000000000-1", "00001/000000001-b"]
    assert [sample.data for sample in samples] == [
        (tmp_path / "in" / name).read_bytes() for name in ("a/1.png", "b.png")
    ]
    told = [json.loads(sample.truth) for sample in samples]
    assert [each["image_id"] for each in told] == ["a/1.png", "b.png"]
    assert told[0]["boxes"][0]["mask_rle"] == encode(mask())
    (truth,) = parse_boxes(samples[0].truth)
    assert (truth.label, truth.edges, truth.mask_rle) == ("dog", (2.5, 4.75, 11.125, 20), encode(mask()))


def test_webdataset_members_by_kind(tmp_path: Path) -> None:
    png = cv2.imencode(".png", mask().astype(np.uint8))[1].tobytes()
    vector = pa.field("embedding", pa.list_(pa.float16()))
    for fields, row, members in [
        (CLASSIFIED, classified(1), {"cls": b"1"}),
        (SEGMENTED, {"mask_png": png, "class_pixels": []}, {"mask.png": png}),
        ([vector], {"embedding": np.array([0.5, 2], np.float16)}, {"npy": None}),
    ]:
        folder = tmp_path / next(iter(members))
        output = predicted(folder, pictures(folder / "in", "x.y.png"), fields, lambda name, row=row: row)
        exported(output, "webdataset", folder / "to")
        with tarfile.open(folder / "to" / "00000.tar") as archive:
            stored = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
        assert set(stored) == {f"000000000-x.{kind}" for kind in ("png", "json", *members)}
        ((kind, data),) = members.items()
        found = stored[f"000000000-x.{kind}"]
        assert found == data if data is not None else np.load(io.BytesIO(found)).tolist() == [0.5, 2]


def tasks(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "tasks-00000.json").read_text())  # type: ignore[no-any-return]


def test_label_studio_places_are_in_percent(tmp_path: Path) -> None:
    settings = pictures(tmp_path / "in", "a b.png")
    output = predicted(tmp_path, settings, [BOXES], lambda name: {"boxes": [box(4, 3, 24, 30, 1, 0.5)]})
    found = exported(output, "labelstudio", tmp_path / "to", image_prefix="https://x.org/")
    (task,) = tasks(tmp_path / "to")
    assert (found.images, found.annotations) == (1, 1)
    assert task["data"] == {"image": "https://x.org/a%20b.png"}
    (prediction,) = task["predictions"]
    (result,) = prediction["result"]
    assert result["value"] == {"x": 10, "y": 10, "width": 50, "height": 90, "rotation": 0, "rectanglelabels": ["dog"]}
    assert (result["original_width"], result["original_height"], result["score"]) == (40, 30, 0.5)
    config = (tmp_path / "to" / "config.xml").read_text()
    assert '<RectangleLabels name="label" toName="image">\n    <Label value="cat"/>' in config


def test_label_studio_choices(tmp_path: Path) -> None:
    settings = pictures(tmp_path / "in", "a.png", "b.png")
    rows = {
        "a.png": {"labels": ["cat", "dog"], "label_scores": [0.9, 0.8]},
        "b.png": {"labels": [], "label_scores": []},
    }
    output = predicted(tmp_path, settings, SEVERAL, rows.__getitem__)
    exported(output, "labelstudio", tmp_path / "to", min_score=0.85)
    first, second = tasks(tmp_path / "to")
    assert first["predictions"][0]["result"][0]["value"] == {"choices": ["cat"]}
    assert 'toName="image" choice="multiple">' in (tmp_path / "to" / "config.xml").read_text()
    assert second["predictions"][0]["result"] == []


def test_label_studio_reads_any_label(tmp_path: Path) -> None:
    odd = {**classified(), "label": '\x01<&">\n\uffff', "label_index": 2}
    exported(
        predicted(tmp_path, pictures(tmp_path / "in", "a.png"), CLASSIFIED, lambda name: odd),
        "labelstudio",
        tmp_path / "to",
    )
    assert ElementTree.parse(tmp_path / "to" / "config.xml").getroot() is not None
    (task,) = json.loads((tmp_path / "to" / "tasks-00000.json").read_text())
    assert task["predictions"][0]["result"][0]["value"]["choices"] == ['\ufffd<&">\n\ufffd']


def test_label_studio_masks(instances: str, tmp_path: Path) -> None:
    exported(instances, "labelstudio", tmp_path / "to")
    (result,) = tasks(tmp_path / "to")[0]["predictions"][0]["result"]
    assert result["type"] == "brushlabels"
    assert np.array_equal(unpacked(result["value"]["rle"]).reshape(30, 40, 4)[..., 3] > 0, mask())
    png = cv2.imencode(".png", mask().astype(np.uint8))[1].tobytes()
    pixels = [{"label": "dog", "label_index": 1, "pixels": int(mask().sum())}]
    row = {"mask_png": png, "class_pixels": pixels}
    output = predicted(tmp_path / "s", pictures(tmp_path / "s" / "in", "a.png"), SEGMENTED, lambda name: row)
    exported(output, "labelstudio", tmp_path / "s" / "to")
    (result,) = tasks(tmp_path / "s" / "to")[0]["predictions"][0]["result"]
    assert result["value"]["brushlabels"] == ["dog"]
    assert np.array_equal(unpacked(result["value"]["rle"]).reshape(30, 40, 4)[..., 0] == 255, mask())


def unpacked(rle: list[int]) -> NDArray[np.uint8]:
    """As the rle-pack package reads: values may also stand one by one, behind a 0."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    at = 0

    def take(count: int) -> int:
        nonlocal at
        at += count
        return int(bits[at - count : at], 2)

    size, word = take(32), take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < size:
        is_run = take(1)
        count = take(lengths[take(2)]) + 1
        values += [take(word)] * count if is_run else [take(word) for _ in range(count)]
    return np.array(values, np.uint8)


@given(arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30))))
def test_a_brush_has_every_pixel(brush: NDArray[np.bool_]) -> None:
    assert np.array_equal(unpacked(brush_rle(brush)).reshape(-1, 4), np.repeat(255 * brush.ravel()[:, None], 4, axis=1))


def test_a_brush_has_long_runs() -> None:
    assert unpacked(brush_rle(np.ones((300, 400), bool))).sum() == 300 * 400 * 4 * 255


def test_csv_takes_columns_of_any_type(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5)
    columns = {
        "image_id": pa.array(["a", "b"], pa.string_view()),
        "label": pa.array(["cat", None]).dictionary_encode(),
        "half": pa.array([0.5, None], pa.float16()),
        "bytes": pa.array([b"\xff", None], pa.binary_view()),
        "times": pa.array([[moment], None]),
        "odd": pa.array([[{"of": Decimal("1.50"), "raw": b"\xff", "share": float("nan")}], None]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    exported(str(tmp_path / "t.parquet"), "csv", tmp_path / "to")
    first, second = csv.DictReader(io.StringIO((tmp_path / "to" / "predictions.csv").read_text()))
    assert {name: first[name] for name in columns} == {
        "image_id": "a",
        "label": "cat",
        "half": "0.5",
        "bytes": "/w==",
        "times": '["2026-01-02 03:04:05"]',
        "odd": '[{"of":"1.50","raw":"/w==","share":NaN}]',
        "map": '[["k",1]]',
        "nothing": "",
    }
    assert {second[name] for name in columns} == {"b", ""}
