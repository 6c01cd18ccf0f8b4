"""Classes that are told in words: which labels and which texts they are."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from vision_batch.errors import SpecError
from vision_batch.models.prompts import Prompts, prompted_labels, texts_of
from vision_batch.models.settings import ModelSettings


@pytest.mark.parametrize(
    ("prompts", "labels", "found", "texts"),
    [
        (["a cat", "a dog"], None, ("a cat", "a dog"), [["a cat"], ["a dog"]]),
        ({"cat": "a cat", "dog": ["a dog", "a puppy"]}, None, ("cat", "dog"), [["a cat"], ["a dog", "a puppy"]]),
        ({"cat": "a cat", "dog": "a dog"}, ("dog", "cat"), ("dog", "cat"), [["a dog"], ["a cat"]]),
        (
            ["a photo of a {}", "a {} in {} colours"],
            ("cat", "{dog}"),
            ("cat", "{dog}"),
            [["a photo of a cat", "a cat in cat colours"], ["a photo of a {dog}", "a {dog} in {dog} colours"]],
        ),
    ],
)
def test_labels_and_texts(
    prompts: Prompts, labels: tuple[str, ...] | None, found: tuple[str, ...], texts: list[list[str]]
) -> None:
    assert prompted_labels(prompts, labels) == found
    assert texts_of(prompts, found) == texts


@pytest.mark.parametrize(
    ("prompts", "labels", "problem"),
    [
        ([], None, "nothing, or an empty text"),
        ({}, None, "nothing, or an empty text"),
        (["a cat", " "], None, "nothing, or an empty text"),
        ({"cat": []}, None, "nothing, or an empty text"),
        ({"cat": ["a cat", ""]}, None, "nothing, or an empty text"),
        (["a cat", "a dog", "a cat"], None, "'a cat' more than once; expected every class its own text"),
        (["a photo of a {}", "a cat"], ("cat", "dog"), "'a cat'; expected templates with {} for the label"),
        (["a photo of a {}"], None, "'a photo of a {}'; expected no {}, for which there is a label only in a list of"),
        ({"cat": "a {}"}, ("cat",), "'a {}'; expected no {}, for which"),
        ({"cat": "a cat"}, ("cat", "dog"), "a mapping of other labels than model.labels"),
    ],
)
def test_what_does_not_go_together(prompts: Prompts, labels: tuple[str, ...] | None, problem: str) -> None:
    with pytest.raises(SpecError, match=rf"model\.prompts: found {problem}"):
        prompted_labels(prompts, labels)


def test_texts_only() -> None:
    assert ModelSettings(source="transformers:clip", prompts={"1": "one"}).prompts == {"1": "one"}
    with pytest.raises(ValidationError, match="prompts"):
        ModelSettings(source="transformers:clip", prompts={"cat": {"text": "a cat"}})  # type: ignore[dict-item]
