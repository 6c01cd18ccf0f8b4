"""What a run of a train job would do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from vision_batch.cluster.machine import machine_resources
from vision_batch.inference.layout import Resources
from vision_batch.inference.settings import AUTO, EXACT
from vision_batch.jobs.prepare import reading_output
from vision_batch.jobs.prepare_train import PreparedTraining, prepare_training
from vision_batch.jobs.spec import AnySpec
from vision_batch.jobs.train import finished_result
from vision_batch.jobs.train_data import TrainData, countings, demand_apart, load_data
from vision_batch.jobs.training import finished_model
from vision_batch.storage.uri import join, name, parent
from vision_batch.training.checkpoint_record import RECORD, list_checkpoints
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.layout import TrainLayout, choose_train_layout
from vision_batch.training.split_sets import training_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainForecast:
    """The figures of `plan --json` for a train job.

    Before the first run nobody has counted the images: then `images`, `validation_images`, `class_images` and
    `steps_per_epoch` are None. `images_listed` are all of the input where its listing tells, which that of tars does
    not: then it is None, as is `steps_estimate`, about how many an epoch will have. Steps are those with the most
    workers; with folds they are of the first fold.
    `steps_done` are those of the last checkpoint, of folds in the first unfinished one, of which `folds_done` are
    finished. `precision` is auto where the first run will ask the GPUs.
    """

    format: str
    shards_total: int
    images: int | None
    validation_images: int | None
    class_images: dict[str, int] | None
    epochs: int
    steps_per_epoch: int | None
    images_listed: int | None
    steps_estimate: int | None
    steps_done: int
    is_finished: bool
    folds: int | None
    folds_done: int
    precision: str
    layout: TrainLayout
    warnings: tuple[str, ...]
    output: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast_train(spec: AnySpec, *, address: str | None = None) -> TrainForecast:
    """Looks at input and output and writes nothing; connects to Ray only for the resources of `address`."""
    prepared = prepare_training(spec)
    is_finished = finished_result(prepared) is not None
    if not is_finished:
        demand_apart(prepared)
    learned, _ = countings(prepared)
    plan = learned.plan(write=False)
    data = load_data(prepared) if prepared.claimed is not None else None
    compute, train = prepared.settings.compute, prepared.settings.train
    layout = choose_train_layout(_resources(address), compute, patient=address is not None)
    folds = prepared.trainings()
    unfinished = [fold for fold in folds if finished_model(fold) is None]
    first = unfinished[0] if unfinished else folds[0]
    is_tried = prepared.precision != AUTO or layout.gpus_per_worker
    step_images = layout.workers[1] * train.batch_size * train.accumulate
    counts = [shard.rows for shard in plan.shards]
    listed = None if None in counts else sum(count or 0 for count in counts)
    return TrainForecast(
        format=prepared.parts.input.format,
        shards_total=len(plan.shards),
        images=None if data is None else data.images(first.fold),
        validation_images=None if data is None else data.validation_images(first.fold),
        class_images=None if data is None else _class_images(data, first),
        epochs=train.epochs,
        steps_per_epoch=None if data is None else math.ceil(_shown(data, first) / step_images),
        images_listed=listed,
        steps_estimate=None if listed is None else math.ceil(listed * _share(prepared) / step_images),
        steps_done=_steps_done(first),
        is_finished=is_finished,
        folds=prepared.folds,
        folds_done=len(folds) - len(unfinished) if prepared.folds else 0,
        precision=prepared.precision if is_tried else EXACT,
        layout=layout,
        warnings=plan.warnings,
        output=prepared.paths.output,
    )


def _share(prepared: PreparedTraining) -> float:
    """About which share of the input's images is learned from."""
    validation = prepared.settings.validation
    if validation is None or validation.uri is not None:
        return 1.0
    return 1 - (validation.fraction or 1 / (validation.folds or 1))


def _shown(data: TrainData, prepared: PreparedTraining) -> int:
    """How many images an epoch shows: with class sampling some are there more than once."""
    train, parts = prepared.settings.train, training_parts(data.catalogue.split.parts, prepared.fold)
    return EpochPlan(data.catalogue, parts, seed=train.seed, sampling=train.sampling).images


def _class_images(data: TrainData, prepared: PreparedTraining) -> dict[str, int] | None:
    """By name; None where labels name no classes."""
    counts = data.class_images(prepared.fold)
    return dict(zip(data.labels, counts, strict=True)) if any(counts) else None


def _steps_done(prepared: PreparedTraining) -> int:
    """Of the last checkpoint that was committed, by its name alone; 0 without any."""
    with reading_output():
        stored = list(list_checkpoints(join(prepared.paths.output, "checkpoints")))
    return max((int(name(parent(info.uri))) for info in stored if name(info.uri) == RECORD), default=0)


def _resources(address: str | None) -> Resources:
    if address is None:
        return machine_resources()
    from vision_batch.cluster.connect import connected

    with connected(address) as resources:
        return resources
