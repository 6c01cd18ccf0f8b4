"""A Parquet file with a text in its footer, and seals over every one of its bytes.

Parquet checks its pages at most: neither their headers nor the footer, and a flipped bit there may give other values,
lose rows for readers that filter by statistics, or end a process inside the parser. So two digests lie in the footer's
key-value metadata, one over all before the footer and one over the footer itself, and the latter is compared before
anything is parsed: what a footer says is what was written.
"""

from __future__ import annotations

import hashlib
import re

import pyarrow as pa
import pyarrow.parquet as pq

from vision_batch.errors import PartError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import Storage

TEXT_KEY = b"vision_batch"
SEAL_KEY = b"vision_batch_seal"
MAGIC = b"PAR1"
DIGITS = hashlib.sha256().digest_size * 2
UNSEALED = b"0" * DIGITS
TAIL_BYTES = 64 << 10
"""Read at once from a file's end: the footer of nearly every part."""

DAMAGE = (pa.ArrowException, OSError, ValueError)
"""What pyarrow raises for bytes that are not what was written; names that are not Unicode are ValueErrors."""

# How Thrift's compact protocol writes a key and its value: field 1, a length, the key; field 2, a length, the value.
# A footer's last such mark is its metadata's own: nothing after it is text of others, and no text in it has a byte 18.
TEXT_MARK = b"\x18" + bytes([len(TEXT_KEY)]) + TEXT_KEY + b"\x18"
SEAL_MARK = b"\x18" + bytes([len(SEAL_KEY)]) + SEAL_KEY + b"\x18\x80\x01"  # 128, of variable length, 7 bits a byte
LENGTH = re.compile(rb"[\x80-\xff]{0,4}[\x00-\x7f]")


def encode_parquet(table: pa.Table, text: str) -> bytes:
    """The table as Parquet: zstd, page checksums, sealed; `text` (printable ASCII) instead of the table's metadata."""
    sink = pa.BufferOutputStream()
    bare = table.replace_schema_metadata(None)
    with pq.ParquetWriter(sink, bare.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(bare)
        writer.add_key_value_metadata({TEXT_KEY: text.encode("ascii"), SEAL_KEY: UNSEALED * 2})
    return seal_file(memoryview(sink.getvalue()))


def seal_file(file: memoryview) -> bytes:
    """A Parquet file with its seals renewed, over what it holds now; it has a place for them already."""
    start = len(file) - _footer_bytes(file[-8:])
    pages, footer = file[:start], bytes(file[start:])
    at = _seals_at(footer)
    footer = _replaced(footer, at, _digest(pages) + UNSEALED)
    return b"".join((pages, _replaced(footer, at + DIGITS, _digest(footer))))


def read_footer(storage: Storage, info: ObjectInfo) -> bytes:
    """The footer of a stored file, proven to be as it was written; PartError for a foreign or damaged file.

    It takes one read for nearly every part, and nothing is parsed.
    """
    tail = storage.read_range(info.uri, max(0, info.size_bytes - TAIL_BYTES), info.size_bytes, version=info.version)
    footer_bytes = _footer_bytes(tail[-8:])
    if len(tail) < footer_bytes <= info.size_bytes:
        tail = storage.read_range(info.uri, info.size_bytes - footer_bytes, info.size_bytes, version=info.version)
    return _proven_footer(info.uri, tail)


def footer_text(uri: str, footer: bytes) -> bytes:
    """The text in a footer that `read_footer` gave."""
    at = footer.rfind(TEXT_MARK)
    length = LENGTH.match(footer, at + len(TEXT_MARK))
    if at < 0 or length is None:
        raise PartError(uri, "a Parquet file that vision-batch did not write")
    size_bytes = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(length[0]))
    return footer[length.end() : length.end() + size_bytes]


def footer_schema(uri: str, footer: bytes) -> pa.Schema:
    """The columns in a footer that `read_footer` gave."""
    try:
        return pq.read_metadata(pa.BufferReader(footer)).schema.to_arrow_schema()
    except DAMAGE as error:
        raise PartError(uri, f"its Parquet footer cannot be read: {error}") from error


def decode_parquet(uri: str, data: bytes) -> tuple[bytes, pa.Table]:
    """Text and table of a whole file, every bit of which is proven to be as it was written; PartError otherwise."""
    footer = _proven_footer(uri, data)
    at = _seals_at(footer)
    if _digest(memoryview(data)[: len(data) - len(footer)]) != footer[at : at + DIGITS]:
        raise PartError(uri, "its pages are damaged: they are not what was written")
    try:
        table = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True).read(use_threads=False)
    except DAMAGE as error:
        raise PartError(uri, f"cannot be read as Parquet: {error}") from error
    return footer_text(uri, footer), table


def _proven_footer(uri: str, tail: bytes) -> bytes:
    """The footer at the end of `tail`, with its length and the closing magic."""
    footer_bytes = _footer_bytes(tail[-8:])
    if tail[-4:] != MAGIC or footer_bytes > len(tail):
        raise PartError(uri, "not a whole Parquet file: its end is missing")
    footer = tail[-footer_bytes:]
    if SEAL_MARK not in footer and TEXT_KEY not in footer:
        raise PartError(uri, "a Parquet file that vision-batch did not write")
    at = _seals_at(footer) if SEAL_MARK in footer else len(footer)
    unsealed = _replaced(footer, at + DIGITS, UNSEALED)
    if _digest(unsealed) != footer[at + DIGITS : at + 2 * DIGITS]:
        raise PartError(uri, "its footer is damaged: it is not what was written")
    return footer


def _seals_at(footer: bytes) -> int:
    """Where in a footer the seal over the pages begins; its own follows it."""
    return footer.rindex(SEAL_MARK) + len(SEAL_MARK)


def _replaced(data: bytes, at: int, piece: bytes) -> bytes:
    return data[:at] + piece + data[at + len(piece) :]


def _footer_bytes(end: bytes | memoryview) -> int:
    """Bytes from a footer's start to the file's end, as the file's last eight say."""
    return int.from_bytes(end[:4], "little") + 8


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
