"""YOLO datasets for detection: images, and beside them a text file for each with its boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias

import pyarrow as pa
import yaml

from vision_batch.datasets.coco import LABELS, unknown_label
from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.folder import FolderFormat
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings, no_masks
from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.datasets.yolo_files import image_file, label_uri, names_uri
from vision_batch.datasets.yolo_line import parse_yolo_line
from vision_batch.errors import ImageError, NotFoundError, Problem, StorageError, TooLargeError
from vision_batch.images.formats import read_header
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for

ClassNames: TypeAlias = dict[int, str] | ImageError

FOLDER: Final = FolderFormat()
SHARES: Final = 4
MOST_TEXT_BYTES: Final = 4 << 20
"""Of the labels of an image: some 50,000 boxes, or polygons of 200,000 points, take some seconds to read."""
EDGES: Final = ("x_min", "y_min", "x_max", "y_max")


class YoloFormat:
    """Images in folders, as `FolderFormat` has them; an image whose labels change is a changed one.

    `label_column: boxes` gives the boxes of `labels/a/b.txt` for `images/a/b.jpg`, in pixels of the image as shown,
    `labels` the classes of these. Names of classes are in `data.yaml` beside the two folders; without it they are
    called by their numbers. No file of labels is an image without boxes. A line of a polygon gives the box around it.
    """

    grouped = True
    extensions = FOLDER.extensions

    def is_member(self, uri: str) -> bool:
        """Whether it has a known image extension."""
        return FOLDER.is_member(uri)

    def problems(self, settings: InputSettings) -> list[Problem]:
        """A folder knows no columns."""
        return [*no_masks(settings), *unknown_label(settings), *FOLDER.problems(_unlabelled(settings))]

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """Never called: the plan groups files."""
        return FOLDER.cut(file, root, input_name, settings)

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """`truth`, if asked for: boxes as structs, or the names of classes."""
        return [pa.field("truth", LABELS[settings.label_column])] if settings.label_column else []

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """From names and files of labels: boxes are shares of the images here, whose sizes nobody reads.

        A label that is none is no label here.
        """
        truths = _texts(shard.files, settings if labels else _unlabelled(settings))
        names = _class_names(names_uri(shard.root)) if labels else {}
        entries = FOLDER.entries(shard, _unlabelled(settings), labels=False)
        for entry, text in zip(entries, truths, strict=True):
            yield None if entry is None else entry._replace(truth=_shares(text, names, settings))

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """The wanted images, fetched concurrently, and their labels beside them."""
        places = range(len(shard.files)) if span is None else range(span.first, span.stop)
        rows = [row for row in places if wanted(row)]
        chosen = frozenset(rows)
        stored = replace(shard, files=tuple(map(image_file, shard.files)))
        names = _class_names(names_uri(shard.root)) if settings.label_column else {}
        samples = FOLDER.read(stored, _unlabelled(settings), chosen.__contains__, span)
        for sample, text in zip(samples, _texts([shard.files[row] for row in rows], settings), strict=True):
            yield _labelled(sample, text, names, settings)


def _unlabelled(settings: InputSettings) -> InputSettings:
    return settings.model_copy(update={"label_column": None})


def _texts(
    files: list[ObjectInfo] | tuple[ObjectInfo, ...], settings: InputSettings
) -> Iterator[str | ImageError | None]:
    """The labels of each image, None where they are not asked for; those of no file are empty."""
    if settings.label_column is None:
        yield from (None for _ in files)
        return
    present = [file for file in files if file.version != PRUNED]
    requests = (ReadRequest(uri=label_uri(file.uri), most_bytes=MOST_TEXT_BYTES) for file in present)
    contents = storage_for(present[0].uri).read_many(requests) if present else iter(())
    for file in files:
        yield None if file.version == PRUNED else _text(next(contents))


def _text(content: bytes | StorageError) -> str | ImageError:
    if isinstance(content, NotFoundError):
        return ""
    if isinstance(content, TooLargeError):
        return ImageError("invalid_label", content.message)
    if isinstance(content, StorageError):
        raise content
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        return ImageError("invalid_label", f"labels that are not UTF-8 at byte {error.start}")


def _labelled(sample: Sample, text: str | ImageError | None, names: ClassNames, settings: InputSettings) -> Sample:
    """The sample with its truth. An image whose header cannot be read has none: it has no size that places boxes."""
    if text is None or sample.data is None:
        return sample
    try:
        width, height = read_header(sample.data).shown_size
    except ImageError:  # whoever decodes it says the same
        return sample
    try:
        return replace(sample, truth=_truth(text, names, settings, width, height))
    except ImageError as error:
        return replace(sample, data=None, error=error)


def _shares(text: str | ImageError | None, names: ClassNames, settings: InputSettings) -> Any:
    try:
        return None if text is None else _truth(text, names, settings, 1, 1)
    except ImageError:
        return None


def _truth(
    text: str | ImageError, names: ClassNames, settings: InputSettings, width: int, height: int
) -> list[dict[str, Any]] | list[str]:
    if isinstance(text, ImageError):
        raise text
    if isinstance(names, ImageError):
        raise names
    lines = (line.split() for line in text.splitlines())
    boxes = [_box(number, line, names, width, height) for number, line in enumerate(lines, start=1) if line]
    return boxes if settings.label_column == "boxes" else sorted({str(box["label"]) for box in boxes})


def _box(number: int, line: list[str], names: dict[int, str], width: int, height: int) -> dict[str, Any]:
    try:
        index = int(line[0])
        label = names[index] if names else str(index)
        edges = zip(EDGES, _edges(line[1:], width, height), strict=True)
    except (KeyError, ValueError) as error:
        found = f"line {number} of the labels: {type(error).__name__}: {error}"
        expected = "the number of a class of data.yaml, and centre x, centre y, width and height as shares"
        raise ImageError("invalid_label", f"{found}; expected {expected}") from error
    return {"label": label, **dict(edges), "is_crowd": False, "mask_rle": None}


def _edges(shares: list[str], width: int, height: int) -> tuple[float, float, float, float]:
    """Of a box, with its score behind it or without, or of the points of a polygon: three or more."""
    if len(shares) in (SHARES, SHARES + 1):
        edges = parse_yolo_line(shares[:SHARES], width, height)
        if edges[2] < edges[0] or edges[3] < edges[1]:
            raise ValueError("a width or height below 0")
        return edges
    if len(shares) < SHARES or len(shares) % 2:
        raise ValueError(f"{len(shares)} numbers behind the class")
    points = [parse_yolo_line([*shares[at : at + 2], "0", "0"], width, height) for at in range(0, len(shares), 2)]
    xs, ys, *_ = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _class_names(uri: str) -> ClassNames:
    """Class index to name, by `names` of a `data.yaml`: a list, or a mapping; empty where there is no such file.

    The error of every image where it says something else.
    """
    try:
        names = yaml.load(storage_for(uri).read(uri), yaml.BaseLoader)["names"]  # of texts, dicts and lists only
        if not isinstance(names, dict | list):
            raise TypeError(f"names are {names!r}")
        named = {int(index): name for index, name in (names.items() if isinstance(names, dict) else enumerate(names))}
        if strange := [index for index, name in named.items() if not isinstance(name, str)]:
            raise TypeError(f"the name of class {strange[0]} is no text")  # nor shown: aliases make much of little
        return named
    except NotFoundError:
        return {}
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        found = f"{uri}: {type(error).__name__}: {error}"
        return ImageError("invalid_label", f"{found}; expected `names`: the classes by their numbers")
