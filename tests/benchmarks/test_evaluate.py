"""An evaluation's memory does not grow with the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.evaluate import cost, make_boxes, make_rows

FEW, MANY = 1_000_000, 10_000_000
ROOM = 1.15
"""What scores of ten times the images may add, while the room for different ones fills up."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_flat_from_one_million_images_to_ten(tmp_path: Path) -> None:
    mib = []
    for rows in (FEW, MANY):
        make_rows(tmp_path / str(rows), rows, has_truth=False)
        found = cost(tmp_path / str(rows), has_truth=False, bootstrap=20)
        assert found.images == rows
        mib.append(found.mib)
    assert mib[1] < ROOM * mib[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_is_flat_when_there_are_more_boxes_than_are_held(tmp_path: Path) -> None:
    mib = []
    for rows in (FEW, 2 * FEW):
        make_boxes(tmp_path / str(rows), rows)
        mib.append(cost(tmp_path / str(rows), has_truth=False).mib)
    assert mib[1] < ROOM * mib[0]


def test_made_up_boxes_are_measured(tmp_path: Path) -> None:
    make_boxes(tmp_path, 300)
    assert cost(tmp_path, has_truth=False).images == 300


def test_made_up_rows_are_measured(tmp_path: Path) -> None:
    make_rows(tmp_path, 3000, has_truth=True)
    assert cost(tmp_path, has_truth=True).images == 3000
