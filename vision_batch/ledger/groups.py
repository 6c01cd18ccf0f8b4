"""Matches the files of a folder with the groups of a recorded plan, both in order of URIs, one stream along the other.

What is held in memory are the shards, and of each origin's groups the one that the listing has come to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import merge

from vision_batch.datasets.shard import PRUNED, Shard
from vision_batch.errors import LedgerError, StorageError
from vision_batch.ledger.match import Found, Matched
from vision_batch.ledger.members import MembersWriter, read_groups
from vision_batch.ledger.paths import WAY_OUT, LedgerPaths
from vision_batch.ledger.recorded import Recorded
from vision_batch.ledger.segment import Entry
from vision_batch.ledger.stored_groups import StoredGroups
from vision_batch.storage.object_info import ObjectInfo

GROUP = re.compile(r"(?:(?P<input>.*)/)?files-(?P<number>\d{6,})")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """A recorded group while its members pass by.

    `changed` are the files of those that are to be other versions than recorded, `missed` the places of those that left
    the input and may have rows that stay.
    """

    shard: Shard
    files: tuple[ObjectInfo, ...]
    changed: dict[int, ObjectInfo] = field(default_factory=dict)
    missed: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of a recorded group; `is_last` of the group's, so that nothing more is to come of it."""

    group: PlannedGroup
    position: int
    is_last: bool

    @property
    def info(self) -> ObjectInfo:
        return self.group.files[self.position]


def match_groups(
    paths: LedgerPaths,
    recorded: Recorded,
    files: Iterable[Found],
    format_name: str,
    cell_rows: int,
    *,
    write: bool,
    prune: bool = False,
) -> Matched:
    """For formats whose files are one image each: many files make one shard, a group, and never another one.

    `files` of all inputs come in order of URIs. A changed member changes its group's version. A removed member keeps
    its place and the version that its row is of, or with `prune` its place alone: the numbers of the rows after it must
    not move. It takes its place again when it comes back. One whose group has no part has no row to keep, and goes like
    a pruned one without counting as any: nobody could compute it. With `write` the members of new and changed groups
    are stored. StorageError when the listing is out of order.
    """
    matched = Matched()
    writer = MembersWriter(paths, recorded.segments + 1, write=write)
    new = _NewGroups(writer, recorded, format_name, cell_rows)
    stored = StoredGroups(paths, recorded)
    for found, member in _side_by_side(files, _members(paths, recorded)):
        if member is None:
            assert found is not None
            new.add(found)
            matched.new += 1
            continue
        if found is None:
            matched.pruned += _miss(member, stored, prune=prune)
        elif found.info != member.info:
            member.group.changed[member.position] = found.info
            if member.info.version == PRUNED:
                matched.new += 1
            else:
                matched.changed += 1
        if member.is_last and member.group.missed:
            _keep(member.group, matched, stored)
        if member.is_last and member.group.changed:
            _rewrite(member.group, writer)
    new.finish()
    writer.flush()
    formed = {shard.key: shard for shard in writer.shards}
    matched.entries = [Entry(kind="shard", shard=shard) for shard in writer.shards]
    groups = {key: recorded.shards[key] for key in recorded.origins}
    matched.shards = [shard for shard in {**groups, **formed}.values() if shard.rows]
    return matched


