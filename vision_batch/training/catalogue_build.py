"""Makes a catalogue: reads the rows of an input, cuts its shards into blocks, and splits off what is for validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.datasets.format import Format
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.errors import Problem, SpecError, UnavailableError
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import Plan
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.training.catalogue import BLOCKS, NO_PART, Catalogue, classes_and_parts, store_catalogue
from vision_batch.training.catalogue_rows import NO_LABEL, Rows, RowsWriter
from vision_batch.training.catalogue_scan import LabelNumbers, NamesOf, ScannedShard, scan
from vision_batch.training.labels import index_of, labels_for, mismatches
from vision_batch.training.settings import ValidationSettings
from vision_batch.training.split_sets import Chunks, Split, make_split

LEAST_LANES = 64
"""Divisible by the usual numbers of workers. Every lane adds a stream of reading to the worker that serves it."""
POOL_BYTES = 512 << 20
"""Encoded images that the pools of all lanes hold together when all are full; a worker holds those of its lanes."""
DECODED_BYTES = 2 << 30
"""The same of decoded images: the split layout holds the pools so."""
MOST_POOL_ROWS, LEAST_POOL_ROWS = 256, 8
"""Of one lane; with 64 lanes the next batch is drawn from up to 16,384 images."""
POOLS_PER_LANE = 4
"""At least, where there are so many images: the first batch of an epoch waits for the first pools of all lanes."""
BLOCKS_PER_POOL = 4
BLOCKS_PER_LANE = 8
"""At least, where there are so many images: a lane is to have images from all over the input."""


def lanes_for(most_workers: int) -> int:
    """How many lanes an output gets, for ever: 64, or the smallest 64 · 2^k that is no less than the most workers."""
    lanes = LEAST_LANES
    while lanes < most_workers:
        lanes *= 2
    return lanes


def build_catalogue(
    paths: LedgerPaths,
    settings: InputSettings,
    plan: Plan,
    *,
    task: TaskSettings,
    labels: tuple[str, ...] | None,
    validation: ValidationSettings | None,
    lanes: int = LEAST_LANES,
    masks: tuple[str, ...] = (),
    decoded_bytes: int = 1,
    note: Callable[[str], None] = lambda text: None,
) -> Catalogue:
    """Reads names and labels of all rows, and stores the catalogue, whole or not at all.

    `labels` are the names of the classes, None for those that are found; `masks` says which masks are stored already.
    `decoded_bytes` has an image with its mask as the model sees them: pools are bounded by it. `note` hears of labels
    that do not go with `labels`. SpecError when there are none to learn, when labels are text where masks are to be, or
    when `validation` leaves no image to learn from or to measure on; the storage's errors when a shard cannot be read
    after all retries. Validation images that are an input of their own have plan and catalogue in `paths.validation`.
    """
    if plan.unread:
        raise UnavailableError(settings.inputs[0].uri, f"could not be looked into: {plan.unread[0]}")
    if task.labels_are == "mask" and settings.has_labels and plan.shards:
        _demand_masks(plan.shards[0], settings)
    names_of = None if task.labels_are == "mask" else trainable_task_for(task, labels).names  # a mask names no class
    writer, numbers, cut = _read(paths, settings, plan, names_of, lanes)
    labels = labels_for(task, labels, numbers.counts)
    for text in mismatches(labels, numbers.counts) if names_of is not None else ():
        note(text)
    found = [NO_LABEL if numbers.several else _class_of(name, labels) for name in numbers.numbers]
    classes = np.array(found, np.int32)
    rows = Rows(paths.catalogue, writer.count, writer.digests)
    split = _split(validation, labels, rows, classes)
    catalogue = Catalogue(
        shards=plan.shards,
        labels=labels,
        blocks={name: np.array(getattr(cut, name), np.int64) for name in BLOCKS.names},
        counts=np.zeros((len(cut.shard), split.parts), np.int64),
        sums=np.zeros((len(cut.shard), split.parts), np.uint64),
        class_images=np.zeros((split.parts, len(labels)), np.int64),
        classes=classes,
        split=split,
        lanes=lanes,
        pool_rows=rows_of_pool(cut.largest_mean_bytes, decoded_bytes, lanes, writer.count),
        rows=rows,
        masks=masks,
    )
    if cut.shard:
        count_images(catalogue)
    if numbers.several:
        _apportion(catalogue, numbers.counts)
    _demand_images(catalogue.counts.sum(axis=0), validation)
    store_catalogue(paths, catalogue, writer.count, writer.digests)
    return catalogue


def _read(
    paths: LedgerPaths, settings: InputSettings, plan: Plan, names_of: NamesOf | None, lanes: int
) -> tuple[RowsWriter, LabelNumbers, _Cut]:
    """Stores the rows of all shards; what the catalogue is to say of labels and blocks comes out."""
    writer = RowsWriter(paths.catalogue, paths.scratch)
    numbers, cut = LabelNumbers(), _Cut(target_bytes=_block_bytes(plan.shards, lanes))
    sizes = _shard_bytes(plan.shards)
    for scanned, size_bytes in zip(scan(paths, plan.shards, settings, names_of), sizes, strict=True):
        cut.add(scanned, size_bytes, writer.count)
        writer.add(scanned.image_names, numbers.renumbered(scanned))
    writer.finish()
    return writer, numbers, cut


def _split(
    validation: ValidationSettings | None, labels: tuple[str, ...], rows: Rows, classes: NDArray[np.int32]
) -> Split:
    """Who is set apart; SpecError where that is to be done class by class, and images have no class or several."""
    if validation is not None and validation.stratify and not (classes >= 0).any():
        expected = "images that have one class each, or validation without it"
        raise SpecError(Problem("validation.stratify", "labels that name no class or several", expected))
    return make_split(validation, len(labels), _chunks(rows, classes))


def _demand_masks(shard: Shard, settings: InputSettings) -> None:
    """SpecError where the labels, by the first shard's type of them, cannot be masks: every image would be broken."""
    format: Format = format_named(shard.format)
    type = format.extra_fields(shard, settings)[0].type
    if not _may_be_bytes(type):
        expected = "masks: a Parquet column of PNGs, a WebDataset extension as mask.png, or input.masks"
        found = f"{settings.label_column!r}, which is {type}, to learn a segmentation from"
        raise SpecError(Problem("input.label_column", found, expected))


