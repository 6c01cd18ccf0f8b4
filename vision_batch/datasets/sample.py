"""One image as a reader yields it: encoded bytes, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vision_batch.errors import ImageError

MAX_IMAGE_BYTES = 1 << 30
"""Encoded images beyond this are `too_large` and not read: a worker holds several at once."""

MAX_LABEL_BYTES = 16 << 20
"""Of a label or a kept member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a shard. Exactly one of `data` (the encoded image) and `error` is set.

    `truth` and `kept` (one value for each of `input.keep_columns`) are Python values of the types that the format's
    `extra_fields` promises, or pyarrow scalars where Python has no such type: all that pa.array(values, type) takes.
    `begin` is where in its tar the sample begins, None where reading cannot begin with it.
    """

    row: int
    image_id: str
    data: bytes | memoryview | None = None
    error: ImageError | None = None
    truth: Any = None
    kept: tuple[Any, ...] = ()
    begin: int | None = None


def too_large(size_bytes: int) -> ImageError:
    """The error of an encoded image beyond MAX_IMAGE_BYTES."""
    return ImageError("too_large", f"{size_bytes} encoded bytes; at most {MAX_IMAGE_BYTES} are read")