def group_rows(index: int, cell_rows: int) -> int:
    """How many files the `index`-th new group of an input takes: 16 groups of 64, 16 of 128, and so on.

    Small inputs still spread over many workers, large ones get groups as large as a cell, and nobody needs to know
    the number of files before the listing ends.
    """
    return min(cell_rows, 64 << min(index // 16, 32))


def _miss(member: Member, stored: StoredGroups, *, prune: bool) -> bool:
    """A member that is not in the listing; whether it is pruned now."""
    group, position = member.group, member.position
    if member.info.version == PRUNED:
        return False
    if not prune and stored.has(group.shard):
        group.missed.append(position)
        return False
    group.changed[position] = replace(member.info, size_bytes=0, version=PRUNED)
    return prune


def _keep(group: PlannedGroup, matched: Matched, stored: StoredGroups) -> None:
    """Members that left the input stay as their rows are; what was planned of them and not computed since is undone."""
    before = stored.files(group.shard, group.files)
    changed = {place: before[place] for place in group.missed if before[place] != group.files[place]}
    group.changed.update(changed)
    kept = sum(before[place].version != PRUNED for place in group.missed)
    matched.removed += kept
    if kept:
        matched.removed_members[group.shard.key] = kept


def _rewrite(group: PlannedGroup, writer: MembersWriter) -> None:
    files = [group.changed.get(position, file) for position, file in enumerate(group.files)]
    writer.add(group.shard, files)


def _side_by_side(
    files: Iterable[Found], members: Iterator[tuple[str, int, Member]]
) -> Iterator[tuple[Found | None, Member | None]]:
    """Every file and every member once, in order; a file that is a member comes with it."""
    previous, (uri, _, member) = "", next(members, END)
    for found in files:
        if found.info.uri <= previous:
            raise StorageError(found.info.uri, f"is listed out of order, after {previous}")
        previous = found.info.uri
        while member is not None and uri < previous:
            yield None, member
            uri, _, member = next(members, END)
        if member is not None and uri == previous:
            yield found, member
            uri, _, member = next(members, END)
        else:
            yield found, None
    while member is not None:
        yield None, member
        uri, _, member = next(members, END)


END: tuple[str, int, None] = ("", 0, None)


def _members(paths: LedgerPaths, recorded: Recorded) -> Iterator[tuple[str, int, Member]]:
    """All members of a plan in order of URIs. The number tells apart what is not compared: no file is in two groups."""
    runs: dict[tuple[int, str], list[Shard]] = {}
    for key, origin in recorded.origins.items():
        shard = recorded.shards[key]
        runs.setdefault((origin, shard.input_name), []).append(shard)
    return merge(*(_run(paths, number, shards) for number, shards in enumerate(runs.values())))


def _run(paths: LedgerPaths, number: int, shards: list[Shard]) -> Iterator[tuple[str, int, Member]]:
    previous = ""
    for shard, files in read_groups(paths, shards):
        group, last = PlannedGroup(shard=shard, files=files), len(files) - 1
        for position, file in enumerate(files):
            if file.uri <= previous:
                raise LedgerError(paths.plan, f"the members of {shard.key} are not in order: {file.uri}; {WAY_OUT}")
            previous = file.uri
            yield previous, number, Member(group=group, position=position, is_last=position == last)


class _NewGroups:
    """Files that no group has, put into groups of their own input."""

    def __init__(self, writer: MembersWriter, recorded: Recorded, format_name: str, cell_rows: int) -> None:
        self._writer = writer
        self._format_name = format_name
        self._cell_rows = cell_rows
        self._numbers = _next_numbers(recorded)
        self._formed: dict[str, int] = {}
        self._waiting: dict[str, list[Found]] = {}

    def add(self, found: Found) -> None:
        """Takes a file; a group that is full goes to the writer."""
        waiting = self._waiting.setdefault(found.input_name, [])
        waiting.append(found)
        if len(waiting) == group_rows(self._formed.get(found.input_name, 0), self._cell_rows):
            self._form(found.input_name)

    def finish(self) -> None:
        """Makes groups of what is left."""
        for input_name in list(self._waiting):
            self._form(input_name)

    def _form(self, input_name: str) -> None:
        files = self._waiting.pop(input_name)
        number = self._numbers.get(input_name, 1)
        self._numbers[input_name] = number + 1
        self._formed[input_name] = self._formed.get(input_name, 0) + 1
        prefix = f"{input_name}/" if input_name else ""
        shard = Shard(
            key=f"{prefix}files-{number:06d}", input_name=input_name, root=files[0].root, format=self._format_name
        )
        self._writer.add(shard, [found.info for found in files])


def _next_numbers(recorded: Recorded) -> dict[str, int]:
    """For each input name the number of its next group: numbers are never used twice."""
    numbers: dict[str, int] = {}
    for key in recorded.shards:
        match = GROUP.fullmatch(key)
        if match:
            name = match["input"] or ""
            numbers[name] = max(numbers.get(name, 1), int(match["number"]) + 1)
    return numbers
