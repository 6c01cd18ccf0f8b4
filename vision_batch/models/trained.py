"""What a train job says of the model that it made: `model.yaml`, the last file of its output."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, ValidationError

from vision_batch.documents.document import parse_yaml
from vision_batch.documents.yaml_text import yaml_text
from vision_batch.errors import ForbiddenError, NotFoundError, Problem, SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.settings import Settings
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join

DESCRIPTION, CURVES = "model.yaml", "curves.png"
WEIGHTS: Final = "model.safetensors"
PROGRAM: Final = "model.pt2"
FOLDER = "transformers"
"""Where the model also lies as a folder of that library, if it is one of its models."""
HEADING = "# A trained model. For a predict spec: model: {source: trained:<the folder of this file>}"
PluginPlace: TypeAlias = Literal["model.source", "preprocess.function"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrainedFrom(Settings):
    """The spec's model before training; `facts` are all that decided it, by name."""

    source: str
    options: dict[str, Any] = Field(default_factory=dict)
    facts: dict[str, str]


class TrainedOn(Settings):
    """Which data: where it was, and the digests of the train job's definition and of its catalogue.

    `images` were learned from, `validation_images` only measured on.
    """

    uris: list[str]
    definition_sha256: Sha256
    catalogue_sha256: Sha256
    images: int
    validation_images: int


class TrainedWith(Settings):
    """Which code: versions, and the digests of plug-ins by the place of the spec that named them."""

    vision_batch: str
    torch: str
    plugins: dict[PluginPlace, Sha256]


class TrainedFor(Settings):
    """How long: `epochs` and optimizer's `steps` in all, and the step whose weights these are, with `ema` averaged."""

    epochs: int
    steps: int
    model_step: int
    ema: bool


class TrainedModel(Settings):
    """A trained model: how to serve it, how good it is, and from what it came.

    `task` is the spec's, `labels` class index to name, `preprocess` what serving must do. `files` are the output's
    model files by name with their SHA-256; without `model.pt2` among them `not_exported` says why.
    """

    format: Literal[1] = 1
    task: dict[str, Any]
    labels: list[str] | None
    preprocess: PreprocessSettings
    metrics: dict[str, float]
    training: TrainedFor
    precision: str
    model: TrainedFrom
    data: TrainedOn
    code: TrainedWith
    files: dict[str, Sha256]
    not_exported: str | None = None

    @property
    def label_names(self) -> tuple[str, ...] | None:
        return None if self.labels is None else tuple(self.labels)


def read_model(folder: str) -> TrainedModel | None:
    """What the train output `folder` says of its model; None where training has not ended.

    SpecError for a file that is not readable, or not what a train job writes.
    """
    uri = join(folder, DESCRIPTION)
    try:
        data = storage_for(uri).read(uri)
    except NotFoundError:
        return None
    except ForbiddenError as error:
        raise SpecError(Problem("model.source", str(error), "a file that can be read")) from error
    try:
        return TrainedModel.model_validate(parse_yaml(data.decode(), where=uri))
    except (ValidationError, UnicodeDecodeError, SpecError) as error:
        found = f"{uri}, which this version does not understand: {' '.join(str(error).split())[:300]}"
        raise SpecError(Problem("model.source", found, f"a {DESCRIPTION} as a train job writes it")) from error


def encode_model(model: TrainedModel) -> bytes:
    """YAML that `read_model` reads as the same."""
    return f"{HEADING}\n{yaml_text(model.model_dump(mode='json'), width=120)}".encode()
