"""What a dataset says of an image's class."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.errors import ImageError
from vision_batch.tasks.class_index import class_index, class_name, vocabulary

ANIMALS = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    ("truth", "name"), [("cat", "cat"), (" cat\n", "cat"), (3, "3"), (3.0, "3"), ("3", "3"), (-1, "-1")]
)
def test_a_name_is_text_or_a_whole_number(truth: Any, name: str) -> None:
    assert class_name(truth) == name


@pytest.mark.parametrize(
    ("truth", "words"),
    [
        (None, "the label is nothing"),
        ("", "str ''"),
        ("  ", "str '  '"),
        (0.5, "float 0.5"),
        (float("nan"), "float nan"),
        (float("inf"), "float inf"),
        (b"cat", "bytes b'cat'"),
        (["cat"], "list"),
        ({"a": 1}, "dict"),
    ],
)
def test_what_is_no_name_is_an_invalid_label(truth: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        class_name(truth)
    assert caught.value.code == "invalid_label"


def test_a_number_is_an_index_where_labels_are_names() -> None:
    assert [class_index(name, ANIMALS) for name in ("bird", "0", "2")] == [2, 0, 2]


def test_a_number_is_a_name_where_labels_are_numbers() -> None:
    assert class_index("1", ("3", "1", "2")) == 1
    with pytest.raises(ImageError):
        class_index("0", ("3", "1", "2"))


@pytest.mark.parametrize("name", ["cats", "3", "-1", "Cat", "01"])
def test_a_class_that_there_is_not(name: str) -> None:
    with pytest.raises(ImageError, match=f"no class is called '{name}'; model.labels has cat, dog, bird") as caught:
        class_index(name, ANIMALS)
    assert caught.value.code == "invalid_label"


def test_the_message_of_many_classes_is_short_and_suggests() -> None:
    labels = tuple(f"class {i:04}" for i in range(2000))
    with pytest.raises(ImageError, match=r"… \(2000\); did you mean 'class 1234'\?"):
        class_index("klass 1234", labels)


@given(st.lists(st.integers(0, 200) | st.text("ab", min_size=1, max_size=2)))
def test_a_vocabulary_has_each_name_once_and_finds_it_again(truths: list[Any]) -> None:
    names = [class_name(truth) for truth in truths]
    labels = vocabulary(names)
    assert sorted(labels) == sorted(set(names))
    assert [labels[class_index(name, labels)] for name in names] == names
    assert labels == vocabulary(reversed(names))
