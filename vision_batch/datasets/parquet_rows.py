"""The rows of a Parquet shard as samples, before the images that they only name are fetched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain, islice, repeat
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from vision_batch.datasets.entry import Entry
from vision_batch.datasets.naming import prefixed, shortened
from vision_batch.datasets.parquet_columns import ParquetColumns, is_bytes, is_text
from vision_batch.datasets.parquet_file import ParquetDamage, ParquetReader
from vision_batch.datasets.references import Scope
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, Sample, too_large
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ImageError

PendingSample = tuple[Sample, str | None]
"""A sample, and the URI of its image if that is still to be fetched."""


class ParquetRows:
    """What one shard's rows become; `name` is the file's, which begins the ids of rows that have none of their own."""

    def __init__(self, shard: Shard, settings: InputSettings, columns: ParquetColumns, name: str) -> None:
        self._shard = shard
        self._columns = columns
        self._name = name
        self._scope = Scope.of(shard, settings)

    def read(self, reader: ParquetReader, wanted: Callable[[int], bool]) -> Iterator[PendingSample]:
        """The wanted rows; a row group is read from its start to the last one wanted of it, or not at all."""
        begin = 0
        for group in range(*(self._shard.row_groups or (0, 0))):
            end = begin + reader.rows(group)
            wishes = bytes(map(wanted, range(begin, end)))
            if any(wishes):
                yield from self._group(reader, group, begin, wishes)
            begin = end

    def _group(self, reader: ParquetReader, group: int, begin: int, wishes: bytes) -> Iterator[PendingSample]:
        done, last = 0, wishes.rindex(1)
        try:
            for batch in reader.batches(group):
                chosen = [index for index in range(len(batch)) if wishes[done + index]]
                yield from self._batch(batch, chosen, begin + done)
                done += len(batch)
                if done > last:
                    return
        except ParquetDamage as damage:
            error = ImageError("unreadable", f"row group {group} is damaged: {shortened(str(damage))}")
            nothing = (None,) * len(self._columns.kept)
            for row in (begin + index for index in range(done, len(wishes)) if wishes[index]):
                yield Sample(row=row, image_id=self._image_id(row, None), error=error, kept=nothing), None

    def _batch(self, batch: pa.RecordBatch, chosen: list[int], begin: int) -> Iterator[PendingSample]:
        columns = self._columns
        content, references = _image_columns(batch.column(columns.image.name))
        ids = _column(batch, columns.id)
        extras = [_column(batch, field) for field in (columns.label, *columns.kept)]
        for index in chosen:
            data, uri, error = self._image(_at(content, index), _at(references, index))
            values, fault = _values(extras, index)
            if fault is not None:
                data, uri, error = None, None, error or fault
            sample = Sample(
                row=begin + index,
                image_id=self._image_id(begin + index, _at(ids, index)),
                data=data,
                error=error,
                truth=values[0],
                kept=tuple(values[1:]),
            )
            yield sample, uri

    def _image(
        self, content: pa.Scalar | None, reference: pa.Scalar | None
    ) -> tuple[bytes | None, str | None, ImageError | None]:
        """The bytes, or the URI to fetch, or why there is neither; bytes go before a path."""
        if content is not None and content.is_valid:
            data = content.as_py()
            return (data, None, None) if len(data) <= MAX_IMAGE_BYTES else (None, None, too_large(len(data)))
        try:
            if reference is None or not reference.is_valid:
                raise ImageError("missing", f"the column {self._columns.image.name!r} is null here")
            return None, self._scope.resolve(text_of(reference)), None
        except ImageError as error:
            return None, None, error

    def _image_id(self, row: int, own: pa.Scalar | None) -> str:
        if own is not None and own.is_valid:
            return prefixed(self._shard.input_name, text_of(own))
        return f"{self._name}#{self._shard.first_row + row}"


def row_entries(
    shard: Shard, columns: ParquetColumns, name: str, reader: ParquetReader, *, labels: bool
) -> Iterator[Entry]:
    """Every row of a shard from the columns of ids and labels; behind damage rows have neither."""
    row = 0
    for group in range(*(shard.row_groups or (0, 0))):
        start, known = row, _ids_and_labels(reader, group, columns, labels=labels)
        for own, truth in islice(chain(known, repeat((None, None))), reader.rows(group)):
            image_id = f"{name}#{shard.first_row + row}" if own is None else prefixed(shard.input_name, own)
            yield Entry(image_id, truth, row if row == start or columns.image_kind == "uri" else None)
            row += 1


def _ids_and_labels(
    reader: ParquetReader, group: int, columns: ParquetColumns, *, labels: bool
) -> Iterator[tuple[str | None, Any]]:
    label = columns.label if labels else None
    if columns.id is None and label is None:
        return
    with suppress(ParquetDamage):
        for batch in reader.batches(group):
            ids, truths = _column(batch, columns.id), _column(batch, label)
            for index in range(len(batch)):
                own = _at(ids, index)
                (truth,), _ = _values([truths], index)
                yield text_of(own) if own is not None and own.is_valid else None, truth


def _image_columns(column: pa.Array) -> tuple[pa.Array | None, pa.Array | None]:
    """The bytes and the references of an image column."""
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pat.is_struct(column.type):
        parts = dict(zip((field.name for field in column.type), column.flatten(), strict=True))
        return parts["bytes"], parts["path"]
    return (column, None) if is_bytes(column.type) else (None, column)


def _column(batch: pa.RecordBatch, field: pa.Field | None) -> pa.Array | None:
    return batch.column(field.name) if field is not None else None


def _at(column: pa.Array | None, index: int) -> pa.Scalar | None:
    return column[index] if column is not None else None


def _values(columns: list[pa.Array | None], index: int) -> tuple[list[Any], ImageError | None]:
    """One row's values, null for a column that nobody asked for; all null, with the reason, if one is no text."""
    try:
        return [python_value(column[index]) if column is not None else None for column in columns], None
    except UnicodeDecodeError as fault:
        return [None] * len(columns), ImageError("invalid_label", f"text that is not UTF-8: {fault.reason}")


def python_value(scalar: pa.Scalar) -> Any:
    """A value from which pyarrow builds the same scalar again; UnicodeDecodeError for text that is not UTF-8.

    Times stay Arrow scalars: Python's have no nanoseconds, end in the year 9999 and must know every time zone.
    """
    if not scalar.is_valid:
        return None
    return scalar if _has_times(scalar.type) else scalar.as_py()


def text_of(scalar: pa.Scalar) -> str:
    """A valid scalar as text: bytes that are not UTF-8 become `\\xNN`."""
    if pat.is_dictionary(scalar.type):
        scalar = scalar.value
    if is_text(scalar.type) or is_bytes(scalar.type):
        return bytes(scalar.as_buffer()).decode("utf-8", "backslashreplace")
    return str(scalar)


@cache
def _has_times(data_type: pa.DataType) -> bool:
    children = (data_type.field(index).type for index in range(data_type.num_fields))
    return bool(pat.is_temporal(data_type)) or any(map(_has_times, children))
