"""A sealed Parquet file: no bit of it changes unnoticed, and what is not sealed never reaches a parser."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_batch.errors import PartError
from vision_batch.ledger.sealed_parquet import (
    SEAL_KEY,
    SEAL_MARK,
    TEXT_KEY,
    TEXT_MARK,
    decode_parquet,
    encode_parquet,
    footer_schema,
    footer_text,
    read_footer,
)
from vision_batch.storage.table import storage_for

TABLE = pa.table(
    {
        "image_id": ["a/0", "a/1", "a/2"],
        "score": pa.array([0.5, None, 0.25], pa.float32()),
        "top_labels": [["cat", "dog"], None, []],
    }
)
TEXT = '{"shard": "a.tar", "rows": 3}'


def flips(data: bytes, places: range, bits: range) -> Iterator[tuple[int, int, bytes]]:
    for at in places:
        for bit in bits:
            yield at, bit, data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def footer_start(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def stored_footer(path: Path, data: bytes) -> bytes:
    path.write_bytes(data)
    storage = storage_for(str(path))
    return read_footer(storage, storage.stat(str(path)))


def test_it_is_plain_parquet_with_the_text_in_its_metadata(tmp_path: Path) -> None:
    data = encode_parquet(TABLE.replace_schema_metadata({b"other": b"dropped"}), TEXT)
    file = pq.ParquetFile(io.BytesIO(data))
    assert file.read().equals(TABLE)
    assert file.metadata.metadata.keys() == {TEXT_KEY, SEAL_KEY, b"ARROW:schema"}
    assert file.metadata.metadata[TEXT_KEY] == TEXT.encode()
    footer = stored_footer(tmp_path / "x", data)
    assert footer_text("x", footer) == TEXT.encode()
    assert footer_schema("x", footer).equals(TABLE.schema)
    assert decode_parquet("x", data) == (TEXT.encode(), TABLE)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16383, 16384, 200_000])
def test_texts_of_all_lengths_come_back(tmp_path: Path, length: int) -> None:
    footer = stored_footer(tmp_path / "x", encode_parquet(TABLE, "{" * length))
    assert footer_text("x", footer) == b"{" * length


def test_values_and_names_that_look_like_marks_are_no_marks(tmp_path: Path) -> None:
    names = [(mark + b"\x05other").decode("latin-1") for mark in (SEAL_MARK, TEXT_MARK)]
    table = pa.table({name: names for name in names})
    data = encode_parquet(table, TEXT)
    assert footer_text("x", stored_footer(tmp_path / "x", data)) == TEXT.encode()
    assert decode_parquet("x", data) == (TEXT.encode(), table)


def test_every_flipped_bit_is_noticed() -> None:
    data = encode_parquet(TABLE, TEXT)
    for at, bit, flipped in flips(data, range(len(data)), range(8)):
        with pytest.raises(PartError):
            decode_parquet("x", flipped)
            pytest.fail(f"bit {bit} of byte {at}")


def test_a_flipped_bit_of_the_footer_is_noticed_without_the_pages(tmp_path: Path) -> None:
    data = encode_parquet(TABLE, TEXT)
    for at, bit, flipped in flips(data, range(footer_start(data), len(data)), range(2)):
        with pytest.raises(PartError):
            stored_footer(tmp_path / "x", flipped)
            pytest.fail(f"bit {bit} of byte {at}")


def test_every_cut_is_noticed_without_the_pages(tmp_path: Path) -> None:
    data = encode_parquet(TABLE, TEXT)
    for length in range(len(data)):
        with pytest.raises(PartError, match="its end is missing"):
            stored_footer(tmp_path / "x", data[:length])


def test_the_same_file_written_by_another_is_no_sealed_file(tmp_path: Path) -> None:
    """Also where it carries the metadata of a sealed one, as tools do that rewrite a file."""
    metadata = pq.read_metadata(io.BytesIO(encode_parquet(TABLE, TEXT))).metadata
    sink = io.BytesIO()
    pq.write_table(TABLE.replace_schema_metadata(metadata), sink)
    with pytest.raises(PartError, match="its footer is damaged"):
        stored_footer(tmp_path / "x", sink.getvalue())
    pq.write_table(TABLE, tmp_path / "y")
    with pytest.raises(PartError, match="vision-batch did not write"):
        stored_footer(tmp_path / "y", (tmp_path / "y").read_bytes())
