"""The `task:` part of a spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, model_serializer, model_validator

from vision_batch.settings import Settings

Kind: TypeAlias = Literal["classification", "multi_label", "segmentation"]

LabelKind: TypeAlias = Literal["one", "several", "mask"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFacts:
    """What is known of a kind of task before its file is imported.

    `keys` are the settings that it has; the others are refused. `labels` says what an image has: one class, any number
    of classes, or a class for each pixel.
    """

    keys: tuple[str, ...]
    labels: LabelKind


KINDS: Final[dict[Kind, KindFacts]] = {
    "classification": KindFacts(keys=("top_k", "score_threshold"), labels="one"),
    "multi_label": KindFacts(keys=("score_threshold",), labels="several"),
    "segmentation": KindFacts(keys=(), labels="mask"),
}

MULTI_LABEL_THRESHOLD: Final = 0.5


class TaskSettings(Settings):
    """What a prediction means and how much of it is kept.

    Classification: of an image's classes the best `top_k` are listed, and of these the ones whose score is
    `score_threshold` (default 0) or more. With `multi_label` an image may have any number of classes: all whose score
    is `score_threshold` (default 0.5) or more are listed.
    """

    type: Literal["classification", "segmentation"]
    top_k: Annotated[int, Field(ge=1)] = 5
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    multi_label: bool = False

    @model_validator(mode="before")
    @classmethod
    def _multi_label_threshold(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("multi_label") is True:
            return {"score_threshold": MULTI_LABEL_THRESHOLD, **values}
        return values

    @model_validator(mode="after")
    def _only_its_own_keys(self) -> TaskSettings:
        if self.multi_label and self.type != "classification":
            raise ValueError("multi_label with type: classification only")
        foreign = sorted(self.model_fields_set - {"type", "multi_label", *self.own_keys})
        if foreign:
            raise ValueError(f"no {', '.join(foreign)}: {self.kind} has {', '.join(self.own_keys) or 'no settings'}")
        return self

    @model_serializer
    def _own(self) -> dict[str, Any]:
        """Only what says something of this kind of task: it becomes part of an output's definition."""
        named = {"multi_label": True} if self.multi_label else {}
        return {"type": self.type, **named, **{key: getattr(self, key) for key in self.own_keys}}

    @property
    def kind(self) -> Kind:
        """The task's name in the table of tasks."""
        return "multi_label" if self.multi_label else self.type

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Its settings besides `type` and `multi_label`."""
        return KINDS[self.kind].keys

    @property
    def labels_are(self) -> LabelKind:
        """What an image's label is, in training and in predictions."""
        return KINDS[self.kind].labels
