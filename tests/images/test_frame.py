"""Masks and boxes follow the pixels exactly: a drawn marker is found where they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vision_batch.images.augment import Augmentation, random_for
from vision_batch.images.augmentations.geometric import about_centre, moving, turning
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.augmentations.step import Warp
from vision_batch.images.frame import Boxes, Frame, warped

COLOUR = (250, 10, 200)


def scene(width: int, height: int, box: tuple[int, int, int, int]) -> Frame:
    """A block of one colour on grey, its mask and its box."""
    pixels = np.full((height, width, 3), 40, np.uint8)
    mask = np.zeros((height, width), np.uint8)
    x_min, y_min, x_max, y_max = box
    pixels[y_min:y_max, x_min:x_max] = COLOUR
    mask[y_min:y_max, x_min:x_max] = 7
    corners = np.array([box], np.float32)
    return Frame(
        pixels=pixels, mask=mask, boxes=Boxes(corners=corners, labels=np.array([3]), shares=np.ones(1, np.float32))
    )


def augmented(frame: Frame, identity: int, *entries: Any, min_share: float = 0) -> Frame:
    operations = [AugmentSettings.model_validate(entry) for entry in entries]
    return Augmentation(operations, min_share=min_share)(frame, random_for(0, identity, 0))


spans = st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted)


def scaled(low: float, high: float) -> Any:
    return spans.map(lambda span: [low + (high - low) * end for end in span])


FILL = {name: {"fill": "reflect"} for name in ("rotate", "affine", "perspective")}


def moves(*, smallest: float, largest: float, shift: float) -> Any:
    """A move of any kind that reduces and enlarges so much at most."""
    return st.one_of(
        st.just({"horizontal_flip": {"p": 1}}),
        st.just({"vertical_flip": {"p": 1}}),
        st.builds(lambda scale: {"random_resized_crop": {"scale": scale}}, scaled(1 / largest**2, 1)),
        st.builds(lambda degrees: {"rotate": {"degrees": degrees}}, scaled(-180, 180)),
        st.builds(
            lambda degrees, move, scale, shear: {
                "affine": {"degrees": degrees, "translate": move, "scale": scale, "shear_degrees": shear}
            },
            scaled(-90, 90),
            scaled(-0.3, 0.3),
            scaled(smallest, largest),
            scaled(-20, 20),
        ),
        st.builds(lambda shift: {"perspective": {"p": 1, "shift": shift}}, scaled(-shift, shift)),
    )


MOVES = moves(smallest=0.5, largest=2.5, shift=0.2)
SMALL_MOVES = moves(smallest=0.6, largest=1.3, shift=0.1)


def eroded(seen: np.ndarray) -> np.ndarray:
    """Without its outermost pixels."""
    padded = np.pad(seen, 1, mode="edge")
    return padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & seen


def coloured(frame: Frame) -> np.ndarray:
    """Where more than half of a pixel is the block's."""
    return np.abs(frame.pixels.astype(int) - COLOUR).max(axis=2) < 105


