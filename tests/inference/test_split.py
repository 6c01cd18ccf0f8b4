"""The actors of the split layout, called as Ray would call them: what flows between them, and in any order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.inference.actor_job import LAYOUT, RUN, make_job, works
from tests.integration.job import MODEL, digits, write_tar
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import DeviceError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.blocks import work_blocks
from vision_batch.inference.event import Event, events_of
from vision_batch.inference.job import PredictJob
from vision_batch.inference.split import ROW, GatherActor, PredictActor, PreprocessActor
from vision_batch.ledger.holder import this_process
from vision_batch.ledger.lease import Lease, demand_lease, held_lease
from vision_batch.ledger.manifest import StoredPart
from vision_batch.ledger.part import read_part, read_part_record
from vision_batch.ledger.patch import Patch
from vision_batch.ledger.row_set import RowSet
from vision_batch.plugin import find_plugin
from vision_batch.storage.table import storage_for

GOOD = [20, 19, 20, 4, 20, 17]
"""Images with pixels in each chunk of 101 rows: cells of 64 and 37, one image empty."""


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an actor runs is Ray's to say; and what it sets in its process's environment is not left in ours."""
    monkeypatch.setattr("vision_batch.inference.split.describe_worker", lambda device="cpu": {"device": device})
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")


def preprocessed(job: PredictJob, patches: tuple[Patch, ...] = ()) -> list[pa.Table]:
    actor = PreprocessActor(job, LAYOUT)
    return [row for block in work_blocks(works(job, patches), readers=1) for row in actor(block)]


def predicted(job: PredictJob, patches: tuple[Patch, ...] = ()) -> list[pa.Table]:
    """Given to the predictor in one block, as Ray may merge them."""
    return list(PredictActor(job, LAYOUT)(pa.concat_tables(preprocessed(job, patches))))


def gathered(job: PredictJob, rows: Iterable[pa.Table]) -> list[Event]:
    actor = GatherActor(job)
    return [event for row in rows for table in actor(row) for event in events_of(table)]


def event_row(event: Event) -> pa.Table:
    return pa.table({"event": [event.to_json()], "chunk": [None], "payload": [None]}, schema=ROW)


def test_a_chunk_carries_its_pixels_and_nothing_more(tmp_path: Path) -> None:
    rows = preprocessed(make_job(tmp_path))
    assert [len(row["payload"][0].as_buffer()) for row in rows] == [good * 28 * 24 * 3 for good in GOOD]
    assert all(row.schema == ROW and row.num_rows == 1 and row["event"].null_count == 1 for row in rows)


@pytest.mark.parametrize("kind", ["shard_failed", "fatal"])
def test_events_pass_the_later_actors_untouched(tmp_path: Path, kind: str) -> None:
    job = make_job(tmp_path)
    event = Event(kind=kind, shard="ünïcödé.tar", message="no way", worker={"host": "a"})
    first, *_ = preprocessed(job)
    _, passed, _ = PredictActor(job, LAYOUT)(pa.concat_tables([first, event_row(event), first]))
    assert passed.equals(event_row(event))
    assert gathered(job, [passed]) == [event]


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_chunks_in_any_order_and_twice_give_one_part_a_cell(tmp_path: Path, seed: int | None) -> None:
    job = make_job(tmp_path)
    rows = predicted(job)
    if seed is not None:
        rows += random.Random(seed).sample(rows, 3)
        random.Random(seed).shuffle(rows)
    events = gathered(job, rows)
    assert {(event.cell, event.images) for event in events if event.kind == "part"} == {(0, 64), (1, 37)}
    assert sum(event.images for event in events if event.kind == "progress") >= 101
    parts = [pq.read_table(job.paths.part("a.tar", cell)) for cell in (0, 1)]
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 2
    table = pa.concat_tables(parts)
    assert table["row"].to_pylist() == list(range(101))
    assert table["error_code"].to_pylist() == [None] * 25 + ["empty"] + [None] * 75
    assert table["label"].null_count == 1


def test_times_that_python_cannot_hold_reach_the_part(tmp_path: Path) -> None:
    taken = pa.array([1, 2**62, None], pa.timestamp("us"))
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"image": digits(3), "taken": taken}), tmp_path / "tables" / "a.parquet")
    settings = InputSettings(uri=str(tmp_path / "tables"), format="parquet", keep_columns=["taken"])
    fields = (pa.field("input_taken", taken.type),)
    job = replace(make_job(tmp_path), input=settings, format="parquet", extra_fields=fields)
    gathered(job, predicted(job))
    (part,) = (tmp_path / "out").glob("*.parquet")
    assert pq.read_table(part)["input_taken"].combine_chunks() == taken


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_patched_cell_gets_its_rows_and_an_open_one_all(tmp_path: Path, seed: int | None) -> None:
    job = make_job(tmp_path)
    gathered(job, predicted(job))
    first, second = (job.paths.part("a.tar", cell) for cell in (0, 1))
    before = pq.read_table(first)
    info = storage_for(first).stat(first)
    base = StoredPart(info=info, record=read_part_record(storage_for(first), info))
    os.unlink(second)
    rows = tuple(range(0, 64, 2))
    again = replace(job, run_id="again", batch_rows=7)
    Lease(job.paths, RUN).give_back()
    Lease(job.paths, again.run_id).take(print, patience_s=0)
    chunks = predicted(again, (Patch(base=base, rows=RowSet.of(rows)),))
    if seed is not None:
        chunks += random.Random(seed).sample(chunks, 3)
        random.Random(seed).shuffle(chunks)
    events = gathered(again, chunks)
    assert {(event.cell, event.images) for event in events if event.kind == "part"} == {(0, 64), (1, 37)}
    record, after = read_part(first, Path(first).read_bytes())
    assert (record.run, record.errors, record.last) == ("again", {"empty": 1}, False)
    exact = [name for name in before.column_names if name not in ("score", "top_scores")]
    assert after.select(exact).equals(before.select(exact))
    assert pq.read_table(second)["row"].to_pylist() == list(range(64, 101))


