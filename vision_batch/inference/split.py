"""The split layout: preprocessors read and decode anywhere, predictors hold the devices, one gatherer commits.

What flows is one row a chunk, because Ray cuts and merges blocks by bytes and a chunk must stay together: the columns
`chunk` (pickled facts), `pixels` (uint8, or an Arrow stream of the predictions) and `event` (for a row that only
reports, and passes through the later stages untouched).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from vision_batch.errors import HeldError
from vision_batch.inference.actor_stage import ActorStage
from vision_batch.inference.blocks import works_of
from vision_batch.inference.cell_gatherer import CellGatherer, WholeCell
from vision_batch.inference.chunk import DecodedChunk, PredictedChunk
from vision_batch.inference.event import Event, worker_name
from vision_batch.inference.message import pickled
from vision_batch.inference.model_trial import ModelTrial
from vision_batch.inference.shard_reading import Read, reading
from vision_batch.inference.stage import Run
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.inference.worker import (
    TOLD,
    committed,
    decode_stage,
    describe_worker,
    encoded_chunks,
    is_reborn,
    model_stage,
    told,
)
from vision_batch.inference.worker_process import tune_process
from vision_batch.ledger.holder import this_process
from vision_batch.ledger.part import error_counts
from vision_batch.ledger.replace import Replacer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work

ROW = pa.schema([("event", pa.string()), ("chunk", pa.large_binary()), ("payload", pa.large_binary())])


class PreprocessActor:
    """Shards to do in, decoded chunks out."""

    def __init__(self, job: PredictJob, layout: Layout) -> None:
        self._job = job
        tune_process()
        make = partial(decode_stage, job, layout.decode_threads)
        self._stage = ActorStage(make, reborn=is_reborn(), proven=job.proven)
        self._watch = Stopwatch()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """`batch` is one of `work_blocks`. Yields rows as the module describes."""
        read_here = partial(encoded_chunks, self._job)
        with self._stage.entered() as turn, reading(read_here, careful=turn.careful) as read:
            for work in works_of(batch):
                yield from self._shard(work, read, turn.run)

    def _shard(self, work: Work, read: Read, run: Run) -> Iterator[pa.Table]:
        worker = describe_worker()
        try:
            for chunk in run(read(work), self._watch):
                laps = {worker_name(worker): self._watch.take()}
                facts = (chunk.place, chunk.rows, chunk.good, chunk.pixels.shape, laps)
                yield _row(facts, pa.py_buffer(np.ascontiguousarray(chunk.pixels)))
        except TOLD as error:
            yield _event(told(error, work.shard.key, worker))


class PredictActor:
    """Decoded chunks in, predicted chunks out."""

    def __init__(self, job: PredictJob, layout: Layout) -> None:
        tune_process()
        self._trial = ModelTrial(proven=job.proven)
        make = partial(model_stage, job, layout.cpus_per_predictor)
        self._stage = ActorStage(make, reborn=is_reborn(), proven=job.proven)
        self._watch = Stopwatch()

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows as the module describes, in and out."""
        with self._stage.entered() as turn:
            for index in range(batch.num_rows):
                row = batch.slice(index, 1)
                if row["event"][0].is_valid:
                    yield row
                else:
                    with self._watch.call():
                        predicted = self._chunk(row, turn.run)
                    yield predicted

    def _chunk(self, row: pa.Table, run: Run) -> pa.Table:
        place, rows, good, shape, laps = pickle.loads(row["chunk"][0].as_buffer())
        pixels: NDArray[np.uint8] = np.frombuffer(row["payload"][0].as_buffer(), np.uint8).reshape(shape)
        decoded = DecodedChunk(place=place, rows=rows, good=good, pixels=pixels)
        try:
            (predicted,) = run(iter([decoded]), self._watch)
            self._trial.judge(predicted)
        except TOLD as error:
            return _event(told(error, place.shard, self._worker))
        suspicion = self._trial.take_failed_batches() if self._trial.suspect else None
        worker = self._worker
        laps |= {worker_name(worker): self._watch.take()}
        facts = (place, predicted.batch_rows, laps, worker, suspicion)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, predicted.table.schema) as stream:
            stream.write_table(predicted.table)
        return _row(facts, sink.getvalue())

    @property
    def _worker(self) -> dict[str, str]:
        return describe_worker(self._stage.device)


class GatherActor:
    """Predicted chunks in, events out; commits each cell when it is whole and the model is known to work."""

    def __init__(self, job: PredictJob) -> None:
        self._job = job
        self._gatherer = CellGatherer()
        self._replacer = Replacer(job.paths)
        self._proven = job.proven
        self._suspect = False
        self._withheld: list[WholeCell] = []
        self._watch = Stopwatch()
        self._name = worker_name(describe_worker())

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """Rows as the module describes in, tables of events out."""
        for index in range(batch.num_rows):
            text = batch["event"][index].as_py()
            events = [self._passing(text)] if text is not None else self._chunk(batch.slice(index, 1))
            for event in events:
                yield event.to_table()

    def _passing(self, text: str) -> Event:
        event = Event.from_json(text)
        if event.kind in ("shard_failed", "crashed"):
            self._gatherer.forget(event.shard)
        return event

    def _chunk(self, row: pa.Table) -> Iterator[Event]:
        place, batch_rows, laps, worker, suspicion = pickle.loads(row["chunk"][0].as_buffer())
        table = pa.ipc.open_stream(row["payload"][0].as_buffer()).read_all()
        self._proven = self._proven or table["error_code"].null_count > 0
        self._suspect = self._suspect or suspicion is not None
        if suspicion is not None:
            batches, message = suspicion
            yield Event(kind="withheld", batches=batches, message=message, worker=worker)
        cell = self._gatherer.add(PredictedChunk(place=place, table=table))
        if cell is not None:
            self._withheld.append(cell)
        while self._withheld and (self._proven or not self._suspect):
            cell = self._withheld.pop(0)
            yield Event(kind="whole", shard=cell.shard, cell=cell.cell, writer=this_process())
            yield self._commit(cell, worker)
        yield Event(
            kind="progress",
            shard=place.shard,
            images=table.num_rows,
            batch_rows=batch_rows,
            errors=error_counts(table),
            laps=laps | {self._name: self._watch.take()},
            worker=worker,
        )

    def _commit(self, cell: WholeCell, worker: dict[str, str]) -> Event:
        try:
            return committed(self._job, self._replacer, cell, self._watch, worker)
        except HeldError as error:
            return told(error, cell.shard, worker)


def _row(facts: tuple[Any, ...], payload: pa.Buffer) -> pa.Table:
    """One row without copying the payload."""
    offsets = pa.py_buffer(np.array([0, payload.size], np.int64))
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
    chunk = pa.array([pickled(facts)], pa.large_binary())
    return pa.Table.from_arrays([pa.array([None], pa.string()), chunk, column], schema=ROW)


def _event(event: Event) -> pa.Table:
    return pa.table({"event": [event.to_json()], "chunk": [None], "payload": [None]}, schema=ROW)
