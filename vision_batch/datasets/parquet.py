"""Parquet files with image bytes, Hugging Face's struct<bytes, path>, or the URIs of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.naming import has_extension, relative_name
from vision_batch.datasets.parquet_columns import find_columns
from vision_batch.datasets.parquet_file import WHOLE_BYTES, Footer, ParquetDamage, open_parquet, read_footer
from vision_batch.datasets.parquet_rows import ParquetRows, row_entries
from vision_batch.datasets.references import fetched
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings, no_masks
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ImageError, Problem, UnavailableError
from vision_batch.storage.object_info import ObjectInfo

SHARD_ROWS = 2048
"""A shard has at least so many rows, unless its file has fewer."""
SPAN_WHOLE_BYTES = 4 << 20
"""Row groups of which a span is read are read as a whole up to this size: a trainer has 64 of them open."""


class ParquetFormat:
    """A shard is a run of row groups; `row` counts from its first one.

    Images are bytes, a struct of bytes and a path that counts where the bytes are null, or URIs; relative ones count
    from the file's own folder. A null is a `missing` image. Only columns of plain Arrow types are read: extension
    types are refused, since their loading has run code before.

    Damage costs the rows from the damaged page to the end of its row group, each of which is `unreadable`. A file
    whose footer cannot be read is a shard of one `unreadable` row, until the file changes.
    """

    grouped = False
    extensions = ("parquet", "pq")

    def is_member(self, uri: str) -> bool:
        """Whether its name ends in .parquet or .pq, in any case."""
        return has_extension(uri, self.extensions)

    def problems(self, settings: InputSettings) -> list[Problem]:
        """What a file lacks shows when it is cut."""
        return no_masks(settings)

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """Runs of row groups with at least SHARD_ROWS rows; SpecError without the columns that the spec names."""
        name = relative_name(file.uri, root, input_name)

        def shard(key: str, row_groups: tuple[int, int] | None, first_row: int, rows: int) -> Shard:
            return Shard(
                key=key,
                input_name=input_name,
                root=root,
                format="parquet",
                files=(file,),
                row_groups=row_groups,
                first_row=first_row,
                rows=rows,
            )

        try:
            footer = read_footer(file)
        except ParquetDamage:
            return [shard(name, None, 0, 1)]
        find_columns(footer.schema, settings, file.uri)
        runs = _runs(footer.group_rows)
        return [
            shard(name if len(runs) == 1 else f"{name}#{first}", groups, first, rows) for groups, first, rows in runs
        ]

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """As the file has them, nullable; of type null where its footer cannot be read."""
        names = settings.extra_names
        if shard.row_groups is None or not names:
            return [pa.field(name, pa.null()) for name in names]
        columns = find_columns(read_footer(shard.files[0]).schema, settings, shard.files[0].uri)
        fields = ([columns.label] if columns.label is not None else []) + list(columns.kept)
        return [pa.field(name, field.type) for name, field in zip(names, fields, strict=True)]

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """From the columns of ids and labels; reading begins with a row group, or anywhere if images are URIs."""
        (file,) = shard.files
        name = relative_name(file.uri, shard.root, shard.input_name)
        if shard.row_groups is None:
            yield Entry(f"{name}#0", None, 0)
            return
        footer = _planned_footer(file)
        columns = find_columns(footer.schema, settings, file.uri)
        with open_parquet(file, footer, shard.row_groups, columns.entry_names(labels=labels)) as source:
            yield from row_entries(shard, columns, name, source, labels=labels)

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """Only the needed columns, batch by batch; row groups without a wanted row are passed over."""
        (file,) = shard.files
        name = relative_name(file.uri, shard.root, shard.input_name)
        if shard.row_groups is None:
            if wanted(0):
                yield _footer_row(name, settings)
            return
        footer = _planned_footer(file)
        columns = find_columns(footer.schema, settings, file.uri)
        whole_bytes = WHOLE_BYTES if span is None else SPAN_WHOLE_BYTES
        with open_parquet(file, footer, shard.row_groups, columns.names, whole_bytes=whole_bytes) as source:
            yield from fetched(ParquetRows(shard, settings, columns, name).read(source, wanted))


def _planned_footer(file: ObjectInfo) -> Footer:
    try:
        return read_footer(file)
    except ParquetDamage as damage:  # it was readable when it was cut, and is the same version
        raise UnavailableError(file.uri, f"its footer came damaged: {damage}") from damage


def _runs(group_rows: tuple[int, ...]) -> list[tuple[tuple[int, int], int, int]]:
    """Consecutive row groups as (half-open range, rows before it, rows in it); a short rest joins the last run."""
    runs: list[tuple[tuple[int, int], int, int]] = []
    begin, first, rows = 0, 0, 0
    for index, count in enumerate(group_rows, start=1):
        rows += count
        if rows >= SHARD_ROWS or index == len(group_rows):
            runs.append(((begin, index), first, rows))
            begin, first, rows = index, first + rows, 0
    if len(runs) > 1 and runs[-1][2] < SHARD_ROWS:
        (_, end), _, rest = runs.pop()
        (begin, _), first, rows = runs.pop()
        runs.append(((begin, end), first, rows + rest))
    return runs or [((0, 0), 0, 0)]


def _footer_row(name: str, settings: InputSettings) -> Sample:
    error = ImageError("unreadable", "the file's Parquet footer cannot be read")
    return Sample(row=0, image_id=f"{name}#0", error=error, kept=(None,) * len(settings.keep_columns))
