"""Truth in folders: an image's class is the folder that it lies in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import pyarrow as pa

from vision_batch.datasets.folder import FolderFormat
from vision_batch.datasets.listing import Listing, list_input
from vision_batch.datasets.naming import printable, relative_name
from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.storage.uri import name, parent

BATCH_ROWS: Final = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderTruth:
    """Images are called by their paths relative to the folder, classes by the folder next to an image."""

    listing: Listing
    columns: tuple[str, ...] = ()
    by_file_name: bool = True
    is_apart: bool = False

    @property
    def uri(self) -> str:
        return self.listing.uri

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """SpecError without any image."""
        files = (file.uri for file in self.listing if FolderFormat().is_member(file.uri))
        found = False
        while uris := list(islice(files, BATCH_ROWS)):
            found = True
            ids = [relative_name(uri, self.listing.root, "") for uri in uris]
            classes = [printable(name(parent(uri))) for uri in uris]
            yield pa.record_batch([pa.array(ids, pa.string()), pa.array(classes, pa.string())], ["image_id", "truth"])
        if not found:
            raise SpecError(Problem("truth.uri", f"{self.uri} without images", "a folder of images for each class"))


def open_folder(settings: TruthSettings, truth_column: str) -> FolderTruth:
    """The folder at the settings' URI; SpecError where the task's truth is no class."""
    if truth_column != "label":
        found = f"{settings.uri}, a folder of images for each class"
        raise SpecError(Problem("truth.uri", found, f"a truth that has {truth_column}"))
    return FolderTruth(listing=list_input(settings.uri))
