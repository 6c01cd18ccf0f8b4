"""The split ingest: CPU actors on any node read, decode and augment, and a worker gets its images ready for its device.

Every worker has a stream of its own, a Ray Data dataset of the pools that its lanes read, in the order in which their
images are wanted (`preserve_order`). The worker builds it itself and not Ray Train: which pools these are depends on
the epoch, the position that a resume begins at, and how many workers there are now. Ray Train's own split deals blocks
to whoever asks first and may drop images so that all get the same number; here the plan says whose each image is.
"""

from __future__ import annotations

import logging
import warnings
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any

import ray
import ray.data
from ray.data import ExecutionResources
from ray.data.exceptions import ExecutionTimeoutError, SystemException

from vision_batch.errors import EngineError, LedgerError
from vision_batch.inference.actor_stage import RESTARTED
from vision_batch.training.batch import Batch
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.ingest import batch_makers, own_lanes, own_positions, sources
from vision_batch.training.job import TrainJob
from vision_batch.training.made import BatchMaker, Made
from vision_batch.training.preprocess_actor import Order, PreprocessActor, decoded, orders_table

STORE_SHARE = 0.5
"""Of the cluster's object stores, what the streams of all workers may fill."""


class SplitIngest:
    """The images of one plan, made by `preprocessors` actors that all workers share out among themselves."""

    def __init__(
        self,
        job: TrainJob,
        plan: EpochPlan,
        maker: BatchMaker,
        *,
        validation: bool,
        preprocessors: int,
        cpus_per_preprocessor: int,
        threads: int,
    ) -> None:
        self._job = job
        self._plan = plan
        self._maker = maker
        self._validation = validation
        self._preprocessors = preprocessors
        self._cpus = cpus_per_preprocessor
        self._threads = threads

    @property
    def images(self) -> int:
        return self._plan.images

    def checksum(self, epoch: int) -> int:
        return self._plan.line(epoch).checksum

    def batches(self, *, epoch: int, start: int, rank: int, workers: int, batch_images: int) -> Iterator[Batch]:
        lanes = self._plan.catalogue.lanes
        orders = orders_of(self._plan, epoch, start, rank, workers)
        with closing(self._images(orders, workers)) as images:
            waiting: dict[int, deque[Made]] = {order.lane: deque() for order in orders}
            for begin in range(start, self.images, workers * batch_images):
                end = min(begin + workers * batch_images, self.images)
                made: list[Made] = []
                for position in own_positions(begin, end, rank, workers, lanes):
                    lane = waiting[position % lanes]
                    while not lane:
                        self._receive(images, waiting)
                    made.append(lane.popleft())
                yield self._together(begin, end, made)

    def close(self) -> None:
        """Nothing is left open between epochs."""

    def _receive(self, images: Iterator[tuple[int, list[Made]]], waiting: dict[int, deque[Made]]) -> None:
        received = next(images, None)
        if received is None:
            raise LedgerError(self._job.paths.catalogue, "an actor gave fewer images than the catalogue counted")
        waiting[received[0]].extend(received[1])

    def _together(self, start: int, stop: int, made: list[Made]) -> Batch:
        buffer = self._maker.buffer(len(made))
        if buffer is not None:
            for place, image in enumerate(made):
                if image.pixels is not None:
                    buffer[place] = image.pixels
        return self._maker.batch(start, stop, made, buffer)

    def _images(self, orders: list[Order], workers: int) -> Generator[tuple[int, list[Made]], None, None]:
        """The orders' images, in order. EngineError when Ray Data gives up."""
        if not orders:
            return
        _configure(workers)
        dataset = ray.data.from_blocks(orders_table(orders)).map_batches(
            PreprocessActor,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(self._job, self._threads),
            fn_constructor_kwargs={"validation": self._validation},
            compute=ray.data.ActorPoolStrategy(size=max(1, self._preprocessors // workers)),
            num_cpus=self._cpus,
            **RESTARTED,
        )
        stream: Any = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1))
        try:
            with closing(stream):
                for batch in stream:
                    for index in range(batch.num_rows):
                        yield decoded(batch.slice(index, 1))
        except (SystemException, ExecutionTimeoutError) as error:
            raise EngineError(str(error)) from error


def orders_of(plan: EpochPlan, epoch: int, start: int, rank: int, workers: int) -> list[Order]:
    """The pools that a rank needs from position `start` on, in the order in which it needs them."""
    lanes = plan.catalogue.lanes
    wanted: list[tuple[int, Order]] = []
    for number, row in own_lanes(plan, start, rank, workers):
        lane = plan.lane(epoch, number)
        for pool in range(lane.pool_at(row), lane.pools):
            first = max(row, lane.rows_at(pool)[0])
            wanted.append((first * lanes + number, Order(epoch, number, pool, first)))
    return [order for _, order in sorted(wanted)]


def split_ingests(
    job: TrainJob, *, preprocessors: int, cpus_per_preprocessor: int, threads: int, pinned: bool = False
) -> tuple[SplitIngest, SplitIngest | None]:
    """A worker's images to learn from, and those to be measured on, if there are any.

    Each of the `preprocessors` of all workers decodes in `threads` threads. LedgerError when the catalogue cannot be
    read.
    """
    made = batch_makers(job, threads=0, pinned=pinned)

    def ingest(plan: EpochPlan, *, validation: bool) -> SplitIngest:
        return SplitIngest(
            job,
            plan,
            made[validation],
            validation=validation,
            preprocessors=preprocessors,
            cpus_per_preprocessor=cpus_per_preprocessor,
            threads=threads,
        )

    learning, measuring = sources(job)
    validation = None if measuring is None else ingest(measuring.plan, validation=True)
    return ingest(learning.plan, validation=False), validation


def _configure(workers: int) -> None:
    """Ray Data in this process: rows leave an actor at once and come in order, in a part of the object stores."""
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    store = ray.cluster_resources().get("object_store_memory", 0.0)  # type: ignore[no-untyped-call]
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=store * STORE_SHARE / workers
    )
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # bytes: every row that an actor yields leaves it at once
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what fails is told once, in our own words
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")  # few pools are no mistake
    warnings.filterwarnings("ignore", message=".*ray_remote_args")  # there is no other way yet to say how often
