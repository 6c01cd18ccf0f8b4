"""The first images of an input, before anything is planned."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from vision_batch.datasets.format import Format
from vision_batch.datasets.listing import InputListing, list_inputs
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named


def first_samples(settings: InputSettings, format_name: str, count: int) -> Iterator[Sample]:
    """Up to `count` images, those with errors included, in no promised order; no more is listed or opened than needed.

    StorageError where the storage refuses.
    """
    format = format_named(format_name)
    shards = (shard for listing in list_inputs(settings) for shard in _shards(listing, settings, format, count))
    samples = (sample for shard in shards for sample in format.read(shard, settings, lambda row: True))
    return islice(samples, count)


def _shards(listing: InputListing, settings: InputSettings, format: Format, count: int) -> Iterator[Shard]:
    members = (info for info in listing if format.is_member(info.uri))
    if format.grouped:
        files = tuple(islice(members, count))
        yield Shard(key="", input_name=listing.name, root=listing.root, format=settings.format, files=files)
        return
    for info in members:
        yield from format.cut(info, listing.root, listing.name, settings)
