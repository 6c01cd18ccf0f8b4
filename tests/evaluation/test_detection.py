"""From columns of boxes to COCO's numbers, in every form that truth may have."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars
import pyarrow as pa
import pytest

from tests.evaluation.coco_truths import coco_evaluation
from tests.evaluation.test_mask_overlap import SIZE, objects, random_masks
from tests.evaluation.test_matching import nearby, random_objects
from vision_batch.errors import SpecError
from vision_batch.evaluation.detection import PRECISIONS, RECALL_METRICS, DetectionMeasure, DetectionTally
from vision_batch.evaluation.mask_overlap import Masks
from vision_batch.evaluation.objects import Objects
from vision_batch.tasks.box_truth import EDGES

TWELVE = (*PRECISIONS, *RECALL_METRICS)
NAMES = ("cat", "dog", "eel")


def structs(of: Objects, images: int, masks: list[str] | None = None) -> list[list[dict[str, Any]]]:
    """The column's value of each image."""
    columns: list[list[dict[str, Any]]] = [[] for _ in range(images)]
    for number, image in enumerate(of.image):
        box = dict(zip(EDGES, of.edges[number].tolist(), strict=True))
        known = {
            "label": NAMES[of.label[number]],
            "area": float(of.area[number]),
            "is_crowd": bool(of.is_crowd[number]),
        }
        mask = {} if masks is None else {"mask_rle": masks[number]}
        columns[image].append(known | box | mask | {"score": float(of.score[number])})
    return columns


def rows(found: list[Any], truth: list[Any] | pa.Array, *, masks: bool = False) -> pa.Table:
    numbers = [(name, pa.float32()) for name in ("score", *EDGES)]
    column = pa.list_(pa.struct([("label", pa.string()), *numbers, *([("mask_rle", pa.string())] if masks else [])]))
    return pa.table({"boxes": pa.array(found, column), "truth": pa.array(truth)})


def tally(table: pa.Table) -> DetectionTally:
    measure = DetectionMeasure()
    tally = measure.tally()
    tally.add(measure.facts(table))
    return tally


def numbers(tally: DetectionTally, prefix: str = "", label: str | None = None) -> list[float]:
    values = {each.metric: each.value for each in tally.values() if each.label == label}
    return [-1 if (value := values[prefix + metric]) is None else value for metric in TWELVE]


@pytest.fixture(scope="module")
def scene() -> tuple[Objects, Objects]:
    random = np.random.default_rng(5)
    truth = random_objects(random, 150, images=15, labels=3, crowds=True, scores=0)
    return nearby(random, truth, scores=30), truth


@pytest.mark.parametrize("form", ["structs", "text", "object"])
def test_the_twelve_numbers_are_those_of_pycocotools(scene: tuple[Objects, Objects], form: str) -> None:
    found, truth = scene
    said: list[Any] = structs(truth, 15)
    if form == "text":
        said = [json.dumps(boxes) for boxes in said]
    if form == "object":
        said = [json.dumps({"boxes": boxes}) for boxes in said]
    result = tally(rows(structs(found, 15), said))
    evaluation = coco_evaluation(found, truth, images=15, labels=3)
    np.testing.assert_allclose(numbers(result), evaluation.stats, atol=1e-12)
    assert result.notes() == []
    (ap,) = [value for value in result.values() if value.metric == "ap50" and value.label == "dog"]
    assert ap.value == pytest.approx(evaluation.eval["precision"][0, :, 1, 0, 2].mean())
    assert ap.support == np.count_nonzero((truth.label == 1) & ~truth.is_crowd)
    mean, _, dog, _ = result.curves()
    assert dog.label == "dog"
    np.testing.assert_allclose(dog.y, evaluation.eval["precision"][0, :, 1, 0, 2])
    np.testing.assert_allclose(np.nan_to_num(dog.thresholds), evaluation.eval["scores"][0, :, 1, 0, 2])
    np.testing.assert_allclose(mean.y, evaluation.eval["precision"][0, :, :, 0, 2].mean(axis=1))


def test_masks_have_twelve_numbers_of_their_own() -> None:
    random = np.random.default_rng(2)
    texts = random_masks(random, 60), random_masks(random, 40)
    found = objects(random, Masks.of(texts[0]), images=5, labels=3, crowds=False)
    truth = objects(random, Masks.of(texts[1]), images=5, labels=3, crowds=True)
    result = tally(rows(structs(found, 5, texts[0]), structs(truth, 5, texts[1]), masks=True))
    evaluation = coco_evaluation(found, truth, images=5, labels=3, size=SIZE, masks=texts)
    np.testing.assert_allclose(numbers(result, "mask_"), evaluation.stats, atol=1e-12)


