"""What is known of a shard's rows without their images, and which of them are read together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One row. `truth` is None where there is no label, or none that can be read.

    `begin` is where in the shard's file reading may begin with this row, which only its format understands; None where
    it has to begin at an earlier row.
    """

    image_id: str
    truth: Any
    begin: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A shard's rows [`first`, `stop`), read together and without what is around them.

    `begin` is that of the entry `first`, `end` that of the entry `stop`; None at the shard's end.
    """

    first: int
    stop: int
    begin: int
    end: int | None
