"""Lists of Arrow as flat arrays, and rows of flat arrays by image."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError


def flattened(lists: pa.ChunkedArray | pa.Array, name: str) -> tuple[NDArray[np.int64], pa.Array]:
    """How many entries each of n lists has (n,), null ones none, and all entries.

    SpecError, with the column's `name`, where it has no lists, and where an entry is null.
    """
    array = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    if not any(test(array.type) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        raise SpecError(Problem(name, f"a column of {array.type}", "a column of lists"))
    entries = array.flatten()
    if entries.null_count:
        raise SpecError(Problem(name, "a list that has a null in it", "lists without nulls"))
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), np.int64), entries


def first_of_each(listed: NDArray[np.int64], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the entries `labels` (E,) of lists, `listed` (n,) each, that are not further up in their list.

    Models may call two classes by one name: what is said of it is what is said first.
    """
    pairs = np.repeat(np.arange(len(listed)), listed) << 32 | labels
    ordered = np.sort(pairs)
    if (ordered[1:] != ordered[:-1]).all():
        return np.arange(len(pairs))
    return np.sort(np.unique(pairs, return_index=True)[1])


def scores_beside(lists: pa.ChunkedArray, listed: NDArray[np.int64], name: str) -> NDArray[np.float32]:
    """A score for each entry of lists that have `listed` (n,) ones; SpecError where they are not as many."""
    lengths, scores = flattened(lists, name)
    if not np.array_equal(lengths, listed):
        raise SpecError(Problem(name, "lists of other lengths than those of the labels", "a score for each label"))
    return floats(scores, name)


def rows_of(lengths: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places, in flat arrays of lists of `lengths` (n,), of the entries of the lists `indices`, in order."""
    first = np.cumsum(lengths) - lengths
    size = lengths[indices]
    return np.repeat(first[indices] - (np.cumsum(size) - size), size) + np.arange(size.sum())


def floats(values: pa.ChunkedArray | pa.Array, name: str) -> NDArray[np.float32]:
    """Numbers (n,), NaN for null; SpecError, with the column's `name`, where they are none."""
    try:
        return np.asarray(np.asarray(values.cast(pa.float32(), safe=False)), np.float32)
    except pa.ArrowException as error:
        raise SpecError(Problem(name, f"a column of {values.type}: {error}", "numbers")) from None
