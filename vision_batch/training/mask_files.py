"""Which masks lay in `input.masks` when a training began: listed once, and compared whenever it goes on.

The folder is kept as its listing, in order, so that two listings are compared as streams, whatever their length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import pyarrow as pa

from vision_batch.errors import LedgerError, NotFoundError
from vision_batch.ledger.members import decode_members, encode_members
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join

OBJECT_MASKS = 1 << 16
"""How many are written and read at once."""


def list_masks(folder: str) -> Iterator[ObjectInfo]:
    """The PNGs below `folder`, in order. The storage's errors pass."""
    return (file for file in storage_for(folder).list(folder) if file.uri.endswith(".png"))


def store_masks(paths: LedgerPaths, masks: Iterable[ObjectInfo], folder: str) -> tuple[str, ...]:
    """Stores names and versions of the masks below `folder`; the digests of what is stored."""
    digests: list[str] = []
    waiting = iter(masks)
    while files := list(islice(waiting, OBJECT_MASKS)):
        data = encode_members(files, folder)
        uri = _object_uri(paths, len(digests))
        storage_for(uri).put(uri, data, scratch=paths.scratch)
        digests.append(hashlib.sha256(data).hexdigest())
    return tuple(digests)


def stored_masks(paths: LedgerPaths, digests: Sequence[str], folder: str) -> Iterator[ObjectInfo]:
    """What `store_masks` was given; LedgerError where it is lost or damaged."""
    for number, digest in enumerate(digests):
        uri = _object_uri(paths, number)
        try:
            data = storage_for(uri).read(uri)
            if hashlib.sha256(data).hexdigest() != digest:
                raise LedgerError(uri, f"its content is not what was written; {WAY_OUT}")
            yield from decode_members(data, folder)
        except (ValueError, pa.ArrowException, NotFoundError) as error:
            raise LedgerError(uri, f"the list of masks cannot be read: {error}; {WAY_OUT}") from error


def _object_uri(paths: LedgerPaths, number: int) -> str:
    return join(paths.catalogue, f"masks-{number:06d}")
