"""WebDataset: tars whose consecutive members of one key are a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import SEEK_SET, BytesIO

import pyarrow as pa

from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.naming import has_extension, relative_name
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import DEFAULT_EXTENSIONS, InputSettings, no_masks
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.tar import ShortFileError, TarReader
from vision_batch.datasets.tar_samples import TarColumns, is_picture, tar_samples
from vision_batch.errors import ChangedError, Problem
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.table import storage_for


class WebDatasetFormat:
    """A tar is a shard, `row` counts its samples.

    A member's key is its folder and its base name up to the first dot; its extension is what follows, in lower case.
    Names that begin with a dot are no members, as in the webdataset library. The image is the first member whose
    extension is in `image_column`, or else the first whose extension ends in a dot and one of these. Labels and kept
    columns are other members, null where there is none: the bytes of one with an image's extension, as `mask.png`, else
    the stripped text; text that is not UTF-8 makes the row `invalid_label`. The label's member is never the image.

    A damaged tar gives its good samples and an error row at each damage. The sample that the damage interrupts is given
    if its image is whole; otherwise the error row is its row.
    """

    grouped = False
    extensions = ("tar",)

    def is_member(self, uri: str) -> bool:
        """Whether its name ends in .tar, in any case."""
        return has_extension(uri, self.extensions)

    def problems(self, settings: InputSettings) -> list[Problem]:
        """`image_column` is a list of extensions, and a sample's key is its id."""
        found = []
        if not _image_extensions(settings):
            found.append(Problem("input.image_column", repr(settings.image_column), "extensions, as in `jpg;png`"))
        if settings.id_column is not None:
            found.append(
                Problem("input.id_column", repr(settings.id_column), "nothing: samples are named by their keys")
            )
        return [*found, *no_masks(settings)]

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """One shard, of unknown length: a tar has no index."""
        key = relative_name(file.uri, root, input_name)
        return [Shard(key=key, input_name=input_name, root=root, format="webdataset", files=(file,))]

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """Strings, and bytes of members that are pictures."""
        columns = _columns(shard, settings)
        members = [*([columns.label] if columns.label else []), *columns.kept]
        return [
            pa.field(name, pa.binary() if is_picture(member) else pa.string())
            for name, member in zip(settings.extra_names, members, strict=True)
        ]

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """One pass over headers and labels; reading may begin where a sample does, but not behind damage."""
        columns = replace(_columns(shard, settings), kept=(), with_images=False, with_labels=labels)
        with _tar(shard.files[0]) as reader:
            for sample in tar_samples(reader, columns, lambda row: True):
                yield Entry(sample.image_id, sample.truth, sample.begin if sample.row else 0)

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """Streams the tar once, or gets a span at once; the members of unwanted samples are skipped."""
        with _tar(shard.files[0], span) as reader:
            yield from tar_samples(reader, _columns(shard, settings), wanted, span.first if span is not None else 0)


@contextmanager
def _tar(file: ObjectInfo, span: Span | None = None) -> Iterator[TarReader]:
    """A reader of the archive, or of what of it holds a span. ChangedError where the file is too short."""
    try:
        if span is None:
            with storage_for(file.uri).open(file) as stream:
                yield TarReader(stream, file.size_bytes)
        else:
            end = file.size_bytes if span.end is None else span.end
            data = storage_for(file.uri).read_range(file.uri, span.begin, end, version=file.version)
            yield TarReader(_Cutting(data, span.begin), end, span.begin)
    except ShortFileError as error:
        raise ChangedError(file.uri, f"it is shorter than it was when it was planned: {error}") from error


class _Cutting(BytesIO):
    """Bytes of a file from byte `begin` on, at their places in the file."""

    def __init__(self, data: bytes, begin: int) -> None:
        super().__init__(data)
        self._begin = begin

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        return super().seek(offset - self._begin, whence) + self._begin


def _columns(shard: Shard, settings: InputSettings) -> TarColumns:
    name = relative_name(shard.files[0].uri, shard.root, shard.input_name)
    label = settings.label_column.lower() if settings.label_column else None
    kept = tuple(column.lower() for column in settings.keep_columns)
    return TarColumns(
        id_prefix=f"{name[:-4] if name.lower().endswith('.tar') else name}/",
        images=_image_extensions(settings),
        label=label,
        kept=kept,
    )


PARQUET_DEFAULT = "image"
"""The default column of Parquet input; a spec that spells it out means the default here too."""


def _image_extensions(settings: InputSettings) -> frozenset[str]:
    column = DEFAULT_EXTENSIONS if settings.image_column in (None, PARQUET_DEFAULT) else settings.image_column
    return frozenset(part.strip().lower().lstrip(".") for part in column.split(";")) - {""}
