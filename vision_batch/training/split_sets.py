"""Which images a model is measured on and not taught: some of the input's, by a hash of their names.

The images are dealt into parts. With a fraction, part 0 is that fraction and part 1 the rest; with folds each part is
a fold. The hash of its `image_id` alone decides where an image belongs, so that it stays there when others come and go;
stratified, it is the rank of that hash among the images of its class, so that every part has its share of every class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vision_batch.training.settings import ValidationSettings

LAST = np.uint64(2**64 - 1)
MOST_BINS = 1 << 22
"""Of the histograms of all classes together: 32 MiB."""

Chunks = Callable[[], Iterator[tuple[NDArray[np.int32], NDArray[np.uint64]]]]
"""Classes and hashes of all images, piece by piece; can be asked again. A class below 0 is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How images are dealt: `edges`, uint64 (classes + 1, parts - 1), ascending, are where the hashes of one class pass
    from part to part; the last row is for images without a class.
    """

    edges: NDArray[np.uint64]

    @property
    def parts(self) -> int:
        return int(self.edges.shape[1]) + 1

    def part_of(self, classes: NDArray[np.int32], hashes: NDArray[np.uint64]) -> NDArray[np.uint8]:
        """The part of each image, (n,)."""
        parts = np.zeros(len(hashes), np.uint8)
        for edges in self.edges.T:
            parts += hashes >= edges[classes]  # a class of -1 is the last row
        return parts


def make_split(settings: ValidationSettings | None, classes: int, chunks: Chunks) -> Split:
    """The split that a spec asks for; one part where all images are for training."""
    shares = _shares(settings)
    plain = np.array([min(int(share * 2**64), 2**64 - 1) for share in shares], np.uint64)
    edges = np.tile(plain, (classes + 1, 1))
    if settings is not None and settings.stratify and shares:
        counts = class_counts(classes, chunks)
        ranks = np.rint(counts[:, None] * np.array(shares)).astype(np.int64)
        edges[:classes] = values_at(ranks, chunks)
    return Split(edges=edges)


def training_parts(parts: int, fold: int | None) -> frozenset[int]:
    """What is left of all parts for training."""
    return frozenset(range(parts)) - validation_parts(parts, fold)


def validation_parts(parts: int, fold: int | None) -> frozenset[int]:
    """The part that `fold` is measured on; none where there is one part only."""
    return frozenset() if parts == 1 else frozenset({fold or 0})


def class_counts(classes: int, chunks: Chunks) -> NDArray[np.int64]:
    """How many images each class has, (classes,)."""
    counts = np.zeros(classes, np.int64)
    for labels, _ in chunks():
        counts += np.bincount(labels[labels >= 0], minlength=classes)
    return counts


def values_at(ranks: NDArray[np.int64], chunks: Chunks) -> NDArray[np.uint64]:
    """For `ranks` (classes, k) the hash that so many of its class are below; the last number where none is.

    Two passes, and memory for a small share of the hashes: first it is counted how many fall into each of some bins,
    then those of the bins in question are sorted.
    """
    classes = len(ranks)
    bits = max(1, min(12, (MOST_BINS // max(classes, 1)).bit_length() - 1))
    shift, bins = np.uint64(64 - bits), 1 << bits
    counts = np.zeros(classes * bins, np.int64)
    for labels, hashes in chunks():
        counts += np.bincount(_slots(labels, hashes, shift, bins), minlength=classes * bins)
    below = counts.reshape(classes, bins).cumsum(axis=1)
    bin_of = np.stack([(below <= rank[:, None]).sum(axis=1) for rank in ranks.T], axis=1)
    inside = bin_of < bins
    slot = np.arange(classes)[:, None] * bins + np.minimum(bin_of, bins - 1)
    before = below.reshape(-1)[slot] - counts[slot]
    wanted = np.zeros(classes * bins, np.bool_)
    wanted[slot[inside]] = True
    slots, values = _kept(chunks, shift, bins, wanted)
    first = np.searchsorted(slots, slot)
    found = np.full(ranks.shape, LAST)
    found[inside] = values[(first + ranks - before)[inside]]
    return found


def _slots(labels: NDArray[np.int32], hashes: NDArray[np.uint64], shift: np.uint64, bins: int) -> NDArray[np.int64]:
    known = labels >= 0
    return labels[known].astype(np.int64) * bins + (hashes[known] >> shift).astype(np.int64)


def _kept(
    chunks: Chunks, shift: np.uint64, bins: int, wanted: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Slots and hashes of the wanted slots, in order of slots and hashes."""
    slots, values = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for labels, hashes in chunks():
        found = _slots(labels, hashes, shift, bins)
        chosen = wanted[found]
        slots.append(found[chosen])
        values.append(hashes[labels >= 0][chosen])
    every_slot, every_value = np.concatenate(slots), np.concatenate(values)
    order = np.lexsort((every_value, every_slot))
    return every_slot[order], every_value[order]


def _shares(settings: ValidationSettings | None) -> list[float]:
    """Where the parts but the last end, as shares of all images."""
    if settings is None or settings.uri is not None:
        return []
    if settings.fraction is not None:
        return [settings.fraction]
    folds = settings.folds or 1
    return [number / folds for number in range(1, folds)]
