"""The rows of two tables of predictions side by side, with the truth where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import pyarrow as pa

from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.join import Joined, with_column
from vision_batch.evaluation.truth import Truth
from vision_batch.ledger.predictions import Predictions

Pair: TypeAlias = tuple[pa.Table, pa.Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The rows of `a` and `b` that have the same `image_id`, in the order of `b`; each has `columns` and `image_id`.

    With `has_truth` both have a column `truth` too, from `truth` or else from `a` itself; what has none is left out.
    """

    a: Predictions
    b: Predictions
    columns: tuple[Sequence[str], Sequence[str]]
    has_truth: bool = False
    truth: Truth | None = None

    def joined(self) -> Joined:
        """A pass over the rows, in which those of `a` are the `truth` of `b`. SpecError where an id repeats."""
        beside = _Beside(uri=self.a.uri, rows=self._of_a)
        return Joined(predictions=self.b, columns=["image_id", *self.columns[1]], truth=beside)

    def of(self, joined: Joined) -> Iterator[Pair]:
        """Such a pass, taken apart. SpecError where the two have no image in common."""
        try:
            for rows in joined:
                a = pa.Table.from_struct_array(rows["truth"].combine_chunks())
                b = with_column(rows, "truth", a["truth"]) if self.has_truth else rows.drop_columns(["truth"])
                yield a, b
        except SpecError as error:
            if joined.images or error.problems[0].where != "truth" or joined.without_truth == 0:
                raise
            found = f"no image_id that {self.a.uri} and {self.b.uri} both have"
            raise SpecError(Problem("compare", found, "predictions of the same images")) from error

    def _of_a(self) -> Iterable[pa.Table]:
        columns = list(dict.fromkeys(["image_id", *self.columns[0]]))
        if self.has_truth:
            return Joined(predictions=self.a, columns=columns, truth=self.truth)
        return (pa.Table.from_batches([batch]) for batch in self.a.batches(columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """Whole rows, in one column, as the truth of another table."""

    uri: str
    rows: Callable[[], Iterable[pa.Table]]

    columns: ClassVar[tuple[str, ...]] = ()
    by_file_name: ClassVar[bool] = False
    is_apart: ClassVar[bool] = False

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for table in self.rows():
            for batch in table.to_batches():
                ids = batch.column("image_id").cast(pa.string())
                yield pa.record_batch([ids, batch.to_struct_array()], ["image_id", "truth"])
