"""The images behind an output's rows, read again from the input in the versions that the rows are of."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from vision_batch.datasets.naming import relative_name
from vision_batch.datasets.sample import MAX_IMAGE_BYTES, Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.datasets.yolo_files import image_file
from vision_batch.errors import LedgerError, Problem, SpecError, StorageError, UnavailableError
from vision_batch.ledger.definition import KIND, ClaimedOutput, read_definition
from vision_batch.ledger.inspect import list_parts, read_records
from vision_batch.ledger.manifest import StoredPart, read_manifest
from vision_batch.ledger.members import load_members
from vision_batch.ledger.part import PartRecord
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import earlier_shards
from vision_batch.storage.storage import ReadRequest
from vision_batch.storage.table import storage_for


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """One image as it is stored, encoded; exactly one of `data` and `error` (a sentence) is there.

    `image_id` is None where its shard cannot be read at all.
    """

    shard: str
    row: int
    image_id: str | None
    data: bytes | None = None
    error: str | None = None


class SourceImages:
    """The input of an output, as its definition and its plan name it.

    An image that changed, vanished or may not be read any more gives an error in its place and harms no other one. Only
    a storage that does not answer after all retries is raised, as UnavailableError: it would not for the next one.
    """

    def __init__(self, paths: LedgerPaths, claimed: ClaimedOutput, settings: InputSettings) -> None:
        self._paths = paths
        self._claimed = claimed
        self._settings = settings

    @classmethod
    def of(cls, output: str | LedgerPaths) -> SourceImages:
        """SpecError for what is no output of a predict job; LedgerError where its definition is damaged."""
        paths = output if isinstance(output, LedgerPaths) else LedgerPaths(output)
        claimed = read_definition(paths)
        if claimed is None or KIND in claimed.definition.facts:
            found = "nothing" if claimed is None else f"an output of a {claimed.definition.facts[KIND]} job"
            raise SpecError(Problem(paths.output, found, "the output of a predict job, which names its images"))
        return cls(paths, claimed, _input(paths, claimed))

    def read(self, wanted: Mapping[str, Collection[int]]) -> Iterator[SourceImage]:
        """These rows of these shards: shard by shard as they are given, rows in order, each shard opened once.

        Memory is that of the few images that are fetched at a time.
        """
        records = self._records(wanted)
        shards = self._shards(records)
        for key, rows in wanted.items():
            yield from self._read(key, shards.get(key), np.unique(np.fromiter(rows, np.int64)))

    def all(self) -> Iterator[SourceImage]:
        """Every image that has a row, shard by shard in the order of the parts' names, rows in order."""
        records = self._records(None)
        shards = self._shards(records)
        for key, parts in groupby(records, key=lambda record: record.shard):
            yield from self._read(key, shards.get(key), _rows(parts))

    def place(self, shard: str, row: int) -> tuple[str, int]:
        """What `all` and the parts' rows are in order of."""
        return self._paths.part_stem(shard), row

    def _records(self, keys: Iterable[str] | None) -> list[PartRecord]:
        """Of the parts of some shards, or of all, by their names; what is damaged has none."""
        infos = list_parts(self._paths)
        if keys is not None:
            stems = {self._paths.part_stem(key) for key in keys}
            infos = [info for info in infos if self._paths.stem_of(info.uri) in stems]
        seen = read_records(self._paths, infos, read_manifest(self._paths))
        parts = (part for part in seen if isinstance(part, StoredPart))
        return [part.record for part in sorted(parts, key=lambda part: part.info.uri)]

    def _shards(self, records: Iterable[PartRecord]) -> dict[str, Shard]:
        """As they were planned when their parts were computed."""
        return earlier_shards(self._paths, {record.shard: record.version for record in records})

    def _read(self, key: str, shard: Shard | None, rows: NDArray[np.int64]) -> Iterator[SourceImage]:
        """These rows, ascending, each once; of an image that was pruned nothing is said."""
        read = 0
        try:
            if shard is None:
                raise LedgerError(
                    self._paths.output, f"no part of {key} is there, or the plan does not know its version"
                )
            shard = load_members(self._paths, shard)
            rows = np.setdiff1d(rows, list(shard.pruned_rows))
            for image in self._images(shard, rows):
                yield image
                read += 1
                if read == len(rows):
                    return
            error = f"{key} has no such row"
        except UnavailableError:
            raise
        except (StorageError, LedgerError) as reason:
            error = str(reason)
        for row in rows[read:].tolist():
            yield SourceImage(shard=key, row=row, image_id=None, error=error)

    def _images(self, shard: Shard, rows: NDArray[np.int64]) -> Iterator[SourceImage]:
        if shard.group is not None:
            yield from _files(shard, rows.tolist())
            return
        for sample in format_named(shard.format).read(shard, self._settings, _one_after_the_other(rows)):
            yield _image(shard, sample)


def _files(shard: Shard, rows: list[int]) -> Iterator[SourceImage]:
    """Of a group: each file is an image, and one that is another by now says nothing of its neighbours."""
    files = [image_file(shard.files[row]) for row in rows if row < len(shard.files)]
    requests = (
        ReadRequest(uri=file.uri, version=file.version, size_bytes=file.size_bytes, most_bytes=MAX_IMAGE_BYTES)
        for file in files
    )
    contents = storage_for(shard.root).read_many(requests)
    for row, file, content in zip(rows, files, contents, strict=False):
        if isinstance(content, UnavailableError):
            raise content
        yield SourceImage(
            shard=shard.key,
            row=row,
            image_id=relative_name(file.uri, shard.root, shard.input_name),
            data=None if isinstance(content, StorageError) else content,
            error=str(content) if isinstance(content, StorageError) else None,
        )


def _image(shard: Shard, sample: Sample) -> SourceImage:
    return SourceImage(
        shard=shard.key,
        row=sample.row,
        image_id=sample.image_id,
        data=None if sample.data is None else bytes(sample.data),
        error=None if sample.error is None else f"{sample.error.code}: {sample.error}",
    )


def _one_after_the_other(rows: NDArray[np.int64]) -> Callable[[int], bool]:
    """Whether a row is among the ascending `rows`, for who asks in order."""
    waiting = iter(rows.tolist())
    upcoming = next(waiting, None)

    def wanted(row: int) -> bool:
        nonlocal upcoming
        if row != upcoming:
            return False
        upcoming = next(waiting, None)
        return True

    return wanted


def _rows(parts: Iterable[PartRecord]) -> NDArray[np.int64]:
    """Of the cells of one shard, those of pruned images included."""
    return np.concatenate([np.arange(part.first_row, part.first_row + part.rows + part.holes) for part in parts])


def _input(paths: LedgerPaths, claimed: ClaimedOutput) -> InputSettings:
    """The input as its definition says it, without what is not the image."""
    facts = {
        key.removeprefix("input."): value for key, value in claimed.definition.facts.items() if key.startswith("input.")
    }
    try:
        named = [{"name": name, "uri": uri} for name, uri in facts["uri"]]
        uri = named[0]["uri"] if len(named) == 1 and not named[0]["name"] else named
        return InputSettings.model_validate({**facts, "uri": uri, "masks": None, "keep_columns": []})
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise LedgerError(paths.definition, f"says of the input what this version cannot read: {error}") from error