def test_a_shard_that_failed_half_way_is_forgotten(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    first, *others = predicted(job)
    failed = event_row(Event(kind="shard_failed", shard="a.tar"))
    events = gathered(job, [first, failed, *others])
    assert [event.cell for event in events if event.kind == "part"] == [1]


def test_what_lies_in_a_cells_place_costs_that_cell_and_no_other(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    rows = predicted(job)
    Path(job.paths.part("a.tar", 0)).mkdir()
    events = gathered(job, rows)
    assert [event.writer for event in events if event.kind == "whole"] == [this_process()] * 2
    assert [event.cell for event in events if event.kind == "cell_failed"] == [0]
    assert [event.cell for event in events if event.kind == "part"] == [1]


class TestWhatEndsTheRun:
    """Told by an event: an actor that raises is only born again."""

    def test_a_model_that_cannot_be_loaded(self, tmp_path: Path) -> None:
        (event,) = self.told(predicted(make_job(tmp_path, code="def build():\n    raise OSError('no weights')")))
        assert "no weights" in event.message

    def test_labels_that_do_not_fit(self, tmp_path: Path) -> None:
        (event,) = self.told(predicted(make_job(tmp_path, labels=["a", "b"])))
        assert "10 classes and model.labels has 2 names" in event.message

    def test_a_plug_in_that_cannot_be_imported_on_the_worker(self, tmp_path: Path) -> None:
        (tmp_path / "steps.py").write_text("from a_module_that_is_nowhere import invert")
        job = make_job(tmp_path)
        job = replace(job, function=find_plugin("steps:invert", tmp_path, where="preprocess.function"))
        (event,) = self.told(preprocessed(job))
        assert "a_module_that_is_nowhere" in event.message

    def test_a_plug_in_that_gives_images_of_different_sizes(self, tmp_path: Path) -> None:
        (tmp_path / "steps.py").write_text("def cut(image):\n    return image[: 8 + image[16, 12, 0] // 16]")
        job = replace(make_job(tmp_path), preprocess=PreprocessSettings())
        job = replace(job, function=find_plugin("steps:cut", tmp_path, where="preprocess.function"))
        *_, event = self.told(preprocessed(job))
        assert "images of different sizes" in event.message

    @staticmethod
    def told(rows: list[pa.Table]) -> list[Event]:
        """The different events among rows, all of which must be fatal."""
        texts = dict.fromkeys(text for row in rows for text in row["event"].to_pylist() if text is not None)
        events = [Event.from_json(text) for text in texts]
        assert {event.kind for event in events} == {"fatal"}
        return events


def test_a_device_that_fails_takes_its_actor_with_it(tmp_path: Path) -> None:
    code = MODEL.replace("return self.layers(images)", "raise RuntimeError('CUDA error: unspecified launch failure')")
    with pytest.raises(DeviceError, match="unspecified launch failure"):
        predicted(make_job(tmp_path, code=code))


def test_a_chunk_without_an_image_proves_nothing_of_the_model(tmp_path: Path) -> None:
    broken = MODEL.replace("return self.layers(images)", "raise ValueError('never')")
    job = replace(make_job(tmp_path, broken), cell_rows=20)
    write_tar(tmp_path / "data" / "a.tar", [b""] * 20 + digits(40))
    events = gathered(job, predicted(job))
    assert [event.cell for event in events if event.kind == "part"] == [0]
    assert sum(event.batches for event in events if event.kind == "withheld") == 2


def test_a_run_that_has_ended_commits_nothing_more(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    rows = predicted(job)
    Lease(job.paths, job.run_id).give_back()
    events = gathered(job, rows)
    assert [event.shard for event in events if event.kind == "shard_failed"] == ["a.tar", "a.tar"]
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_run_that_has_ended_or_is_stopping_begins_no_shard(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    Lease(job.paths, RUN).give_back()
    with held_lease(job.paths, "next") as lease:
        (failed,) = preprocessed(job)
        assert Event.from_json(failed["event"][0].as_py()).message.endswith("whose actors commit no more")
        lease.stop()
        deadline = time.monotonic() + 10
        while not demand_lease(job.paths, "next").stopping:
            assert time.monotonic() < deadline
        assert preprocessed(replace(job, run_id="next")) == []
