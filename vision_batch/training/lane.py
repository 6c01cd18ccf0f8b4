"""Reads the lanes of an epoch: a pool at a time, in threads, ahead of whoever takes the images."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import pyarrow as pa

from vision_batch.datasets.entry import Span
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import LedgerError
from vision_batch.ledger.members import load_members_table, with_members
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.training.epoch import EpochPlan, Lane, Piece, Pool
from vision_batch.training.shelf import Room, Shelf

GROUPS_KEPT = 256
"""Groups of files whose names are kept, some 100 KiB each; every lane is in another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSample:
    """A sample, the key of its shard, and what tells it from all others of the epoch."""

    sample: Sample
    shard: str
    identity: int


class Source:
    """Where the images of a plan are read."""

    def __init__(self, paths: LedgerPaths, settings: InputSettings, plan: EpochPlan) -> None:
        self.plan = plan
        self._settings = settings
        self.paths = paths
        self._members = lru_cache(maxsize=GROUPS_KEPT)(self._load)

    def read(self, epoch: int, piece: Piece) -> Iterator[PlacedSample]:
        """The images from the begin of a piece to its stop. LedgerError when they are not those that were counted."""
        block, rows, identities = self.plan.rows_of(epoch, piece.unit)
        catalogue = self.plan.catalogue
        of = {name: int(values[block]) for name, values in catalogue.blocks.items()}
        stop = of["first"] + of["rows"]
        shard = with_members(catalogue.shards[of["shard"]], self._members(of["shard"]), of["first"], stop)
        span = Span(first=of["first"], stop=stop, begin=of["begin"], end=catalogue.end(block))
        chosen = rows[piece.begin : piece.stop].tolist()
        wanted = frozenset(chosen).__contains__
        samples = format_named(shard.format).read(shard, self._settings, wanted, span)
        if len(chosen) != piece.stop - piece.begin:
            raise LedgerError(self.paths.catalogue, f"the rows of {shard.key} are not as they were counted; {WAY_OUT}")
        for row, identity in zip(chosen, identities[piece.begin :].tolist(), strict=False):
            sample = next(samples, None)
            if sample is None or sample.row != row:
                raise LedgerError(shard.source, f"row {row} was counted and cannot be found now; {WAY_OUT}")
            yield PlacedSample(sample=sample, shard=shard.key, identity=identity)

    def _load(self, number: int) -> pa.Table | None:
        """The files of one of the catalogue's shards if it is a group of them; the latest are kept."""
        return load_members_table(self.paths, self.plan.catalogue.shards[number])


class HeldPool:
    """A pool that was read; its images are taken one by one, each once."""

    def __init__(self, pool: Pool, room: Room) -> None:
        self.start = pool.start
        self.stop = pool.start + len(pool.order)
        self._order = pool.order.tolist()
        self._shelf = Shelf(room)
        self._facts: list[tuple[str, int]] = []

    def add(self, placed: PlacedSample) -> None:
        """Takes the next image in the order of the pool's pieces."""
        self._shelf.add(placed.sample)
        self._facts.append((placed.shard, placed.identity))

    def take(self, row: int) -> PlacedSample:
        """The image at a row of the lane."""
        place = self._order[row - self.start]
        shard, identity = self._facts[place]
        return PlacedSample(sample=self._shelf.take(place), shard=shard, identity=identity)

    def close(self) -> None:
        self._shelf.close()


class LaneReader:
    """Reads the pools of one lane of one epoch, in order; one thread at a time."""

    def __init__(self, source: Source, epoch: int, lane: int) -> None:
        self.lane: Lane = source.plan.lane(epoch, lane)
        self._source = source
        self._epoch = epoch
        self._open: tuple[tuple[int, int], Generator[PlacedSample, None, None]] | None = None

    def read(self, number: int, room: Room) -> HeldPool:
        """One pool. Where a run of rows is larger than a pool, the next pool goes on where this one ends."""
        pool = self.lane.pool(number)
        held = HeldPool(pool, room)
        try:
            for piece in pool.pieces:
                for placed in self._piece(piece):
                    held.add(placed)
        except BaseException:
            held.close()
            self.close()
            raise
        return held

    def close(self) -> None:
        """Closes what is open."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _piece(self, piece: Piece) -> Iterator[PlacedSample]:
        if self._open is None or self._open[0] != (piece.unit, piece.begin):
            self.close()
            self._open = (piece.unit, piece.begin), self._opened(piece)
        images = self._open[1]
        yield from islice(images, piece.end - piece.begin)
        if piece.end < piece.stop:
            self._open = (piece.unit, piece.end), images
        else:
            self.close()

    def _opened(self, piece: Piece) -> Generator[PlacedSample, None, None]:
        yield from self._source.read(self._epoch, piece)


class LaneStream:
    """The images of a lane from `row` on; the next pool is read while the latter half of one is taken."""

    def __init__(self, reader: LaneReader, threads: Executor, room: Room, row: int) -> None:
        self._reader = reader
        self._threads = threads
        self._room = room
        self._row = row
        self._number = reader.lane.pool_at(row)
        self._held: HeldPool | None = None
        self._coming: Future[HeldPool] | None = None
        self._ask()

    def take(self) -> PlacedSample:
        """The next image; waits for it. The storage's errors, LedgerError."""
        held = self._held
        if held is None or self._row == held.stop:
            held = self._advance()
        placed = held.take(self._row)
        self._row += 1
        if self._coming is None and 2 * self._row >= held.start + held.stop:
            self._ask()
        return placed

    def close(self) -> None:
        """Lets go of what was read, also of what is being read."""
        if self._held is not None:
            self._held.close()
        coming = self._coming
        if coming is not None and not coming.cancel():
            coming.add_done_callback(self._let_go)

    def _ask(self) -> None:
        if self._number < self._reader.lane.pools:
            self._coming = self._threads.submit(self._reader.read, self._number, self._room)

    def _advance(self) -> HeldPool:
        if self._held is not None:
            self._held.close()
        if self._coming is None:
            self._ask()
        assert self._coming is not None, "a lane has no more images than its rows"
        self._held = self._coming.result()
        self._coming = None
        self._number += 1
        return self._held

    def _let_go(self, read: Future[HeldPool]) -> None:
        if not read.cancelled() and read.exception() is None:
            read.result().close()
        self._reader.close()
