"""The seam between evaluation and where the truth comes from, and the formats that there are: one line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

import pyarrow as pa

from vision_batch.datasets.listing import list_input
from vision_batch.errors import NotFoundError, Problem, SpecError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.evaluation.truth_coco import open_coco
from vision_batch.evaluation.truth_folder import open_folder
from vision_batch.evaluation.truth_masks import open_masks
from vision_batch.evaluation.truth_parquet import open_parquet

LOOKED_AT: Final = 100
"""How many files of a folder tell its format."""


class Truth(Protocol):
    """What is right, of any number of images, as a stream.

    `columns` are those that it has besides, to slice by. With `by_file_name` an image is named by a file, and may be
    called by the last part of its path only. With `is_apart` the file is not the image but beside it: its
    extension says nothing.
    """

    @property
    def uri(self) -> str: ...

    @property
    def columns(self) -> tuple[str, ...]: ...

    @property
    def by_file_name(self) -> bool: ...

    @property
    def is_apart(self) -> bool: ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """`image_id` (string), `truth` and the named columns of every image that has a truth."""


TRUTHS: Final[dict[str, Callable[[TruthSettings, str], Truth]]] = {
    "parquet": open_parquet,
    "folder": open_folder,
    "coco": open_coco,
    "masks": open_masks,
}
"""From the settings and the name of the task's own truth column; SpecError where there is no such truth."""


def open_truth(settings: TruthSettings, truth_column: str) -> Truth:
    """The truth at a normalised URI."""
    kind = _detected(settings.uri, truth_column) if settings.format == "auto" else settings.format
    if kind not in TRUTHS:
        raise SpecError(Problem("truth.format", kind, f"one of {', '.join(TRUTHS)}"))
    return TRUTHS[kind](settings, truth_column)


def _detected(uri: str, truth_column: str) -> str:
    """By what files are called."""
    try:
        names = [file.uri.lower() for file in islice(list_input(uri), LOOKED_AT)]
    except NotFoundError as error:
        raise SpecError(Problem("truth.uri", f"{uri}: {error.message}", "where the truth is")) from None
    if any(name.endswith(".parquet") for name in names):
        return "parquet"
    if names and all(name.endswith(".json") for name in names):
        return "coco"
    return "masks" if truth_column == "mask_png" else "folder"