def _may_be_bytes(type: pa.DataType) -> bool:
    """Also where nobody knows: in a file that cannot be read."""
    is_text = pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_string_view(type)
    return not is_text and not pa.types.is_primitive(type)


@dataclass(slots=True, kw_only=True)
class _Cut:
    """The blocks of all shards so far: of about `target_bytes`, each from where reading may begin."""

    target_bytes: int
    shard: list[int] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    begin: list[int] = field(default_factory=list)
    row_at: list[int] = field(default_factory=list)
    shards: int = 0
    largest_mean_bytes: float = 1.0

    def add(self, scanned: ScannedShard, size_bytes: int, row_at: int) -> None:
        """Cuts a shard, whose first row is number `row_at`: into blocks of about equal size, as far as that may be."""
        count, places = len(scanned.begins), np.flatnonzero(scanned.begins >= 0)
        if len(places):
            self.largest_mean_bytes = max(self.largest_mean_bytes, size_bytes / count)
            pieces = min(count, max(1, -(-size_bytes // self.target_bytes), -(-count // MOST_POOL_ROWS)))
            wished = np.arange(pieces) * count // pieces
            chosen = np.unique(places[np.minimum(np.searchsorted(places, wished), len(places) - 1)])
            for first, stop in zip(chosen.tolist(), [*chosen[1:].tolist(), count], strict=True):
                self.shard.append(self.shards)
                self.first.append(first)
                self.rows.append(stop - first)
                self.begin.append(int(scanned.begins[first]))
                self.row_at.append(row_at + first)
        self.shards += 1


def _shard_bytes(shards: Sequence[Shard]) -> Iterator[int]:
    """Encoded bytes of each shard; several shards of one file share its bytes by their rows."""
    file_rows: dict[str, int] = {}
    for shard in shards:
        file_rows[shard.source] = file_rows.get(shard.source, 0) + (shard.rows or 0)
    for shard in shards:
        rows = file_rows[shard.source]
        yield shard.size_bytes * shard.rows // rows if shard.rows and rows else shard.size_bytes


def _block_bytes(shards: Sequence[Shard], lanes: int) -> int:
    total = sum(_shard_bytes(shards))
    return max(1, min(POOL_BYTES // lanes // BLOCKS_PER_POOL, total // (lanes * BLOCKS_PER_LANE)))


def rows_of_pool(mean_bytes: float, decoded_bytes: int, lanes: int, images: int) -> int:
    """How many of `images` a pool has at most, by what one of them takes encoded and decoded."""
    encoded, decoded = int(POOL_BYTES / lanes / mean_bytes), DECODED_BYTES // lanes // decoded_bytes
    return max(LEAST_POOL_ROWS, min(MOST_POOL_ROWS, encoded, decoded, images // (lanes * POOLS_PER_LANE)))


def _apportion(catalogue: Catalogue, counts: Mapping[str, int]) -> None:
    """Fills `class_images` in where images have several classes: each part has of a class what it has of all images."""
    images = catalogue.counts.sum(axis=0)
    for label, count in counts.items():
        index = _class_of(label, catalogue.labels)
        if index >= 0:
            catalogue.class_images[:, index] += np.rint(count * images / max(images.sum(), 1)).astype(np.int64)


def _class_of(name: str, labels: tuple[str, ...]) -> int:
    index = index_of(name, labels)
    return NO_LABEL if index is None else index


def _chunks(rows: Rows, classes: NDArray[np.int32]) -> Chunks:
    """Classes and name hashes of all images."""
    whole = Split(edges=np.empty((len(classes) + 1, 0), np.uint64))

    def chunks() -> Iterator[tuple[NDArray[np.int32], NDArray[np.uint64]]]:
        for stored in rows.objects():
            meant, parts = classes_and_parts(stored, classes, whole)
            present = parts != NO_PART
            yield meant[present], stored["name"][present]

    return chunks


def count_images(catalogue: Catalogue) -> None:
    """Fills `counts`, `sums` and `class_images` in."""
    for look in catalogue.looks():
        blocks = slice(look.start, look.stop)
        for part in range(catalogue.split.parts):
            inside = look.parts == part
            catalogue.counts[blocks, part] = np.add.reduceat(inside, look.offsets, dtype=np.int64)
            catalogue.sums[blocks, part] = np.add.reduceat(look.identities * inside, look.offsets)
            known = look.classes[inside & (look.classes >= 0)]
            catalogue.class_images[part] += np.bincount(known, minlength=len(catalogue.labels))


def _demand_images(images: NDArray[np.int64], validation: ValidationSettings | None) -> None:
    if images.min() > 0:
        return
    where = "validation.folds" if validation is not None and validation.folds else "validation.fraction"
    if len(images) == 1:
        raise SpecError(Problem("input.uri", "no image", "at least one"))
    found = f"{int(images.sum())} images, of which a part gets none: {images.tolist()}"
    raise SpecError(Problem(where, found, "at least one image in every part: more images, or other parts"))
