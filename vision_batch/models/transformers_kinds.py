"""Which models of transformers answer which task, by the class that a folder's `config.json` names. Knows no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vision_batch.errors import Problem, SpecError

BY_PROMPTS: Final = " by model.prompts"
"""What is added to a task's name where the spec tells the classes in words."""
PROMPTED: Final = "image and text"
LEARNING: Final = "learning detector"
"""How the models of another kind are called where they are to be trained."""
ANY: Final = "…"
EMBEDDERS: Final = ("embedder", "projected embedder")

SOFTMAX_DETECTORS: Final = (
    "DetrForObjectDetection",
    "TableTransformerForObjectDetection",
    "YolosForObjectDetection",
)
MASK_MODELS: Final = ("Mask2FormerForUniversalSegmentation", "MaskFormerForInstanceSegmentation")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelKind:
    """One way in which models of the library are called.

    `what` is what a person calls such a model, `tasks` are those that it answers, `architectures` are the library's
    classes, `…` for any letters, and `auto` the class that finds and loads them. `trainable` says that it can get a new
    head and be trained, `by_size` that it sees pictures in their own sizes, as BySize does it. `optional` is a part of
    the model that is left out where the folder has no weights of it.
    """

    what: str
    tasks: tuple[str, ...]
    architectures: tuple[str, ...]
    auto: str
    trainable: bool = False
    by_size: bool = False
    optional: str | None = None

    def has(self, architecture: str) -> bool:
        """Whether the class of that name is one of them."""
        return any(re.fullmatch(name.replace(ANY, r"\w*"), architecture) for name in self.architectures)


KINDS: Final[dict[str, ModelKind]] = {
    "classifier": ModelKind(
        what="an image classifier",
        tasks=("classification", "multi_label"),
        architectures=("…ForImageClassification", "…ForImageClassificationWithTeacher"),
        auto="AutoModelForImageClassification",
        trainable=True,
    ),
    "semantic": ModelKind(
        what="a semantic segmenter",
        tasks=("segmentation",),
        architectures=("…ForSemanticSegmentation",),
        auto="AutoModelForSemanticSegmentation",
        trainable=True,
    ),
    "softmax detector": ModelKind(
        what="an object detector",
        tasks=("detection",),
        architectures=SOFTMAX_DETECTORS,
        auto="AutoModelForObjectDetection",
        by_size=True,
    ),
    LEARNING: ModelKind(
        what="an object detector of DETR's kind",
        tasks=("detection",),
        architectures=SOFTMAX_DETECTORS,
        auto="AutoModelForObjectDetection",
        trainable=True,
    ),
    "sigmoid detector": ModelKind(
        what="an object detector",
        tasks=("detection",),
        architectures=(
            "ConditionalDetrForObjectDetection",
            "DeformableDetrForObjectDetection",
            "RTDetrForObjectDetection",
            "RTDetrV2ForObjectDetection",
            "DFineForObjectDetection",
        ),
        auto="AutoModelForObjectDetection",
        by_size=True,
    ),
    "instances": ModelKind(
        what="an instance segmenter",
        tasks=("detection with masks",),
        architectures=MASK_MODELS,
        auto="AutoModelForUniversalSegmentation",
        by_size=True,
    ),
    "boxes of instances": ModelKind(
        what="an instance segmenter",
        tasks=("detection",),
        architectures=MASK_MODELS,
        auto="AutoModelForUniversalSegmentation",
        by_size=True,
    ),
    "mask classes": ModelKind(
        what="a segmenter by masks",
        tasks=("segmentation",),
        architectures=MASK_MODELS,
        auto="AutoModelForUniversalSegmentation",
        by_size=True,
    ),
    PROMPTED: ModelKind(
        what="a model of images and texts",
        tasks=(f"classification{BY_PROMPTS}", f"multi_label{BY_PROMPTS}"),
        architectures=("CLIPModel", "SiglipModel"),
        auto="AutoModel",
    ),
    "projected embedder": ModelKind(
        what="an image tower with a projection",
        tasks=("embedding",),
        architectures=("CLIPVisionModelWithProjection",),
        auto="CLIPVisionModelWithProjection",
    ),
    "embedder": ModelKind(
        what="a model whose body knows images",
        tasks=("embedding",),
        architectures=("…Model", "…ForImageClassification…"),
        auto="AutoModel",
        optional="pooler",
    ),
}
"""By name, which is also that of the wrapper in `transformers_model`."""


def kind_of(config: Mapping[str, Any], task: str, *, for_training: bool) -> str:
    """The name of the kind that a folder's `config` and the spec's task ask for; SpecError where they do not fit.

    What says nothing of a task, as a body whose head is to be trained, may be an image classifier; but what knows texts
    is told its classes, unless it is to be trained.
    """
    named = config.get("architectures") or []
    architecture = str(named[0]) if named else ""
    answering = [name for name, kind in KINDS.items() if kind.has(architecture)]
    may_classify = "For" not in architecture and (for_training or PROMPTED not in answering)
    fitting = [n for n in [*answering, *(["classifier"] if may_classify else [])] if task in KINDS[n].tasks]
    if not fitting:
        raise SpecError(_misfit(architecture or f"model_type {config.get('model_type')!r}", task, answering))
    if not for_training:
        return fitting[0]
    learning = [name for name in fitting if KINDS[name].trainable]
    if not learning:
        trained = ", ".join(kind.what for kind in KINDS.values() if kind.trainable)
        raise SpecError(Problem("model.source", f"{architecture} in a train job", f"{trained}; or a python: model"))
    return learning[0]


def _misfit(found: str, task: str, answering: list[str]) -> Problem:
    serving = {name: kind for name, kind in KINDS.items() if name != LEARNING}
    wanted = " or ".join(
        f"{kind.what} ({', '.join(kind.architectures)})" for kind in serving.values() if task in kind.tasks
    )
    if answering:
        kinds = [serving[name] for name in answering if name in serving]
        wanted += "; this is " + " or ".join(f"{kind.what}, for task.type: {kind.tasks[0]}" for kind in kinds)
    return Problem("model.source", f"{found} with the task {task}", wanted)
