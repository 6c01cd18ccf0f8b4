"""Which columns of a Parquet file are read, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

import pyarrow as pa
import pyarrow.types as pat

from vision_batch.datasets.naming import shortened
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import Problem, SpecError

DEFAULT_IMAGE_COLUMN = "image"

ImageKind = Literal["bytes", "struct", "uri"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetColumns:
    """The fields that the spec names, as the file has them."""

    image: pa.Field
    image_kind: ImageKind
    id: pa.Field | None
    label: pa.Field | None
    kept: tuple[pa.Field, ...]

    @property
    def names(self) -> list[str]:
        """Each once, in the order of first use."""
        fields = [self.image, self.id, self.label, *self.kept]
        return list(dict.fromkeys(field.name for field in fields if field is not None))

    def entry_names(self, *, labels: bool) -> list[str]:
        """Of ids, and of labels if they are asked for."""
        fields = [self.id, self.label if labels else None]
        return list(dict.fromkeys(field.name for field in fields if field is not None))


def find_columns(schema: pa.Schema, settings: InputSettings, uri: str) -> ParquetColumns:
    """The columns of a file with `schema`; SpecError with every column that is not there or cannot be used."""
    problems: list[Problem] = []

    def find(name: str, where: str) -> pa.Field:
        problem = _problem(schema, name, where, uri)
        problems.extend([problem] if problem else [])
        return None if problem else schema.field(name)

    image = find(settings.image_column or DEFAULT_IMAGE_COLUMN, "input.image_column")
    kind = image_kind(image.type) if image is not None else None
    if image is not None and kind is None:
        problems.append(
            Problem(
                "input.image_column",
                f"{image.name!r} of type {image.type} in {uri}",
                "binary, struct<bytes: binary, path: string> or string (a URI)",
            )
        )
    id_field = find(settings.id_column, "input.id_column") if settings.id_column else None
    label = find(settings.label_column, "input.label_column") if settings.label_column else None
    kept = tuple(find(name, "input.keep_columns") for name in settings.keep_columns)
    if problems or kind is None:
        raise SpecError(problems)
    return ParquetColumns(image=image, image_kind=kind, id=id_field, label=label, kept=kept)


def image_kind(data_type: pa.DataType) -> ImageKind | None:
    """How a column of this type holds images; None if it does not."""
    if pat.is_dictionary(data_type):
        data_type = data_type.value_type
    if is_bytes(data_type):
        return "bytes"
    if is_text(data_type):
        return "uri"
    if pat.is_struct(data_type):
        parts = {field.name: field.type for field in data_type}
        if set(parts) == {"bytes", "path"} and is_bytes(parts["bytes"]) and is_text(parts["path"]):
            return "struct"
    return None


def is_bytes(data_type: pa.DataType) -> bool:
    """Whether values are strings of bytes of any length."""
    return bool(pat.is_binary(data_type) or pat.is_large_binary(data_type) or pat.is_binary_view(data_type))


def is_text(data_type: pa.DataType) -> bool:
    """Whether values are strings."""
    return bool(pat.is_string(data_type) or pat.is_large_string(data_type) or pat.is_string_view(data_type))


def _problem(schema: pa.Schema, name: str, where: str, uri: str) -> Problem | None:
    count = schema.names.count(name)
    if count == 0:
        columns = shortened(", ".join(f"{field.name}: {field.type}" for field in schema), 1000)
        near = get_close_matches(name, schema.names, n=1)
        hint = f"one of these; did you mean {near[0]!r}?" if near else "one of these"
        return Problem(where, f"no column {name!r} in {uri}, which has {columns}", hint)
    if count > 1:
        return Problem(where, f"{count} columns {name!r} in {uri}", "one")
    for field in _with_children(schema.field(name)):
        if (extension := _extension_name(field)) is not None:
            return Problem(
                where,
                f"{name!r} in {uri} has the extension type {extension}",
                "a plain Arrow type: extension types bring code of their own",
            )
    return None


def _with_children(field: pa.Field) -> Iterator[pa.Field]:
    yield field
    for index in range(field.type.num_fields):
        yield from _with_children(field.type.field(index))


def _extension_name(field: pa.Field) -> str | None:
    """The extension's name, whether or not this process has registered it."""
    if isinstance(field.type, pa.BaseExtensionType):
        return str(field.type.extension_name)
    name = (field.metadata or {}).get(b"ARROW:extension:name")
    return name.decode("utf-8", "backslashreplace") if name is not None else None
