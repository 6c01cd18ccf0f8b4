"""Which slices an image is in: one for each value of each column that the images are told apart by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.datasets.naming import shortened
from vision_batch.errors import Problem, SpecError

MOST_VALUES: Final = 50
"""Of a column; what comes later is measured together."""
OTHERS: Final = "(others)"
NONE: Final = "(none)"
VALUE_LENGTH: Final = 100


class Slices:
    """Grows with the values that it sees. A slice is called `column=value`."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        self._names: dict[str, int] = {}
        self._values: list[dict[str, int]] = [{} for _ in columns]

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> list[str]:
        """The slices that were seen, by number."""
        return list(self._names)

    def numbers(self, rows: pa.Table) -> NDArray[np.int32]:
        """The slices (n, columns) of n images; SpecError for a column of lists."""
        found = [self._numbers(index, rows[name]) for index, name in enumerate(self._columns)]
        return np.stack(found, axis=1) if found else np.empty((len(rows), 0), np.int32)

    def notes(self) -> list[str]:
        """Which columns have too many values."""
        full = [name for name in self._columns if f"{name}={OTHERS}" in self._names]
        return [f"{name} has more than {MOST_VALUES} values: those that came later are {OTHERS}" for name in full]

    def _numbers(self, index: int, column: pa.ChunkedArray) -> NDArray[np.int32]:
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            found = f"the column {self._columns[index]}, of type {column.type}"
            raise SpecError(Problem("evaluate.by", found, "a column of texts, numbers or dates"))
        array = column.combine_chunks().dictionary_encode()
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        numbers = np.array([*(self._number(index, value) for value in array.dictionary.to_pylist()), 0], np.int32)
        if array.null_count:
            numbers[-1] = self._number(index, NONE)
        return np.asarray(numbers[np.asarray(array.indices.fill_null(len(numbers) - 1))], np.int32)

    def _number(self, index: int, value: object) -> int:
        values, text = self._values[index], shortened(str(value), VALUE_LENGTH)
        if text not in values:
            shown = text if len(values) < MOST_VALUES else OTHERS
            number = self._names.setdefault(f"{self._columns[index]}={shown}", len(self._names))
            if shown == OTHERS:
                return number
            values[text] = number
        return values[text]
