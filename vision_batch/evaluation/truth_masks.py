"""Truth in a folder of masks: PNGs of class indices that are called like the images, but for the extension."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import pyarrow as pa

from vision_batch.datasets.listing import Listing, list_input
from vision_batch.datasets.naming import has_extension, relative_name
from vision_batch.errors import Problem, SpecError, StorageError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for

BATCH_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskTruth:
    """Called by their paths relative to the folder: `cats/7.png` is the mask of `cats/7.jpg`."""

    listing: Listing

    columns: ClassVar[tuple[str, ...]] = ()
    by_file_name: ClassVar[bool] = True
    is_apart: ClassVar[bool] = True

    @property
    def uri(self) -> str:
        return self.listing.uri

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """A batch holds about 16 MiB. SpecError without any PNG; the storage's errors pass."""
        waiting: list[ObjectInfo] = []
        found = False
        for file in self.listing:
            if has_extension(file.uri, ("png",)):
                found = True
                waiting.append(file)
                if sum(each.size_bytes for each in waiting) >= BATCH_BYTES:
                    yield self._batch(waiting)
                    waiting = []
        if waiting:
            yield self._batch(waiting)
        if not found:
            raise SpecError(Problem("truth.uri", f"{self.uri} without PNGs", "a folder of masks"))

    def _batch(self, files: Sequence[ObjectInfo]) -> pa.RecordBatch:
        names = [relative_name(file.uri, self.listing.root, "") for file in files]
        requests = (ReadRequest(uri=file.uri, version=file.version, size_bytes=file.size_bytes) for file in files)
        masks = []
        for answer in storage_for(self.uri).read_many(requests):
            if isinstance(answer, StorageError):
                raise answer
            masks.append(answer)
        columns = [pa.array(names, pa.string()), pa.array(masks, pa.binary())]
        return pa.record_batch(columns, ["image_id", "truth"])


def open_masks(settings: TruthSettings, truth_column: str) -> MaskTruth:
    """The folder at the settings' URI; SpecError where the task's truth is no mask."""
    if truth_column != "mask_png":
        raise SpecError(Problem("truth.uri", f"{settings.uri}, a folder of masks", f"a truth that has {truth_column}"))
    return MaskTruth(listing=list_input(settings.uri))