CAT = {"label": "cat", "x_min": 0, "y_min": 0, "x_max": 50, "y_max": 50}


def test_what_was_not_found_counts_whether_or_not_the_image_failed() -> None:
    empty, failed = tally(rows([[]], [[CAT]])), tally(rows([None], [[CAT]]))
    assert empty.values() == failed.values()
    assert numbers(empty)[0] == numbers(empty)[6] == 0


def test_without_any_truth_there_is_no_number() -> None:
    assert {value.value for value in tally(rows([[CAT | {"score": 0.5}]], [[]])).values()} == {None}
    assert tally(rows([[CAT | {"score": 0.5}]], [[]])).curves() == []


def test_a_class_that_nobody_looks_for_changes_nothing() -> None:
    found = [[CAT | {"score": 0.5}, CAT | {"label": "dog", "score": 0.9}]]
    assert numbers(tally(rows(found, [[CAT]])))[0] == 1


def test_a_number_may_stand_for_a_class_of_the_model() -> None:
    measure = DetectionMeasure(("ant", "cat"))
    tally = measure.tally()
    tally.add(measure.facts(rows([[CAT | {"score": 0.5}]], [[CAT | {"label": 1}]])))
    assert numbers(tally)[0] == 1


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ([CAT | {"x_max": -5}], "expected x_min <= x_max"),
        ([CAT | {"label": None}], "the label is nothing"),
        ([CAT | {"y_min": None}], "y_min is nothing"),
        (None, "the label is nothing"),
    ],
)
@pytest.mark.parametrize("as_text", [False, True])
def test_an_image_whose_truth_is_not_understood_is_left_out_and_told_of(
    said: Any, reason: str, *, as_text: bool
) -> None:
    good = [CAT | {"score": 0.5}]
    truth = [[CAT], said]
    result = tally(rows([good, good], [json.dumps(each) for each in truth] if as_text else truth))
    assert numbers(result)[0] == 1
    (note,) = result.notes()
    assert note.startswith("1 images are not measured, their truth is not understood")
    assert reason in note


def test_masks_of_two_sizes_are_not_compared() -> None:
    boxes = [[CAT | {"score": 0.5, "mask_rle": "0d0"}]] * 2
    truth = [[CAT | {"mask_rle": "0d0"}], [CAT | {"mask_rle": "0e0"}]]
    result = tally(rows(boxes, truth, masks=True))
    assert numbers(result, "mask_")[0] == 1
    assert result.notes() == ["1 images have no masks, or of another size than the truth's: not in mask_ metrics"]


def test_polars_columns_are_read_too() -> None:
    frame = polars.DataFrame({"boxes": [[CAT | {"score": 0.5}]], "truth": [[CAT]]})
    assert numbers(tally(frame.to_arrow()))[0] == 1


def test_a_column_that_cannot_hold_boxes_is_refused() -> None:
    with pytest.raises(SpecError, match="a column of double"):
        tally(rows([[]], pa.array([0.5])))


def test_resampled_images_count_as_often_as_they_are_drawn(scene: tuple[Objects, Objects]) -> None:
    found, truth = scene
    measure = DetectionMeasure()
    facts = measure.facts(rows(structs(found, 15), structs(truth, 15)))
    twice, weighted = measure.tally(), measure.tally(is_resample=True)
    twice.add(facts.take(np.array([3, 3, 7])))
    weighted.add(facts, np.array([0, 0, 0, 2, 0, 0, 0, 1, *[0] * 7]))
    for one, other in zip(numbers(twice), numbers(weighted), strict=True):
        assert one == pytest.approx(other, abs=0.05)  # equal scores of one image are in another order
    assert len(facts.merged([facts, facts])) == 30


def test_boxes_that_lack_labels_cost_their_images_and_edges_that_are_words_the_column() -> None:
    columns = {"boxes": [[{name: 1.0 for name in ("score", *EDGES)}]], "truth": [[CAT]]}
    (note,) = tally(pa.table(columns)).notes()
    assert note.startswith("1 images are not measured, their boxes are not understood: a box without a label")
    with pytest.raises(SpecError, match="x_min of boxes"):
        tally(pa.table(columns | {"boxes": [[CAT | {"score": 0.5, "x_min": "left"}]]}))
    (note,) = tally(rows([[CAT | {"score": 0.5}]], [[CAT | {"x_min": "left"}]])).notes()
    assert note.startswith("1 images are not measured, their truth is not understood: box 0: x_min is str 'left'")
