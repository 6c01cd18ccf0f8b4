"""Reads the rows of an input once, without the images: names, labels, and where reading may begin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.format import Format
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.errors import ImageError, Problem, SpecError
from vision_batch.inference.stage import ahead
from vision_batch.ledger.members import load_members
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.training.catalogue_rows import NO_IMAGE, NO_LABEL
from vision_batch.training.hash64 import text_hash

SCANNERS = 16
"""Shards that are read at once: mostly they wait for the storage."""
MOST_NAMES = 1 << 20
BEGINS_NOWHERE = -1

NamesOf: TypeAlias = Callable[[Any], Sequence[str]]
"""The names of the classes that a label says, one or several; ImageError if it says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedShard:
    """One shard's n rows. `labels` are indices of `names`, or NO_LABEL or NO_IMAGE; `begins` as in its entries.

    `counts` says how many images have each class, `several` that some have more than one.
    """

    shard: Shard
    image_names: NDArray[np.uint64]
    labels: NDArray[np.int32]
    begins: NDArray[np.int64]
    names: tuple[str, ...]
    counts: Counter[str]
    several: bool


def scan(
    paths: LedgerPaths, shards: Sequence[Shard], settings: InputSettings, names_of: NamesOf | None
) -> Iterator[ScannedShard]:
    """Every shard, in order, some read at once. Without `names_of` no label is read. The storage's errors pass."""
    with ThreadPoolExecutor(SCANNERS, "scan") as pool:
        begun = (pool.submit(_scanned, paths, shard, settings, names_of) for shard in shards)
        waiting: Iterator[Future[ScannedShard]] = ahead(begun, SCANNERS)
        try:
            for future in waiting:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _scanned(paths: LedgerPaths, shard: Shard, settings: InputSettings, names_of: NamesOf | None) -> ScannedShard:
    format: Format = format_named(shard.format)
    loaded = load_members(paths, shard)
    image_names: list[int] = []
    labels: list[int] = []
    begins: list[int] = []
    numbers: dict[str, int] = {}
    counts: Counter[str] = Counter()
    several = False
    for entry in format.entries(loaded, settings, labels=names_of is not None):
        image_names.append(0 if entry is None else text_hash(entry.image_id))
        begins.append(BEGINS_NOWHERE if entry is None or entry.begin is None else entry.begin)
        names = () if entry is None or names_of is None else _names(entry.truth, names_of)
        labels.append(NO_IMAGE if entry is None else NO_LABEL)
        counts.update(names)
        several |= len(names) > 1
        if len(names) == 1:
            labels[-1] = numbers.setdefault(names[0], len(numbers))
    return ScannedShard(
        shard=shard,
        image_names=np.array(image_names, np.uint64),
        labels=np.array(labels, np.int32),
        begins=np.array(begins, np.int64),
        names=tuple(numbers),
        counts=counts,
        several=several,
    )


def _names(truth: Any, names_of: NamesOf) -> Sequence[str]:
    try:
        return names_of(truth)
    except ImageError:
        return ()


class LabelNumbers:
    """Numbers the labels of all shards alike, in the order in which they come; `counts` has the images of each.

    `several` says that images may have more than one.
    """

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        self.several = False

    def renumbered(self, scanned: ScannedShard) -> NDArray[np.int32]:
        """The labels of a shard as numbers of `numbers`, (n,)."""
        self.counts.update(scanned.counts)
        self.several |= scanned.several
        if len(self.counts) > MOST_NAMES:
            found = f"more than {MOST_NAMES:,} different labels"
            raise SpecError(Problem("input.label_column", found, "labels that are names of classes"))
        own = [self.numbers.setdefault(name, len(self.numbers)) for name in scanned.names]
        return np.array([*own, NO_IMAGE, NO_LABEL], np.int32)[scanned.labels]
