"""The `task:` part of a spec."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, model_serializer, model_validator

from vision_batch.settings import Settings

Kind: TypeAlias = Literal["classification", "multi_label", "segmentation"]

KEYS: Final[dict[Kind, tuple[str, ...]]] = {
    "classification": ("top_k", "score_threshold"),
    "multi_label": ("score_threshold",),
    "segmentation": (),
}
"""Which settings a kind of task has; the others are refused."""

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
        foreign = sorted(self.model_fields_set - {"type", "multi_label", *KEYS[self.kind]})
        if foreign:
            raise ValueError(f"no {', '.join(foreign)}: {self.kind} has {', '.join(KEYS[self.kind]) or 'no settings'}")
        return self

    @model_serializer
    def _own(self) -> dict[str, Any]:
        """Only what says something of this kind of task: it becomes part of an output's definition."""
        named = {"multi_label": True} if self.multi_label else {}
        return {"type": self.type, **named, **{key: getattr(self, key) for key in KEYS[self.kind]}}

    @property
    def kind(self) -> Kind:
        """The task's name in the table of tasks."""
        return "multi_label" if self.multi_label else self.type
