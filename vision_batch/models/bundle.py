"""A spec's model, found and digested, ready to travel to workers and be loaded there."""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vision_batch.errors import Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.digest import weights_digest
from vision_batch.models.labels import read_labels
from vision_batch.models.settings import ModelSettings
from vision_batch.models.source import Wanted
from vision_batch.models.table import SOURCES
from vision_batch.models.trained import TrainedModel
from vision_batch.plugin import Plugin
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import normalise

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBundle:
    """All that a worker needs to load the model. Pickles; knows no torch.

    `facts` is all that decides the model's predictions, by name, for the output's definition. `labels` are the spec's,
    else the model's own, class index to name. `preprocess` is what a model's own folder demands, None where it does
    not say. `weights_bytes` is None where nobody knows before the model is loaded. `trained` is the record of a model
    that a train job made. `variant` is the source's own name for the way in which the model is loaded and called,
    `pooling` the spec's for the vector that an embedder of transformers gives.
    """

    kind: str
    location: str
    plugin: Plugin | None
    options: dict[str, Any]
    weights: str | None
    weights_bytes: int | None
    labels: tuple[str, ...] | None
    preprocess: PreprocessSettings | None
    facts: dict[str, str]
    trained: TrainedModel | None = None
    variant: str = ""
    pooling: str = "auto"

    def load(self) -> torch.nn.Module:
        """The module in eval mode, on the CPU, float32.

        ModelError if it cannot be loaded, or if its files are not those that `facts` tells of.
        """
        return SOURCES[self.kind].load(self)


def resolve_model(
    settings: ModelSettings,
    folder: Path,
    *,
    task: str | None = None,
    pooling: str = "auto",
    read_preprocess: bool = True,
    for_training: bool = False,
) -> ModelBundle:
    """Finds the model of a spec that lies in `folder`, and digests its code and weights; loads nothing.

    `task` is what the spec asks of it, as TaskSettings.asked says it; None where the model says it. `pooling` is
    the task's.
    `read_preprocess=False` says that the spec has steps of its own: then the model's are neither read nor a fact.
    `for_training` asks for a module that can be trained.

    SpecError for an unknown kind of source, files that are not there, and options that do not fit.
    """
    wanted = Wanted(
        settings=settings, folder=folder, task=task, read_preprocess=read_preprocess, for_training=for_training
    )
    kind = settings.source.partition(":")[0]
    if kind not in SOURCES or not wanted.address:
        raise SpecError(_unknown_source(settings.source, kind))
    if problems := _foreign(settings, kind, pooling):
        raise SpecError(problems)
    weights = None if settings.weights is None else normalise(settings.weights, folder)
    found = SOURCES[kind].resolve(wanted)
    labels = read_labels(settings.labels, folder) or found.labels
    facts = {"source": kind, **found.facts}
    if weights is not None:
        facts["weights_sha256"] = weights_digest(weights)
    options = settings.options or found.options
    if options:
        facts["options"] = json.dumps(options, sort_keys=True, default=str)
    if labels is not None:
        facts["labels"] = f"{len(labels)}, sha256 {hashlib.sha256(json.dumps(labels).encode()).hexdigest()}"
    return ModelBundle(
        kind=kind,
        location=found.location,
        plugin=found.plugin,
        options=dict(options),
        weights=weights or found.weights,
        weights_bytes=found.weights_bytes if weights is None else storage_for(weights).stat(weights).size_bytes,
        labels=labels,
        preprocess=found.preprocess,
        facts=facts,
        trained=found.trained,
        variant=found.variant,
        pooling=pooling,
    )


def _foreign(settings: ModelSettings, kind: str, pooling: str) -> list[Problem]:
    """What only a model of transformers can be asked for."""
    if kind == "transformers":
        return []
    expected = f"nothing: {kind}: models"
    prompts = [Problem("model.prompts", "texts", f"{expected} know no texts")] if settings.prompts is not None else []
    gives_vectors = Problem("task.pooling", pooling, f"{expected} give their vectors (N, D) themselves")
    return prompts + ([gives_vectors] if pooling != "auto" else [])


def _unknown_source(source: str, kind: str) -> Problem:
    expected = "one of " + ", ".join(f"{name}:…" for name in SOURCES)
    near = difflib.get_close_matches(kind, SOURCES, n=1)
    return Problem("model.source", repr(source), f"{expected}; did you mean {near[0]}:…?" if near else expected)
