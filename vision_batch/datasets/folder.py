"""Folders of image files: a file is an image, a shard is a group of files that the plan froze."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.naming import has_extension, prefixed, printable, relative_name
from vision_batch.datasets.pattern import is_pattern
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, MAX_LABEL_BYTES, Sample, too_large
from vision_batch.datasets.settings import DEFAULT_EXTENSIONS, InputSettings
from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.errors import ImageError, NotFoundError, Problem, StorageError, TooLargeError
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import is_inside, join, name, parent, relative_to


class FolderFormat:
    """`row` is the file's place in `shard.files`.

    `label_column: folder` names the folder that holds the image. With `masks` the label is the content of a file below
    it, read with the image: `<image_id without its extension>.png`. An image without one has no label.

    A mask is no part of the plan: as `truth` of predictions it is the file of the moment when its image was read, of no
    version. A training lists its masks itself, and notices other ones.
    """

    grouped = True
    extensions = tuple(DEFAULT_EXTENSIONS.split(";"))

    def is_member(self, uri: str) -> bool:
        """Whether it has a known image extension, in any case; hidden files (`.x.jpg`) are images like others."""
        return has_extension(uri, self.extensions)

    def problems(self, settings: InputSettings) -> list[Problem]:
        """A folder knows no columns: only its files' names and folders."""
        found = []
        if settings.label_column not in (None, "folder"):
            found.append(Problem("input.label_column", repr(settings.label_column), "`folder`: the image's own folder"))
        if settings.label_column is not None and settings.masks is not None:
            found.append(
                Problem("input.masks", repr(settings.masks), "nothing beside label_column: one label an image")
            )
        inside = [entry.uri for entry in settings.inputs if settings.masks and _holds(entry.uri, settings.masks)]
        if inside:
            expected = "a folder apart from the images, or input.uri as a glob that leaves masks out: `…/**/*.jpg`"
            found.append(Problem("input.masks", f"{settings.masks}, inside {inside[0]}", expected))
        if settings.id_column is not None:
            found.append(
                Problem("input.id_column", repr(settings.id_column), "nothing: files are named by their paths")
            )
        if settings.keep_columns:
            found.append(Problem("input.keep_columns", str(settings.keep_columns), "nothing: files have no columns"))
        return found

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """Never called: the plan groups files."""
        raise NotImplementedError("files of a folder are grouped into shards by the plan")

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """`truth`, if asked for: a string, or the bytes of a mask."""
        return [pa.field(name, pa.binary() if settings.masks else pa.string()) for name in settings.extra_names]

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """From the names of the files alone; reading may begin at any."""
        for file in shard.files:
            yield None if file.version == PRUNED else Entry(_image_id(file, shard), _label(file, settings), 0)

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """The wanted files in the order of `shard.files`, fetched concurrently; others are not opened.

        A file that is gone is a `missing` image. What else the storage raises stops the reading.
        """
        places = range(len(shard.files)) if span is None else range(span.first, span.stop)
        rows = [(row, shard.files[row]) for row in places if wanted(row)]
        requests = (
            ReadRequest(uri=file.uri, version=file.version, size_bytes=file.size_bytes)
            for _, file in rows
            if _fits(file)
        )
        contents = storage_for(shard.root).read_many(requests)
        labels = _labels([file for _, file in rows], shard, settings)
        for (row, file), label in zip(rows, labels, strict=True):
            data, error = _judged(next(contents)) if _fits(file) else (None, too_large(file.size_bytes))
            if isinstance(label, ImageError):
                data, error, label = None, error or label, None
            yield Sample(
                row=row,
                image_id=_image_id(file, shard),
                data=data,
                error=error,
                truth=label,
            )


def _holds(uri: str, masks: str) -> bool:
    """Whether an input takes the masks for images: a pattern says itself what it takes."""
    return not is_pattern(uri) and is_inside(masks, uri)


def _labels(
    files: Sequence[ObjectInfo], shard: Shard, settings: InputSettings
) -> Iterator[str | bytes | ImageError | None]:
    """One for each file, in order."""
    if settings.masks is None:
        yield from (_label(file, settings) for file in files)
        return
    masks = [join(settings.masks, mask_name(file.uri, shard)) for file in files]
    requests = (ReadRequest(uri=uri, most_bytes=MAX_LABEL_BYTES) for uri in masks)
    for content in storage_for(settings.masks).read_many(requests):
        if isinstance(content, NotFoundError):
            yield None
        elif isinstance(content, TooLargeError):
            yield ImageError("invalid_label", content.message)
        elif isinstance(content, StorageError):
            raise content
        else:
            yield content


def mask_name(uri: str, shard: Shard) -> str:
    """Where the mask of an image lies below `input.masks`: its own relative name, as a PNG."""
    relative = relative_to(uri, shard.root)
    return prefixed(shard.input_name, f"{relative.rpartition('.')[0]}.png")


def _image_id(file: ObjectInfo, shard: Shard) -> str:
    return relative_name(file.uri, shard.root, shard.input_name)


def _label(file: ObjectInfo, settings: InputSettings) -> str | None:
    return printable(name(parent(file.uri))) if settings.label_column else None


def _fits(file: ObjectInfo) -> bool:
    return file.size_bytes <= MAX_IMAGE_BYTES


def _judged(content: bytes | StorageError) -> tuple[bytes | None, ImageError | None]:
    if isinstance(content, NotFoundError):
        return None, ImageError("missing", content.message)
    if isinstance(content, StorageError):
        raise content
    return content, None
