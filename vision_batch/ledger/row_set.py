"""Numbers of rows in a bit each: the driver holds such a set of every cell of which something is computed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RowSet:
    """Some rows of one cell, ascending. It takes a bit for each row from its `first` one to its last."""

    first: int = 0
    bits: bytes = b""

    @classmethod
    def of(cls, rows: Iterable[int]) -> RowSet:
        """Rows in any order; the same rows give equal sets."""
        numbers = np.fromiter(rows, np.int64)
        if not numbers.size:
            return cls()
        first = int(numbers.min())
        members = np.zeros(int(numbers.max()) - first + 1, np.bool_)
        members[numbers - first] = True
        return cls(first, np.packbits(members).tobytes())

    def numbers(self) -> NDArray[np.int64]:
        """(len(self),)"""
        return np.flatnonzero(np.unpackbits(np.frombuffer(self.bits, np.uint8))) + self.first

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers().tolist())

    def __len__(self) -> int:
        return int.from_bytes(self.bits).bit_count()
