"""What a training knows of its images before it reads any: where each lies, its class, and whom it is for.

The catalogue is made when a training begins, and frozen: the order of every epoch follows from it. A shard is cut into
blocks, the runs of rows that are read together; in memory are the blocks, not the rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.datasets.shard import Shard
from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.ledger.sealed_table import decode_table, encode_table
from vision_batch.ledger.segment import Entry, decode_segment, encode_segment
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training.catalogue_rows import NO_IMAGE, NO_LABEL, Rows
from vision_batch.training.hash64 import key_of, mixed
from vision_batch.training.split_sets import Split

VERSION: Final = 1
LOOK_BLOCKS: Final = 4096
NO_PART: Final = 255
"""Of a row whose image is gone: no part has it."""

BLOCKS = pa.schema(
    [
        ("shard", pa.int32()),  # its place in `shards`
        ("first", pa.int64()),  # row of the shard
        ("rows", pa.int64()),
        ("begin", pa.int64()),  # where in the shard's file reading begins
        ("row_at", pa.int64()),  # the first one's number among all rows
    ]
)


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All images of an input; n rows in b blocks, in p parts.

    `blocks` has the columns of BLOCKS as arrays (b,). `counts` (b, p) says how many images of each part a block has,
    `sums` (b, p) what their identities add up to, modulo 2^64. `class_images` (p, classes) counts the images of each of
    the `labels`; where images have several, each part's share of a class is estimated: its share of all images.
    `classes` says which class a row's label means, or NO_LABEL. `lanes` and `pool_rows` say how epochs are laid out.
    `masks` are the digests of the list of mask files that is stored with it.
    """

    shards: tuple[Shard, ...]
    labels: tuple[str, ...]
    blocks: dict[str, NDArray[np.int64]]
    counts: NDArray[np.int64]
    sums: NDArray[np.uint64]
    class_images: NDArray[np.int64]
    classes: NDArray[np.int32]
    split: Split
    lanes: int
    pool_rows: int
    rows: Rows
    masks: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """For each shard the key of its images' identities."""
        return np.array([key_of(shard.key) for shard in self.shards], np.uint64)

    def images(self, parts: frozenset[int]) -> int:
        """How many images these parts have."""
        return int(self.counts[:, sorted(parts)].sum())

    def look(self, start: int, stop: int) -> Look:
        """At the rows of the blocks [start, stop)."""
        row_at, rows = self.blocks["row_at"][start:stop], self.blocks["rows"][start:stop]
        first, last = int(row_at[0]), int(row_at[-1] + rows[-1])
        classes, parts = classes_and_parts(self.rows[first:last], self.classes, self.split)
        return Look(
            start=start,
            stop=stop,
            offsets=row_at - first,
            classes=classes,
            parts=parts,
            identities=self.identities(start, stop),
        )

    def looks(self) -> Iterator[Look]:
        """At all rows, some blocks at a time."""
        count = len(self.blocks["rows"])
        return (self.look(start, min(start + LOOK_BLOCKS, count)) for start in range(0, count, LOOK_BLOCKS))

    def identities(self, start: int, stop: int) -> NDArray[np.uint64]:
        """What tells the rows of the blocks [start, stop) from all other images, in order."""
        row_at, rows = self.blocks["row_at"][start:stop], self.blocks["rows"][start:stop]
        spans = np.append(np.diff(row_at), rows[-1])  # a gap before a block counts as rows of the one before it
        numbers = np.arange(int(spans.sum())) - np.repeat(row_at - row_at[0] - self.blocks["first"][start:stop], spans)
        return mixed(numbers, np.repeat(self.keys[self.blocks["shard"][start:stop]], spans))

    def end(self, block: int) -> int | None:
        """Where in its shard's file the next block begins; None for the shard's last."""
        shard = self.blocks["shard"]
        is_last = block + 1 == len(shard) or shard[block + 1] != shard[block]
        return None if is_last else int(self.blocks["begin"][block + 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Rows of the blocks [start, stop): `offsets` says where each block begins in the other arrays.

    `parts` is NO_PART for a row without an image, which may also lie between two blocks.
    """

    start: int
    stop: int
    offsets: NDArray[np.int64]
    classes: NDArray[np.int32]
    parts: NDArray[np.uint8]
    identities: NDArray[np.uint64]


def classes_and_parts(
    stored: NDArray[np.void], classes: NDArray[np.int32], split: Split
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """What the rows as they are stored mean."""
    labels = stored["label"]
    meant = np.append(classes, np.int32(NO_LABEL))[np.maximum(labels, NO_LABEL)]
    parts = split.part_of(meant, stored["name"])
    parts[labels == NO_IMAGE] = NO_PART
    return meant, parts


def load_catalogue(paths: LedgerPaths) -> Catalogue | None:
    """The catalogue of an output; None if there is none yet. LedgerError when files are lost or damaged."""
    try:
        facts = json.loads(storage_for(commit_uri(paths)).read(commit_uri(paths)))
    except NotFoundError:
        return None
    except ValueError as error:
        raise LedgerError(commit_uri(paths), f"is no JSON: {error}; {WAY_OUT}") from error
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise LedgerError(commit_uri(paths), f"is of another version of vision-batch; {WAY_OUT}")
    return _decode(paths, facts)


def commit_uri(paths: LedgerPaths) -> str:
    """The file that is written last."""
    return join(paths.catalogue, "catalogue.json")


def catalogue_files(paths: LedgerPaths) -> tuple[str, str, str]:
    """The files that say what a catalogue is, with the digests of its rows; the one that commits it is the last."""
    return join(paths.catalogue, "shards"), join(paths.catalogue, "blocks"), commit_uri(paths)


def store_catalogue(paths: LedgerPaths, catalogue: Catalogue, rows: int, digests: Sequence[str]) -> None:
    """Writes all but the rows, which are stored already, and commits."""
    entries = [Entry(kind="shard", shard=shard) for shard in catalogue.shards]
    table = {
        name: pa.array(values.astype(BLOCKS.field(name).type.to_pandas_dtype())) for name, values in _named(catalogue)
    }
    for part in range(catalogue.split.parts):
        table |= {
            f"count_{part}": pa.array(catalogue.counts[:, part]),
            f"sum_{part}": pa.array(catalogue.sums[:, part]),
        }
    facts = {
        "version": VERSION,
        "labels": catalogue.labels,
        "lanes": catalogue.lanes,
        "pool_rows": catalogue.pool_rows,
        "rows": rows,
        "row_objects": list(digests),
        "classes": catalogue.classes.tolist(),
        "class_images": catalogue.class_images.tolist(),
        "edges": catalogue.split.edges.tolist(),
        "masks": catalogue.masks,
    }
    written = encode_segment(entries), encode_table(pa.table(table)), json.dumps(facts).encode()
    for uri, data in zip(catalogue_files(paths), written, strict=True):
        storage_for(uri).put(uri, data, scratch=paths.scratch)


def _named(catalogue: Catalogue) -> Iterator[tuple[str, NDArray[np.int64]]]:
    return ((name, catalogue.blocks[name]) for name in BLOCKS.names)


def _decode(paths: LedgerPaths, facts: dict[str, Any]) -> Catalogue:
    edges = np.array(facts["edges"], np.uint64)
    split = Split(edges=edges.reshape(len(facts["edges"]), -1))
    parts = range(split.parts)
    schema = pa.schema([*BLOCKS, *(pa.field(f"{what}_{part}", kind) for part in parts for what, kind in COUNTED)])
    table = _table(join(paths.catalogue, "blocks"), schema)
    return Catalogue(
        shards=tuple(entry.shard for entry in _entries(join(paths.catalogue, "shards"))),
        labels=tuple(facts["labels"]),
        blocks={name: table[name].to_numpy().astype(np.int64) for name in BLOCKS.names},
        counts=np.stack([table[f"count_{part}"].to_numpy() for part in parts], axis=1),
        sums=np.stack([table[f"sum_{part}"].to_numpy() for part in parts], axis=1),
        class_images=np.array(facts["class_images"], np.int64).reshape(split.parts, -1),
        classes=np.array(facts["classes"], np.int32),
        split=split,
        lanes=facts["lanes"],
        pool_rows=facts["pool_rows"],
        rows=Rows(paths.catalogue, facts["rows"], facts["row_objects"]),
        masks=tuple(facts.get("masks", ())),
    )


COUNTED = (("count", pa.int64()), ("sum", pa.uint64()))


def _table(uri: str, schema: pa.Schema) -> pa.Table:
    try:
        return decode_table(storage_for(uri).read(uri), schema)
    except (ValueError, pa.ArrowException, NotFoundError) as error:
        raise LedgerError(uri, f"the blocks of the catalogue cannot be read: {error}; {WAY_OUT}") from error


def _entries(uri: str) -> list[Entry]:
    try:
        return list(decode_segment(storage_for(uri).read(uri)))
    except (ValueError, pa.ArrowException, NotFoundError) as error:
        raise LedgerError(uri, f"the shards of the catalogue cannot be read: {error}; {WAY_OUT}") from error
