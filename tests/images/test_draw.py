"""Pictures for people show what they are given."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vision_batch.images.draw import (
    LARGEST_PX,
    PAPER,
    Tile,
    colour_of,
    draw_boxes,
    draw_mask,
    enlarged,
    scale_of,
    sheet,
    shortened,
    write,
)

GREY = np.full((40, 60, 3), 100, np.uint8)


def test_classes_have_colours_of_their_own() -> None:
    colours = [colour_of(index) for index in range(50)]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 50
    for one, other in itertools.pairwise(colours):
        assert sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 100


@pytest.mark.parametrize(("dtype", "ignore"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_mask_shines_through_and_what_is_ignored_stays(dtype: type, ignore: int) -> None:
    mask = np.full((40, 60), ignore, dtype)
    mask[:10], mask[10:20] = 0, 3
    drawn = draw_mask(GREY, mask)
    assert (drawn[:10] == 75).all()
    assert np.abs(drawn[10:20] - (50 + np.array(colour_of(3)) / 2)).max() <= 0.5
    assert (drawn[20:] == 100).all()
    assert (GREY == 100).all()


def test_a_box_is_a_frame_within_its_edges() -> None:
    drawn = draw_boxes(GREY, np.array([[10, 5, 30, 35]], np.float32), [""], [(255, 0, 0)])
    rows, columns = np.nonzero((drawn == (255, 0, 0)).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (5, 34, 10, 29)
    assert (drawn[6:34, 11:29] == 100).all()
    named = draw_boxes(GREY, np.array([[10, 5, 30, 35], [-9, -9, 900, 900]], np.float32), ["cat", "ß"], [(9, 9, 9)] * 2)
    assert (named[6:34, 11:29] != 100).any()


def test_small_images_are_enlarged_pixel_by_pixel_and_large_ones_made_to_fit() -> None:
    small = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
    scale = int(scale_of(5, 4))
    assert np.array_equal(enlarged(small), small.repeat(scale, 0).repeat(scale, 1))
    assert max(enlarged(np.zeros((3000, 50, 3), np.uint8)).shape) == LARGEST_PX
    assert enlarged(np.zeros((1, 9000, 3), np.uint8)).shape == (1, LARGEST_PX, 3)
    assert enlarged(np.zeros((200, 300, 3), np.uint8)).shape == (200, 300, 3)


def test_a_sheet_has_every_tile_in_its_place() -> None:
    colours = [(10 * n, 0, 200) for n in range(5)]
    tiles = [Tile(pixels=np.full((30, 40, 3), colour, np.uint8), lines=("a line",)) for colour in colours]
    drawn = sheet(tiles, 2)
    width = drawn.shape[1] // 2
    for place, colour in enumerate(colours):
        half = drawn[:, place % 2 * width : (place % 2 + 1) * width]
        assert (half == colour).all(axis=2).sum() == 30 * 40
    assert (drawn[:, width:] == colours[4]).all(axis=2).sum() == 0
    assert (drawn == PAPER).all(axis=2).any()
    assert (drawn.max(axis=2) < 100).any()


def test_a_tile_without_pixels_says_why() -> None:
    good, broken = Tile(pixels=GREY, lines=("x",)), Tile(pixels=None, lines=("truncated", "a long story " * 30))
    drawn = sheet([good, broken, good], 3)
    reddish = (drawn[..., 0].astype(int) - drawn[..., 1] > 100).sum()
    assert reddish > 50
    assert drawn.shape[1] < 3 * 200


def test_text_that_does_not_fit_loses_its_middle() -> None:
    assert shortened("short", 200) == "short"
    short = shortened("a/very/long/path/to/some/picture/with/a/name.jpg", 120)
    assert short.startswith("a/very")
    assert short.endswith("name.jpg")
    assert "…" in short
    assert shortened("two\nlines\0", 200) == "two lines"
    assert shortened("anything", 0) == "…"


def test_letters_of_other_scripts_are_not_question_marks() -> None:
    def written(text: str) -> bytes:
        paper = np.full((30, 60, 3), PAPER, np.uint8)
        write(paper, text, 5, 20)
        return paper.tobytes()

    assert len({written(text) for text in ("ü", "日", "Ж", "?")}) == 4
