"""The `task:` part of a spec."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, model_serializer, model_validator

from vision_batch.errors import Problem
from vision_batch.settings import Settings

Kind: TypeAlias = Literal["classification", "multi_label", "detection", "segmentation", "embedding"]

LabelKind: TypeAlias = Literal["one", "several", "boxes", "mask"]

THRESHOLD: Final = "task.score_threshold"
SHOWN: Final = 5
"""How many labels a message lists."""

Pooling: TypeAlias = Literal["auto", "cls", "mean"]

Number: TypeAlias = Literal["float32", "float16"]

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFacts:
    """What is known of a kind of task before its file is imported.

    `keys` are the settings that it has; the others are refused. `labels` says what an image's label is, in training and
    in predictions: one class, any number of classes, boxes with a class each, or a class for each pixel; None where no
    model can be trained for it. `score_threshold` is what a spec that does not say it means.
    """

    keys: tuple[str, ...]
    labels: LabelKind | None
    score_threshold: float = 0.0


KINDS: Final[dict[Kind, KindFacts]] = {
    "classification": KindFacts(keys=("top_k", "score_threshold", "temperature"), labels="one"),
    "multi_label": KindFacts(keys=("score_threshold", "temperature"), labels="several", score_threshold=0.5),
    "detection": KindFacts(
        keys=("score_threshold", "nms_iou", "max_boxes", "masks"), labels="boxes", score_threshold=0.05
    ),
    "segmentation": KindFacts(keys=("tile_px", "tile_overlap"), labels="mask"),
    "embedding": KindFacts(keys=("normalise", "dtype", "pooling"), labels=None),
}

YOUNGER: Final = {"temperature": 1.0, "tile_px": None, "tile_overlap": 0.25}
"""Settings that outputs were made without: at these values they are no part of a definition, which thus stays."""


def _threshold_of_its_kind(said: dict[str, Any]) -> float:
    """What a spec means that does not say it; `said` are the fields before it, as far as they are right."""
    facts = KINDS.get("multi_label" if said.get("multi_label") else said.get("type", "classification"))
    return facts.score_threshold if facts else 0.0


class TaskSettings(Settings):
    """What a prediction means and how much of it is kept.

    Classification: logits are divided by `temperature`; of an image's classes the best `top_k` are listed, and of these
    the ones whose score is `score_threshold` (default 0) or more. With `multi_label` an image may have any number of
    classes: all whose score is `score_threshold` or more are listed. That is one number (default 0.5), or one by label;
    labels that it does not name need 0.5.

    Detection: of the boxes that score `score_threshold` (default 0.05) or more at most `max_boxes`, the best ones. Of
    boxes of one class that overlap by more than `nms_iou` only the best is kept; null is for models that give each
    thing one box. `masks` asks for each box's mask, which the model must give.

    Segmentation: with `tile_px` the model sees an image at full size, in squares of that side, of which neighbours
    share `tile_overlap` of the side or more; without it, it sees what `preprocess` makes of the image.

    Embedding: with `normalise` each vector is divided by its length; `dtype` is how its numbers are stored. `pooling`
    says which vector of a transformers model's tokens is meant: `cls`, the `mean` of the patches', or what the model
    itself gives for the image (`auto`).
    """

    type: Literal["classification", "detection", "segmentation", "embedding"]
    multi_label: bool = False
    top_k: Annotated[int, Field(ge=1)] = 5
    score_threshold: Share | dict[str, Share] = Field(default_factory=_threshold_of_its_kind)
    temperature: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    nms_iou: Share | None = None
    max_boxes: Annotated[int, Field(ge=1)] = 100
    masks: bool = False
    normalise: bool = False
    dtype: Number = "float32"
    pooling: Pooling = "auto"
    tile_px: Annotated[int, Field(ge=16, le=16384)] | None = None
    tile_overlap: Annotated[float, Field(ge=0, le=0.75)] = 0.25

    @model_validator(mode="after")
    def _only_its_own_keys(self) -> TaskSettings:
        if self.multi_label and self.type != "classification":
            raise ValueError("multi_label with type: classification only")
        foreign = sorted(self.model_fields_set - {"type", "multi_label", *self.own_keys})
        if foreign:
            raise ValueError(f"no {', '.join(foreign)}: {self.kind} has {', '.join(self.own_keys) or 'no settings'}")
        if self.tile_px is None and "tile_overlap" in self.model_fields_set:
            raise ValueError("tile_overlap with tile_px only")
        if isinstance(self.score_threshold, dict) and not self.multi_label:
            raise ValueError("one score_threshold: only with multi_label has each label its own")
        return self

    @model_serializer
    def _own(self) -> dict[str, Any]:
        """Only what says something of this kind of task: it becomes part of an output's definition."""
        named = {"multi_label": True} if self.multi_label else {}
        values = {key: getattr(self, key) for key in self.own_keys}
        said = {key: value for key, value in values.items() if key not in YOUNGER or value != YOUNGER[key]}
        return {"type": self.type, **named, **said}

    @property
    def kind(self) -> Kind:
        """The task's name in the table of tasks."""
        return "multi_label" if self.multi_label else self.type

    @property
    def asked(self) -> str:
        """What a model must answer: the kind, and masks where they are asked for."""
        return f"{self.kind} with masks" if self.masks else self.kind

    @property
    def own_keys(self) -> tuple[str, ...]:
        """Its settings besides `type` and `multi_label`."""
        return KINDS[self.kind].keys

    @property
    def labels_are(self) -> LabelKind | None:
        """What an image's label is, in training and in predictions; None where nothing can be trained."""
        return KINDS[self.kind].labels

    def strangers(self, labels: tuple[str, ...] | None) -> list[Problem]:
        """A problem for each label that has a threshold of its own and is none of the model's `labels`.

        Where the model has no labels, None, its classes are called by their indices.
        """
        named = self.score_threshold if isinstance(self.score_threshold, dict) else {}
        if labels is None:
            expected = "the index of a class, or model.labels"
            return [Problem(THRESHOLD, repr(name), expected) for name in named if not name.isdecimal()]
        return [
            Problem(THRESHOLD, repr(name), f"the model's labels, {_few(name, labels)}")
            for name in named
            if name not in labels
        ]

    @property
    def has_masks(self) -> bool:
        """Whether an image's prediction is as large as a picture."""
        return self.masks or self.type == "segmentation"


def _few(name: str, labels: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, labels, n=1)
    return f"perhaps {near[0]!r}" if near else ", ".join(labels[:SHOWN]) + (" …" if len(labels) > SHOWN else "")
