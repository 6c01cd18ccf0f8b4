"""The record of a checkpoint, `state.json`: its commit. Read without torch and without its tensors."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from vision_batch.errors import CheckpointError, LedgerError, NotFoundError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, relative_to

FORMAT = 1
RECORD = "state.json"
SCRATCH = "_tmp"
STEP = re.compile(r"[0-9]{9,}")


def list_checkpoints(folder_uri: str) -> Iterator[ObjectInfo]:
    """Every object that a store has put into its folder, committed or not."""
    with suppress(NotFoundError):
        for info in storage_for(folder_uri).list(folder_uri):
            top, _, rest = relative_to(info.uri, folder_uri).partition("/")
            if rest and (top == SCRATCH or STEP.fullmatch(top)):
                yield info


def read_record(checkpoint_uri: str) -> dict[str, Any]:
    """CheckpointError where it is not there, or not as it was written; LedgerError for one of another format."""
    uri = join(checkpoint_uri, RECORD)
    try:
        return _unsealed(uri, storage_for(uri).read(uri))
    except NotFoundError as error:
        raise CheckpointError(uri, "is not there") from error


def seal_record(record: Mapping[str, Any]) -> bytes:
    """JSON of the record beside its own SHA-256."""
    text = json.dumps(record)
    return f'{{"sha256": "{hashlib.sha256(text.encode()).hexdigest()}", "checkpoint": {text}}}'.encode()


def _unsealed(uri: str, data: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(data)["checkpoint"]
        is_whole = seal_record(record) == data
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(uri, f"cannot be read: {error}") from error
    if not is_whole:
        raise CheckpointError(uri, "is not what was written: its SHA-256 differs")
    if record["format"] != FORMAT:
        found = f"has the format {record['format']}, this version of vision-batch reads {FORMAT}"
        raise LedgerError(uri, f"{found}: go on with the version that wrote it, or begin another output")
    return record
