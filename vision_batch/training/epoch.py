"""In which order an epoch goes through its images: a pure function of catalogue, seed and epoch.

Blocks are shuffled and laid on a line, which is cut into as many equal pieces as there are lanes; the pieces are dealt
to the lanes. Position p of the epoch is row p // V of lane p % V, V the number of lanes. A lane goes along its piece,
and shuffles within pools of bounded size. So every image is at one position, whoever serves it, and a global batch is
drawn from V places of the line and the pools there. Where an epoch goes on is a number; nothing else needs to be kept.

With class sampling an image of a rare class is there several times: its copies lie in units of their own, so that they
come at different times of the epoch, and one of a frequent class may be left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vision_batch.training.catalogue import Catalogue, Look
from vision_batch.training.hash64 import key_of, mixed, permutation
from vision_batch.training.imbalance import repeats_per_class
from vision_batch.training.split_sets import values_at

MOST_REPEATS = 64
"""How often class sampling shows an image in one epoch at most: beyond that a model would learn it by heart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The images [begin, end) of a unit, in the order of their rows; the lane has those up to `stop`."""

    unit: int
    begin: int
    end: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What a lane reads at once: rows [start, start + len(order)) of the lane.

    `order` (n,) says which of the pieces' images, one piece after the other, comes at which place.
    """

    start: int
    pieces: tuple[Piece, ...]
    order: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """How often each image is shown in one epoch: by its class `often`, and once more if its hash is below `edges`.

    Both are (classes + 1,); the last one is for images without a class.
    """

    often: NDArray[np.int64]
    edges: NDArray[np.uint64]
    key: int

    def of(self, look: Look, parts: frozenset[int]) -> NDArray[np.int64]:
        """For each row; 0 for those of other parts."""
        again = mixed(look.identities, self.key) < self.edges[look.classes]
        return (self.often[look.classes] + again) * np.isin(look.parts, sorted(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The units of one epoch in their order: block, number of the copy, and where each ends. `checksum` modulo 2^64."""

    blocks: NDArray[np.int64]
    copies: NDArray[np.int64]
    ends: NDArray[np.int64]
    checksum: int
    repeats: Repeats | None


class EpochPlan:
    """The epochs of some parts of a catalogue. Any number of threads may ask."""

    def __init__(
        self,
        catalogue: Catalogue,
        parts: frozenset[int],
        *,
        seed: int,
        sampling: Literal["none", "balanced", "sqrt"] = "none",
    ) -> None:
        """SpecError where `sampling` is asked for and images have no classes of their own."""
        self.catalogue = catalogue
        self._parts = parts
        self._seed = seed
        self._shown: NDArray[np.int64] | None = None
        self.images = catalogue.images(parts)
        if sampling != "none":
            counts = catalogue.class_images[sorted(parts)].sum(axis=0)
            wished = np.rint(repeats_per_class(sampling, counts.tolist()) * counts).astype(np.int64)
            self._counts, self._shown = counts, np.minimum(wished, MOST_REPEATS * counts)
            self.images += int(self._shown.sum() - counts.sum())
        self.line = lru_cache(maxsize=2)(self._line)

    def _line(self, epoch: int) -> Line:
        """The units of an epoch; the latest are kept."""
        repeats = None if self._shown is None else self._repeats(epoch, self._shown)
        if repeats is None:
            parts = sorted(self._parts)
            counts = self.catalogue.counts[:, parts].sum(axis=1)
            blocks, copies = np.flatnonzero(counts), np.zeros(np.count_nonzero(counts), np.int64)
            rows, checksum = counts[blocks], int(self.catalogue.sums[:, parts].sum())
        else:
            blocks, copies, rows, checksum = self._sampled(repeats)
        order = permutation(len(blocks), key_of(self._seed, epoch, "blocks"))
        return Line(
            blocks=blocks[order],
            copies=copies[order],
            ends=np.cumsum(rows[order]),
            checksum=checksum,
            repeats=repeats,
        )

    def lane(self, epoch: int, lane: int) -> Lane:
        """One lane of an epoch."""
        lanes, line = self.catalogue.lanes, self.line(epoch)
        places = permutation(lanes, key_of(self._seed, epoch, "lanes"))
        sizes = (self.images - np.arange(lanes) + lanes - 1) // lanes
        place = int(np.flatnonzero(places == lane)[0])
        start = int(sizes[places[:place]].sum())
        key = key_of(self._seed, epoch, "pools", lane)
        return Lane(line, start, start + int(sizes[lane]), self.catalogue.pool_rows, key)

    def rows_of(self, epoch: int, unit: int) -> tuple[int, NDArray[np.int64], NDArray[np.uint64]]:
        """The block of a unit, the shard's rows that its images are, ascending, and their identities."""
        line = self.line(epoch)
        block, copy = int(line.blocks[unit]), int(line.copies[unit])
        first, count = int(self.catalogue.blocks["first"][block]), int(self.catalogue.blocks["rows"][block])
        if line.repeats is None and self.catalogue.counts[block, sorted(self._parts)].sum() == count:
            return block, np.arange(first, first + count), self.catalogue.identities(block, block + 1)
        look = self.catalogue.look(block, block + 1)
        if line.repeats is None:
            chosen = np.isin(look.parts, sorted(self._parts))
        else:
            chosen = line.repeats.of(look, self._parts) > copy
        return block, first + np.flatnonzero(chosen), _copied(look.identities[chosen], copy)

    def _repeats(self, epoch: int, shown: NDArray[np.int64]) -> Repeats:
        """Each class is shown exactly as often as it is to be: who comes once more is drawn anew in every epoch."""
        key = key_of(self._seed, epoch, "repeats")

        def chunks() -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint64]]]:
            for look in self.catalogue.looks():
                inside = np.isin(look.parts, sorted(self._parts))
                yield look.classes[inside], mixed(look.identities[inside], key)

        often, more = np.divmod(shown, np.maximum(self._counts, 1))
        edges = values_at(more[:, None], chunks)[:, 0]
        return Repeats(often=np.append(often, 1), edges=np.append(edges, np.uint64(0)), key=key)

    def _sampled(self, repeats: Repeats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int]:
        """Units of all copies: blocks, copies, rows; and the checksum."""
        found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []
        checksum = 0
        for look in self.catalogue.looks():
            times = repeats.of(look, self._parts)
            for copy in range(int(times.max(initial=0))):
                shown = times > copy
                rows = np.add.reduceat(shown, look.offsets, dtype=np.int64)
                checksum += int(_copied(look.identities[shown], copy).sum())
                filled = np.flatnonzero(rows)
                found.append((look.start + filled, np.full(len(filled), copy), rows[filled]))
        blocks, copies, rows = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
        return blocks, copies, rows, checksum % 2**64


