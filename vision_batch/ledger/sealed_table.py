"""A small Arrow table as one ledger file: IPC, zstd, and a SHA-256 in front, so that damage is noticed."""

from __future__ import annotations

import hashlib

import pyarrow as pa

MAGIC = b"VBT1"
HEAD_BYTES = len(MAGIC) + hashlib.sha256().digest_size


def encode_table(table: pa.Table) -> bytes:
    """`VBT1`, the SHA-256 of what follows, an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return MAGIC + hashlib.sha256(body).digest() + body


def decode_table(data: bytes, schema: pa.Schema) -> pa.Table:
    """The table that was encoded; ValueError when the bytes are damaged or the columns are not those of `schema`."""
    body = data[HEAD_BYTES:]
    if data[:HEAD_BYTES] != MAGIC + hashlib.sha256(body).digest():
        raise ValueError("its content is not what was written")
    table = pa.ipc.open_stream(body).read_all()
    if not table.schema.equals(schema):
        raise ValueError("its columns are those of another version of vision-batch; use that one")
    return table
