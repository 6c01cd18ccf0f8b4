"""Laws of placing a picture in the model's input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vision_batch.images.geometry import Geometry, Placement, place

sides = st.integers(1, 5000)
targets = st.integers(1, 600)


def placed(width: int, height: int, **step: object) -> Placement:
    steps = {"resize_shorter_px": None, "resize_px": None, "letterbox_px": None, "crop_px": None, **step}
    return place(width, height, **steps)  # type: ignore[arg-type]


@given(sides, sides, targets)
def test_the_shorter_side_is_what_was_asked_and_the_shape_stays(width: int, height: int, side: int) -> None:
    placement = placed(width, height, resize_shorter_px=side)
    assert min(placement.resized_width, placement.resized_height) == side
    longer = max(placement.resized_width, placement.resized_height)
    assert longer == int(side * max(width, height) / min(width, height))


@given(sides, sides, targets)
def test_a_letterbox_holds_the_whole_picture_in_its_centre(width: int, height: int, side: int) -> None:
    placement = placed(width, height, letterbox_px=side)
    assert (placement.out_width, placement.out_height, placement.fill) == (side, side, 114)
    assert max(placement.resized_width, placement.resized_height) == side
    left, right = -placement.left, side - placement.resized_width + placement.left
    top, bottom = -placement.top, side - placement.resized_height + placement.top
    assert min(left, right, top, bottom) >= 0
    assert abs(left - right) <= 1
    assert abs(top - bottom) <= 1


@given(sides, sides, targets, targets, st.sampled_from([{}, {"round_up_px": 32}, {"round_down_px": 16}]))
@example(429, 736, 1, 1, {})  # 429 / 736 * 736 / 429 is a little below 1
def test_a_bounded_picture_lies_whole_in_the_corner_of_one_square(
    width: int, height: int, side: int, longest: int, rounding: dict[str, int]
) -> None:
    placement = placed(width, height, resize_shorter_px=side, longest_px=longest, **rounding)
    square = placed(1, 1, resize_shorter_px=longest, longest_px=longest, **rounding).resized_width
    assert (placement.out_width, placement.out_height, placement.fill) == (square, square, 0)
    assert (placement.left, placement.top) == (0, 0)
    resized = placement.resized_width, placement.resized_height
    assert 0 < min(resized) <= max(resized) <= square
    assert all(px % multiple == 0 for px in resized for multiple in rounding.values())


@given(sides, sides, targets)
def test_a_crop_is_central(width: int, height: int, side: int) -> None:
    placement = placed(width, height, crop_px=side)
    assert (placement.out_width, placement.out_height, placement.fill) == (side, side, 0)
    assert abs(placement.left - (width - side) / 2) <= 0.5
    assert abs(placement.top - (height - side) / 2) <= 0.5


@pytest.mark.parametrize(
    ("size", "crop", "corner"),
    [
        ((341, 256), 224, (58, 16)),
        ((5, 5), 2, (1, 1)),
        ((7, 7), 2, (2, 2)),
        ((3, 4), 8, (-2, -2)),
        ((3, 9), 8, (-2, 0)),
    ],
)
def test_the_window_of_a_crop_begins_at_half_of_what_is_left_rounded_down(
    size: tuple[int, int], crop: int, corner: tuple[int, int]
) -> None:
    placement = placed(*size, crop_px=crop)
    assert (placement.left, placement.top) == corner


@given(sides, sides, targets, targets, st.sampled_from(["resize_shorter_px", "letterbox_px", "none"]))
def test_to_the_full_image_and_back(width: int, height: int, side: int, crop: int, step: str) -> None:
    geometry = placed(width, height, crop_px=crop, **({} if step == "none" else {step: side})).geometry
    x, y = geometry.to_model(*geometry.to_full(3.25, 7.5))
    assert math.isclose(x, 3.25, abs_tol=1e-6)
    assert math.isclose(y, 7.5, abs_tol=1e-6)


@given(sides, sides, targets, targets, st.sampled_from(["resize_shorter_px", "letterbox_px", "none"]))
def test_boxes_are_moved_as_their_corners_are(width: int, height: int, side: int, crop: int, step: str) -> None:
    geometry = placed(width, height, crop_px=crop, **({} if step == "none" else {step: side})).geometry
    boxes = np.array([[0, 1, 2, 3], [4.5, -5, 60, 70]], np.float32)
    corners = [
        (*geometry.to_full(left, top), *geometry.to_full(right, bottom)) for left, top, right, bottom in boxes.tolist()
    ]
    assert geometry.boxes_to_full(boxes) == pytest.approx(np.array(corners))
    assert geometry.boxes_to_full(boxes[:0]).shape == (0, 4)


@given(sides, sides, targets)
def test_the_corners_of_a_resized_picture_are_the_corners_of_the_full_image(width: int, height: int, side: int) -> None:
    placement = placed(width, height, letterbox_px=side)
    geometry = placement.geometry
    left, top = -placement.left, -placement.top
    assert geometry.to_full(left, top) == pytest.approx((0, 0), abs=1e-9)
    end = geometry.to_full(left + placement.resized_width, top + placement.resized_height)
    assert end == pytest.approx((width, height))


def test_nothing_to_do_is_the_identity() -> None:
    placement = placed(640, 480)
    assert placement.geometry == Geometry(scale_x=1, scale_y=1, offset_x=0, offset_y=0)
    assert (placement.out_width, placement.out_height) == (640, 480)
