"""Matches listed files of many images with those of a recorded plan: what is known, new, changed, gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from vision_batch.datasets.format import Format
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.errors import StorageError
from vision_batch.ledger.recorded import Recorded, RecordedFile
from vision_batch.ledger.segment import Entry
from vision_batch.storage.object_info import ObjectInfo

CUTTERS = 16
MOST_CUTS = 256
"""How many files one call of a thread takes at most: a call of its own would cost more than cutting a tar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A listed file that is a member of the dataset, and the input that lists it."""

    info: ObjectInfo
    root: str
    input_name: str


@dataclass(slots=True, kw_only=True)
class Matched:
    """All `shards` of the input, the `entries` to record, files that stay `unread`, and counts of files.

    `removed` are those that left the input and whose rows stay, `pruned` those whose rows go now; `removed_members`
    counts, by key, the former of each group.
    """

    shards: list[Shard] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    new: int = 0
    changed: int = 0
    removed: int = 0
    pruned: int = 0
    removed_members: dict[str, int] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def match_files(
    recorded: Recorded,
    files: Iterable[Found],
    format: Format,
    format_name: str,
    settings: InputSettings,
    *,
    prune: bool = False,
) -> Matched:
    """For formats whose files hold many images: a new or changed file is cut, the others keep their shards unopened.

    What files have left behind that are no longer listed stays, or goes with `prune`.
    """
    listed = [_known_or_found(recorded, found) for found in files]
    matched = Matched()
    cuts = _cut([entry for entry in listed if isinstance(entry, Found)], format, settings)
    for entry in listed:
        if isinstance(entry, RecordedFile):
            shards = [recorded.shards[key] for key in entry.keys]
            matched.shards += shards
            matched.entries += [Entry(kind="shard", shard=shard) for shard in shards if entry.gone]
            continue
        cut = next(cuts)
        if isinstance(cut, StorageError):
            # What was planned of an older version stays planned: its parts are good, and readers notice the change.
            known = recorded.files.get(entry.info.uri)
            matched.unread.append(str(cut))
            matched.shards += [recorded.shards[key] for key in known.keys] if known else []
            continue
        matched.shards += cut
        matched.entries += _entries(entry, cut, format_name)
        if entry.info.uri in recorded.files:
            matched.changed += 1
        else:
            matched.new += 1
    _leave(recorded, {entry.info.uri for entry in listed}, matched, prune=prune)
    return matched


def _known_or_found(recorded: Recorded, found: Found) -> RecordedFile | Found:
    """What is planned of a file that is as it was, so that the listing takes no memory for it; else the file."""
    known = recorded.files.get(found.info.uri)
    return known if known is not None and known.info == found.info and (known.keys or not known.gone) else found


def _cut(new: list[Found], format: Format, settings: InputSettings) -> Iterator[list[Shard] | StorageError]:
    """The shards of each file, in order; what the storage refuses is yielded in the file's place."""

    def cut(found: Found) -> list[Shard] | StorageError:
        try:
            return format.cut(found.info, found.root, found.input_name, settings)
        except StorageError as error:
            return error

    if not new:
        return
    share = min(max(len(new) // (CUTTERS * 16), 1), MOST_CUTS)
    shares = (new[start : start + share] for start in range(0, len(new), share))
    pool = ThreadPoolExecutor(CUTTERS, "cut")
    try:
        for results in pool.map(lambda files: [cut(found) for found in files], shares):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)


def _entries(found: Found, shards: list[Shard], format_name: str) -> list[Entry]:
    if shards:
        return [Entry(kind="shard", shard=shard) for shard in shards]
    return [Entry(kind="empty", shard=_keyless(found.info, found.root, found.input_name, format_name))]


def _leave(recorded: Recorded, listed: set[str], matched: Matched, *, prune: bool) -> None:
    """Records the files that left the input, once."""
    for uri, known in recorded.files.items():
        if uri in listed:
            continue
        if prune:
            matched.pruned += 1
        else:
            matched.removed += 1
        if prune or not known.gone:
            shard = recorded.shards[known.keys[0]] if known.keys else None
            root, input_name, name = (shard.root, shard.input_name, shard.format) if shard else ("", "", "")
            keyless = _keyless(known.info, root or uri, input_name, name)
            matched.entries.append(Entry(kind="pruned" if prune else "gone", shard=keyless))


def _keyless(info: ObjectInfo, root: str, input_name: str, format_name: str) -> Shard:
    return Shard(key="", input_name=input_name, root=root, format=format_name, files=(info,))
