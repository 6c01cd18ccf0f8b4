"""The manifest: a cache of the parts' footers, believed only where the listing shows the same file, rebuilt if lost."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from vision_batch.errors import NotFoundError
from vision_batch.ledger.part import PartRecord
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.sealed_table import decode_table, encode_table
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, name

RECORD_FIELDS = [
    pa.field("shard", pa.string()),
    pa.field("version", pa.string()),
    pa.field("cell", pa.int64()),
    pa.field("first_row", pa.int64()),
    pa.field("rows", pa.int64()),
    pa.field("last", pa.bool_()),
    pa.field("definition", pa.string()),
    pa.field("run", pa.string()),
    pa.field("images_ok", pa.int64()),
    pa.field("holes", pa.int64()),
    pa.field("digest", pa.string()),
]
FILE_FIELDS = [
    pa.field("file_name", pa.string()),
    pa.field("file_size_bytes", pa.int64()),
    pa.field("file_version", pa.string()),
    pa.field("errors", pa.string()),
]
SCHEMA = pa.schema([*RECORD_FIELDS, *FILE_FIELDS])


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPart:
    """A part as it was seen: the file, and the record in its footer."""

    info: ObjectInfo
    record: PartRecord


def read_manifest(paths: LedgerPaths) -> dict[str, StoredPart]:
    """Parts by URI as the last run left them; empty when there is no manifest or it is damaged."""
    try:
        data = storage_for(paths.manifest).read(paths.manifest)
    except NotFoundError:
        return {}
    try:
        return {part.info.uri: part for part in decode_manifest(paths, data)}
    except (ValueError, pa.ArrowException):
        return {}


def write_manifest(paths: LedgerPaths, parts: Sequence[StoredPart]) -> None:
    """Replaces the manifest: the last writer wins, and whatever it says is compared with the listing."""
    storage_for(paths.manifest).put(paths.manifest, encode_manifest(parts), scratch=paths.scratch)


def encode_manifest(parts: Sequence[StoredPart]) -> bytes:
    """One line per part; file names without their folder."""
    columns: Mapping[str, list[object]] = {
        **{field.name: [getattr(part.record, field.name) for part in parts] for field in RECORD_FIELDS},
        "file_name": [name(part.info.uri) for part in parts],
        "file_size_bytes": [part.info.size_bytes for part in parts],
        "file_version": [part.info.version for part in parts],
        "errors": [json.dumps(part.record.errors) for part in parts],
    }
    return encode_table(pa.table(dict(columns), schema=SCHEMA))


def decode_manifest(paths: LedgerPaths, data: bytes) -> list[StoredPart]:
    """What `encode_manifest` was given; ValueError when the bytes are damaged."""
    table = decode_table(data, SCHEMA)
    records = zip(*(table.column(field.name).to_pylist() for field in RECORD_FIELDS), strict=True)
    files = zip(*(table.column(field.name).to_pylist() for field in FILE_FIELDS), strict=True)
    names = [field.name for field in RECORD_FIELDS]
    return [
        StoredPart(
            info=ObjectInfo(uri=join(paths.output, file_name), size_bytes=size_bytes, version=version),
            record=PartRecord(**dict(zip(names, record, strict=True)), errors=json.loads(errors)),
        )
        for record, (file_name, size_bytes, version, errors) in zip(records, files, strict=True)
    ]
