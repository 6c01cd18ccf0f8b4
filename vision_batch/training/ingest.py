"""The joined ingest: a worker reads, decodes and augments its images itself, in threads, while its device computes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from vision_batch.errors import LedgerError
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.example import ExampleMaker
from vision_batch.images.resize import limit_threads
from vision_batch.inference.decode_stage import SLICE_ROWS, CallersThread
from vision_batch.inference.stage import ahead
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.tasks.table import trainable_task_for
from vision_batch.training.batch import Batch
from vision_batch.training.catalogue import Catalogue, load_catalogue
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.job import TrainJob
from vision_batch.training.lane import LaneReader, LaneStream, PlacedSample, Source
from vision_batch.training.made import BatchMaker, Made
from vision_batch.training.shelf import Room
from vision_batch.training.split_sets import training_parts, validation_parts

READ_THREADS = 8
"""Mostly they wait for the storage, which reads many files of a pool at once."""
HELD_BYTES = 1 << 30
"""Encoded images in memory, of all lanes of a worker; pools are made for half of it, and one is read ahead of each."""
BATCHES_AHEAD = 3
"""Batches being decoded while one is learned from."""


class JoinedIngest:
    """The images of one plan. `threads` decode; with 0 the caller's own does, one batch at a time."""

    def __init__(self, source: Source, maker: BatchMaker, *, threads: int) -> None:
        self._source = source
        self._maker = maker
        self._readers = ThreadPoolExecutor(READ_THREADS, "read")
        self._decoders = (
            ThreadPoolExecutor(threads, "decode", initializer=limit_threads) if threads else CallersThread()
        )
        self._ahead = BATCHES_AHEAD if threads else 1
        self._room = Room(HELD_BYTES)

    @property
    def images(self) -> int:
        return self._source.plan.images

    def checksum(self, epoch: int) -> int:
        return self._source.plan.line(epoch).checksum

    def batches(self, *, epoch: int, start: int, rank: int, workers: int, batch_images: int) -> Iterator[Batch]:
        lanes = _Lanes(self._source, epoch, start, rank, workers, self._readers, self._room)
        try:
            begun = self._begun(lanes, epoch, start, workers * batch_images)
            for pending in ahead(begun, self._ahead):
                made = [image for part in pending.parts for image in part.result()]
                yield self._maker.batch(pending.start, pending.stop, made, pending.buffer)
        finally:
            lanes.close()

    def close(self) -> None:
        self._readers.shutdown(cancel_futures=True)
        self._decoders.shutdown(cancel_futures=True)

    def _begun(self, lanes: _Lanes, epoch: int, start: int, global_images: int) -> Generator[_Pending, None, None]:
        for begin in range(start, self.images, global_images):
            end = min(begin + global_images, self.images)
            placed = [lanes.take(position) for position in lanes.own(begin, end)]
            buffer = self._maker.buffer(len(placed))
            parts = [
                self._decoders.submit(
                    self._maker.images,
                    placed[first : first + SLICE_ROWS],
                    epoch,
                    None if buffer is None else buffer[first : first + SLICE_ROWS],
                )
                for first in range(0, len(placed), SLICE_ROWS)
            ]
            yield _Pending(start=begin, stop=end, parts=parts, buffer=buffer)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    start: int
    stop: int
    parts: list[Future[list[Made]]]
    buffer: NDArray[np.uint8] | None


class _Lanes:
    """The lanes that a rank serves, from position `start` of an epoch on."""

    def __init__(
        self,
        source: Source,
        epoch: int,
        start: int,
        rank: int,
        workers: int,
        threads: ThreadPoolExecutor,
        room: Room,
    ) -> None:
        self._lanes = source.plan.catalogue.lanes
        self._rank, self._workers = rank, workers
        self._streams = {
            lane: LaneStream(LaneReader(source, epoch, lane), threads, room, row)
            for lane, row in own_lanes(source.plan, start, rank, workers)
        }

    def own(self, start: int, stop: int) -> list[int]:
        """Which of the positions [start, stop) are the rank's."""
        return own_positions(start, stop, self._rank, self._workers, self._lanes)

    def take(self, position: int) -> PlacedSample:
        return self._streams[position % self._lanes].take()

    def close(self) -> None:
        for stream in self._streams.values():
            stream.close()


def own_lanes(plan: EpochPlan, start: int, rank: int, workers: int) -> list[tuple[int, int]]:
    """The lanes that `rank` of `workers` serves from position `start` on, each with the row that it begins with.

    They come in the order in which their images are wanted; those that are at their end are left out.
    """
    lanes = plan.catalogue.lanes
    first = ((position % lanes, position // lanes) for position in range(start, min(start + lanes, plan.images)))
    return [(lane, row) for lane, row in first if lane % workers == rank]


def own_positions(start: int, stop: int, rank: int, workers: int, lanes: int) -> list[int]:
    """The positions of [start, stop) whose lanes `rank` of `workers` serves."""
    positions = np.arange(start, stop)
    own: list[int] = positions[positions % lanes % workers == rank].tolist()
    return own


def joined_ingests(job: TrainJob, *, threads: int, pinned: bool = False) -> tuple[JoinedIngest, JoinedIngest | None]:
    """A worker's images to learn from, and those to be measured on, if there are any; `threads` decode each.

    LedgerError when the catalogue cannot be read.
    """
    learning, measuring = sources(job)
    made = batch_makers(job, threads=threads, pinned=pinned)
    validation = None if measuring is None else JoinedIngest(measuring, made[1], threads=threads)
    return JoinedIngest(learning, made[0], threads=threads), validation


def sources(job: TrainJob) -> tuple[Source, Source | None]:
    """Where a job's images are read: to learn from, and to be measured on."""
    paths = job.dataset or job.paths
    catalogue = _catalogue(paths)
    parts = catalogue.split.parts
    plan = EpochPlan(catalogue, training_parts(parts, job.fold), seed=job.train.seed, sampling=job.train.sampling)
    learning = Source(paths, job.input, plan)
    if job.validation_input is not None:
        own = _catalogue(paths.validation)
        return learning, Source(paths.validation, job.validation_input, EpochPlan(own, frozenset({0}), seed=0))
    if parts == 1:
        return learning, None
    return learning, Source(paths, job.input, EpochPlan(catalogue, validation_parts(parts, job.fold), seed=0))


def batch_makers(job: TrainJob, *, threads: int, pinned: bool = False) -> tuple[BatchMaker, BatchMaker]:
    """What makes batches to learn from, augmented, and to be measured on, as a predict job sees the images."""
    function = job.function.load() if job.function is not None else None
    task = trainable_task_for(job.task, job.labels)

    def maker(augment: tuple[AugmentSettings, ...], *, augmented: bool) -> BatchMaker:
        examples = ExampleMaker(
            job.preprocess,
            augment,
            max_pixels=job.max_pixels,
            function=function,
            seed=job.train.seed,
            large_at_once=max(1, threads),
        )
        px = job.preprocess.output_px
        return BatchMaker(examples, task, augmented=augmented, output_px=px, pinned=pinned)

    return maker(cast("tuple[AugmentSettings, ...]", job.augment), augmented=True), maker((), augmented=False)


def _catalogue(paths: LedgerPaths) -> Catalogue:
    catalogue = load_catalogue(paths)
    if catalogue is None:
        raise LedgerError(paths.catalogue, f"the catalogue of the images is missing; {WAY_OUT}")
    return catalogue
