"""SHA-256 over what a table says, not over how its bytes happen to lie.

Chunking, offsets, slices, dictionary encoding, offset width (string or large_string) and what lies under nulls make no
difference; names, types, nulls, order and every bit of every value do. So a digest taken before a Parquet file is
written holds for what any reader gets back from it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def table_digest(table: pa.Table, facts: str = "") -> str:
    """Hexadecimal SHA-256 over `facts`, the schema and every logical value. TypeError for unions."""
    sha = hashlib.sha256()
    _text(sha, facts)
    for field, column in zip(table.schema, table.columns, strict=True):
        _text(sha, field.name)
        _text(sha, type_text(field.type))
        _column(sha, column)
    return sha.hexdigest()


def type_text(data_type: pa.DataType) -> str:
    """A type's logical name: encodings and offset widths left out, names of a list's child too."""
    kind = pa.types
    if kind.is_dictionary(data_type) or kind.is_run_end_encoded(data_type):
        return type_text(data_type.value_type)
    if isinstance(data_type, pa.BaseExtensionType):
        return f"{data_type.extension_name}({type_text(data_type.storage_type)})"
    if kind.is_fixed_size_list(data_type):
        return f"list[{data_type.list_size}]<{type_text(data_type.value_type)}>"
    if _is_list(data_type):
        return f"list<{type_text(data_type.value_type)}>"
    if kind.is_map(data_type):
        return f"map<{type_text(data_type.key_type)}, {type_text(data_type.item_type)}>"
    if kind.is_struct(data_type):
        return f"struct<{', '.join(f'{f.name!r}: {type_text(f.type)}' for f in data_type)}>"
    if _is_text(data_type):
        return "string"
    return "binary" if _is_binary(data_type) else str(data_type)


def _column(sha: Any, column: pa.ChunkedArray) -> None:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # what combine_chunks gives for no chunks or too many bytes for one
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    _array(sha, array)


def _array(sha: Any, array: pa.Array) -> None:
    data_type = array.type
    if isinstance(data_type, pa.BaseExtensionType):
        return _array(sha, array.storage)
    if pa.types.is_dictionary(data_type):
        return _array(sha, array.dictionary_decode())
    if pa.types.is_run_end_encoded(data_type):
        return _array(sha, pc.run_end_decode(array))
    if _is_text(data_type) or _is_binary(data_type):
        array = array.cast(pa.large_string() if _is_text(data_type) else pa.large_binary())
    _validity(sha, array)
    if pa.types.is_null(data_type):
        return None
    return _values(sha, array.drop_null() if array.null_count else array)


def _validity(sha: Any, array: pa.Array) -> None:
    _integer(sha, len(array))
    _integer(sha, array.null_count)
    if 0 < array.null_count < len(array):
        _bits(sha, array.is_valid())


def _values(sha: Any, array: pa.Array) -> None:
    """Values of an array without nulls (at its own level)."""
    data_type = array.type
    if pa.types.is_boolean(data_type):
        _bits(sha, array)
    elif _is_text(data_type) or _is_binary(data_type):
        _bytes(sha, array)
    elif pa.types.is_struct(data_type):
        for child in array.flatten():
            _array(sha, child)
    elif pa.types.is_fixed_size_list(data_type):
        _array(sha, array.flatten())
    elif _is_list(data_type):
        _lengths(sha, pc.list_value_length(array))
        _array(sha, array.flatten())
    elif pa.types.is_map(data_type):
        entry = pa.struct([("key", data_type.key_type), ("value", data_type.item_type)])
        _values(sha, array.cast(pa.list_(entry)))
    else:
        _fixed_width(sha, array)


def _fixed_width(sha: Any, array: pa.Array) -> None:
    width = array.type.bit_width // 8  # ValueError (of pyarrow) for a type without one: a union
    values = array.buffers()[1]
    if len(array):
        sha.update(memoryview(values)[array.offset * width : (array.offset + len(array)) * width])


def _bytes(sha: Any, array: pa.Array) -> None:
    _lengths(sha, pc.binary_length(array))
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    if len(array) and offsets[-1] > offsets[0]:
        sha.update(memoryview(array.buffers()[2])[int(offsets[0]) : int(offsets[-1])])


def _lengths(sha: Any, lengths: pa.Array) -> None:
    sha.update(np.asarray(lengths.cast(pa.int64())).tobytes())


def _bits(sha: Any, array: pa.Array) -> None:
    sha.update(np.packbits(np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)).tobytes())


def _integer(sha: Any, value: int) -> None:
    sha.update(value.to_bytes(8, "little"))


def _text(sha: Any, text: str) -> None:
    data = text.encode()
    _integer(sha, len(data))
    sha.update(data)


def _is_text(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(data_type) or pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type)
    )


def _is_binary(data_type: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type) or pa.types.is_binary_view(data_type)
    )


def _is_list(data_type: pa.DataType) -> bool:
    kind = pa.types
    return bool(
        kind.is_list(data_type)
        or kind.is_large_list(data_type)
        or kind.is_list_view(data_type)
        or kind.is_large_list_view(data_type)
    )
