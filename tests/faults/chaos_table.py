"""What a plain reader of OUTPUT/*.parquet sees at one moment, and what is wrong with it."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.chaos_dataset import Dataset
from tests.faults.chaos_place import Place

TOLERANCE = 1e-5
"""How far a score may lie from the undisturbed run's: batches are composed differently."""
EXACT = ("label", "error_code", "width", "height")
COLUMNS = ("shard", "row", "image_id", "score", *EXACT)
LISTINGS = 100
"""A reader whose listing moves under it lists again, this often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One moment of the table. `moves` says how often a listed part was replaced or gone before it was read."""

    table: pa.Table
    parts: int
    moves: int


def look(place: Place) -> Look:
    """Lists and reads like any reader does; pyarrow's errors when a listed part is not a whole Parquet file."""
    for moves in range(LISTINGS):
        try:
            before = place.parts()
            tables = [pq.read_table(io.BytesIO(place.read(name))) for name in before]
            if place.parts().items() >= before.items():
                empty = pa.table({column: [] for column in COLUMNS}) if not tables else tables[0].slice(0, 0)
                return Look(table=pa.concat_tables([empty, *tables]), parts=len(tables), moves=moves)
        except FileNotFoundError:
            continue
    raise AssertionError(f"the table did not hold still in {LISTINGS} listings")


def fingerprint(place: Place) -> dict[str, tuple[str, str]]:
    """Every part with its version and the digest of its bytes."""
    return {
        name: (version, hashlib.sha256(place.read(name)).hexdigest()) for name, version in sorted(place.parts().items())
    }


def wrong_rows(seen: Look, dataset: Dataset, reference: list[dict[str, object]]) -> Iterator[str]:
    """At any moment: no image twice, and each row is what an undisturbed run says of a content its image once had."""
    if seen.moves and not dataset.parts_may_move:
        yield f"{seen.moves} listed parts were gone or replaced, though nothing was to replace them"
    for columns in (("image_id",), ("shard", "row")):
        counts = Counter(zip(*(seen.table[column].to_pylist() for column in columns), strict=True))
        twice = sorted(str(key) for key, count in counts.items() if count > 1)
        if twice:
            yield f"{len(twice)} rows twice by {columns}: {', '.join(twice[:5])}"
    for row in seen.table.select(COLUMNS).to_pylist():
        allowed = dataset.history.get(row["image_id"], ())
        is_gone = allowed and row["image_id"] not in dataset.current and row["error_code"] == "missing"
        if not is_gone and not any(_is_same(row, reference[content]) for content in allowed):
            expected = [reference[content] for content in allowed]
            yield f"a row that no undisturbed run would write: {row}, expected one of {expected}"


def wrong_ending(seen: Look, current: Mapping[str, int], reference: list[dict[str, object]]) -> Iterator[str]:
    """When a run has come to its end: exactly the images of the input, each with the prediction of its content."""
    rows = {row["image_id"]: row for row in seen.table.select(COLUMNS).to_pylist()}
    if seen.table.num_rows != len(current):
        yield f"{seen.table.num_rows} rows for {len(current)} images"
    for what, ids in (("missing", current.keys() - rows), ("not of the input", rows.keys() - current)):
        if ids:
            yield f"{len(ids)} images {what}: {', '.join(sorted(ids)[:5])}"
    for image_id in current.keys() & rows:
        row, expected = rows[image_id], reference[current[image_id]]
        if not _is_same(row, expected):
            yield f"a wrong prediction: {row}, expected {expected}"


def _is_same(row: dict[str, object], expected: dict[str, object]) -> bool:
    if any(row[name] != expected[name] for name in EXACT):
        return False
    score, wanted = row["score"], expected["score"]
    if not isinstance(score, float) or not isinstance(wanted, float):
        return score is wanted
    return abs(score - wanted) <= TOLERANCE
