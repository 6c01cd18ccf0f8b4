"""How good vectors of images are: whether what lies close together belongs together.

Sources: k-nearest-neighbour accuracy, Fix and Hodges, 1951; recall@k as in Jégou et al., Product quantization for
nearest neighbor search, 2011: the share of queries with one of their class among the k nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.evaluation.measure import ConfusionCell, Curve, Value
from vision_batch.evaluation.neighbours import Nearest, vectors
from vision_batch.evaluation.vocabulary import Vocabulary

MOST_QUERIES: Final = 20_000
"""Of more images so many are drawn; their neighbours are looked for among all."""
ROWS_AT_ONCE: Final = 1 << 14
POSITION: Final = "_position"
NEIGHBOURS: Final = "_neighbours"
VOTES_AT_ONCE: Final = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourFacts:
    """Of n images the class `label` (n,), and for each of K numbers of neighbours two answers.

    `right` (n, K): is their vote right? `hit` (n, K): is one of them of the class?
    """

    label: NDArray[np.int32]
    right: NDArray[np.bool_]
    hit: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, indices: NDArray[np.int64]) -> NeighbourFacts:
        return NeighbourFacts(label=self.label[indices], right=self.right[indices], hit=self.hit[indices])

    @classmethod
    def merged(cls, several: Sequence[NeighbourFacts]) -> NeighbourFacts:
        return cls(
            label=np.concatenate([each.label for each in several]),
            right=np.concatenate([each.right for each in several]),
            hit=np.concatenate([each.hit for each in several]),
        )


class EmbeddingMeasure:
    """Of the column `embedding`, by the cosine, each image against all others.

    An image that failed is wrong, and nobody's neighbour. `rows` comes before `facts`.
    """

    prediction_columns = ("embedding",)
    optional_columns: tuple[str, ...] = ()
    truth_column = "label"

    def __init__(self, k: Sequence[int], *, seed: int, most_queries: int = MOST_QUERIES) -> None:
        self.k = tuple(sorted(set(k)))
        self._seed = seed
        self._most_queries = most_queries
        self.vocabulary = Vocabulary()
        self._images = 0
        self.known = 0

    def rows(self, joined: Callable[[], Iterable[pa.Table]]) -> Iterator[pa.Table]:
        """The queries' rows, in order, with the classes of their neighbours.

        Two passes over the joined rows: the queries are drawn, then compared with all.
        """
        queries = self._drawn(joined())
        found, known = vectors(queries["embedding"])
        nearest = Nearest(found, self.k[-1])
        position = queries[POSITION].to_numpy()[known]
        at = 0
        for table in joined():
            others, is_other = vectors(table["embedding"])
            labels = self.vocabulary.true(table["truth"]).astype(np.int32)
            nearest.add(others, labels[is_other], _queries_in(position, at, len(table))[is_other])
            self.known += len(others)
            at += len(table)
        labels = np.full((len(queries), self.k[-1]), -1, np.int32)
        labels[known] = nearest.labels()
        beside = pa.FixedSizeListArray.from_arrays(pa.array(labels.ravel()), self.k[-1])
        yield from _in_pieces(queries.drop_columns([POSITION]).append_column(NEIGHBOURS, beside))

    def facts(self, rows: pa.Table) -> NeighbourFacts:
        label = self.vocabulary.true(rows["truth"]).astype(np.int32)
        flat = rows[NEIGHBOURS].combine_chunks().flatten()
        neighbours = flat.to_numpy(zero_copy_only=False).reshape(len(label), -1)
        order = np.argsort(self.vocabulary.order)  # the place of each class
        votes = [voted(neighbours[:, :k], order) == label for k in self.k]
        hits = [(neighbours[:, :k] == label[:, None]).any(axis=1) for k in self.k]
        return NeighbourFacts(label=label, right=np.stack(votes, axis=1), hit=np.stack(hits, axis=1))

    def tally(self, *, is_resample: bool = False, share: int = 1) -> EmbeddingTally:
        return EmbeddingTally(self)

    def told(self) -> list[str]:
        """What a reader of the values must know."""
        told = []
        if self._images > self._most_queries:
            told.append(f"{self._most_queries:,} of {self._images:,} images were drawn; their neighbours are among all")
        if self.k[-1] >= self.known:
            told.append(f"{self.known:,} images have a vector: of more neighbours there is no measure")
        return told

    def _drawn(self, tables: Iterable[pa.Table]) -> pa.Table:
        """A random sample of the rows, in order, with their positions among all."""
        random = np.random.default_rng(self._seed)
        held: list[pa.Table] = []
        number: NDArray[np.float64] = np.empty(0)
        for table in tables:
            position = pa.array(np.arange(self._images, self._images + len(table)))
            self._images += len(table)
            held.append(table.append_column(POSITION, position))
            number = np.append(number, random.random(len(table)))
            if len(number) > 2 * self._most_queries:
                held, number = self._smallest(held, number)
        held, _ = self._smallest(held, number)
        return held[0]

    def _smallest(
        self, held: list[pa.Table], number: NDArray[np.float64]
    ) -> tuple[list[pa.Table], NDArray[np.float64]]:
        kept = np.sort(np.argsort(number)[: self._most_queries])
        return [pa.concat_tables(held).take(pa.array(kept)).combine_chunks()], number[kept]


class EmbeddingTally:
    """What is right, by class and k. Where an image has fewer neighbours than k there is no value."""

    def __init__(self, measure: EmbeddingMeasure) -> None:
        self._measure = measure
        self._sums = np.zeros((0, 1 + 2 * len(measure.k)), np.int64)

    def add(self, facts: NeighbourFacts, weights: NDArray[np.int64] | None = None) -> None:
        weight = np.ones(len(facts), np.int64) if weights is None else weights
        more = 1 + int(facts.label.max(initial=-1)) - len(self._sums)
        self._sums = np.pad(self._sums, ((0, max(0, more)), (0, 0)))
        columns = np.concatenate([np.ones((len(facts), 1), np.bool_), facts.right, facts.hit], axis=1)
        for column in range(columns.shape[1]):
            counts = np.bincount(facts.label, columns[:, column] * weight, minlength=len(self._sums))
            self._sums[:, column] += counts.astype(np.int64)

    def values(self) -> list[Value]:
        vocabulary = self._measure.vocabulary
        names, occurring = vocabulary.names, set(np.flatnonzero(self._sums[:, 0]).tolist())
        shown = [at for at in vocabulary.order if at in occurring]
        return [
            *self._values(self._sums.sum(axis=0)),
            *(value for at in shown for value in self._values(self._sums[at], names[at])),
        ]

    def confusion(self) -> list[ConfusionCell]:
        """None: neighbours say nothing of an image's class but which one they are of."""
        return []

    def curves(self) -> list[Curve]:
        """None: a vote has no score."""
        return []

    def notes(self) -> list[str]:
        return self._measure.told()

    def _values(self, sums: NDArray[np.int64], label: str | None = None) -> Iterator[Value]:
        images = int(sums[0])
        for first, metric in ((1, "knn_{}_accuracy"), (1 + len(self._measure.k), "recall_at_{}")):
            for column, k in enumerate(self._measure.k, first):
                value = float(sums[column] / images) if images and k < self._measure.known else None
                yield Value(metric=metric.format(k), value=value, support=images, label=label)


def voted(neighbours: NDArray[np.int32], order: NDArray[np.int64]) -> NDArray[np.int32]:
    """The most frequent class of each row (n, k), of equally frequent ones the first in `order`; -1 is none."""
    votes = np.empty(len(neighbours), np.int32)
    at_once = max(1, VOTES_AT_ONCE // neighbours.shape[1] ** 2)
    for first in range(0, len(neighbours), at_once):
        some = neighbours[first : first + at_once]
        count = (some[:, :, None] == some[:, None, :]).sum(axis=2)
        place = order[np.maximum(some, 0)]
        best = np.where(some >= 0, count * (len(order) + 1) - place, -1).argmax(axis=1)
        votes[first : first + at_once] = some[np.arange(len(some)), best]
    return votes


def _queries_in(position: NDArray[np.int64], first: int, count: int) -> NDArray[np.int64]:
    """Which query, of those at ascending positions (q,), each of `count` rows from `first` on is; -1 for none."""
    start, stop = np.searchsorted(position, [first, first + count])
    queries = np.full(count, -1, np.int64)
    queries[position[start:stop] - first] = np.arange(start, stop)
    return queries


def _in_pieces(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(first, ROWS_AT_ONCE) for first in range(0, len(table), ROWS_AT_ONCE))
