"""Lists of Arrow as flat arrays, and rows of flat arrays by image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def flattened(lists: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """How many entries each of n lists has (n,), null ones none, and all entries."""
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64), array.flatten()


def rows_of(lengths: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places, in flat arrays of lists of `lengths` (n,), of the entries of the lists `indices`, in order."""
    first = np.cumsum(lengths) - lengths
    size = lengths[indices]
    return np.repeat(first[indices] - (np.cumsum(size) - size), size) + np.arange(size.sum())


def floats(values: pa.ChunkedArray | pa.Array) -> NDArray[np.float32]:
    """Numbers (n,), NaN for null."""
    return np.asarray(np.asarray(values.cast(pa.float32())), np.float32)
