"""Stands where a training's workers would be: tells what they tell, and leaves a model as they do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from vision_batch.cluster import connect
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.layout import Node, Resources
from vision_batch.models.trained import TrainedFor, TrainedFrom, TrainedModel, TrainedOn, TrainedWith, encode_model
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join
from vision_batch.training.event import BrokenImage, TakenStep, TrainEvent
from vision_batch.training.job import TrainJob
from vision_batch.training.layout import TrainLayout

STEPS = 3
IMAGES = 12


class FakeWorkers:
    """`jobs`, `layouts` and `stops` are those that were begun, on the Ray at `addresses`, which has `nodes`.

    `at_step` is called before each step and may raise; `broken` are told of. `last_step` is where training stops early.
    """

    def __init__(self) -> None:
        self.jobs: list[TrainJob] = []
        self.stops: list[threading.Event] = []
        self.layouts: list[TrainLayout] = []
        self.addresses: list[str | None] = []
        self.nodes: tuple[Node, ...] = (Node(cpus=2),)
        self.at_step: Callable[[int], None] = lambda step: None
        self.broken: tuple[BrokenImage, ...] = ()
        self.first_step = 0
        self.last_step: int | None = None

    def execute(self, job: TrainJob, layout: TrainLayout, *, stop: threading.Event, body: Any) -> Iterator[TrainEvent]:
        self.jobs.append(job)
        self.stops.append(stop)
        self.layouts.append(layout)
        epoch, at = divmod(self.first_step, STEPS)
        counts: dict[str, Any] = {"images_per_epoch": IMAGES, "epochs": job.train.epochs, "workers": 2}
        yield TrainEvent(kind="begin", step=self.first_step, epoch=epoch, position=at * IMAGES // STEPS, **counts)
        for step in range(self.first_step + 1, (self.last_step or job.train.epochs * STEPS) + 1):
            self.at_step(step)
            if stop.is_set():
                uri = join(job.paths.output, "checkpoints", f"{step:09d}")
                storage_for(uri).put(join(uri, "state.json"), b"{}")
                yield TrainEvent(kind="checkpoint", step=step, uri=uri)
                return
            epoch, at = divmod(step - 1, STEPS)
            yield TrainEvent(
                kind="step",
                step=step,
                epoch=epoch,
                position=(at + 1) * IMAGES // STEPS,
                taken=(TakenStep(loss=1 / step),),
                loss=1 / step,
                images=IMAGES // STEPS,
                seconds=0.5,
                waited=0.25,
                **counts,
            )
            if at == STEPS - 1:
                yield TrainEvent(kind="broken", epoch=epoch, images_broken=self.broken)
                yield TrainEvent(
                    kind="epoch",
                    step=step,
                    epoch=epoch,
                    loss=1 / step,
                    images=IMAGES,
                    broken=len(self.broken),
                    metrics={"accuracy": score(job.fold)},
                    is_best=True,
                    **counts,
                )
                yield TrainEvent(kind="checkpoint", step=step)
        yield TrainEvent(kind="done", step=job.train.epochs * STEPS)
        write_model(job)


def score(fold: int | None) -> float:
    """What validation gives: by fold 0.7, 0.8, 0.9."""
    return 0.7 + 0.1 * (fold or 0)


def write_model(job: TrainJob) -> None:
    """model.yaml as the first worker writes it."""
    steps = job.train.epochs * STEPS
    model = TrainedModel(
        task=job.task.model_dump(mode="json"),
        labels=list(job.labels),
        preprocess=PreprocessSettings(resize_px=(8, 8)),
        metrics={"accuracy": score(job.fold)},
        training=TrainedFor(epochs=job.train.epochs, steps=steps, model_step=steps, ema=False),
        precision=job.precision,
        model=TrainedFrom(source="python:net:build", facts={}),
        data=TrainedOn(
            uris=[], definition_sha256=job.definition, catalogue_sha256="0" * 64, images=12, validation_images=4
        ),
        code=TrainedWith(vision_batch="0", torch="0", plugins={}),
        files={},
    )
    uri = join(job.paths.output, "model.yaml")
    storage_for(uri).put(uri, encode_model(model))


def put_workers(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    """Fake workers in the place of Ray's, of which nothing is started."""
    workers = FakeWorkers()
    module = ModuleType("vision_batch.training.execute")
    module.execute = workers.execute  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)

    @contextmanager
    def connected(address: str | None, *, verbose: bool = False) -> Iterator[Resources]:
        workers.addresses.append(address)
        yield Resources(nodes=workers.nodes)

    monkeypatch.setattr(connect, "connected", connected)
    return workers
