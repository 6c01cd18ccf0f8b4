"""COCO JSON as an input."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.reading import (
    assert_reads_alike_whatever_is_wanted,
    outcome,
    samples_of,
    settings_of,
    shards_of,
)
from vision_batch.datasets import coco as coco_module
from vision_batch.datasets.coco import CocoFormat
from vision_batch.datasets.coco_index import coco_index, edge
from vision_batch.datasets.entry import Span
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ChangedError, SpecError
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.table import STORAGES
from vision_batch.tasks.box_truth import TrueBox, parse_boxes


def coco_file(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    """With the pictures beside it, whose bytes are their names."""
    categories = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]
    document = {"info": {"year": 2026}, "images": images, "annotations": annotations, "categories": categories}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    for image in images:
        picture = path.parent / "images" / image["file_name"]
        if ".." not in image["file_name"] and "gone" not in image["file_name"]:
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(image["file_name"].encode())
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    images = [{"id": 10, "file_name": "b/1.jpg"}, {"id": "x", "file_name": "a.png"}, {"id": 5, "file_name": "gone.jpg"}]
    annotations = [
        {"id": 1, "image_id": "x", "category_id": 7, "bbox": [1, 2, 3, 4.5], "iscrowd": 1},
        {
            "id": 2,
            "image_id": 10,
            "category_id": 3,
            "bbox": [0, 0, 2, 2],
            "segmentation": {"size": [4, 4], "counts": "02"},
        },
        {"id": 3, "image_id": "x", "category_id": 3, "bbox": [0, 0, 1, 1], "segmentation": [[0, 0, 1, 0, 1, 1]]},
    ]
    return coco_file(tmp_path / "instances.json", images, annotations)


def coco(uri: Path, **more: Any) -> InputSettings:
    return settings_of(uri, format="coco", **more)


def test_the_images_of_the_file_are_its_rows(dataset: Path) -> None:
    samples = samples_of(coco(dataset))
    assert [(sample.row, sample.image_id) for sample in samples] == [(0, "b/1.jpg"), (1, "a.png"), (2, "gone.jpg")]
    assert [outcome(sample) for sample in samples] == [b"b/1.jpg", b"a.png", "missing"]
    assert all(sample.truth is None for sample in samples)


def test_objects_are_the_truth(dataset: Path) -> None:
    settings = coco(dataset, label_column="boxes")
    first, second, third = samples_of(settings)
    assert parse_boxes(first.truth) == (TrueBox(label="dog", x_min=0, y_min=0, x_max=2, y_max=2, mask_rle="02"),)
    assert parse_boxes(second.truth) == (
        TrueBox(label="cat", x_min=1, y_min=2, x_max=4, y_max=6.5, is_crowd=True),
        TrueBox(label="dog", x_min=0, y_min=0, x_max=1, y_max=1),
    )
    assert third.truth == []
    (shard,) = shards_of(settings)
    (field,) = CocoFormat().extra_fields(shard, settings)
    assert pa.array([first.truth, second.truth, None], field.type).to_pylist()[0] == first.truth
    assert [sample.truth for sample in samples_of(coco(dataset, label_column="labels"))] == [
        ["dog"],
        ["cat", "dog"],
        [],
    ]


def test_entries_are_the_names_and_labels_of_the_rows(dataset: Path) -> None:
    settings = coco(dataset, label_column="boxes")
    (shard,) = shards_of(settings)
    entries = list(CocoFormat().entries(shard, settings, labels=True))
    assert [entry and entry[:2] for entry in entries] == [(s.image_id, s.truth) for s in samples_of(settings)[:2]] + [
        ("gone.jpg", [])
    ]
    span = Span(first=1, stop=2, begin=0, end=0)
    assert [s.row for s in CocoFormat().read(shard, settings, lambda row: True, span)] == [1]


def test_images_may_lie_elsewhere_but_names_lead_nowhere_else(tmp_path: Path) -> None:
    names = ["a.jpg", "../secret.jpg", "/etc/passwd", "s3://bucket/x.jpg"]
    file = coco_file(tmp_path / "c" / "i.json", [{"id": n, "file_name": name} for n, name in enumerate(names)], [])
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(b"other")
    samples = samples_of(coco(file, images=str(tmp_path / "pictures")))
    assert [outcome(sample) for sample in samples] == [b"other", *["forbidden"] * 3]


def test_a_large_file_is_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_module, "FIRST_ROWS", 2)
    monkeypatch.setattr(coco_module, "SAME_ROWS", 2)
    monkeypatch.setattr(coco_module, "SHARD_ROWS", 5)
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(20)]
    settings = coco(coco_file(tmp_path / "i.json", images, []))
    shards = shards_of(settings)
    assert [(shard.first_row, shard.rows) for shard in shards] == [(0, 2), (2, 2), (4, 4), (8, 4), (12, 5), (17, 3)]
    assert [shard.key for shard in shards][:2] == ["i.json#0", "i.json#2"]
    assert [sample.image_id for sample in samples_of(settings)] == [f"{n}.jpg" for n in range(20)]
    assert_reads_alike_whatever_is_wanted(settings, {0, 3})


def test_a_changed_file_changes_its_shards(dataset: Path) -> None:
    settings = coco(dataset)
    (before,) = shards_of(settings)
    dataset.write_text(dataset.read_text().replace("4.5", "4.25"))
    (after,) = shards_of(settings)
    assert before.version != after.version
    with pytest.raises(ChangedError):
        list(CocoFormat().read(before, settings, lambda row: True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "annotation 1 has category_id 99"),
        ({"bbox": [1, 2, 3]}, r"bbox \[1, 2, 3\]; expected the id of a category, and \[x, y, width, height\]"),
        ({"bbox": None}, "bbox None"),
        ({"bbox": [5, 5, -3, 1]}, "annotation 1 has category_id 7"),
        ({"bbox": [float("nan"), 0, 1, 1]}, r"bbox \[nan, 0, 1, 1\]"),
        ({"bbox": [0, 0, float("inf"), 1]}, r"bbox \[0, 0, inf, 1\]"),
    ],
)
def test_an_annotation_that_is_none_costs_its_image(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    annotation = {"id": 1, "image_id": 0, "category_id": 7, "bbox": [0, 0, 1, 1], **change}
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(2)]
    file = coco_file(tmp_path / "i.json", images, [annotation])
    first, second = samples_of(coco(file, label_column="boxes"))
    assert outcome(first) == "invalid_label"
    with pytest.raises(Exception, match=message):
        raise first.error or AssertionError
    assert outcome(second) == b"1.jpg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no images"),
        ("[1]", "no JSON object"),
        ('{"images": [{"id": 1}]}', "KeyError: 'file_name'"),
        ('{"images": [{"id": 1, "file_name": ""}]}', "no name"),
        ('{"images": [{"id": [1], "file_name": "a"}]}', "no id"),
        ('{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}', "two images of one id"),
        ('{"images": [1]}', "TypeError"),
        ("{" + '"a":[' * 100_000, "RecursionError|no JSON"),
    ],
)
def test_what_is_no_coco_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "i.json").write_text(text)
    with pytest.raises(SpecError, match=message):
        shards_of(coco(tmp_path / "i.json"))


def test_settings_that_mean_nothing_are_refused() -> None:
    settings = InputSettings.model_validate(
        {"uri": "/x", "format": "coco", "label_column": "cls", "masks": "/m", "id_column": "id", "keep_columns": ["a"]}
    )
    where = [problem.where for problem in CocoFormat().problems(settings)]
    assert sorted(where) == ["input.id_column", "input.keep_columns", "input.label_column", "input.masks"]
    with pytest.raises(ValueError, match="images: only with format: coco"):
        InputSettings.model_validate({"uri": "/x", "images": "/y"})


@given(st.floats(0, 1e5, width=32), st.floats(0, 1e5, width=32))
def test_float32_edges_come_back_exactly(one: float, other: float) -> None:
    start, stop = sorted((one, other))
    assert edge(start + (stop - start)) == stop


def test_other_edges_stay_as_they_are() -> None:
    assert edge(10.1 + 20.2) == 10.1 + 20.2
    assert edge(1e300) == 1e300
    assert edge(float(np.nextafter(np.float32(3), np.float32(4)))) != 3


def test_threads_read_a_file_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shard,) = shards_of(coco(dataset))
    reads = []
    storage = LocalStorage()
    monkeypatch.setitem(STORAGES, "", lambda: storage)
    monkeypatch.setattr(storage, "open", lambda info: (reads.append(info), LocalStorage.open(storage, info))[1])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: coco_index(shard.files[0]), range(32)))
    assert len(reads) == 1
    assert all(index is found[0] for index in found)
