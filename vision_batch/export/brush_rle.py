"""Masks as Label Studio's brush has them: runs of the bytes of RGBA pixels, packed in bits.

Source of the format: the rle-pack package of https://github.com/thi-ng/umbrella, which Label Studio reads with. 32 bits
say how many values there are, 5 how many bits a value has and four times 4 how many a length may have, each less one.
A run is 1, which of the four lengths (2 bits), the length less one, and the value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

LENGTH_BITS: Final = (3, 4, 8, 16)
VALUE_BITS: Final = 8
CHANNELS: Final = 4
LONGEST: Final = 1 << LENGTH_BITS[-1]


def brush_rle(mask: NDArray[np.bool_]) -> list[int]:
    """The bytes for a mask (H, W): 255 in all channels where it is true, else 0."""
    flat = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    bits = [f"{flat.size * CHANNELS:032b}{VALUE_BITS - 1:05b}", *(f"{length - 1:04b}" for length in LENGTH_BITS)]
    for first, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        bits += _runs((stop - first) * CHANNELS, "1" * VALUE_BITS if flat[first] else "0" * VALUE_BITS)
    text = "".join(bits)
    size_bytes = -(-len(text) // 8)
    return list(int(text.ljust(8 * size_bytes, "0"), 2).to_bytes(size_bytes))


def _runs(count: int, value: str) -> Iterator[str]:
    while count:
        length = min(count, LONGEST)
        size = next(index for index, bits in enumerate(LENGTH_BITS) if length <= 1 << bits)
        yield f"1{size:02b}{length - 1:0{LENGTH_BITS[size]}b}{value}"
        count -= length
