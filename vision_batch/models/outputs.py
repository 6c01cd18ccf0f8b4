"""Outputs of a model for a batch, in the structure that the module gave them: some images' part of them, and several
batches' together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Rows: TypeAlias = slice | NDArray[np.bool_]


def picked(outputs: Any, rows: Rows) -> Any:
    """The outputs for some of the batch's images: rows of arrays, also in dicts and lists; of a list of dicts, one for
    each image, those dicts. What has no row for each image, as a loss, stays as it is where that can be seen."""
    if isinstance(outputs, Mapping):
        return {name: picked(value, rows) for name, value in outputs.items()}
    if is_by_image(outputs):
        return [outputs[index] for index in np.arange(len(outputs))[rows]]
    if isinstance(outputs, np.ndarray):
        has_rows = outputs.ndim and (isinstance(rows, slice) or len(outputs) == len(rows))
        return outputs[rows] if has_rows else outputs
    return [picked(value, rows) for value in outputs]


def joined(batches: Sequence[Any]) -> Any:
    """The outputs of several batches, at least one, as those of one."""
    first = batches[0]
    if isinstance(first, Mapping):
        return {name: joined([batch[name] for batch in batches]) for name in first}
    if is_by_image(first):
        return [answer for batch in batches for answer in batch]
    if isinstance(first, np.ndarray):
        return np.concatenate(batches) if first.ndim else first
    return [joined(values) for values in zip(*batches, strict=True)]


def size_bytes(outputs: Any) -> int:
    """Of all arrays."""
    if isinstance(outputs, np.ndarray):
        return outputs.nbytes
    return sum(map(size_bytes, outputs.values() if isinstance(outputs, Mapping) else outputs))


def is_by_image(outputs: Any) -> bool:
    """Whether they are a list with a dict for each image."""
    return isinstance(outputs, list) and bool(outputs) and isinstance(outputs[0], Mapping)
