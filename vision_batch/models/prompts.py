"""`model.prompts`: classes that are told in words to a model that knows images and texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from vision_batch.errors import Problem, SpecError

Prompts: TypeAlias = list[str] | dict[str, str | list[str]]
"""One text for each class, whose label it is; templates, where the labels are given; or label to text or texts."""

PLACE = "{}"
"""Where a template has the label."""
WHERE = "model.prompts"


def prompted_labels(prompts: Prompts, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """The labels that `prompts` tell of; `labels` are the spec's own. SpecError for what does not go together."""
    if not prompts or any(not text.strip() for text in _all_texts(prompts)):
        raise SpecError(Problem(WHERE, "nothing, or an empty text", "a text for each class"))
    has_templates = labels is not None and not isinstance(prompts, Mapping)
    loose = [text for text in _all_texts(prompts) if PLACE in text]
    if loose and not has_templates:
        expected = f"no {PLACE}, for which there is a label only in a list of templates with model.labels"
        raise SpecError(Problem(WHERE, repr(loose[0]), expected))
    if isinstance(prompts, Mapping):
        if labels is not None and set(labels) != set(prompts):
            raise SpecError(
                Problem(WHERE, "a mapping of other labels than model.labels", "the same labels, or no list")
            )
        return labels or tuple(prompts)
    if labels is None:
        twice = [text for text, count in Counter(prompts).items() if count > 1]
        if twice:
            raise SpecError(Problem(WHERE, f"{twice[0]!r} more than once", "every class its own text"))
        return tuple(prompts)
    bare = [text for text in prompts if PLACE not in text]
    if bare:
        expected = f"templates with {PLACE} for the label, since model.labels are given; or a mapping of label to text"
        raise SpecError(Problem(WHERE, repr(bare[0]), expected))
    return labels


def texts_of(prompts: Prompts, labels: Sequence[str]) -> list[list[str]]:
    """For each of the labels that were found its texts, one or more."""
    if isinstance(prompts, Mapping):
        return [_several(prompts[label]) for label in labels]
    if list(prompts) == list(labels):
        return [[text] for text in prompts]
    return [[template.replace(PLACE, label) for template in prompts] for label in labels]


def _all_texts(prompts: Prompts) -> list[str]:
    if isinstance(prompts, Mapping):
        return [text for texts in prompts.values() for text in _several(texts) or [""]]
    return prompts


def _several(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts
