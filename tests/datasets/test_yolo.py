"""YOLO datasets as an input."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.datasets.reading import assert_reads_alike_whatever_is_wanted, outcome, samples_of, settings_of, shards_of
from tests.export.predicted import picture
from vision_batch.datasets import yolo as yolo_module
from vision_batch.datasets.detect import detect_format
from vision_batch.datasets.entry import Span
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.yolo import YoloFormat
from vision_batch.datasets.yolo_files import image_file, label_uri, labels_folder, names_uri
from vision_batch.errors import SpecError
from vision_batch.tasks.box_truth import TrueBox, parse_boxes


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three pictures of 40x30; `b/c.png` has no labels."""
    for name in ("a.png", "b/c.png", "d.e.png"):
        (tmp_path / "set" / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / "images" / name).write_bytes(picture())
    labels(tmp_path / "set", "a", "1 0.5 0.5 0.5 0.5\n\n0 0.25 0.5 0.5 1 0.875\n")
    labels(tmp_path / "set", "d.e", "0 0 0 1 0 1 0.5\n")
    (tmp_path / "set" / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    return tmp_path / "set"


def labels(folder: Path, name: str, text: str) -> None:
    path = folder / "labels" / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def yolo(uri: Path, **more: Any) -> InputSettings:
    return settings_of(uri, format="yolo", **more)


def test_a_dataset_is_called_by_its_folder_its_yaml_or_its_images(dataset: Path) -> None:
    for uri in (dataset, dataset / "data.yaml", dataset / "images", dataset / "images" / "**" / "*.png"):
        samples = samples_of(yolo(uri))
        assert [sample.image_id for sample in samples] == ["a.png", "b/c.png", "d.e.png"]
        assert [outcome(sample) for sample in samples] == [picture()] * 3
    assert [sample.image_id for sample in samples_of(yolo(dataset / "images" / "b"))] == ["c.png"]
    assert detect_format(yolo(dataset)) == "yolo"
    assert detect_format(settings_of(dataset)) == "folder", "who says nothing means the pictures"


def test_a_folder_of_that_name_above_the_dataset_means_nothing(dataset: Path) -> None:
    inner = dataset / "images" / "set"
    shutil.copytree(dataset, inner, ignore=shutil.ignore_patterns("set"))
    for uri in (inner, inner / "data.yaml", inner / "images"):
        first = samples_of(yolo(uri, label_column="boxes"))[0]
        assert (first.image_id, first.truth[0]["label"]) == ("a.png", "dog")


def test_pictures_in_no_folder_of_images_are_refused(dataset: Path) -> None:
    (dataset / "images").rename(dataset / "pictures")
    with pytest.raises(SpecError, match=r"expected a folder with images/ and labels/ in it, its data.yaml, or images/"):
        shards_of(yolo(dataset / "pictures"))


def test_boxes_are_the_truth(dataset: Path) -> None:
    first, second, third = samples_of(yolo(dataset, label_column="boxes"))
    assert parse_boxes(first.truth) == (
        TrueBox(label="dog", x_min=10, y_min=7.5, x_max=30, y_max=22.5),
        TrueBox(label="cat", x_min=0, y_min=0, x_max=20, y_max=30),
    )
    assert second.truth == []
    assert parse_boxes(third.truth) == (TrueBox(label="cat", x_min=0, y_min=0, x_max=40, y_max=15),), "of a polygon"
    assert [sample.truth for sample in samples_of(yolo(dataset, label_column="labels"))] == [
        ["cat", "dog"],
        [],
        ["cat"],
    ]


def test_entries_have_boxes_as_shares(dataset: Path) -> None:
    settings = yolo(dataset, label_column="boxes")
    (shard,) = shards_of(settings)
    first, second, _ = YoloFormat().entries(shard, settings, labels=True)
    assert first is not None
    assert (first.image_id, parse_boxes(first.truth)[0].edges) == ("a.png", (0.25, 0.25, 0.75, 0.75))
    assert second is not None
    assert second.truth == []
    assert [entry and entry.truth for entry in YoloFormat().entries(shard, settings, labels=False)] == [None] * 3
    span = Span(first=1, stop=3, begin=0, end=None)
    assert [s.row for s in YoloFormat().read(shard, settings, lambda row: row != 1, span)] == [2]


def test_reading_does_not_depend_on_what_else_is_read(dataset: Path) -> None:
    assert_reads_alike_whatever_is_wanted(yolo(dataset, label_column="boxes"), {0, 2})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7 0.5 0.5 0.5 0.5", "line 2 of the labels: KeyError: 7"),
        ("cat 0.5 0.5 0.5 0.5", "ValueError: invalid literal"),
        ("0 0.5 0.5 0.5", "3 numbers behind the class"),
        ("0 0.5 0.5 0.5 nan", "'nan' is no share of an image"),
        ("0 0.5 0.5 -0.5 0.5", "a width or height below 0"),
    ],
)
def test_a_line_that_is_none_costs_its_image(dataset: Path, line: str, message: str) -> None:
    labels(dataset, "a", f"0 0.5 0.5 0.5 0.5\n{line}\n")
    first, second, _ = samples_of(yolo(dataset, label_column="boxes"))
    assert outcome(first) == "invalid_label"
    assert message in str(first.error)
    assert outcome(second) == picture()
    (shard,) = shards_of(yolo(dataset))
    entry = next(YoloFormat().entries(shard, yolo(dataset, label_column="boxes"), labels=True))
    assert entry is not None
    assert entry.truth is None


