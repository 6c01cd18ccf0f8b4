"""A seekable reader of an object that can only be fetched by ranges, with read-ahead for those who read on."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import BinaryIO, cast

from vision_batch.errors import ChangedError
from vision_batch.storage.object_info import ObjectInfo

Fetch = Callable[[int, int], "Future[bytes]"]
BLOCK_BYTES = 8 << 20
AHEAD_BLOCKS = 4
BUFFER_BYTES = 64 << 10
FIRST_AHEAD_BYTES = 256 << 10
GROWTH = 4


def open_reader(info: ObjectInfo, fetch: Fetch, *, block_bytes: int = BLOCK_BYTES) -> BinaryIO:
    """A buffered reader of `info`; `fetch(start, stop)` starts getting those bytes of that version.

    Holds at most `AHEAD_BLOCKS + 1` blocks.
    """
    return cast(BinaryIO, io.BufferedReader(ReadAhead(info, fetch, block_bytes), BUFFER_BYTES))


@dataclass(frozen=True, slots=True)
class _Block:
    start: int
    stop: int
    data: Future[bytes]


class ReadAhead(io.RawIOBase):
    """Fetches what is asked for, and more the longer reading goes on where it left off.

    After a jump only the bytes asked for are fetched (a Parquet footer, a column chunk). Every read that continues the
    last one lets the window ahead grow, up to `AHEAD_BLOCKS` blocks in flight (a tar).
    """

    def __init__(self, info: ObjectInfo, fetch: Fetch, block_bytes: int) -> None:
        super().__init__()
        self._info = info
        self._fetch = fetch
        self._block_bytes = block_bytes
        self._blocks: deque[_Block] = deque()  # contiguous; the first may begin before the position
        self._position = 0
        self._continues_at = -1  # where the last read ended
        self._ahead_bytes = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        want = min(len(buffer), self._info.size_bytes - self._position)
        if want <= 0:
            return 0
        self._prepare(want)
        block = self._blocks[0]
        data = self._data(block)
        offset = self._position - block.start
        piece = memoryview(data)[offset : offset + want]
        buffer[: len(piece)] = piece
        self._position += len(piece)
        self._continues_at = self._position
        return len(piece)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._info.size_bytes}[whence]
        if origin + offset < 0:
            raise ValueError(f"seek before the start: {origin + offset}")
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._drop_blocks()
        super().close()

    def _prepare(self, want: int) -> None:
        """Makes the first block the one that holds the position, and has those after it reach far enough."""
        while self._blocks and self._blocks[0].stop <= self._position:
            self._blocks.popleft().data.cancel()
        inside = bool(self._blocks) and self._blocks[0].start <= self._position
        continues = self._position == self._continues_at
        if not inside:
            self._drop_blocks()
        if not inside and not continues:
            self._ahead_bytes = 0
        end = self._blocks[-1].stop if self._blocks else self._position
        missing = self._position + want - end
        if missing > 0 or (continues and end - self._position < self._ahead_bytes // 2):
            self._extend(end, max(missing, 0), continues)

    def _extend(self, end: int, missing: int, continues: bool) -> None:
        most = AHEAD_BLOCKS * self._block_bytes
        if continues:
            self._ahead_bytes = min(most, max(FIRST_AHEAD_BYTES, self._ahead_bytes * GROWTH))
        target = max(end + min(missing, most), self._position + self._ahead_bytes)
        stop = min(target, self._info.size_bytes)
        while end < stop:
            block_stop = min(end + self._block_bytes, stop)
            self._blocks.append(_Block(end, block_stop, self._fetch(end, block_stop)))
            end = block_stop

    def _data(self, block: _Block) -> bytes:
        try:
            data = block.data.result()
        except BaseException:
            self._drop_blocks()  # whoever reads again fetches again
            raise
        if len(data) != block.stop - block.start:
            found = f"{len(data)} bytes at {block.start}, expected {block.stop - block.start}"
            raise ChangedError(self._info.uri, f"is shorter than planned: {found}")
        return data

    def _drop_blocks(self) -> None:
        while self._blocks:
            self._blocks.popleft().data.cancel()
