"""Matches the files of a listing with those of a recorded plan: what is known, new, changed, gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from vision_batch.datasets.format import Format
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.errors import StorageError
from vision_batch.ledger.recorded import Recorded
from vision_batch.ledger.segment import Entry
from vision_batch.storage.object_info import ObjectInfo

CUTTERS = 16
GROUP = re.compile(r"(?:(?P<input>.*)/)?files-(?P<number>\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A listed file that is a member of the dataset, and the input that lists it."""

    info: ObjectInfo
    root: str
    input_name: str


@dataclass(slots=True, kw_only=True)
class Matched:
    """All `shards` of the input, the `entries` to record, files `removed` from the input, files that stay `unread`."""

    shards: list[Shard] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    removed: int = 0
    unread: list[str] = field(default_factory=list)


def match_files(
    recorded: Recorded, files: Iterable[Found], format: Format, format_name: str, settings: InputSettings
) -> Matched:
    """For formats whose files hold many images: a new or changed file is cut, the others keep their shards unopened."""
    listed = list(files)
    matched = Matched()
    cuts = _cut([found for found in listed if _is_new(recorded, found)], format, settings)
    for found in listed:
        known = recorded.files.get(found.info.uri)
        if _is_new(recorded, found):
            shards: list[Shard] | StorageError = next(cuts)
        else:
            shards = [recorded.shards[key] for key in known.keys] if known else []
        if isinstance(shards, StorageError):
            # What was planned of an older version stays planned: its parts are good, and readers notice the change.
            matched.unread.append(str(shards))
            matched.shards += [recorded.shards[key] for key in known.keys] if known else []
            continue
        matched.shards += shards
        if known is None or known.gone or known.info != found.info:
            matched.entries += _entries(found, shards, format_name)
    _leave(recorded, {found.info.uri for found in listed}, matched)
    return matched


def match_groups(recorded: Recorded, files: Iterable[Found], format_name: str, cell_rows: int) -> Matched:
    """For formats whose files are one image each: many files make one shard, a group, and never another one.

    A changed member changes its group's version, so that the whole group is done again. A removed member keeps its
    place and recorded version: the numbers of the rows after it must not move.
    """
    places = {
        file.uri: (key, position) for key, shard in recorded.shards.items() for position, file in enumerate(shard.files)
    }
    changed: dict[str, dict[int, ObjectInfo]] = {}
    new: list[Found] = []
    for found in files:
        place = places.pop(found.info.uri, None)
        if place is None:
            new.append(found)
        elif recorded.shards[place[0]].files[place[1]] != found.info:
            changed.setdefault(place[0], {})[place[1]] = found.info
    matched = Matched(removed=len(places))
    for key, shard in recorded.shards.items():
        if key in changed:
            members = tuple(changed[key].get(position, file) for position, file in enumerate(shard.files))
            shard = replace(shard, files=members)
            matched.entries.append(Entry(kind="shard", shard=shard))
        matched.shards.append(shard)
    for shard in _groups(new, _next_numbers(recorded), format_name, cell_rows):
        matched.shards.append(shard)
        matched.entries.append(Entry(kind="shard", shard=shard))
    return matched


def group_rows(index: int, cell_rows: int) -> int:
    """How many files the `index`-th new group of a planning pass takes: 16 groups of 64, 16 of 128, and so on.

    Small inputs still spread over many workers, large ones get groups as large as a cell, and nobody needs to know
    the number of files before the listing ends.
    """
    return min(cell_rows, 64 << min(index // 16, 32))


def _is_new(recorded: Recorded, found: Found) -> bool:
    known = recorded.files.get(found.info.uri)
    return known is None or known.info != found.info


def _cut(new: list[Found], format: Format, settings: InputSettings) -> Iterator[list[Shard] | StorageError]:
    """The shards of each file, in order; what the storage refuses is yielded in the file's place."""

    def cut(found: Found) -> list[Shard] | StorageError:
        try:
            return format.cut(found.info, found.root, found.input_name, settings)
        except StorageError as error:
            return error

    if not new:
        return
    pool = ThreadPoolExecutor(CUTTERS, "cut")
    try:
        yield from pool.map(cut, new)
    finally:
        pool.shutdown(cancel_futures=True)


def _entries(found: Found, shards: list[Shard], format_name: str) -> list[Entry]:
    if shards:
        return [Entry(kind="shard", shard=shard) for shard in shards]
    return [Entry(kind="empty", shard=_keyless(found.info, found.root, found.input_name, format_name))]


def _leave(recorded: Recorded, listed: set[str], matched: Matched) -> None:
    """Records the files that left the input, once."""
    for uri, known in recorded.files.items():
        if uri in listed:
            continue
        matched.removed += 1
        if not known.gone:
            shard = recorded.shards[known.keys[0]] if known.keys else None
            root, input_name, name = (shard.root, shard.input_name, shard.format) if shard else ("", "", "")
            matched.entries.append(Entry(kind="gone", shard=_keyless(known.info, root or uri, input_name, name)))


def _keyless(info: ObjectInfo, root: str, input_name: str, format_name: str) -> Shard:
    return Shard(key="", input_name=input_name, root=root, format=format_name, files=(info,))


def _groups(new: list[Found], numbers: dict[str, int], format_name: str, cell_rows: int) -> Iterator[Shard]:
    start = index = 0
    while start < len(new):
        first = new[start]
        stop = start
        while stop < min(len(new), start + group_rows(index, cell_rows)) and new[stop].input_name == first.input_name:
            stop += 1
        number = numbers.get(first.input_name, 1)
        numbers[first.input_name] = number + 1
        prefix = f"{first.input_name}/" if first.input_name else ""
        yield Shard(
            key=f"{prefix}files-{number:06d}",
            input_name=first.input_name,
            root=first.root,
            format=format_name,
            files=tuple(found.info for found in new[start:stop]),
            rows=stop - start,
        )
        start, index = stop, index + 1


def _next_numbers(recorded: Recorded) -> dict[str, int]:
    """For each input name the number of its next group: numbers are never used twice."""
    numbers: dict[str, int] = {}
    for key in recorded.shards:
        match = GROUP.fullmatch(key)
        if match:
            name = match["input"] or ""
            numbers[name] = max(numbers.get(name, 1), int(match["number"]) + 1)
    return numbers
