"""Images that wait for their turn take no more memory than there is room for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError, UnavailableError
from vision_batch.training.shelf import Room, Shelf


def sample(row: int, data: bytes | None) -> Sample:
    error = ImageError("empty", "nothing") if data is None else None
    return Sample(row=row, image_id=str(row), data=data, error=error)


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=20), st.integers(0, 200), st.integers(0, 99))
def test_what_is_taken_is_what_was_put(contents: list[bytes | None], room_bytes: int, seed: int) -> None:
    room = Room(room_bytes)
    shelf = Shelf(room)
    samples = [sample(row, data) for row, data in enumerate(contents)]
    for one in samples:
        shelf.add(one)
    places = list(range(len(samples)))
    Random(seed).shuffle(places)
    assert [shelf.take(place) for place in places] == [samples[place] for place in places]
    shelf.close()
    assert room.take(room_bytes), "all room was given back"


def test_what_has_no_room_is_on_disk_and_not_in_memory() -> None:
    room = Room(100)
    shelf = Shelf(room)
    for row in range(10):
        shelf.add(sample(row, bytes([row]) * 60))
    held = [len(one.data or b"") for one in shelf._samples]
    assert held == [60] + [0] * 9
    assert [shelf.take(row).data for row in range(10)] == [bytes([row]) * 60 for row in range(10)]
    shelf.close()


def test_shelf_that_is_closed_gives_back_what_was_not_taken() -> None:
    room = Room(100)
    shelf = Shelf(room)
    shelf.add(sample(0, b"x" * 70))
    assert not room.take(31)
    shelf.close()
    shelf.close()
    assert room.take(100)


def test_disk_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    shelf = Shelf(Room(0))
    with pytest.raises(UnavailableError, match="cannot be written"):
        shelf.add(sample(0, b"x"))
