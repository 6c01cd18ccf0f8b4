"""The actor of the joined layout, called as Ray would call it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.inference.actor_job import LAYOUT, make_job, works
from tests.integration.job import MODEL, digits, write_tar
from vision_batch.inference.event import Event
from vision_batch.inference.job import PredictJob
from vision_batch.inference.joined import JoinedActor
from vision_batch.ledger.holder import this_process
from vision_batch.ledger.state import Work


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an actor runs is Ray's to say; and what it sets in its process's environment is not left in ours."""
    monkeypatch.setattr("vision_batch.inference.joined.describe_worker", lambda device="cpu": {"device": device})
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


def done(actor: JoinedActor, work: Work) -> list[Event]:
    return list(actor.predict([work]))


def put_foreign(job: PredictJob, place: Path) -> None:
    pq.write_table(pa.table({"row": [1]}), place)


def put_cut(job: PredictJob, place: Path) -> None:
    """The cell's own part, as far as it goes."""
    done(JoinedActor(job, LAYOUT), works(job)[0])
    place.write_bytes(place.read_bytes()[:-100])
    Path(job.paths.part("a.tar", 1)).unlink()


def put_other(job: PredictJob, place: Path) -> None:
    """What another definition has predicted."""
    done(JoinedActor(replace(job, definition="1" * 64), LAYOUT), works(job)[0])
    Path(job.paths.part("a.tar", 1)).unlink()


def put_folder(job: PredictJob, place: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize(
    ("put", "way_out"),
    [
        (put_foreign, "verify --repair"),
        (put_cut, "verify --repair"),
        (put_other, "verify --repair"),
        (put_folder, "remove what is left of it, then run again"),
    ],
)
def test_what_lies_in_a_cells_place_costs_that_cell_and_no_other(
    tmp_path: Path, put: Callable[[PredictJob, Path], None], way_out: str
) -> None:
    job = make_job(tmp_path)
    place = Path(job.paths.part("a.tar", 0))
    place.parent.mkdir(exist_ok=True)
    put(job, place)
    before = place.read_bytes() if place.is_file() else None
    (work,) = works(job)
    events = done(JoinedActor(job, LAYOUT), work)
    (failed,) = [event for event in events if event.kind == "cell_failed"]
    assert (failed.shard, failed.cell) == ("a.tar", 0)
    assert str(place) in failed.message
    assert way_out in failed.message
    assert [(event.cell, event.images) for event in events if event.kind == "part"] == [(1, 37)]
    assert {event.kind for event in events} == {"cell_failed", "part", "whole", "progress"}
    assert [event.writer for event in events if event.kind == "whole"] == [this_process()] * 2
    assert before == (place.read_bytes() if place.is_file() else None), "it is not ours to remove"


def test_a_withheld_cell_that_has_no_place_costs_the_call_that_releases_it_nothing(tmp_path: Path) -> None:
    """The first shard's images all fail in the model, so that its cell waits until an image of the second works."""
    wary = MODEL.replace("return self.layers(images)", "assert images.amax() > 0; return self.layers(images)")
    job = make_job(tmp_path, wary)
    write_tar(tmp_path / "data" / "a.tar", [cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()])
    write_tar(tmp_path / "data" / "b.tar", digits(101))
    first, second = works(job)
    actor = JoinedActor(job, LAYOUT)
    assert [event.kind for event in done(actor, first)] == ["progress", "withheld", "progress"]
    put_foreign(job, Path(job.paths.part("a.tar", 0)))
    events = done(actor, second)
    told = [(event.kind, event.shard, event.cell) for event in events if event.kind in ("cell_failed", "part")]
    assert sorted(told) == [("cell_failed", "a.tar", 0), ("part", "b.tar", 0), ("part", "b.tar", 1)]


def test_a_slow_model_is_heard_of_although_it_has_done_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path)
    (work,) = works(job)
    monkeypatch.setattr("vision_batch.inference.joined.QUIET_S", -1.0)
    told = [event.images for event in done(JoinedActor(job, LAYOUT), work) if event.kind == "progress"]
    assert told == [20, 20, 20, 4, 20, 17, 0]