@pytest.mark.parametrize(
    ("text", "outcomes"), [(None, ["1", "0"]), ("names: {1: x, 0: y}", ["x", "y"]), ("nc: 2", None), ("names: 3", None)]
)
def test_the_names_of_classes(dataset: Path, text: str | None, outcomes: list[str] | None) -> None:
    (dataset / "data.yaml").unlink()
    if text is not None:
        (dataset / "data.yaml").write_text(text)
    first = samples_of(yolo(dataset, label_column="boxes"))[0]
    if outcomes is None:
        assert "expected `names`: the classes by their numbers" in str(first.error)
    else:
        assert [box["label"] for box in first.truth] == outcomes


def test_names_that_repeat_others_without_end_are_refused(dataset: Path) -> None:
    """Nine lists of ten times the one before would be a billion texts."""
    bomb = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10))]
    for names in ("{0: *a9, 1: dog}", "[*a9]"):
        (dataset / "data.yaml").write_text("\n".join([*bomb, f"names: {names}"]))
        first, *_ = samples_of(yolo(dataset, label_column="boxes"))
        assert "the name of class 0 is no text" in str(first.error)


def test_an_image_whose_labels_change_is_a_changed_one(dataset: Path) -> None:
    def versions() -> list[str]:
        (shard,) = shards_of(yolo(dataset))
        return [file.version for file in shard.files]

    before = versions()
    labels(dataset, "a", "0 0.5 0.5 0.5 0.25\n")
    labels(dataset, "b/c", "0 0.5 0.5 0.5 0.5\n")
    changed = [was != now for was, now in zip(before, versions(), strict=True)]
    assert changed == [True, True, False]
    before = versions()
    (dataset / "data.yaml").write_text("names: [dog, cat]\n")
    assert all(was != now for was, now in zip(before, versions(), strict=True)), "all labels mean others now"
    (shard,) = shards_of(yolo(dataset))
    assert image_file(shard.files[0]).version == before[0].partition("+")[0]


def test_a_picture_without_a_size_is_left_to_the_decoder(dataset: Path) -> None:
    (dataset / "images" / "a.png").write_bytes(b"no picture")
    first = samples_of(yolo(dataset, label_column="boxes"))[0]
    assert (outcome(first), first.truth) == (b"no picture", None)


def test_where_files_lie() -> None:
    assert label_uri("/images/set/images/val/x.y.jpg") == "/images/set/labels/val/x.y.txt"
    assert label_uri("s3://b/images/.jpg") == "s3://b/labels/.jpg.txt"
    assert labels_folder("/d/images") == "/d/labels"
    assert names_uri("s3://b/set/images/val") == "s3://b/set/data.yaml"
    assert names_uri("/images") == "/data.yaml"


def test_settings_that_mean_nothing_are_refused() -> None:
    settings = InputSettings.model_validate(
        {
            "uri": "/x",
            "format": "yolo",
            "label_column": "folder",
            "masks": "/m",
            "id_column": "id",
            "keep_columns": ["a"],
        }
    )
    where = [problem.where for problem in YoloFormat().problems(settings)]
    assert sorted(where) == ["input.id_column", "input.keep_columns", "input.label_column", "input.masks"]


def test_labels_without_an_end_cost_their_image(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yolo_module, "MOST_TEXT_BYTES", 20)
    assert [outcome(s) for s in samples_of(yolo(dataset, label_column="boxes"))] == [
        "invalid_label",
        picture(),
        picture(),
    ]
    (dataset / "labels" / "d.e.txt").write_bytes(b"\xff")
    assert "not UTF-8 at byte 0" in str(samples_of(yolo(dataset, label_column="labels"))[2].error)
