"""Masks of classes are measured as scikit-learn does, of all their pixels at once."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score, recall_score

from vision_batch.errors import SpecError
from vision_batch.evaluation.segmentation import SegmentationMeasure, SegmentationTally

Masks = list[NDArray[Any]]


def png(mask: NDArray[Any] | None) -> bytes | None:
    return None if mask is None else bytes(cv2.imencode(".png", mask)[1])


def rows(found: Any, truth: Any) -> pa.Table:
    return pa.table(
        {
            "image_id": [f"{number}.jpg" for number in range(len(found))],
            "mask_png": pa.array(map(png, found), pa.binary()),
            "truth": pa.array(map(png, truth), pa.binary()),
        }
    )


def tallied(table: pa.Table, labels: tuple[str, ...] | None = None) -> SegmentationTally:
    measure = SegmentationMeasure(labels)
    tally = measure.tally()
    tally.add(measure.facts(table))
    return tally


def values(tally: SegmentationTally, label: str | None = None) -> dict[str, float | None]:
    return {each.metric: each.value for each in tally.values() if each.label == label}


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Masks, Masks]:
    """Masks with few and with many classes, and truths that are much the same, IGNORE here and there."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype, classes = draw(st.sampled_from([(np.uint8, 3), (np.uint8, 200), (np.uint16, 700)]))
    found, truth = [], []
    for _ in range(draw(st.integers(1, 3))):
        mask = random.integers(0, classes, random.integers(1, 9, 2)).astype(dtype)
        change = random.random(mask.shape)
        true = np.where(change < 0.4, random.integers(0, classes, mask.shape), mask).astype(dtype)
        true[change > draw(st.sampled_from([0.9, 1]))] = np.iinfo(dtype).max
        found.append(mask)
        truth.append(true)
    return found, truth


@given(pictures())
def test_every_number_is_scikit_learns(masks: tuple[Masks, Masks]) -> None:
    found, truth = (np.concatenate([each.ravel() for each in some]) for some in masks)
    known = truth != np.iinfo(truth.dtype).max
    found, truth = found[known], truth[known]
    tally = tallied(rows(*masks))
    if not len(truth):
        assert set(values(tally).values()) == {None}
        return
    occurring = np.union1d(found, truth)
    expected = {
        "mean_iou": jaccard_score(truth, found, average="macro", labels=occurring),
        "mean_dice": f1_score(truth, found, average="macro", labels=occurring),
        "pixel_accuracy": accuracy_score(truth, found),
        "mean_class_accuracy": recall_score(truth, found, average="macro", labels=np.unique(truth)),
    }
    assert values(tally) == pytest.approx(expected)
    name = int(truth[0])
    assert values(tally, str(name)) == pytest.approx(
        {
            "iou": jaccard_score(truth, found, average="macro", labels=[name]),
            "dice": f1_score(truth, found, average="macro", labels=[name]),
            "accuracy": recall_score(truth, found, average="macro", labels=[name]),
        }
    )
    matrix = confusion_matrix(truth, found, labels=[*occurring, -1])  # of one label alone it warns
    cells = {(cell.truth, cell.predicted): cell.count for cell in tally.confusion()}
    for row, column in zip(*np.nonzero(matrix), strict=True):
        assert cells.pop((str(occurring[row]), str(occurring[column]))) == matrix[row, column]
    assert cells == {}


SQUARE = np.array([[0, 0], [1, 1]], np.uint8)


def test_pixels_that_the_model_did_not_see_and_images_that_failed_are_wrong() -> None:
    cut = np.array([[0, 255], [1, 255]], np.uint8)
    tally = tallied(rows([cut, None], [SQUARE, SQUARE]), ("sky", "sea"))
    assert values(tally)["pixel_accuracy"] == 0.25
    assert values(tally)["mean_iou"] == 0.25
    assert {(cell.truth, cell.predicted): cell.count for cell in tally.confusion()} == {
        ("sky", "sky"): 1,
        ("sea", "sea"): 1,
        ("sky", None): 3,
        ("sea", None): 3,
    }
    assert tally.notes() == []


@pytest.mark.parametrize(
    ("truth", "reason"),
    [(b"no PNG", "mask"), (png(np.zeros((3, 2), np.uint8)), "one mask has 2 x 2 pixels, the other 2 x 3")],
)
def test_what_cannot_be_measured_is_counted_and_one_is_named(truth: bytes, reason: str) -> None:
    table = rows([SQUARE, SQUARE], [SQUARE, SQUARE])
    tally = tallied(table.set_column(2, "truth", pa.array([png(SQUARE), truth])))
    assert values(tally)["mean_iou"] == 1
    (note,) = tally.notes()
    assert note.startswith("1 images are not measured, like 1.jpg: ")
    assert reason in note


def test_names_are_those_of_the_predictions() -> None:
    pixels = [[{"label": "sky", "label_index": 0, "pixels": 2}], None]
    tally = tallied(rows([SQUARE, None], [SQUARE, SQUARE]).append_column("class_pixels", [pixels]))
    assert {value.label for value in tally.values()} == {None, "sky", "1"}


def test_truth_may_be_hugging_faces_struct_and_nothing_else() -> None:
    table = rows([SQUARE], [SQUARE]).drop_columns(["truth"])
    struct = table.append_column("truth", [[{"bytes": png(SQUARE), "path": None}]])
    assert values(tallied(struct))["mean_iou"] == 1
    with pytest.raises(SpecError, match="a column of string"):
        tallied(table.append_column("truth", [["sky"]]))


@given(pictures(), st.lists(st.integers(0, 2), max_size=6))
def test_facts_can_be_taken_merged_and_weighted(masks: tuple[Masks, Masks], chosen: list[int]) -> None:
    measure = SegmentationMeasure()
    facts = measure.facts(rows(*masks))
    indices = np.array([each for each in chosen if each < len(facts)], np.int64)
    taken, weighted = measure.tally(), measure.tally(is_resample=True)
    taken.add(facts.take(indices[:2]))
    taken.add(facts.merged([facts.take(indices[2:]), facts.take(indices[:0])]))
    weighted.add(facts, np.bincount(indices, minlength=len(facts)))
    assert taken.values() == weighted.values()
