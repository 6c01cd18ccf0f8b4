"""What a CPU actor of the split layout does: it reads pools of lanes, and sends their images decoded and augmented.

Some images travel as one row: `facts`, pickled, what is known of each, and `pixels`, the uint8 of the good ones one
after the other. A row of one pool comes after all rows of the pools before it, in the order of its lane.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.errors import VisionBatchError
from vision_batch.images.resize import limit_threads
from vision_batch.inference.decode_stage import SLICE_ROWS
from vision_batch.inference.message import pickled
from vision_batch.inference.stage import ahead
from vision_batch.inference.worker_process import tune_process
from vision_batch.training.ingest import HELD_BYTES, batch_makers, sources
from vision_batch.training.job import TrainJob
from vision_batch.training.lane import LaneReader
from vision_batch.training.made import Made
from vision_batch.training.shelf import Room

ROW = pa.schema([("facts", pa.large_binary()), ("pixels", pa.large_binary())])
ROW_IMAGES = 4 * SLICE_ROWS
"""A row costs Ray about a millisecond; a worker holds the rows of all its lanes' pools."""


class Order(NamedTuple):
    """What an actor is to do: of a lane's pool `number` the rows from `row` on."""

    epoch: int
    lane: int
    number: int
    row: int


def orders_table(orders: Sequence[Order]) -> list[pa.Table]:
    """One block for each order, so that each goes to the next actor that is free."""
    return [pa.table({"order": pa.array([pickle.dumps(order)], pa.large_binary())}) for order in orders]


class PreprocessActor:
    """Orders in, images out. The same order gives the same rows, always: Ray replays calls."""

    def __init__(self, job: TrainJob, threads: int, *, validation: bool) -> None:
        tune_process()
        learning, measuring = sources(job)
        self._source = measuring if validation and measuring is not None else learning
        self._maker = batch_makers(job, threads=threads)[validation]
        self._pool = ThreadPoolExecutor(max(1, threads), "decode", initializer=limit_threads)
        self._ahead = max(1, threads) + 1
        self._room = Room(HELD_BYTES)

    def __call__(self, batch: pa.Table) -> Iterator[pa.Table]:
        """An error that is no image's takes the place of the rows that it costs: whoever reads them raises it."""
        for blob in batch["order"].to_pylist():
            order = Order(*pickle.loads(blob))
            try:
                yield from self._rows(order)
            except VisionBatchError as error:
                yield _row(pickled((order.lane, error)), b"")

    def _rows(self, order: Order) -> Iterator[pa.Table]:
        reader = LaneReader(self._source, order.epoch, order.lane)
        held = reader.read(order.number, self._room)
        try:
            begun = (
                self._pool.submit(
                    self._maker.images,
                    [held.take(row) for row in range(first, min(first + ROW_IMAGES, held.stop))],
                    order.epoch,
                )
                for first in range(order.row, held.stop, ROW_IMAGES)
            )
            for pending in ahead(begun, self._ahead):
                yield encoded(order.lane, pending.result())
        finally:
            held.close()
            reader.close()


def encoded(lane: int, made: Sequence[Made]) -> pa.Table:
    """Images of a lane as one row."""
    pixels = [image.pixels for image in made if image.pixels is not None]
    shape = pixels[0].shape if pixels else (1, 1, 3)
    facts = lane, shape, [replace(image, pixels=None) for image in made]
    return _row(pickled(facts), np.stack(pixels) if pixels else b"")


def decoded(row: pa.Table) -> tuple[int, list[Made]]:
    """What `encoded` was given, the pixels where they are in the row; raises the error that is in their place."""
    facts = pickle.loads(row["facts"][0].as_buffer())
    if isinstance(facts[1], VisionBatchError):
        raise facts[1]
    lane, shape, made = facts
    pixels: NDArray[np.uint8] = np.frombuffer(row["pixels"][0].as_buffer(), np.uint8).reshape(-1, *shape)
    left = iter(pixels)
    return lane, [image if image.broken is not None else replace(image, pixels=next(left)) for image in made]


def _row(facts: bytes | memoryview, pixels: NDArray[np.uint8] | bytes) -> pa.Table:
    """One row, without copying the pixels."""
    payload = pa.py_buffer(pixels)
    offsets = pa.py_buffer(np.array([0, payload.size], np.int64))
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, payload])
    return pa.Table.from_arrays([pa.array([facts], pa.large_binary()), column], schema=ROW)
