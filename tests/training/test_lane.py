"""How lanes are read: in pools, of bounded memory, each row once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.catalogues import catalogue_of
from tests.training.inputs import OBJECT_WRITERS, SIDE_PX, WRITERS, label_of, picture, write_parquet
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import FORMATS
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.tasks.box_truth import parse_boxes
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.lane import LaneReader, LaneStream, Source
from vision_batch.training.shelf import Room

IMAGES = 90


def source_of(folder: Path, settings: InputSettings, *, pool_rows: int, lanes: int) -> Source:
    catalogue = replace(catalogue_of(folder / "out", settings, lanes=lanes), pool_rows=pool_rows)
    return Source(LedgerPaths(str(folder / "out")), settings, EpochPlan(catalogue, frozenset({0}), seed=0))


def contents(source: Source, lane: int, room: Room, *, row: int = 0) -> list[bytes]:
    """What a lane gives from a row on."""
    reader = LaneReader(source, 0, lane)
    with ThreadPoolExecutor(2) as threads, closing(LaneStream(reader, threads, room, row)) as stream:
        return [bytes(stream.take().sample.data or b"") for _ in range(row, reader.lane.rows)]


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("pool_rows", [1, 4, 256])
def test_lanes_give_every_image_once_whatever_the_pools(tmp_path: Path, format: str, pool_rows: int) -> None:
    source = source_of(tmp_path, WRITERS[format](tmp_path / "data", IMAGES), pool_rows=pool_rows, lanes=3)
    found = [data for lane in range(3) for data in contents(source, lane, Room(1 << 20))]
    assert sorted(found) == sorted(map(picture, range(IMAGES)))


@pytest.mark.parametrize("format", OBJECT_WRITERS)
def test_lanes_give_every_image_with_its_boxes(tmp_path: Path, format: str) -> None:
    settings = OBJECT_WRITERS[format](tmp_path / "data", IMAGES)
    catalogue = catalogue_of(tmp_path / "out", settings, task=TaskSettings(type="detection"), lanes=3)
    assert catalogue.labels == tuple(sorted(set(map(label_of, range(IMAGES)))))
    plan = EpochPlan(replace(catalogue, pool_rows=4), frozenset({0}), seed=0)
    source, found = Source(LedgerPaths(str(tmp_path / "out")), settings, plan), []
    for lane in range(3):
        reader = LaneReader(source, 0, lane)
        with ThreadPoolExecutor(2) as threads, closing(LaneStream(reader, threads, Room(1 << 20), 0)) as stream:
            for _ in range(reader.lane.rows):
                sample = stream.take().sample
                (box,) = parse_boxes(sample.truth)
                found.append((bytes(sample.data or b""), box.label, box.edges))
    edges = (0, 0, SIDE_PX, SIDE_PX / 2)
    assert sorted(found) == sorted((picture(number), label_of(number), edges) for number in range(IMAGES))


def test_lane_begins_at_any_row_and_with_any_room(tmp_path: Path) -> None:
    source = source_of(tmp_path, write_parquet(tmp_path / "data", IMAGES), pool_rows=4, lanes=2)
    whole = contents(source, 1, Room(1 << 20))
    for row in (0, 1, 5, 20, len(whole) - 1):
        room = Room(200)
        assert contents(source, 1, room, row=row) == whole[row:]
        assert room.take(200), "all room was given back"


def test_run_of_rows_that_is_larger_than_a_pool_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = write_parquet(tmp_path / "data", IMAGES)  # row groups of 11
    source = source_of(tmp_path, settings, pool_rows=2, lanes=1)
    reads = []
    read = FORMATS["parquet"].read
    monkeypatch.setattr(type(FORMATS["parquet"]), "read", lambda self, *more: (reads.append(more), read(*more))[1])
    assert len(contents(source, 0, Room(1 << 20))) == IMAGES
    assert len(reads) == len(source.plan.catalogue.counts)


def test_stream_that_is_closed_early_gives_its_room_back(tmp_path: Path) -> None:
    source = source_of(tmp_path, write_parquet(tmp_path / "data", IMAGES), pool_rows=8, lanes=1)
    room = Room(1 << 20)
    with ThreadPoolExecutor(1) as threads:
        stream = LaneStream(LaneReader(source, 0, 0), threads, room, 0)
        for _ in range(5):
            stream.take()
        stream.close()
    assert room.take(1 << 20)
