"""What the segments of a plan say together: later lines override earlier ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby

from vision_batch.datasets.shard import Shard
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.segment import Entry, read_segments
from vision_batch.storage.object_info import ObjectInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedFile:
    """The first file of some shards: the version that was planned, their keys, and whether it left the input."""

    info: ObjectInfo
    keys: tuple[str, ...]
    gone: bool = False


@dataclass(slots=True, kw_only=True)
class Recorded:
    """The plan so far. `shards` has every key that is not superseded, gone ones included.

    `files` is keyed by URI and has the files that hold many images. `origins` has, of each group of files that are one
    image each, the number of the segment that formed it: the members of one input's groups of one origin are in order.
    `rewritten` are the groups whose files were planned anew since.
    A key is superseded when its file was planned again without it, or what left the input was pruned: nothing of it may
    stay in the output. `superseded` has the source of each, as `Shard.source` says it.
    """

    segments: int = 0
    shards: dict[str, Shard] = field(default_factory=dict)
    files: dict[str, RecordedFile] = field(default_factory=dict)
    origins: dict[str, int] = field(default_factory=dict)
    rewritten: set[str] = field(default_factory=set)
    superseded: dict[str, str] = field(default_factory=dict)

    @property
    def planned(self) -> list[Shard]:
        """The shards of which rows are expected: those in the input, as it was when it was last planned."""
        gone = self.gone
        return [shard for key, shard in self.shards.items() if key not in gone and key not in self.superseded]

    @property
    def gone(self) -> frozenset[str]:
        """Keys of shards whose file is no longer in the input: their rows stay, nothing more is expected of them."""
        return frozenset(key for file in self.files.values() if file.gone for key in file.keys)

    def add(self, entries: Iterable[Entry]) -> None:
        """Takes in one segment. The shards of one file are consecutive in it, and all of them are there."""
        self.segments += 1
        for uri, lines in groupby(entries, key=_uri):
            if uri is None:
                self._add_groups(lines)
            else:
                self._add_file(uri, list(lines))

    def _add_groups(self, lines: Iterable[Entry]) -> None:
        for line in lines:
            if self.origins.setdefault(line.shard.key, self.segments) != self.segments:
                self.rewritten.add(line.shard.key)
            self.shards[line.shard.key] = line.shard  # also without a row: its members keep their places
            if line.shard.rows:
                self.superseded.pop(line.shard.key, None)
            else:
                self.superseded[line.shard.key] = line.shard.source

    def _add_file(self, uri: str, lines: list[Entry]) -> None:
        before = self.files.get(uri)
        info = lines[0].shard.files[0]
        if lines[0].kind == "gone":
            self.files[uri] = replace(before or RecordedFile(info=info, keys=()), gone=True)
            return
        planned = {line.shard.key: line.shard for line in lines if line.kind == "shard"}
        for key in before.keys if before else ():
            if key not in planned:
                self.shards.pop(key, None)
                self.superseded[key] = uri
        for key in planned:
            self.superseded.pop(key, None)
        self.shards.update(planned)
        if lines[0].kind == "pruned":
            self.files.pop(uri, None)  # a file that comes back is a new one
        else:
            self.files[uri] = RecordedFile(info=info, keys=tuple(planned))


def read_recorded(paths: LedgerPaths) -> Recorded:
    """The plan as it is stored; LedgerError when a segment is missing or damaged."""
    recorded = Recorded()
    for entries in read_segments(paths):
        recorded.add(entries)
    return recorded


def earlier_shards(paths: LedgerPaths, versions: Mapping[str, str]) -> dict[str, Shard]:
    """Shards as they were planned once, by key: for each key of `versions` the one of that version, if there is one.

    `load_members` finds the files that such a group had. LedgerError when a segment is missing or damaged.
    """
    entries = (entry for segment in read_segments(paths, versions) for entry in segment if entry.kind == "shard")
    return {entry.shard.key: entry.shard for entry in entries if entry.shard.version == versions[entry.shard.key]}


def _uri(entry: Entry) -> str | None:
    return entry.shard.files[0].uri if entry.shard.files else None
