"""Names of classes as indices."""

from __future__ import annotations

import pyarrow as pa
import pytest

from vision_batch.errors import SpecError
from vision_batch.evaluation.vocabulary import Vocabulary


def test_the_models_classes_come_first_and_others_by_name() -> None:
    found = Vocabulary(("dog", "cat"))
    assert found.true(pa.array(["zebra", "cat", None, "ape"])).tolist() == [2, 1, -1, 3]
    assert found.names == ["dog", "cat", "zebra", "ape"]
    assert [found.names[index] for index in found.order] == ["dog", "cat", "ape", "zebra"]


def test_a_number_is_an_index_where_classes_have_names() -> None:
    found = Vocabulary(("dog", "cat"))
    assert found.true(pa.array([1, 0])).tolist() == [1, 0]
    assert found.true(pa.array([1.0, None])).tolist() == [1, -1]
    assert found.true(pa.array(["1"])).tolist() == [1]
    digits = Vocabulary(("7", "1"))
    assert digits.true(pa.array([1, 7])).tolist() == [1, 0]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array(["a", None, "b"]),
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.chunked_array([["a"], [None, "b"]]),
        pa.chunked_array([], pa.string()),
    ],
)
def test_labels_may_be_stored_in_any_way(labels: pa.Array) -> None:
    assert Vocabulary(("a", "b")).predicted(labels).tolist() == [0, -1, 1][: len(labels)]


def test_dictionaries_that_differ_from_batch_to_batch_mean_the_same() -> None:
    chunks = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]).dictionary_encode()])
    assert Vocabulary().predicted(chunks).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("value", ["", " ", 1.5])
def test_what_is_no_class_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match="expected the name of a class"):
        Vocabulary().true(pa.array([value]))


@pytest.mark.parametrize(
    ("predicted", "true"),
    [
        (pa.array([2.0, 1.0, None]), pa.array([2, 1, 1])),  # a column of whole numbers with a null in it
        (pa.array(["cat ", "dog"]), pa.array(["cat", " dog"])),
        (pa.array([True, False]), pa.array([True, False])),
    ],
)
def test_a_prediction_is_called_as_its_truth_is(predicted: pa.Array, true: pa.Array) -> None:
    found = Vocabulary()
    known = [index for index in found.predicted(predicted).tolist() if index >= 0]
    assert known == found.true(true).tolist()[: len(known)]
    assert len(found) == 2


def test_two_classes_of_one_name_are_one() -> None:
    found = Vocabulary(("crane", "maillot", "crane", "dog"))
    assert found.names == ["crane", "maillot", "dog"]
    assert found.predicted(pa.array(["crane", "dog", "stranger"])).tolist() == [0, 2, 3]
    assert found.true(pa.array([0, 2, 3])).tolist() == [0, 0, 2]
    assert found.order == [0, 1, 2, 3]


def test_a_column_of_lists_holds_no_labels() -> None:
    with pytest.raises(SpecError, match=r"label: found a column of list<.*expected the names of classes"):
        Vocabulary().predicted(pa.array([["a"]]))
