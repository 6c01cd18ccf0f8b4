"""What flows between the stages: a chunk's rows, first with encoded bytes, then with pixels, then with predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.sample import Sample
from vision_batch.errors import ImageError, ModelError
from vision_batch.images.geometry import Geometry
from vision_batch.ledger.patch import Patch
from vision_batch.tasks.task import View

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
    geometry: Geometry | None = None

    @property
    def view(self) -> View:
        """What the model sees of a row that has pixels."""
        assert self.width is not None
        assert self.height is not None
        assert self.geometry is not None
        return View(width=self.width, height=self.height, geometry=self.geometry)

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

    def singles(self) -> list[EncodedChunk]:
        """Each image in a chunk of its own."""
        return [replace(self, samples=(sample,)) for sample in self.samples]

    def killed(self, message: str) -> EncodedChunk:
        """The chunk with the error `worker_killed` in place of its images."""
        error = ImageError("worker_killed", message)
        return replace(self, samples=tuple(replace(sample, data=None, error=error) for sample in self.samples))


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedChunk:
    """`pixels` is uint8 (K, H, W, 3), RGB, for the K rows at the positions `good`; the other rows are error rows."""

    place: Place
    rows: list[Row]
    good: list[int]
    pixels: NDArray[np.uint8]

    @property
    def good_images(self) -> int:
        return len(self.good)

    def singles(self) -> list[DecodedChunk]:
        """Each row in a chunk of its own."""
        position = {row: i for i, row in enumerate(self.good)}
        at = [slice(position[i], position[i] + 1) if i in position else slice(0) for i in range(len(self.rows))]
        return [
            replace(self, rows=[row], good=[0] if i in position else [], pixels=self.pixels[at[i]])
            for i, row in enumerate(self.rows)
        ]

    def killed(self, message: str) -> DecodedChunk:
        """The chunk with the error `worker_killed` in place of its images."""
        rows = [replace(row) for row in self.rows]
        for row in rows:
            row.fail(ImageError("worker_killed", message))
        return replace(self, rows=rows, good=[], pixels=self.pixels[:0])

    @staticmethod
    def merged(chunks: Sequence[DecodedChunk]) -> DecodedChunk:
        """One chunk of several of the same place, in order."""
        starts = accumulate((len(chunk.rows) for chunk in chunks), initial=0)
        return DecodedChunk(
            place=chunks[0].place,
            rows=[row for chunk in chunks for row in chunk.rows],
            good=[start + i for start, chunk in zip(starts, chunks, strict=False) for i in chunk.good],
            pixels=stacked(image for chunk in chunks for image in chunk.pixels),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedChunk:
    """`table` has the output's complete schema and one row for each image of the chunk.

    The model was asked about `asked` of its images and failed on `failed`, the first time because of `failure`. It is
    given `batch_rows` images at once, 0 while that is being found out.
    """

    place: Place
    table: pa.Table
    asked: int = 0
    failed: int = 0
    failure: str = ""
    batch_rows: int = 0

    @property
    def good_images(self) -> int:
        return self.asked - self.failed

    @staticmethod
    def merged(chunks: Sequence[PredictedChunk]) -> PredictedChunk:
        """One chunk of several of the same place, in order."""
        import pyarrow as pa

        return PredictedChunk(
            place=chunks[0].place,
            table=pa.concat_tables([chunk.table for chunk in chunks]),
            asked=sum(chunk.asked for chunk in chunks),
            failed=sum(chunk.failed for chunk in chunks),
            failure=next((chunk.failure for chunk in chunks if chunk.failed), ""),
            batch_rows=chunks[-1].batch_rows,
        )


def stacked(images: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Images of one size as one array; ModelError if their sizes differ."""
    arrays = list(images)
    if len({array.shape for array in arrays}) > 1:
        shapes = sorted({f"{array.shape[1]}x{array.shape[0]}" for array in arrays})
        raise ModelError(
            f"preprocess.function gives images of different sizes ({', '.join(shapes[:4])}); "
            "set crop_px, resize_px or letterbox_px as well, so that a batch has one size"
        )
    if len(arrays) == 1:
        return arrays[0][None]  # which may be large
    return np.stack(arrays) if arrays else np.empty((0, 1, 1, 3), np.uint8)
