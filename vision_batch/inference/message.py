"""What processes tell each other: pickles that also hold what pickle refuses, or would change, of an image's facts."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pyarrow as pa


def pickled(value: Any) -> memoryview:
    """What `pickle.loads` gives back. Memoryviews, as readers give images, come as bytes; Arrow scalars as they are."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getbuffer()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, memoryview):
            return bytes, (value.tobytes(),)
        if isinstance(value, pa.Scalar):  # pyarrow's own way is over Python's times, which lack nanoseconds and years
            return pa.Array.__getitem__, (pa.repeat(value, 1), 0)
        return NotImplemented
