"""The frozen, append-only plan: which shards the input has, the same for ever once they were planned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import chain

from vision_batch.datasets.format import Format
from vision_batch.datasets.listing import InputListing, list_inputs
from vision_batch.datasets.naming import relative_name
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import FORMATS
from vision_batch.errors import ExistsError, LedgerError, Problem, SpecError
from vision_batch.ledger.groups import match_groups
from vision_batch.ledger.match import Found, match_files
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.recorded import Recorded, read_recorded
from vision_batch.ledger.segment import Entry, write_segment

EXAMPLES = 10
ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run works through.

    `ignored` counts listed objects that are no images, `ignored_examples` names up to ten of them. `duplicates` counts
    files that several inputs list; each is read once. `removed` counts planned files that are no longer in the input;
    their rows stay. `removed_members` counts, by key, those that are members of groups. `superseded` are keys that a
    changed file no longer has, or that were pruned, with their sources: their parts must go. `gone` are keys whose file
    left the input: their parts stay. `unread` says which files could not be looked into: a run with any ends
    incomplete. `added` counts the shards that this planning recorded, new and changed; `new`, `changed` and `pruned`
    the files that it found so. `members` names all that the plan's `segments` need of what is stored beside them.
    """

    format: str
    shards: tuple[Shard, ...]
    segments: int = 0
    members: frozenset[str] = frozenset()
    superseded: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    added: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    removed_members: Mapping[str, int] = field(default_factory=dict)
    pruned: int = 0
    ignored: int = 0
    ignored_examples: tuple[str, ...] = ()
    duplicates: int = 0
    unread: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should hear of, a sentence each."""
        said = []
        if self.duplicates:
            said.append(f"{_files(self.duplicates)} in several inputs; each is read once")
        if self.removed:
            stay = "the rows they have stay in the output; run with --prune to remove them"
            said.append(f"{_files(self.removed)} no longer in the input; {stay}")
        return (*said, *(f"could not be looked into: {reason}" for reason in self.unread))


@dataclass(slots=True)
class _Listing:
    """The members of every input, and counts of what was left out; filled while `files` is consumed.

    `silent` are the names of inputs that list no member.
    """

    settings: InputSettings
    format: Format
    members: int = 0
    ignored: int = 0
    ignored_examples: list[str] = field(default_factory=list)
    duplicates: int = 0
    silent: list[str] = field(default_factory=list)

    def files(self) -> Iterator[Found]:
        """Members, each URI once: in order of URIs for a grouped format, else input by input."""
        streams = [self._members(listing) for listing in list_inputs(self.settings)]
        return merge(*streams, key=lambda found: found.info.uri) if self.format.grouped else chain(*streams)

    def _members(self, listing: InputListing) -> Iterator[Found]:
        is_silent = True
        for info in listing:
            if self.format.is_member(info.uri):
                self.members += 1
                is_silent = False
                yield Found(info=info, root=listing.root, input_name=listing.name)
            else:
                self.ignored += 1
                if len(self.ignored_examples) < EXAMPLES:
                    self.ignored_examples.append(relative_name(info.uri, listing.root, listing.name))
        self.duplicates += listing.repeated
        if is_silent and not listing.repeated:
            self.silent.append(listing.name)


def make_plan(
    paths: LedgerPaths,
    settings: InputSettings,
    format: Format,
    *,
    cell_rows: int,
    write: bool,
    prune: bool = False,
) -> Plan:
    """Lists the input, matches it with what is recorded, and (with `write`) records what is new or changed.

    With `prune` nothing more is expected of what left the input, whenever it did. What is unchanged is not opened and
    keeps its shards; planning an unchanged input writes nothing. Two planners at once agree: a segment is put only if
    absent, and the loser reads again and plans again. SpecError when there is no image, or when a file cannot serve as
    its format; errors of listing the input pass through.
    """
    for _ in range(ATTEMPTS):
        recorded = read_recorded(paths)
        number = recorded.segments + 1
        plan, entries = _match(paths, recorded, settings, format, cell_rows, write=write, prune=prune)
        if not (write and entries):
            return plan
        try:
            write_segment(paths, number, entries)
        except ExistsError:
            continue
        return plan
    raise LedgerError(paths.plan, f"other planners were faster {ATTEMPTS} times in a row; let them end, then run again")


def _match(
    paths: LedgerPaths,
    recorded: Recorded,
    settings: InputSettings,
    format: Format,
    cell_rows: int,
    *,
    write: bool,
    prune: bool,
) -> tuple[Plan, list[Entry]]:
    listing = _Listing(settings, format)
    format_name = next(name for name, known in FORMATS.items() if known is format)
    if format.grouped:
        matched = match_groups(paths, recorded, listing.files(), format_name, cell_rows, write=write, prune=prune)
    else:
        matched = match_files(recorded, listing.files(), format, format_name, settings, prune=prune)
    if not listing.members or not (matched.shards or matched.unread):
        raise SpecError(_nothing(listing, format, format_name))
    if prune:
        _demand_listed(recorded, listing)
    _demand_own_keys(matched.shards)
    segments = recorded.segments + bool(matched.entries)
    recorded.add(matched.entries)
    plan = Plan(
        format=format_name,
        shards=tuple(matched.shards),
        segments=segments,
        members=frozenset(shard.group.stored_in for shard in recorded.shards.values() if shard.group),
        superseded=recorded.superseded,
        gone=recorded.gone,
        added=sum(entry.kind == "shard" for entry in matched.entries),
        new=matched.new,
        changed=matched.changed,
        removed=matched.removed,
        removed_members=matched.removed_members,
        pruned=matched.pruned,
        ignored=listing.ignored,
        ignored_examples=tuple(listing.ignored_examples),
        duplicates=listing.duplicates,
        unread=tuple(matched.unread),
    )
    return plan, matched.entries


def _demand_listed(recorded: Recorded, listing: _Listing) -> None:
    """An input that lists nothing for once, as a disk that is not mounted does, would lose all its rows."""
    left = {shard.input_name for key, shard in recorded.shards.items() if key not in recorded.superseded}
    for named in listing.settings.inputs:
        if named.name in left.intersection(listing.silent):
            found = f"nothing in {named.uri}, which had images before"
            raise SpecError(Problem("input.uri", found, "at least one image, or a run without --prune"))


def _demand_own_keys(shards: Sequence[Shard]) -> None:
    """Keys are made of printable names, so that two odd file names could meet in one: no image may vanish by that."""
    files: dict[str, str] = {}
    for shard in shards:
        uri = shard.files[0].uri if shard.files else ""
        other = files.setdefault(shard.key, uri)
        if other != uri:
            found = f"{other!r} and {uri!r}, which both become {shard.key!r}"
            raise SpecError(Problem("input.uri", found, "files whose names differ when printed"))


def _nothing(listing: _Listing, format: Format, format_name: str) -> Problem:
    where = ", ".join(named.uri for named in listing.settings.inputs)
    if listing.members:
        return Problem("input.uri", f"no rows in {_files(listing.members)} of {where}", "at least one image")
    others = f" ({_files(listing.ignored)} of other kinds: {', '.join(listing.ignored_examples)})"
    found = f"no {format_name} images in {where}{others if listing.ignored else ''}"
    endings = " or ".join(f".{ending}" for ending in format.extensions)
    return Problem("input.uri", found, f"at least one file that ends in {endings}")


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"
