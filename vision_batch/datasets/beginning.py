"""The first images of an input, before anything is planned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from vision_batch.datasets.format import Format
from vision_batch.datasets.listing import InputListing, list_inputs
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.errors import ShardError, StorageError
from vision_batch.storage.object_info import ObjectInfo

UNREAD_FILES = 8
"""So many that cannot be read are passed over: storage that does not answer is waited for at each."""


def first_samples(
    settings: InputSettings, format_name: str, count: int, *, among: int | None = None
) -> Iterator[Sample]:
    """Up to `count` images, those with errors included, in no promised order; no more is listed or opened than needed.

    Of a folder's files they are taken evenly from the first `among`, where that is given.
    A file that cannot be read is passed over. StorageError or ShardError where none can, StorageError where the storage
    does not list.
    """
    format = format_named(format_name)
    files = (
        file for listing in list_inputs(settings) for file in _files(listing, settings, format, count, among or count)
    )
    return islice(_readable(files), count)


def _readable(files: Iterable[Iterator[Sample]]) -> Iterator[Sample]:
    unread: list[StorageError | ShardError] = []
    found = 0
    for samples in files:
        try:
            for sample in samples:
                found += 1
                yield sample
        except (StorageError, ShardError) as error:
            unread.append(error)
        if len(unread) == UNREAD_FILES:
            break
    if unread and not found:
        raise unread[0]


def _files(
    listing: InputListing, settings: InputSettings, format: Format, count: int, among: int
) -> Iterator[Iterator[Sample]]:
    """The images of each file, or of a group of files."""
    members = (info for info in listing if format.is_member(info.uri))
    if format.grouped:
        first = tuple(islice(members, among))
        taken = min(count, len(first))
        files = tuple(first[place * len(first) // taken] for place in range(taken))
        shard = Shard(key="", input_name=listing.name, root=listing.root, format=settings.format, files=files)
        yield format.read(shard, settings, lambda row: True)
        return
    for info in members:
        yield _samples(info, listing, settings, format)


def _samples(info: ObjectInfo, listing: InputListing, settings: InputSettings, format: Format) -> Iterator[Sample]:
    for shard in format.cut(info, listing.root, listing.name, settings):
        yield from format.read(shard, settings, lambda row: True)
