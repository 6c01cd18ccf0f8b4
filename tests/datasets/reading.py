"""Reading an input as a job does, without a ledger: list, cut, read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from vision_batch.datasets.detect import detect_format
from vision_batch.datasets.format import Format
from vision_batch.datasets.listing import list_inputs
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.errors import StorageError
from vision_batch.storage.local import LocalStorage
from vision_batch.storage.object_info import ObjectInfo
from vision_batch.storage.storage import ReadRequest


def everything(_row: int) -> bool:
    return True


def settings_of(uri: Path | str, **more: object) -> InputSettings:
    return InputSettings.model_validate({"uri": str(uri), **more})


def shards_of(settings: InputSettings) -> list[Shard]:
    """Every shard; a grouped format's files of one input are one group, named after it."""
    name = detect_format(settings)
    format = format_named(name)
    shards: list[Shard] = []
    for listing in list_inputs(settings):
        files = [info for info in listing if format.is_member(info.uri)]
        if format.grouped:
            group = Shard(
                key="group",
                input_name=listing.name,
                root=listing.root,
                format=name,
                files=tuple(files),
                rows=len(files),
            )
            shards.append(group)
        else:
            shards += [shard for file in files for shard in format.cut(file, listing.root, listing.name, settings)]
    return shards


def samples_of(settings: InputSettings, wanted: Callable[[int], bool] = everything) -> list[Sample]:
    """The samples of every shard."""
    return [sample for shard in shards_of(settings) for sample in format_of(shard).read(shard, settings, wanted)]


def format_of(shard: Shard) -> Format:
    return format_named(shard.format)


def outcome(sample: Sample) -> bytes | str:
    """The image's bytes, or the code of its error."""
    assert (sample.data is None) != (sample.error is None)
    return sample.error.code if sample.error is not None else bytes(sample.data or b"")


def facts(sample: Sample) -> tuple[object, ...]:
    """Everything that a sample holds, comparable."""
    error = (sample.error.code, sample.error.message) if sample.error is not None else None
    return sample.row, sample.image_id, sample.data, error, sample.truth, sample.kept


def assert_reads_alike_whatever_is_wanted(settings: InputSettings, chosen: set[int]) -> None:
    """The law of Format.read: a filtered reading is the filter of the whole one, and every row is asked for once."""
    for shard in shards_of(settings):
        asked: list[int] = []

        def wanted(row: int, asked: list[int] = asked) -> bool:
            asked.append(row)
            return row in chosen

        whole = [facts(sample) for sample in format_of(shard).read(shard, settings, everything)]
        some = [facts(sample) for sample in format_of(shard).read(shard, settings, wanted)]
        assert some == [sample for sample in whole if sample[0] in chosen]
        assert [sample[0] for sample in whole] == list(range(len(whole)))
        assert asked == list(range(len(whole)))


class FaultyStorage(LocalStorage):
    """Local files, some of which answer with an error; `opened` lists what was read or opened."""

    def __init__(self, faults: dict[str, StorageError] | None = None) -> None:
        super().__init__()
        self.faults = faults or {}
        self.opened: list[str] = []

    def read_many(self, requests: Iterable[ReadRequest]) -> Iterator[bytes | StorageError]:
        for request in requests:
            self.opened.append(request.uri)
            yield self.faults.get(request.uri) or next(super().read_many([request]))

    def open(self, info: ObjectInfo) -> BinaryIO:
        self.opened.append(info.uri)
        if info.uri in self.faults:
            raise self.faults[info.uri]
        return super().open(info)