class Lane:
    """The rows [start, stop) of an epoch's line, in pools."""

    def __init__(self, line: Line, start: int, stop: int, pool_rows: int, key: int) -> None:
        self.rows = stop - start
        self._key = key
        first, last = np.searchsorted(line.ends, [start, stop - 1], "right").tolist()
        units = np.arange(first, last + 1 if stop > start else first)
        unit_ends = line.ends[units]
        unit_starts = np.append(line.ends[first - 1] if first else 0, unit_ends[:-1])[: len(units)]
        begins, ends = np.maximum(unit_starts, start), np.minimum(unit_ends, stop)
        # what is larger than a pool is cut, so that a pool has less than two pools' rows
        cuts = -(-(ends - begins) // pool_rows)
        number = np.arange(int(cuts.sum())) - np.repeat(np.cumsum(cuts) - cuts, cuts)
        self._units, base = np.repeat(units, cuts), np.repeat(unit_starts, cuts)
        piece_begins = np.repeat(begins, cuts) + number * pool_rows
        self._begins = piece_begins - base
        self._ends = np.minimum(piece_begins + pool_rows, np.repeat(ends, cuts)) - base
        self._stops = np.repeat(ends, cuts) - base
        self._starts = piece_begins - start
        # the first pools differ in length, so that the lanes do not all begin a pool at once
        pools = (self._starts + key % pool_rows) // pool_rows
        self._pools = np.flatnonzero(np.diff(pools, prepend=-1))

    @property
    def pools(self) -> int:
        return len(self._pools)

    def rows_at(self, number: int) -> tuple[int, int]:
        """Where in the lane a pool begins and ends."""
        begin = int(self._starts[self._pools[number]])
        is_last = number + 1 == len(self._pools)
        return begin, self.rows if is_last else int(self._starts[self._pools[number + 1]])

    def pool_at(self, row: int) -> int:
        """The number of the pool that has this row of the lane."""
        return int(np.searchsorted(self._starts[self._pools], row, "right")) - 1

    def pool(self, number: int) -> Pool:
        """One of the pools."""
        begin = int(self._pools[number])
        end = int(self._pools[number + 1]) if number + 1 < len(self._pools) else len(self._starts)
        start, after = self.rows_at(number)
        columns = (self._units, self._begins, self._ends, self._stops)
        pieces = zip(*(column[begin:end].tolist() for column in columns), strict=True)
        return Pool(
            start=start,
            pieces=tuple(Piece(unit=unit, begin=first, end=last, stop=stop) for unit, first, last, stop in pieces),
            order=permutation(after - start, key_of(self._key, number)),
        )


def _copied(identities: NDArray[np.uint64], copy: int) -> NDArray[np.uint64]:
    """Identities of the images' copies: each is another picture once it is augmented."""
    return mixed(identities, key_of("copy", copy)) if copy else identities
