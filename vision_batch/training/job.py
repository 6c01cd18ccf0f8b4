"""All that a worker needs to know of a training; pickled once and sent to every worker."""

from __future__ import annotations

from dataclasses import dataclass

from vision_batch.datasets.settings import InputSettings
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import ModelBundle
from vision_batch.plugin import Plugin
from vision_batch.settings import Settings
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.settings import TrainSettings, ValidationSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """One run of a train spec against one output.

    `definition` is a digest; the formats and `precision` are resolved, never auto. `labels` are the names of the
    classes, the model's or else those that the data have. `class_images` has how many training images each of them has,
    where the task counts that. `validation_input` is None where validation images come from the input, or from nowhere.
    `max_pixels` bounds an image before it is decoded. Of `folds` this is training `fold`, counted from 0; None where
    there are none. `dataset` is the ledger whose plan and catalogue name the images: that of the output which holds the
    folds, None for this output's own.
    """

    paths: LedgerPaths
    run_id: str
    definition: str
    input: InputSettings
    validation: ValidationSettings | None
    validation_input: InputSettings | None
    preprocess: PreprocessSettings
    augment: tuple[Settings, ...]
    function: Plugin | None
    model: ModelBundle
    task: TaskSettings
    labels: tuple[str, ...]
    class_images: tuple[int, ...] | None
    train: TrainSettings
    max_pixels: int
    precision: str
    compile: bool = False
    fold: int | None = None
    dataset: LedgerPaths | None = None
