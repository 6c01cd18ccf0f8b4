"""Boxes come back from YOLO's text exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision_batch.datasets.yolo_line import parse_yolo_line, yolo_line

SIZES = st.integers(1, 30_000)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], int, int]:
    width, height = draw(SIZES), draw(SIZES)
    x_min, x_max = sorted(draw(st.floats(0, width, width=32)) for _ in range(2))
    y_min, y_max = sorted(draw(st.floats(0, height, width=32)) for _ in range(2))
    return (x_min, y_min, x_max, y_max), width, height


@given(boxes())
@example(((float(np.float32(1e-45)), 0.0, 333.0, float(np.float32(1e-30))), 333, 7))
@example(((0.0, 0.0, 1.0, 1.0), 3, 3))
def test_float32_boxes_come_back_exactly(case: tuple[tuple[float, float, float, float], int, int]) -> None:
    edges, width, height = case
    assert parse_yolo_line(yolo_line(edges, width, height).split(), width, height) == edges


@given(boxes())
def test_who_reads_with_float64_is_as_near_as_that_can_be(
    case: tuple[tuple[float, float, float, float], int, int],
) -> None:
    edges, width, height = case
    x, y, w, h = map(float, yolo_line(edges, width, height).split())
    found = np.array([(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height])
    assert np.allclose(found, edges, rtol=0, atol=max(width, height) * 1e-15)


def test_ordinary_boxes_have_ordinary_text() -> None:
    assert yolo_line((10, 0, 20, 15), 40, 30) == "0.375 0.25 0.25 0.5"
    assert parse_yolo_line(["0.5", "0.5", "0.9", "0.9"], 100, 10) == (5, 0.5, 95, 9.5)


@pytest.mark.parametrize("share", ["nan", "inf", "1e400", "1e9", "", "x", "0." + "1" * 200])
def test_what_is_no_number_is_refused(share: str) -> None:
    with pytest.raises(ValueError):
        parse_yolo_line([share, "0.5", "0.5", "0.5"], 10, 10)


def test_exponents_are_read_and_cost_nothing() -> None:
    assert parse_yolo_line(["5e-1", "0.5", "1e-999999999", "0"], 10, 10) == (5, 5, 5, 5)
