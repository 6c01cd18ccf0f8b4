"""A dataset that grows and changes between runs, and knows which image every row must show."""

from __future__ import annotations

import io
import random
import tarfile
from abc import ABC, abstractmethod
from functools import cache

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.chaos_place import Place
from tests.integration.job import digits

GOOD = 300
"""Digits; the bad contents follow them."""
MISSING, DEADLY = GOOD + 4, GOOD + 5
"""An image that is not there, and one that kills the process that works on it."""
DEADLY_FRACTION = 1 / 150
"""Each costs some seconds whenever it is computed."""

Entry = tuple[str, int]
"""An image's key within its shard, and the number of its content."""


@cache
def contents() -> list[bytes | None]:
    """Every content that an image may have: different digits, then one of each kind of trouble."""
    images = digits(GOOD)
    bad = [b"", b"this is no picture", images[0][: len(images[0]) * 2 // 3], b"GIF89a" + bytes(60)]
    black: bytes = cv2.imencode(".jpg", np.zeros((32, 32, 3), np.uint8))[1].tobytes()
    return [*images, *bad, None, black]


class Dataset(ABC):
    """Shards of a format, in a place, some of them with `deadly` images.

    `current` has the content of every image id, `history` all that it ever had. `parts_may_move` says that there was
    cause to replace rows, `awaits_retry` that some were mended which only `--retry-errors` finds.
    """

    format: str
    shards_at_first = 6
    entries_each = 50
    worst = MISSING
    """The last of the contents that an image of this format may have, but for deadly ones."""

    def __init__(self, place: Place, dice: random.Random, *, deadly: bool = False) -> None:
        self._place = place
        self._dice = dice
        self.is_deadly = deadly
        self._shards: dict[str, list[Entry]] = {}
        self._keys = self._names = 0
        self.current: dict[str, int] = {}
        self.history: dict[str, set[int]] = {}
        self.parts_may_move = self.awaits_retry = False
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
        self.parts_may_move = True
        return f"changed {name}"

    def mend(self) -> str:
        """Puts good images in the place of bad ones."""
        name = self._dice.choice(sorted(self._shards))
        entries = self._shards[name]
        self._write(
            name, [(key, self._dice.randrange(GOOD) if content >= GOOD else content) for key, content in entries]
        )
        self.parts_may_move = True
        return f"mended {name}"

    def remove(self) -> str:
        """Takes a shard out of the input; its rows stay until a run prunes."""
        if len(self._shards) == 1:
            self.grow()  # without images a run is refused
        name = self._dice.choice(sorted(self._shards))
        for key, _ in self._shards.pop(name):
            del self.current[self.image_id(name, key)]
        self._delete(self._place, name)
        self.parts_may_move = True
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
        if self.is_deadly and self._dice.random() < DEADLY_FRACTION:
            return DEADLY
        return self._dice.randrange(GOOD) if self._dice.random() < 0.95 else self._dice.randint(GOOD, self.worst)

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
                data = contents()[content]
                member = tarfile.TarInfo(f"{key}.jpg" if data is not None else f"{key}.txt")
                member.size = len(data or b"")
                tar.addfile(member, io.BytesIO(data or b""))
        return buffer.getvalue()


class Tables(Archives):
    format = suffix = "parquet"
    _revision = 0

    def image_id(self, shard: str, key: str) -> str:
        return f"{shard}-{key}"

    def _encoded(self, name: str, entries: list[Entry]) -> bytes:
        self._revision += 1  # another version is to be another object, also where only the pictures of links differ
        columns = {"id": [self.image_id(name, key) for key, _ in entries], "image": self._images(name, entries)}
        table = pa.table(columns).replace_schema_metadata({"revision": str(self._revision)})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=20)
        return bytes(sink.getvalue())

    def _images(self, name: str, entries: list[Entry]) -> pa.Array:
        return pa.array([contents()[content] for _, content in entries], pa.binary())


class Pictures:
    """An object for each image, written when its content is another than before."""

    def __init__(self, place: Place, folder: str) -> None:
        self._place = place
        self._folder = folder
        self._stored: dict[str, dict[str, int]] = {}

    def write(self, shard: str, entries: list[Entry]) -> dict[str, int]:
        """Stores the images of a shard, and deletes what else it had; what that was."""
        before, now = self._stored.get(shard, {}), dict(entries)
        for key in before.keys() | now.keys():
            content = now.get(key, MISSING)
            if content != before.get(key, MISSING):
                self._put(f"{self._folder}/{shard}/{key}.jpg", contents()[content])
        self._stored[shard] = now
        return before

    def _put(self, name: str, data: bytes | None) -> None:
        if data is None:
            self._place.delete(name)
        else:
            self._place.put(name, data)


class Links(Tables):
    """Here a table names its images, and is not written again when only bad ones are replaced: they are retried."""

    def __init__(self, place: Place, dice: random.Random, *, deadly: bool = False) -> None:
        self._pictures = Pictures(place, "data/pictures")
        super().__init__(place, dice, deadly=deadly)

    def _images(self, name: str, entries: list[Entry]) -> pa.Array:
        return pa.array([f"pictures/{name}/{key}.jpg" for key, _ in entries])

    def _store(self, place: Place, name: str, entries: list[Entry]) -> None:
        before = self._pictures.write(name, entries)
        were_bad = all(before.get(key, 0) >= GOOD for key, content in entries if before.get(key) != content)
        if len(before) == len(entries) and were_bad:
            self.awaits_retry = True
        else:
            super()._store(place, name, entries)

    def _delete(self, place: Place, name: str) -> None:
        super()._delete(place, name)
        self._pictures.write(name, [])


class Files(Dataset):
    """Here a shard is a subfolder; a change replaces files, and adds some."""

    format = "folder"
    worst = MISSING - 1

    def __init__(self, place: Place, dice: random.Random, *, deadly: bool = False) -> None:
        self._pictures = Pictures(place, "data")
        super().__init__(place, dice, deadly=deadly)

    def image_id(self, shard: str, key: str) -> str:
        return f"{shard}/{key}.jpg"

    def _changed(self, entries: list[Entry]) -> list[Entry]:
        kept = [(key, self._content() if self._dice.random() < 0.2 else content) for key, content in entries]
        return [*kept, *(self._entry() for _ in range(self._dice.randrange(8)))]

    def _store(self, place: Place, name: str, entries: list[Entry]) -> None:
        self._pictures.write(name, entries)

    def _delete(self, place: Place, name: str) -> None:
        self._pictures.write(name, [])


DATASETS: tuple[type[Dataset], ...] = (Tars, Tables, Links, Files)
