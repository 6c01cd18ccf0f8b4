"""Chunks are taken apart and put together again without losing a row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.inference.chunk import DecodedChunk, Place, PredictedChunk, Row

PLACE = Place(shard="s", version="v", cell=0, index=0, ends_cell=True, last_cell=True)


def decoded(is_good: list[bool]) -> DecodedChunk:
    rows = [Row(row=i, image_id=f"i{i}", width=4, height=3) for i in range(len(is_good))]
    good = [i for i, flag in enumerate(is_good) if flag]
    pixels = np.array(good, np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    return DecodedChunk(place=PLACE, rows=rows, good=good, pixels=pixels)


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.data())
def test_singles_are_the_whole_and_what_killed_has_no_pixels(is_good: list[bool], data: st.DataObject) -> None:
    whole, singles = decoded(is_good), decoded(is_good).singles()
    assert [len(single.pixels) for single in singles] == [int(flag) for flag in is_good]
    killer = data.draw(st.integers(0, len(is_good) - 1))
    merged = DecodedChunk.merged([s.killed("it did") if i == killer else s for i, s in enumerate(singles)])
    kept = [i for i in whole.good if i != killer]
    assert (merged.good, merged.pixels[:, 0, 0, 0].tolist()) == (kept, kept)
    assert [row.image_id for row in merged.rows] == [row.image_id for row in whole.rows]
    assert [row.error_code for row in merged.rows] == [
        "worker_killed" if i == killer else None for i in range(len(is_good))
    ]
    assert (merged.rows[killer].width, merged.place) == (4, PLACE)


def test_what_the_model_said_of_singles_is_added_up() -> None:
    chunks = [
        PredictedChunk(place=PLACE, table=pa.table({"row": [i]}), asked=asked, failed=failed, failure="no" * failed)
        for i, (asked, failed) in enumerate([(1, 0), (0, 0), (1, 1)])
    ]
    merged = PredictedChunk.merged(chunks)
    assert merged.table["row"].to_pylist() == [0, 1, 2]
    assert (merged.asked, merged.failed, merged.failure, merged.good_images) == (2, 1, "no", 1)
