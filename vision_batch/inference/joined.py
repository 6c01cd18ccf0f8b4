"""The joined layout: one actor per device reads, decodes, predicts and commits; only descriptors and events move."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from vision_batch.inference.actor_stage import ActorStage
from vision_batch.inference.cell_gatherer import CellGatherer, WholeCell
from vision_batch.inference.chunk import PredictedChunk
from vision_batch.inference.event import Event, worker_name
from vision_batch.inference.layout import CONCURRENT_CALLS
from vision_batch.inference.model_trial import ModelTrial
from vision_batch.inference.shard_reading import Read, reading
from vision_batch.inference.stage import Run
from vision_batch.inference.stopwatch import Stopwatch
from vision_batch.inference.worker import (
    TOLD,
    committed,
    describe_worker,
    encoded_chunks,
    is_reborn,
    told,
    whole_stage,
)
from vision_batch.inference.worker_process import tune_process
from vision_batch.ledger.holder import this_process
from vision_batch.ledger.part import error_counts
from vision_batch.ledger.replace import Replacer

if TYPE_CHECKING:
    from vision_batch.inference.job import PredictJob
    from vision_batch.inference.layout import Layout
    from vision_batch.ledger.state import Work

QUIET_S = 60.0
"""After this long a slow model's actor tells what it has done, though it is less than usual: silence means trouble."""

CHUNKS_PER_EVENT = 8
"""How many chunks share one progress event: a few events a second, whatever the speed."""

COMMITS_WAITING = 2
"""Whole cells of one call that may wait for the storage; more would let a slow output fill the memory."""
WRITERS = CONCURRENT_CALLS * (COMMITS_WAITING + 1)
"""No whole cell waits for another one's answer: an interrupted run gives them seconds."""


class JoinedActor:
    """A Ray actor: shards to do in, events out. Concurrent calls share the decode pool and the model."""

    def __init__(self, job: PredictJob, layout: Layout) -> None:
        self._job = job
        self._writer = ThreadPoolExecutor(WRITERS, "write")
        self._replacer = Replacer(job.paths)
        self._withheld: list[WholeCell] = []
        self._lock = threading.Lock()
        self._trial = ModelTrial(proven=job.proven)
        tune_process()
        make = partial(whole_stage, job, layout.decode_threads)
        self._stage = ActorStage(make, reborn=is_reborn(), proven=job.proven)
        self._watch = Stopwatch()

    def predict(self, works: Sequence[Work]) -> Iterator[Event]:
        """Does `works` one after the other; yields what is to be told of them as it happens."""
        read_here = partial(encoded_chunks, self._job)
        with self._stage.entered() as turn, reading(read_here, careful=turn.careful) as read:
            for work in works:
                yield from self._shard(work, read, turn.run)

    def _shard(self, work: Work, read: Read, run: Run) -> Iterator[Event]:
        try:
            yield from self._predict(work, run(read(work), self._watch))
        except TOLD as error:
            yield told(error, work.shard.key, self._worker)

    @property
    def _worker(self) -> dict[str, str]:
        return describe_worker(self._stage.device)

    def _predict(self, work: Work, chunks: Iterator[PredictedChunk]) -> Iterator[Event]:
        watch = self._watch
        gatherer = CellGatherer()
        commits: deque[Future[Event]] = deque()
        images, batch_rows, errors, told_s = 0, 0, Counter[str](), time.monotonic()
        for number, predicted in enumerate(chunks):
            self._trial.judge(predicted)
            images += predicted.table.num_rows
            batch_rows = predicted.batch_rows
            errors.update(error_counts(predicted.table))
            cell = gatherer.add(predicted)
            if cell is not None:
                self._withhold(cell)
            for whole in self._release():
                commits.append(self._writer.submit(committed, self._job, self._replacer, whole, watch, self._worker))
                yield Event(kind="whole", shard=whole.shard, cell=whole.cell, writer=this_process())
            while commits and (commits[0].done() or len(commits) > COMMITS_WAITING):
                yield self._stored(commits.popleft())
            if number % CHUNKS_PER_EVENT == 0 or time.monotonic() > told_s + QUIET_S:
                yield self._progress(work, images, batch_rows, errors)
                images, errors, told_s = 0, Counter(), time.monotonic()
        while commits:
            yield self._stored(commits.popleft())
        batches, message = self._trial.take_failed_batches() if self._trial.suspect else (0, "")
        if batches:
            yield Event(kind="withheld", batches=batches, message=message, worker=self._worker)
        yield self._progress(work, images, batch_rows, errors)

    def _stored(self, commit: Future[Event]) -> Event:
        with self._watch.time("hold"):
            return commit.result()

    def _withhold(self, cell: WholeCell) -> None:
        with self._lock:
            self._withheld.append(cell)

    def _release(self) -> list[WholeCell]:
        """The cells of any call that may be committed: none while every image so far has failed in the model."""
        with self._lock:
            if self._trial.suspect:
                return []
            cells, self._withheld = self._withheld, []
            return cells

    def _progress(self, work: Work, images: int, batch_rows: int, errors: Counter[str]) -> Event:
        worker = self._worker
        return Event(
            kind="progress",
            shard=work.shard.key,
            images=images,
            batch_rows=batch_rows,
            errors=dict(errors),
            laps={worker_name(worker): self._watch.take()},
            worker=worker,
        )