@settings(max_examples=150, deadline=None)
@given(moves=st.lists(MOVES, min_size=1, max_size=4), identity=st.integers(0, 10**6), width=st.integers(60, 180))
def test_every_pixel_has_the_class_of_the_place_that_it_comes_from(moves: list[Any], identity: int, width: int) -> None:
    """Red and green say where a pixel comes from, however it is enlarged; the mask has a class for each square."""
    height, side = 120, 10
    y, x = np.indices((height, width))
    pixels = np.stack([x, y, np.zeros_like(x)], axis=2).astype(np.uint8)
    mask = (x // side + 20 * (y // side)).astype(np.uint16)
    box = np.array([[width // 4, 30, width * 3 // 4, 80]], np.float32)
    boxes = Boxes(corners=box, labels=np.array([3]), shares=np.ones(1, np.float32))
    reflected = [{name: {**values, **FILL.get(name, {})}} for move in moves for name, values in move.items()]
    result = augmented(Frame(pixels=pixels, mask=mask, boxes=boxes), identity, *reflected)
    assert result.mask is not None
    seen = result.mask != 65535
    came_from = result.pixels[..., :2][seen] + 0.5
    square = np.stack([result.mask[seen] % 20, result.mask[seen] // 20], axis=1) * side
    assert (np.abs(came_from - square - side / 2) <= side / 2 + 0.6).all()
    inside = ((came_from > box[0, :2] + 0.6) & (came_from < box[0, 2:] - 0.6)).all(axis=1)
    if inside.any():
        rows, columns = (at[inside] for at in np.nonzero(seen))
        assert result.boxes is not None
        ((x_min, y_min, x_max, y_max),) = result.boxes.corners
        assert x_min <= columns.min() + 0.5 <= columns.max() + 0.5 <= x_max
        assert y_min <= rows.min() + 0.5 <= rows.max() + 0.5 <= y_max


@settings(max_examples=150, deadline=None)
@given(move=SMALL_MOVES, identity=st.integers(0, 10**6), width=st.integers(60, 180))
def test_a_drawn_block_is_found_where_mask_and_box_say(move: Any, identity: int, width: int) -> None:
    """Nothing is enlarged much: an interpolated block that is has round corners, which its mask has not."""
    demand_agreement([move], identity, width, 120)


@settings(max_examples=60, deadline=None)
@given(shift=st.floats(0, 0.03), cells=st.integers(2, 6), identity=st.integers(0, 10**6), width=st.integers(60, 180))
def test_so_it_is_where_everything_bends(shift: float, cells: int, identity: int, width: int) -> None:
    bend = {"elastic": {"p": 1, "shift": shift, "cells": cells}}
    demand_agreement([bend], identity, width, 120)
    demand_agreement([bend, {"horizontal_flip": {"p": 1}}], identity, width, 120)


def demand_agreement(moves: list[Any], identity: int, width: int, height: int) -> None:
    """Pixels, mask and box agree to a pixel."""
    frame = scene(width, height, (width // 4, 30, width * 3 // 4, 80))
    result = augmented(frame, identity, *moves)
    assert result.mask is not None
    assert result.boxes is not None
    found, said = coloured(result) & (result.mask != 255), result.mask == 7
    assert not (eroded(said) & ~found).any()
    assert not (eroded(found) & ~said).any()
    if not said.any():
        return
    rows, columns = np.flatnonzero(said.any(axis=1)), np.flatnonzero(said.any(axis=0))
    seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    ((x_min, y_min, x_max, y_max),) = result.boxes.corners
    inside = np.array([x_min, y_min, -x_max, -y_max]) <= np.array([*seen[:2], *-seen[2:]]) + 1.01
    assert inside.all(), (seen, result.boxes.corners)
    assert 0 <= x_min < x_max <= width
    assert 0 <= y_min < y_max <= height
    assert result.boxes.labels.tolist() == [3]


@settings(max_examples=60, deadline=None)
@given(
    flips=st.lists(st.sampled_from(["horizontal_flip", "vertical_flip"]), max_size=3),
    shift=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
)
def test_whole_pixels_move_without_being_touched(flips: list[str], shift: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    mask = random.integers(0, 200, (40, 50), dtype=np.uint8)
    frame = Frame(pixels=pixels, mask=mask)
    expected = [pixels, mask]
    for flip in flips:
        axis = 1 if flip == "horizontal_flip" else 0
        expected = [np.flip(array, axis) for array in expected]
    result = augmented(frame, 0, *({flip: {"p": 1}} for flip in flips))
    assert np.array_equal(result.pixels, expected[0])
    assert np.array_equal(result.mask, expected[1])  # type: ignore[arg-type]
    x, y = shift
    moved = warped(frame, Warp(moving(x, y), 9), min_share=0)
    inside = (slice(max(y, 0), 40 + min(y, 0)), slice(max(x, 0), 50 + min(x, 0)))
    source = (slice(max(-y, 0), 40 + min(-y, 0)), slice(max(-x, 0), 50 + min(-x, 0)))
    for array, original, fill in ((moved.pixels, pixels, 9), (moved.mask, mask, 255)):
        wanted = np.full_like(original, fill)
        wanted[inside] = original[source]
        assert np.array_equal(array, wanted)  # type: ignore[arg-type]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_quarter_turn_of_a_square_is_exact(turns: int) -> None:
    frame = scene(40, 40, (5, 8, 20, 12))
    result = warped(frame, Warp(about_centre(turning(90 * turns), 40, 40), 0), min_share=0)
    assert np.array_equal(result.pixels, np.rot90(frame.pixels, turns))
    assert np.array_equal(result.mask, np.rot90(frame.mask, turns))  # type: ignore[arg-type]
    assert result.boxes is not None
    rows, columns = np.nonzero(np.rot90(frame.mask == 7, turns))
    wanted = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.allclose(result.boxes.corners, [wanted], atol=1e-4)


def test_what_one_move_takes_out_of_sight_the_next_brings_back() -> None:
    frame = scene(60, 60, (0, 0, 60, 60))
    there_and_back = [{"affine": {"translate": [shift, shift], "scale": [1, 1]}} for shift in (0.5, -0.5)]
    assert np.array_equal(augmented(frame, 0, *there_and_back).pixels, frame.pixels)
    between = augmented(frame, 0, there_and_back[0], {"brightness": {"factor": [1, 1]}}, there_and_back[1])
    assert (between.pixels[31:, 31:] == 0).all()


def test_where_nothing_goes_is_the_fill_and_no_class() -> None:
    frame = scene(60, 60, (0, 0, 60, 60))
    for fill in (0, 77, "reflect"):
        moved = augmented(frame, 0, {"affine": {"translate": [0.5, 0.5], "scale": [1, 1], "fill": fill}})
        assert moved.mask is not None
        assert (moved.mask[:29] == 255).all()
        assert (moved.mask[31:, 31:] == 7).all()
        assert (moved.pixels[:29] == (COLOUR if fill == "reflect" else fill)).all()


@given(st.floats(0, 1), st.floats(0.01, 1))
def test_a_box_is_kept_as_long_as_enough_of_it_is_left(gone: float, min_share: float) -> None:
    assume(abs(1 - gone - min_share) > 1e-4)
    boxes = scene(100, 100, (0, 0, 50, 100)).boxes
    assert boxes is not None
    moved = warped(
        Frame(pixels=np.zeros((100, 100, 3), np.uint8), boxes=boxes), Warp(moving(-50 * gone, 0)), min_share=min_share
    )
    assert moved.boxes is not None
    assert len(moved.boxes.corners) == (1 - gone >= min_share)


def test_shares_multiply() -> None:
    frame = scene(100, 100, (0, 0, 100, 100))
    for kept in (0.5, 0.25):
        frame = warped(frame, Warp(moving(50, 0)), min_share=0.2)
        frame = warped(frame, Warp(moving(-50, 0)), min_share=0.2)
        frame = warped(frame, Warp(moving(-25, 0)), min_share=0.2) if kept < 0.5 else frame
        assert frame.boxes is not None
        assert frame.boxes.shares.tolist() == [kept]
