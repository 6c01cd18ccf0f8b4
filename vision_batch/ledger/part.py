"""Parts: one Parquet file holds exactly one cell, appears whole or not at all, and is its own commit record."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from vision_batch.errors import ExistsError, NotFoundError, PartConflictError, PartError
from vision_batch.ledger.digest import table_digest
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.sealed_parquet import decode_parquet, encode_parquet, footer_schema, footer_text, read_footer
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import Storage
from vision_batch.storage.table import storage_for

FORMAT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PartRecord:
    """What a part says of itself, in its footer.

    `version` is the shard's, `definition` a digest, `errors` counts error rows by code. `last` says that the shard has
    no cell after this one. `holes` counts the numbers before its last row's that no row of it has, because their files
    left the input and were pruned: numbers never move. `digest` is a SHA-256 over the logical values, the schema and
    all the facts here, the run included: Parquet's page checksums do not cover the footer.
    """

    shard: str
    version: str
    cell: int
    first_row: int
    rows: int
    last: bool
    definition: str
    run: str
    images_ok: int
    errors: dict[str, int]
    holes: int = 0
    digest: str = ""

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> PartRecord:
        """ValueError for what is no record of this format, whatever is wrong with it."""
        try:
            facts = json.loads(text)
            if facts.pop("format", None) != FORMAT:
                raise ValueError("a record of another format")
            record = cls(**facts)
        except (TypeError, AttributeError) as error:
            raise ValueError(str(error)) from error
        for name, kind in _FACTS.items():
            if type(getattr(record, name)) is not kind:
                raise ValueError(f"{name} is {getattr(record, name)!r}")
        return record

    def is_same_cell(self, other: PartRecord) -> bool:
        """Whether both hold the same rows of the same version, predicted under the same definition."""
        return (self.shard, self.cell, self.version, self.definition) == (
            other.shard,
            other.cell,
            other.version,
            other.definition,
        )


_FACTS: dict[str, type] = {
    "shard": str,
    "version": str,
    "cell": int,
    "first_row": int,
    "rows": int,
    "last": bool,
    "definition": str,
    "run": str,
    "images_ok": int,
    "errors": dict,
    "holes": int,
    "digest": str,
}


def record_for(
    table: pa.Table,
    *,
    shard: str,
    version: str,
    cell: int,
    cell_rows: int,
    last: bool,
    definition: str,
    run: str,
) -> PartRecord:
    """The sealed record of a cell's whole table (`output_schema`, rows in order): counts and digest come from it."""
    record = PartRecord(
        shard=shard,
        version=version,
        cell=cell,
        first_row=cell * cell_rows,
        rows=0,
        last=last,
        definition=definition,
        run=run,
        images_ok=0,
        errors={},
    )
    return recounted(table, record)


def recounted(table: pa.Table, record: PartRecord) -> PartRecord:
    """The record, sealed, with the counts of `table`, whose rows are in order."""
    errors = error_counts(table)
    rows = table.num_rows
    span = table.column("row")[-1].as_py() + 1 - record.first_row if rows else 0
    return seal(
        table,
        replace(
            record,
            rows=rows,
            images_ok=rows - sum(errors.values()),
            errors=dict(sorted(errors.items())),
            holes=span - rows,
        ),
    )


def error_counts(table: pa.Table) -> dict[str, int]:
    """Rows of an output's table by error code; good images are not counted."""
    counts = pc.value_counts(table.column("error_code").combine_chunks().drop_null())
    return {entry["values"]: entry["counts"] for entry in counts.to_pylist()}


def seal(table: pa.Table, record: PartRecord) -> PartRecord:
    """The record with the digest over `table` and its own other facts."""
    unsealed = replace(record, digest="")
    return replace(record, digest=table_digest(table, unsealed.to_json()))


def encode_part(table: pa.Table, record: PartRecord) -> bytes:
    """A sealed Parquet file with the record in its footer; the table's own metadata is dropped."""
    if table.num_rows != record.rows or not record.digest:
        raise ValueError(f"{table.num_rows} rows do not go with the record {record}; record_for makes the right one")
    return encode_parquet(table, record.to_json())


def read_part_record(storage: Storage, info: ObjectInfo) -> PartRecord:
    """The record in a part's footer, read without its pages; PartError for a foreign or damaged file."""
    return _record(info.uri, footer_text(info.uri, read_footer(storage, info)))


def read_part_schema(storage: Storage, info: ObjectInfo) -> pa.Schema:
    """The columns of a part, from its footer; PartError for a damaged file."""
    return footer_schema(info.uri, read_footer(storage, info))


def read_part(uri: str, data: bytes) -> tuple[PartRecord, pa.Table]:
    """A whole part, every seal, checksum and the digest compared; PartError says what does not hold."""
    text, table = decode_parquet(uri, data)
    record = _record(uri, text)
    if table.num_rows != record.rows:
        raise PartError(uri, f"holds {table.num_rows} rows, its record says {record.rows}")
    if seal(table, record).digest != record.digest:
        raise PartError(uri, "its content or its record is not what was written: the digest differs")
    return record, table


def commit_part(paths: LedgerPaths, table: pa.Table, record: PartRecord) -> PartRecord:
    """Writes a cell's part in one step and returns the record that now stands for it.

    `record` comes from `record_for`. Whoever commits first wins. When the cell's part is there already with the same
    version and definition, that is success and the stored record is returned; PartConflictError otherwise, PartError
    when what is there is damaged.
    """
    uri = paths.part(record.shard, record.cell)
    storage = storage_for(uri)
    try:
        storage.put(uri, encode_part(table, record), if_absent=True, scratch=paths.scratch)
    except ExistsError:
        try:
            stored = read_part_record(storage, storage.stat(uri))
        except PartError as error:
            raise with_way_out(error, paths) from error
        except NotFoundError as error:
            text = (
                f"what holds this cell's place is no part: {error.message}; remove what is left of it, then run again"
            )
            raise PartConflictError(uri, text) from error
        if not stored.is_same_cell(record):
            raise PartConflictError(uri, _conflict(stored, record, paths)) from None
        return stored
    return record


def with_way_out(error: PartError, paths: LedgerPaths) -> PartError:
    """The error of a damaged part that holds a cell's place, with what its reader can do about it."""
    return PartError(error.uri, f"{error.message}; {_way_out(paths)}")


def _way_out(paths: LedgerPaths) -> str:
    return f"`vision-batch verify --repair {shlex.quote(paths.output)}` sets it aside; then run again"


def _record(uri: str, text: bytes) -> PartRecord:
    try:
        return PartRecord.from_json(text)
    except ValueError as error:
        raise PartError(uri, f"its record cannot be read: {error}") from error


def _conflict(stored: PartRecord, ours: PartRecord, paths: LedgerPaths) -> str:
    names = ("shard", "cell", "version", "definition")
    differing = [name for name in names if getattr(stored, name) != getattr(ours, name)]
    facts = "; ".join(f"{name} {getattr(stored, name)!r} there, {getattr(ours, name)!r} here" for name in differing)
    is_stale = differing == ["version"]
    way_out = "run again: what the plan no longer has is removed" if is_stale else _way_out(paths)
    return f"a part of another kind holds this cell's place ({facts}); {way_out}"
