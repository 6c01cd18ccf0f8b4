"""COCO's JSON as truth: what comes of it is what pycocotools makes of the same file."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.evaluation.test_detection import numbers, rows
from vision_batch.errors import SpecError
from vision_batch.evaluation.detection import DetectionMeasure
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.evaluation.truth import Truth, open_truth
from vision_batch.tasks.coco_mask import mask_counts

HEIGHT, WIDTH = 80, 100


def opened(path: Path, content: Any, truth_column: str = "boxes") -> Truth:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return open_truth(TruthSettings(uri=str(path), format="coco"), truth_column)


def polygon(random: np.random.Generator) -> list[float]:
    """A convex one, of any of COCO's sizes."""
    angles = np.sort(random.random(7)) * 2 * np.pi
    radius = random.choice([8, 20, 60])
    points = random.uniform(10, 70, 2) + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [round(number, 2) for number in points.clip(0, [WIDTH, HEIGHT]).ravel().tolist()]


def annotation(random: np.random.Generator, number: int, images: int) -> dict[str, Any]:
    outline = polygon(random)
    x, y = outline[::2], outline[1::2]
    crowd = number % 6 == 0
    runs = {"size": [HEIGHT, WIDTH], "counts": [1000, 900, 100, 2000, 4000]}
    return {
        "id": number + 1,
        "image_id": 10 + int(random.integers(0, images)),
        "category_id": int(random.choice([3, 7])),
        "iscrowd": int(crowd),
        "area": float(np.random.default_rng(number).uniform(10, 12_000)),
        "bbox": [min(x), min(y), max(x) - min(x), max(y) - min(y)],
        "segmentation": runs if crowd else [outline] if number % 4 else [outline, polygon(random)],
    }


def test_boxes_and_masks_measure_as_pycocotools_does(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    content = {
        "images": [{"id": 10 + i, "file_name": f"{i}.jpg", "height": HEIGHT, "width": WIDTH} for i in range(6)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [annotation(random, number, 6) for number in range(40)],
    }
    truth = opened(tmp_path / "t.json", content)
    assert truth.by_file_name
    table = pa.Table.from_batches(truth.batches([]))
    assert table["image_id"].to_pylist() == [f"{i}.jpg" for i in range(6)]

    found: list[list[dict[str, Any]]] = [[] for _ in range(6)]
    results = []
    for number, each in enumerate(content["annotations"]):
        moved = [value + random.choice([0, 0.5, 3]) for value in polygon(random)]
        outline = each["segmentation"] if isinstance(each["segmentation"], list) and number % 3 else [moved]
        x, y, width, height = each["bbox"]
        runs = {"size": [HEIGHT, WIDTH], "counts": mask_counts(outline, HEIGHT, WIDTH)}
        score = float(np.float32(random.random()))
        box = [float(value) for value in np.array([x + 1, y, x + width, y + height + 2], np.float32)]
        results.append(
            {
                "image_id": each["image_id"],
                "category_id": each["category_id"],
                "score": score,
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "segmentation": runs,
            }
        )
        edges = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
        label = {3: "cat", 7: "dog"}[each["category_id"]]
        found[each["image_id"] - 10].append({"label": label, "score": score, "mask_rle": runs["counts"], **edges})
    measure = DetectionMeasure()
    tally = measure.tally()
    tally.add(measure.facts(rows(found, table["truth"].combine_chunks(), masks=True)))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "t.json"))
        for prefix, kind in (("", "bbox"), ("mask_", "segm")):
            named = [{k: v for k, v in each.items() if kind == "bbox" or k != "bbox"} for each in results]
            evaluation = COCOeval(coco, coco.loadRes(named), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            np.testing.assert_allclose(numbers(tally, prefix), evaluation.stats, atol=1e-12)


IMAGE = {"id": 1, "file_name": "a.jpg", "height": 4, "width": 4}
CAT = {"id": 1, "name": "cat"}
BOX = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}


def test_the_names_in_an_image_are_the_labels_of_it(tmp_path: Path) -> None:
    content = {"images": [IMAGE, IMAGE | {"id": 2}], "categories": [CAT], "annotations": [BOX, BOX]}
    truth = opened(tmp_path / "t.json", content, "labels")
    assert pa.Table.from_batches(truth.batches([]))["truth"].to_pylist() == [["cat"], []]


@pytest.mark.parametrize("change", [{"bbox": None}, {"bbox": [1, 2]}, {"category_id": 9}, {"bbox": "abcd"}])
def test_an_annotation_that_is_none_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    truth = opened(tmp_path / "t.json", {"images": [IMAGE], "categories": [CAT], "annotations": [BOX | change]})
    with pytest.raises(SpecError, match=r"t.json: annotation 5: found .* expected COCO's bbox"):
        list(truth.batches([]))


@pytest.mark.parametrize("masks", [False, True])
def test_outlines_are_drawn_only_where_predictions_have_masks(tmp_path: Path, *, masks: bool) -> None:
    box = BOX | {"area": 4, "segmentation": [[1, 1]]}
    truth = opened(tmp_path / "t.json", {"images": [IMAGE], "categories": [CAT], "annotations": [box]})
    found = {"label": "cat", "score": 1.0, "x_min": 0, "y_min": 0, "x_max": 2, "y_max": 2, "mask_rle": "0"}
    measure = DetectionMeasure()
    tally = measure.tally()
    column = pa.Table.from_batches(truth.batches([]))["truth"].combine_chunks()
    tally.add(measure.facts(rows([[found]], column, masks=masks)))
    assert numbers(tally)[0] == (-1 if masks else 1)
    assert len(tally.notes()) == masks


@pytest.mark.parametrize("content", ["[]", "{", "1", '{"images": []}', '{"images": [{}], "annotations": []}'])
def test_what_is_not_cocos_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(SpecError, match="expected COCO's JSON, with images"):
        opened(tmp_path / "t.json", content)


def test_coco_tells_boxes_and_labels_only(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a truth that has mask_png"):
        opened(tmp_path / "t.json", "{}", "mask_png")
    with pytest.raises(SpecError, match=r"truth\.uri: found .*nothing\.json"):
        open_truth(TruthSettings(uri=str(tmp_path / "nothing.json"), format="coco"), "boxes")


def test_two_images_of_one_id_are_refused(tmp_path: Path) -> None:
    images = [{"id": 7, "file_name": "a.jpg"}, {"id": 7, "file_name": "b.jpg"}]
    with pytest.raises(SpecError, match="the id 7 2 times; expected each image its own id"):
        opened(tmp_path / "t.json", {"images": images, "annotations": [], "categories": []})
