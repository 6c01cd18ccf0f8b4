"""Detection: from a model's boxes to those of the full image."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from tests.images.pictures import as_pillow, oriented
from vision_batch.images.geometry import LETTERBOX_GREY, Geometry, place
from vision_batch.images.preprocess import Preprocessor
from vision_batch.images.settings import PreprocessSettings
from vision_batch.tasks.detection import CORNERS
from vision_batch.tasks.rle import decode
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import task_for
from vision_batch.tasks.task import Task, View

LABELS = ("cat", "dog", "bird")
VIEW = View(width=100, height=80, geometry=Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=0))
MODEL_PX = (80, 100)


def task(labels: tuple[str, ...] | None = LABELS, **more: Any) -> Task:
    return task_for(TaskSettings(type="detection", **more), labels)


def answer(*things: tuple[tuple[float, ...], float, int]) -> dict[str, Any]:
    """Boxes with their scores and classes."""
    return {
        "boxes": np.array([box for box, _, _ in things], np.float32).reshape(-1, 4),
        "scores": np.array([score for _, score, _ in things], np.float32),
        "labels": np.array([index for _, _, index in things], np.int64),
    }


def rows(outputs: Any, of: Task, views: list[View] | None = None) -> list[list[dict[str, Any]]]:
    views = views or [VIEW] * len(outputs)
    of.check(outputs, len(views))
    columns = of.columns(outputs, views, MODEL_PX)
    return [row["boxes"] for row in pa.table(columns, schema=pa.schema(of.fields())).to_pylist()]


class TestColumns:
    def test_they_are_those_of_the_interface(self) -> None:
        inside = "label: string, label_index: int32, score: float, x_min: float, y_min: float, x_max: float"
        plain, masked = (of.fields() for of in (task(), task(masks=True)))
        assert [(field.name, str(field.type)) for field in (*plain, *masked)] == [
            ("boxes", f"list<item: struct<{inside}, y_max: float>>"),
            ("boxes", f"list<item: struct<{inside}, y_max: float, mask_rle: string>>"),
        ]
        assert all(field.nullable for field in (*plain, *masked))

    def test_boxes_come_best_first_and_equal_ones_in_the_models_order(self) -> None:
        (row,) = rows([answer(((0, 0, 1, 1), 0.5, 2), ((0, 0, 2, 2), 0.75, 1), ((0, 0, 3, 3), 0.5, 0))], task())
        assert [(thing["label"], thing["label_index"], thing["x_max"]) for thing in row] == [
            ("dog", 1, 2),
            ("bird", 2, 1),
            ("cat", 0, 3),
        ]

    @pytest.mark.parametrize("more", [{}, {"nms_iou": 1.0}])
    def test_many_equal_ones_too(self, more: dict[str, Any]) -> None:
        (row,) = rows([answer(*(((0, 0, 1 + k % 50, 1), 0.5, 0) for k in range(90)))], task(**more))
        assert [thing["x_max"] for thing in row] == [1 + k % 50 for k in range(90)]

    def test_they_are_cut_at_the_edges_and_those_without_area_are_dropped(self) -> None:
        things = [
            ((-5, 10, 120, 20), 0.9, 0),
            ((-9, 0, 0, 9), 0.8, 0),
            ((5, 5, 5, 9), 0.7, 0),
            ((9, 9, 5, 5), 0.6, 0),
            ((100, 80, 200, 200), 0.5, 0),
        ]
        (row,) = rows([answer(*things)], task())
        assert [(thing["x_min"], thing["y_min"], thing["x_max"], thing["y_max"]) for thing in row] == [(0, 10, 100, 20)]

    def test_the_threshold_is_compared_as_float32(self) -> None:
        thing = (0, 0, 9, 9)
        (row,) = rows(
            [answer((thing, 0.1, 0), (thing, np.nextafter(np.float32(0.1), 0), 0))], task(score_threshold=0.1)
        )
        assert [thing["score"] for thing in row] == [np.float32(0.1)]

    def test_at_most_so_many_are_listed_and_that_is_after_the_overlapping_have_gone(self) -> None:
        things = [((0, 0, 9, 9), 0.9, 0), ((0, 0, 9, 8), 0.8, 0), ((0, 0, 9, 9), 0.7, 1), ((50, 0, 59, 9), 0.6, 0)]
        (row,) = rows([answer(*things)], task(nms_iou=0.5, max_boxes=2))
        assert [thing["score"] for thing in row] == pytest.approx([0.9, 0.7])
        (row,) = rows([answer(*things)], task(max_boxes=3))
        assert [thing["score"] for thing in row] == pytest.approx([0.9, 0.8, 0.7])

    def test_images_of_one_batch_have_their_own_geometry_and_number_of_boxes(self) -> None:
        box = answer(((10, 20, 30, 40), 0.9, 0))
        far = View(width=1000, height=500, geometry=Geometry(scale_x=10, scale_y=5, offset_x=-50, offset_y=20))
        first, second, third = rows([box, answer(), box], task(), [VIEW, VIEW, far])
        assert (len(first), len(second)) == (1, 0)
        assert [third[0][edge] for edge in ("x_min", "y_min", "x_max", "y_max")] == [50, 120, 250, 220]

    def test_without_labels_a_class_is_called_by_its_index(self) -> None:
        (row,) = rows([answer(((0, 0, 1, 1), 0.5, 7))], task(labels=None))
        assert [thing["label"] for thing in row] == ["7"]

    def test_no_images_give_no_rows(self) -> None:
        assert rows([], task(), []) == []


class TestFinite:
    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("key", ["boxes", "scores"])
    def test_an_image_with_a_number_that_is_none_has_no_prediction(self, key: str, bad: float) -> None:
        broken = answer(((0, 0, 1, 1), 0.5, 0), ((0, 0, 1, 1), 0.5, 0))
        broken[key][1] = bad
        outputs = [answer(((0, 0, 1, 1), 0.5, 0)), broken, answer()]
        task().check(outputs, 3)
        assert task().finite(outputs).tolist() == [True, False, True]

    @pytest.mark.parametrize(("score", "is_usable"), [(1.0005, True), (1.1, False), (-0.1, False), (7.0, False)])
    def test_a_score_that_is_no_probability_costs_its_image_and_not_the_run(
        self, score: float, is_usable: bool
    ) -> None:
        outputs = [answer(((0, 0, 1, 1), score, 0)), answer(((0, 0, 1, 1), 0.5, 0))]
        task().check(outputs, 2)
        assert task().finite(outputs).tolist() == [is_usable, True]

    def test_what_is_not_listed_may_be_infinite(self) -> None:
        """Sizes that a detector computes as e^x of places where it sees nothing."""
        outputs = [answer(((0, 0, np.inf, np.nan), 0.01, 0), ((0, 0, 1, 1), 0.5, 0))]
        assert task().finite(outputs).tolist() == [True]
        assert [thing["score"] for thing in rows(outputs, task())[0]] == [0.5]
        assert task(score_threshold=0.01).finite(outputs).tolist() == [False]

    def test_masks_count_where_they_are_asked_for(self) -> None:
        outputs = [answer(((0, 0, 1, 1), 0.5, 0)) | {"masks": np.full((1, 2, 2), np.nan)}]
        assert task().finite(outputs).tolist() == [True]
        assert task(masks=True).finite(outputs).tolist() == [False]


class TestAgreement:
    THINGS = (((0, 0, 40, 40), 0.9, 0), ((50, 0, 90, 40), 0.6, 1), ((0, 50, 20, 70), 0.1, 2))

    def said(self, *lowered: tuple[tuple[float, ...], float, int]) -> tuple[bool, str]:
        agreement = task().agreement([answer(*self.THINGS)], [answer(*lowered)])
        return agreement.is_close, agreement.text

    def test_boxes_that_moved_a_little_are_the_same(self) -> None:
        moved = (((0.5, 0, 40, 40), 0.88, 0), ((50, 0, 90, 41), 0.62, 1))
        assert self.said(*moved) == (True, "4 of 4 boxes of fp32 and of it are found again in the other")

    @pytest.mark.parametrize(
        "changed",
        [
            ((50, 0, 90, 40), 0.6, 0),
            ((50, 0, 90, 30), 0.6, 1),
            ((50, 0, 90, 40), 0.7, 1),
        ],
        ids=["class", "place", "score"],
    )
    def test_those_of_another_class_place_or_score_are_not(self, changed: Any) -> None:
        assert self.said(self.THINGS[0], changed) == (
            False,
            "2 of 4 boxes of fp32 and of it are found again in the other",
        )

    def test_what_is_only_in_the_lower_precision_counts_too(self) -> None:
        assert not self.said(*self.THINGS, ((0, 0, 9, 9), 0.8, 2))[0]

    def test_without_a_box_nothing_is_known(self) -> None:
        agreement = task().agreement([answer()], [answer()])
        assert (agreement.is_close, agreement.text[:19]) == (False, "no box scores 0.3 o")

    def test_nan_is_no_agreement(self) -> None:
        assert not self.said(((np.nan, 0, 1, 1), 0.9, 0))[0]


BOXES = st.tuples(*[st.floats(0, 1, width=32)] * 4)
SIDES = st.integers(1, 3000)
STEPS: dict[str, dict[str, Any]] = {
    "resize": {"resize_px": (480, 640)},
    "shorter and crop": {"resize_shorter_px": 256, "crop_px": 224},
    "letterbox": {"letterbox_px": 640},
    "letterbox and crop": {"letterbox_px": 640, "crop_px": 600},
    "crop alone": {"crop_px": 300},
}


@given(BOXES, SIDES, SIDES, st.sampled_from(sorted(STEPS)))
def test_a_box_put_into_the_models_input_comes_back(
    box: tuple[float, ...], width: int, height: int, steps: str
) -> None:
    """Within float32's rounding, also where the model cannot see all of it."""
    nothing = {"resize_shorter_px": None, "resize_px": None, "letterbox_px": None, "crop_px": None}
    placement = place(width, height, **(nothing | STEPS[steps]))
    (left, right), (top, bottom) = sorted([box[0] * width, box[2] * width]), sorted([box[1] * height, box[3] * height])
    assume(right - left > 0.01 and bottom - top > 0.01)
    inside = *placement.geometry.to_model(left, top), *placement.geometry.to_model(right, bottom)
    outputs = [answer((inside, 0.9, 0))]
    view = View(width=width, height=height, geometry=placement.geometry)
    ((thing,),) = rows(outputs, task(), [view])
    tolerance = (
        1e-6 * max(width, height, *map(abs, inside)) * max(placement.geometry.scale_x, placement.geometry.scale_y, 1)
    )
    assert [thing[edge] for edge in CORNERS] == pytest.approx([left, top, right, bottom], abs=tolerance)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_a_box_and_a_mask_lie_where_the_thing_is_in_the_image_as_shown(steps: dict[str, Any], orientation: int) -> None:
    """A detector of white things is right within a pixel of its own input."""
    stored = np.zeros((300, 400, 3), np.uint8)
    stored[70:211, 113:250] = 255
    data = oriented(Image.fromarray(stored), "png", orientation)
    white = as_pillow(data)[..., 0] > 127
    preprocessed = Preprocessor(PreprocessSettings.model_validate(steps), max_pixels=10**6)(data)
    share = preprocessed.pixels[..., 0].astype(np.float32) / 255
    share[preprocessed.pixels[..., 0] == LETTERBOX_GREY] = 0
    found = answer((edges_of(share > 0.5), 0.9, 0)) | {"masks": share[None]}
    view = View(width=preprocessed.width, height=preprocessed.height, geometry=preprocessed.geometry)
    of = task(masks=True)
    of.check([found], 1)
    ((thing,),) = pa.array(of.columns([found], [view], share.shape)[0]).to_pylist()
    pixel = max(view.geometry.scale_x, view.geometry.scale_y, 1)
    assert [thing[edge] for edge in CORNERS] == pytest.approx(edges_of(white), abs=pixel)
    mask = decode(thing["mask_rle"], *white.shape) > 0
    near_edge = cv2.dilate(white.astype(np.uint8), np.ones((5, 5))) != cv2.erode(
        white.astype(np.uint8), np.ones((5, 5))
    )
    assert (mask == white)[~near_edge].all()


def edges_of(mask: NDArray[np.bool_]) -> tuple[float, ...]:
    """The box around what is true."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
