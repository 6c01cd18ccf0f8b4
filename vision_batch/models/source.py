"""The seam between a spec's `model:` and the places that models come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vision_batch.errors import Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.settings import ModelSettings
from vision_batch.models.trained import TrainedModel
from vision_batch.plugin import Plugin

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a source found out about a model without loading it.

    `location` is where it lies; `facts` is all that decides its predictions, by name; `labels` and `preprocess` are
    what the model itself says of them. `weights_bytes` is None where they are not files of the model's own. `weights`
    and `options` are what the spec would say for a model that has recorded them, `trained` is all that it has recorded.
    `variant` is a source's own name for the way in which such a model is loaded and called.
    """

    location: str
    facts: dict[str, str] = field(default_factory=dict)
    plugin: Plugin | None = None
    weights_bytes: int | None = None
    labels: tuple[str, ...] | None = None
    preprocess: PreprocessSettings | None = None
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    trained: TrainedModel | None = None
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a spec in `folder` wants of a source.

    `task` is what the spec asks of the model, as TaskSettings.asked says it; None where the model says it.
    Without `read_preprocess` the spec has steps of its own, and the model's are not looked at. `for_training` asks for
    a module that can be trained further.
    """

    settings: ModelSettings
    folder: Path
    task: str | None = None
    read_preprocess: bool = True
    for_training: bool = False

    @property
    def address(self) -> str:
        """What follows the kind of source and its colon."""
        return self.settings.source.partition(":")[2]


class Source(Protocol):
    """One kind of `model.source`. Its name is the part before the first colon, its address what follows."""

    def resolve(self, wanted: Wanted) -> Resolved:
        """Finds and digests the model; SpecError for what the spec has wrong. Runs on the driver, without torch."""

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        """The module, in the mode for inference, on the CPU; ModelError if it cannot be loaded."""


def refuse_extras(settings: ModelSettings) -> None:
    """SpecError for `weights` and `options` in a spec whose source holds its own."""
    extras = {"model.weights": settings.weights, "model.options": settings.options}
    problems = [
        Problem(where, repr(value), f"nothing: {settings.source.partition(':')[0]} models hold their own")
        for where, value in extras.items()
        if value
    ]
    if problems:
        raise SpecError(problems)
