"""COCO JSON: the images that it lists, with their objects as truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pyarrow as pa

from vision_batch.datasets.coco_index import CocoIndex, coco_index, read_coco
from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.naming import extension, prefixed, relative_name
from vision_batch.datasets.references import Scope, fetched
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings, no_masks
from vision_batch.datasets.shard import Shard
from vision_batch.errors import ImageError, Problem
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.uri import join, name, parent

SHARD_ROWS: Final = 2048
FIRST_ROWS: Final = 64
SAME_ROWS: Final = 16
"""So many shards have FIRST_ROWS rows each, as many twice that, and so on: small files are work for many too."""
BOXES: Final = pa.list_(
    pa.struct(
        [
            ("label", pa.string()),
            *((edge, pa.float64()) for edge in ("x_min", "y_min", "x_max", "y_max")),
            ("is_crowd", pa.bool_()),
            ("mask_rle", pa.string()),
        ]
    )
)
LABELS: Final = {"boxes": BOXES, "labels": pa.list_(pa.string())}


class CocoFormat:
    """A shard is a run of the file's images, in its order. An image is called by its `file_name`.

    Images lie below `input.images`, or else in the folder `images` beside the file; names that lead out of it are
    `forbidden`. `label_column: boxes` gives their objects, `labels` the classes of these. A changed file changes all
    its shards; of an image only its name is planned, so that one which changes is not noticed.
    """

    grouped = False
    extensions = ("json",)

    def is_member(self, uri: str) -> bool:
        """Whether its name ends in .json and begins without an underscore, as no notes about a dataset do."""
        return extension(uri) == "json" and not name(uri).startswith("_")

    def problems(self, settings: InputSettings) -> list[Problem]:
        """The file says what an image is called, and has one kind of labels."""
        found = [*no_masks(settings), *unknown_label(settings)]
        for key in ("id_column", "image_column"):
            if getattr(settings, key) not in (None, "image"):
                found.append(Problem(f"input.{key}", repr(getattr(settings, key)), "nothing: images have file_name"))
        if settings.keep_columns:
            found.append(Problem("input.keep_columns", str(settings.keep_columns), "nothing: images have no columns"))
        return found

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """Runs of images; SpecError for what is no COCO JSON."""
        key = relative_name(file.uri, root, input_name)
        runs = list(_runs(len(read_coco(file).names)))
        return [
            Shard(
                key=key if len(runs) == 1 else f"{key}#{first}",
                input_name=input_name,
                root=root,
                format="coco",
                files=(file,),
                first_row=first,
                rows=rows,
            )
            for first, rows in runs
        ]

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """`truth`, if asked for: boxes as structs, or the names of classes."""
        return [pa.field("truth", LABELS[settings.label_column])] if settings.label_column else []

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """From the file alone; reading may begin at any. A label that is none is no label here."""
        index = coco_index(shard.files[0])
        for row in range(shard.rows or 0):
            try:
                truth = _truth(index, shard.first_row + row, settings) if labels else None
            except ImageError:
                truth = None
            yield Entry(_image_id(index, shard, row), truth, 0)

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """The wanted images, fetched concurrently."""
        index = coco_index(shard.files[0])
        folder = settings.images or join(parent(shard.files[0].uri), "images")
        scope = Scope(folder=folder, allowed=(folder, *settings.allow))
        rows = range(shard.rows or 0) if span is None else range(span.first, span.stop)
        yield from fetched(_referred(index, shard, row, settings, scope) for row in rows if wanted(row))


def unknown_label(settings: InputSettings) -> list[Problem]:
    """The problem of an `input.label_column` that is none of a dataset of objects."""
    if settings.label_column is None or settings.label_column in LABELS:
        return []
    return [Problem("input.label_column", repr(settings.label_column), " or ".join(f"`{name}`" for name in LABELS))]


def _runs(images: int) -> Iterator[tuple[int, int]]:
    """First image and number of images of each shard."""
    first = number = 0
    while first < images:
        rows = min(images - first, SHARD_ROWS, FIRST_ROWS << min(number // SAME_ROWS, 32))
        yield first, rows
        first, number = first + rows, number + 1


def _referred(
    index: CocoIndex, shard: Shard, row: int, settings: InputSettings, scope: Scope
) -> tuple[Sample, str | None]:
    """A sample without its bytes, and where they are."""
    image_id = _image_id(index, shard, row)
    try:
        truth = _truth(index, shard.first_row + row, settings)
        uri = scope.resolve(index.names[shard.first_row + row])
    except ImageError as error:
        return Sample(row=row, image_id=image_id, error=error), None
    return Sample(row=row, image_id=image_id, truth=truth), uri


def _truth(index: CocoIndex, image: int, settings: InputSettings) -> Any:
    if settings.label_column is None:
        return None
    return index.boxes(image) if settings.label_column == "boxes" else index.labels(image)


def _image_id(index: CocoIndex, shard: Shard, row: int) -> str:
    return prefixed(shard.input_name, index.names[shard.first_row + row])
