"""A dataset that grows and changes between runs, and knows which image every row must show."""

from __future__ import annotations

import io
import random
import tarfile
from abc import ABC, abstractmethod
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.chaos_place import Place
from tests.integration.job import digits

GOOD = 300
"""Digits; the bad contents follow them."""

Entry = tuple[str, int]
"""An image's key within its shard, and the number of its content."""


@cache
def contents() -> list[bytes]:
    """Every content that an image may have: different digits, then one of each kind of trouble."""
    images = digits(GOOD)
    return [*images, b"", b"this is no picture", images[0][: len(images[0]) * 2 // 3], b"GIF89a" + bytes(60)]


class Dataset(ABC):
    """Shards of a format, in a place. `current` has the content of every image id, `history` all that it ever had."""

    format: str
    shards_at_first: int
    entries_each: int

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._place = place
        self._dice = dice
        self._shards: dict[str, list[Entry]] = {}
        self._keys = self._names = 0
        self.current: dict[str, int] = {}
        self.history: dict[str, set[int]] = {}
        self.has_changed = False
        for _ in range(self.shards_at_first):
            self.grow()

    def grow(self) -> str:
        """Adds a shard; says what was done."""
        name = f"s{self._names:04d}"
        self._names += 1
        self._write(name, [self._entry() for _ in range(self.entries_each)])
        return f"added {name}"

    def change(self) -> str:
        """Changes a shard: images are replaced, and where the format allows it dropped and inserted."""
        name = self._dice.choice(sorted(self._shards))
        self._write(name, self._changed(self._shards[name]))
        self.has_changed = True
        return f"changed {name}"

    def remove(self) -> str:
        """Takes a shard out of the input; its rows stay until a run prunes."""
        name = self._dice.choice(sorted(self._shards))
        for key, _ in self._shards.pop(name):
            del self.current[self.image_id(name, key)]
        self._delete(self._place, name)
        self.has_changed = True
        return f"removed {name}"

    def _changed(self, entries: list[Entry]) -> list[Entry]:
        kept = [(key, self._content() if self._dice.random() < 0.2 else content) for key, content in entries]
        kept = [entry for entry in kept if self._dice.random() < 0.9]
        for _ in range(self._dice.randrange(8)):
            kept.insert(self._dice.randint(0, len(kept)), self._entry())
        return kept

    def _entry(self) -> Entry:
        self._keys += 1
        return f"i{self._keys:05d}", self._content()

    def _content(self) -> int:
        return self._dice.randrange(GOOD) if self._dice.random() < 0.95 else self._dice.randrange(GOOD, len(contents()))

    def _write(self, name: str, entries: list[Entry]) -> None:
        for key, _ in self._shards.get(name, []):
            del self.current[self.image_id(name, key)]
        self._shards[name] = entries
        for key, content in entries:
            image_id = self.image_id(name, key)
            self.current[image_id] = content
            self.history.setdefault(image_id, set()).add(content)
        self._store(self._place, name, entries)

    @abstractmethod
    def image_id(self, shard: str, key: str) -> str:
        """The id that the row of this image has."""

    @abstractmethod
    def _store(self, place: Place, name: str, entries: list[Entry]) -> None:
        """Writes the shard's objects."""

    @abstractmethod
    def _delete(self, place: Place, name: str) -> None:
        """Deletes them."""


class Archives(Dataset):
    """Here a shard is one object."""

    shards_at_first = 6
    entries_each = 50
    suffix: str

    def _store(self, place: Place, name: str, entries: list[Entry]) -> None:
        place.put(f"data/{name}.{self.suffix}", self._encoded(name, entries))

    def _delete(self, place: Place, name: str) -> None:
        place.delete(f"data/{name}.{self.suffix}")

    @abstractmethod
    def _encoded(self, name: str, entries: list[Entry]) -> bytes:
        """The object of a shard."""


class Tars(Archives):
    format = "webdataset"
    suffix = "tar"

    def image_id(self, shard: str, key: str) -> str:
        return f"{shard}/{key}"

    def _encoded(self, name: str, entries: list[Entry]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for key, content in entries:
                member = tarfile.TarInfo(f"{key}.jpg")
                member.size = len(contents()[content])
                tar.addfile(member, io.BytesIO(contents()[content]))
        return buffer.getvalue()


class Tables(Archives):
    format = suffix = "parquet"

    def image_id(self, shard: str, key: str) -> str:
        return f"{shard}-{key}"

    def _encoded(self, name: str, entries: list[Entry]) -> bytes:
        images = [contents()[content] for _, content in entries]
        table = pa.table({"id": [self.image_id(name, key) for key, _ in entries], "image": images})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=20)
        return bytes(sink.getvalue())


class Files(Dataset):
    """Here a shard is a subfolder; a change replaces files, and adds some."""

    format = "folder"
    shards_at_first = 6
    entries_each = 50

    def image_id(self, shard: str, key: str) -> str:
        return f"{shard}/{key}.jpg"

    def _changed(self, entries: list[Entry]) -> list[Entry]:
        kept = [(key, self._content() if self._dice.random() < 0.2 else content) for key, content in entries]
        return [*kept, *(self._entry() for _ in range(self._dice.randrange(8)))]

    def _store(self, place: Place, name: str, entries: list[Entry]) -> None:
        before = self._stored.get(name, {})
        for key, content in entries:
            if before.get(key) != content:
                place.put(f"data/{self.image_id(name, key)}", contents()[content])
        self._stored[name] = dict(entries)

    def _delete(self, place: Place, name: str) -> None:
        for key in self._stored.pop(name):
            place.delete(f"data/{self.image_id(name, key)}")

    def __init__(self, place: Place, dice: random.Random) -> None:
        self._stored: dict[str, dict[str, int]] = {}
        super().__init__(place, dice)


DATASETS: tuple[type[Dataset], ...] = (Tars, Tables, Files)
