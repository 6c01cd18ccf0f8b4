"""Neighbours of vectors and what they vote for are scikit-learn's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from vision_batch.errors import SpecError
from vision_batch.evaluation import neighbours
from vision_batch.evaluation.embedding import EmbeddingMeasure, EmbeddingTally, voted

FLOAT = pa.float32()
CLASSES = np.array(["ant", "bee", "cat", "dog"])


def table(vectors: list[list[float] | None], labels: list[str], kind: pa.DataType = FLOAT) -> pa.Table:
    return pa.table({"embedding": pa.array(vectors, pa.list_(kind)), "truth": pa.array(labels, pa.string())})


def tallied(rows: pa.Table, k: list[int], *, most_queries: int = 1000, piece: int = 1000) -> EmbeddingTally:
    def joined() -> Iterator[pa.Table]:
        return (rows.slice(first, piece) for first in range(0, len(rows), piece))

    measure = EmbeddingMeasure(k, seed=0, most_queries=most_queries)
    facts = [measure.facts(each) for each in measure.rows(joined)]
    tally = measure.tally()
    for each in facts:
        tally.add(each)
    return tally


def values(tally: EmbeddingTally, label: str | None = None) -> dict[str, float | None]:
    return {each.metric: each.value for each in tally.values() if each.label == label}


def clouds(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors that lie about as their classes do."""
    random = np.random.default_rng(seed)
    label = random.integers(0, len(CLASSES), count)
    return (random.normal(size=(4, 6))[label] + random.normal(size=(count, 6))).astype(np.float32), CLASSES[label]


@given(st.integers(0, 2**32), st.integers(9, 40), st.integers(1, 50))
@settings(max_examples=10)
def test_votes_and_recall_are_scikit_learns_leaving_each_image_out(seed: int, count: int, piece: int) -> None:
    vectors, labels = clouds(seed, count)
    right: dict[int, list[bool]] = {1: [], 3: [], 8: []}
    hit: dict[int, list[bool]] = {1: [], 3: [], 8: []}
    for left_out in range(count):
        others = np.delete(np.arange(count), left_out)
        for k in right:
            votes = KNeighborsClassifier(k, metric="cosine").fit(vectors[others], labels[others])
            right[k].append(votes.predict(vectors[[left_out]])[0] == labels[left_out])
            near = NearestNeighbors(n_neighbors=k, metric="cosine").fit(vectors[others])
            found = near.kneighbors(vectors[[left_out]], return_distance=False)[0]
            hit[k].append(labels[left_out] in labels[others][found])
    tally = tallied(table(vectors.tolist(), labels.tolist()), [8, 1, 3], piece=piece)
    expected = {f"knn_{k}_accuracy": np.mean(each) for k, each in right.items()}
    assert values(tally) == pytest.approx(expected | {f"recall_at_{k}": np.mean(each) for k, each in hit.items()})
    of_class = labels == labels[0]
    assert values(tally, labels[0])["knn_3_accuracy"] == pytest.approx(np.mean(np.array(right[3])[of_class]))


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64()])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, kind: pa.DataType) -> None:
    vectors, labels = clouds(3, 50)
    rows = table(vectors.astype(kind.to_pandas_dtype()).tolist(), labels.tolist(), kind)
    whole = values(tallied(rows, [1, 5]))
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    assert values(tallied(rows, [1, 5], piece=11)) == whole


def test_of_many_images_some_are_drawn_and_compared_with_all() -> None:
    vectors, labels = clouds(1, 3000)
    rows = table(vectors.tolist(), labels.tolist())
    every, drawn = (tallied(rows, [5], most_queries=most, piece=100) for most in (3000, 500))
    assert values(drawn)["knn_5_accuracy"] == pytest.approx(values(every)["knn_5_accuracy"], abs=0.06)
    assert drawn.values()[0].support == 500
    assert drawn.notes() == ["500 of 3,000 images were drawn; their neighbours are among all"]
    assert every.notes() == []


def test_an_image_without_a_vector_is_wrong_and_no_neighbour() -> None:
    near = [[1.0, 0.0], [1.0, 0.1], None, [0.0, 1.0], [0.1, 1.0]]
    tally = tallied(table(near, ["ant", "ant", "ant", "bee", "bee"]), [1])
    assert values(tally) == {"knn_1_accuracy": 0.8, "recall_at_1": 0.8}
    assert values(tally, "ant")["recall_at_1"] == pytest.approx(2 / 3)


def test_more_neighbours_than_images_are_no_measure() -> None:
    tally = tallied(table([[1.0], [0.5], [0.0]], ["ant", "ant", "ant"]), [2, 3])
    assert values(tally) == {"knn_2_accuracy": 1, "knn_3_accuracy": None, "recall_at_2": 1, "recall_at_3": None}
    assert tally.notes() == ["3 images have a vector: of more neighbours there is no measure"]
    assert values(tallied(table([None], ["ant"]), [1])) == {"knn_1_accuracy": None, "recall_at_1": None}


def test_of_equal_votes_the_first_name_wins() -> None:
    order = np.array([2, 0, 1])
    rows = np.array([[0, 1, 2], [0, 0, 2], [2, 0, -1], [-1, -1, -1]], np.int32)
    assert voted(rows, order).tolist() == [1, 0, 2, -1]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array([[1.0, 2.0], [1.0]]), "vectors of 1, 2 numbers"),
        (pa.array([[1, 2], [1, 2]]), r"a column of list<"),
        (pa.array(["a", "b"]), "a column of string"),
    ],
)
def test_what_are_no_vectors_is_refused(column: pa.Array, found: str) -> None:
    with pytest.raises(SpecError, match=found):
        tallied(pa.table({"embedding": column, "truth": ["a", "b"]}), [1])


def test_facts_can_be_taken_merged_and_weighted() -> None:
    vectors, labels = clouds(0, 30)
    rows = table(vectors.tolist(), labels.tolist())
    measure = EmbeddingMeasure([1, 3], seed=0)
    (queries,) = measure.rows(lambda: [rows])
    facts = measure.facts(queries)
    indices = np.array([3, 3, 5, 20])
    taken, weighted = measure.tally(), measure.tally(is_resample=True)
    taken.add(facts.merged([facts.take(indices[:1]), facts.take(indices[1:])]))
    weighted.add(facts, np.bincount(indices, minlength=30))
    assert taken.values() == weighted.values()


@pytest.mark.parametrize(
    "truth",
    [
        pa.array(["x", "y", "x", "y"]).dictionary_encode(),
        pa.array([1.0, 2.0, 1.0, 2.0]),
        pa.array(["x ", "y", "x", "y"], pa.large_string()),
    ],
)
def test_classes_may_be_stored_in_any_way(truth: pa.Array) -> None:
    table = pa.table({"embedding": [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.1, 1.0]], "truth": truth})
    measure = EmbeddingMeasure([1], seed=0)
    (facts,) = [measure.facts(each) for each in measure.rows(lambda: [table])]
    assert facts.right.all()


def test_a_vector_with_an_infinity_is_refused() -> None:
    with pytest.raises(SpecError, match="found a vector with NaN, an infinity or a null in it"):
        neighbours.vectors(pa.chunked_array([[[1.0, float("inf")]]]))
