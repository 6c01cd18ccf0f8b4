"""Suppression of overlapping boxes, against the definition in a few lines."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vision_batch.tasks.nms import best_of_overlapping, overlaps

BOX = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(1, 12))
THINGS = st.lists(st.tuples(BOX, st.sampled_from([0.0, 0.25, 0.5, 0.50000006, 1.0]), st.integers(0, 2)), max_size=20)


def arrays(things: list[tuple[tuple[int, ...], float, int]]) -> tuple[NDArray, NDArray, NDArray]:  # type: ignore[type-arg]
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _, _ in things], np.float32).reshape(-1, 4)
    return boxes, np.array([s for _, s, _ in things], np.float32), np.array([c for _, _, c in things], np.int64)


def by_definition(boxes: NDArray, scores: NDArray, classes: NDArray, iou: float) -> list[int]:  # type: ignore[type-arg]
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        rivals = [j for j in kept if classes[j] == classes[i]]
        if not any(overlaps(boxes[i : i + 1], boxes[j : j + 1])[0, 0] > iou for j in rivals):
            kept.append(int(i))
    return kept


@given(THINGS, st.sampled_from([0.0, 0.3, 0.45, 0.7, 1.0]))
def test_what_stays_and_its_order_are_those_of_the_definition(
    things: list[tuple[tuple[int, ...], float, int]], iou: float
) -> None:
    boxes, scores, classes = arrays(things)
    wanted = by_definition(boxes, scores, classes, iou)
    for most in (1, 2, 100):
        assert best_of_overlapping(boxes, scores, classes, iou, most=most).tolist() == wanted[:most]


def test_of_many_boxes_no_more_are_compared_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """25,200 of a detector that says what it thinks of every place, each of them apart from the others."""
    asked: list[int] = []
    compare = cv2.dnn.NMSBoxesBatched
    monkeypatch.setattr(
        cv2.dnn, "NMSBoxesBatched", lambda boxes, *rest: asked.append(len(boxes)) or compare(boxes, *rest)
    )
    corner = np.arange(25_200, dtype=np.float32)[:, None] * 2
    boxes = np.concatenate([corner, corner, corner + 1, corner + 1], axis=1)
    scores = np.linspace(0, 1, len(boxes), dtype=np.float32)
    kept = best_of_overlapping(boxes, scores, np.zeros(len(boxes), np.int64), 0.5, most=100)
    assert kept.tolist() == list(range(25_199, 25_099, -1))
    assert sum(asked) <= 400


def test_large_coordinates_are_told_apart() -> None:
    """Boxes of one place in different classes, in the corner of a large image, with many classes."""
    corner = np.float32(16_000_000)
    boxes = np.tile(np.array([[0, 0, 4, 4]], np.float32), (3, 1)) + corner
    assert best_of_overlapping(boxes, np.float32([0.5, 0.9, 0.7]), np.array([0, 1000, 0]), 0.5, most=9).tolist() == [
        1,
        2,
    ]


def test_overlap_is_intersection_over_union() -> None:
    here = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    there = np.array([[1, 0, 3, 2], [0, 0, 2, 2], [9, 9, 10, 10]], np.float32)
    assert overlaps(here, there) == pytest.approx(np.array([[1 / 3, 1, 0], [0, 0, 0]]))
    assert overlaps(here[:0], there).shape == (0, 3)
