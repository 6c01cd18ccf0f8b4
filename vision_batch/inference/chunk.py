"""What flows between the stages: a chunk's rows, first with encoded bytes, then with pixels, then with predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError
from vision_batch.ledger.patch import Patch

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which chunk this is: number `index` of cell `cell` of a shard; the last of its cell, in the last cell, or not.

    With a `patch` it holds rows of a cell that is stored.
    """

    shard: str
    version: str
    cell: int
    index: int
    ends_cell: bool
    last_cell: bool
    patch: Patch | None = None


@dataclass(slots=True, kw_only=True)
class Row:
    """The facts of one output row that do not depend on the task."""

    row: int
    image_id: str
    width: int | None = None
    height: int | None = None
    error_code: str | None = None
    error: str | None = None
    truth: Any = None
    kept: tuple[Any, ...] = ()

    def fail(self, error: ImageError) -> None:
        """Turns the row into an error row, keeping dimensions that are already known."""
        self.error_code, self.error = error.code, error.message
        self.width = self.width if error.width is None else error.width
        self.height = self.height if error.height is None else error.height


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedChunk:
    """`samples` are the chunk's rows as their reader gave them."""

    place: Place
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedChunk:
    """`pixels` is uint8 (K, H, W, 3), RGB, for the K rows at the positions `good`; the other rows are error rows."""

    place: Place
    rows: list[Row]
    good: list[int]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedChunk:
    """`table` has the output's complete schema and one row for each image of the chunk.

    The model was asked about `asked` of its images and failed on `failed`, the first time because of `failure`.
    """

    place: Place
    table: pa.Table
    asked: int = 0
    failed: int = 0
    failure: str = ""
