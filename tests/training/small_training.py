"""Small trainings for tests: images in memory, modules of a few hundred parameters, and workers that are processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from vision_batch.datasets.settings import InputSettings
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import ModelBundle
from vision_batch.tasks.box_targets import NO_BOX
from vision_batch.tasks.settings import TaskSettings
from vision_batch.tasks.table import trainable_task_for
from vision_batch.training.batch import Batch
from vision_batch.training.checkpoint import CheckpointStore
from vision_batch.training.context import Wish
from vision_batch.training.event import BrokenImage, TakenStep, TrainEvent
from vision_batch.training.job import TrainJob
from vision_batch.training.loop import train
from vision_batch.training.settings import TrainSettings, ValidationSettings

CLASSES = 3
SIDE_PX = 8
LANES = 64
PATIENCE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A training. `spec` is what stands under `train:`.

    Of its images those with the numbers in `broken` are broken, `white` and `black` ones are of one colour, `forgotten`
    ones are planned and never given. `wishes` says at which question of the worker `wisher`, counted from 0, what is
    wished for. With `on_gpus` each worker has a GPU of its own.
    """

    module: Callable[[], nn.Module]
    spec: Mapping[str, Any]
    task: Mapping[str, Any] = field(default_factory=lambda: {"type": "classification"})
    images: int = 50
    validation_images: int = 0
    every_epochs: int = 1
    broken: frozenset[int] = frozenset()
    white: frozenset[int] = frozenset()
    black: frozenset[int] = frozenset()
    forgotten: frozenset[int] = frozenset()
    precision: str = "fp32"
    compile: bool = False
    folder: Path | None = None
    wishes: Mapping[int, Wish] = field(default_factory=dict)
    wisher: int = 0
    on_gpus: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What one worker saw. `weights` are of the newest checkpoint."""

    is_finished: bool
    events: tuple[TrainEvent, ...]
    weights: Mapping[str, np.ndarray]

    @property
    def losses(self) -> list[float | None]:
        """Of every step, in order."""
        return [taken.loss for taken in self.taken]

    @property
    def taken(self) -> list[TakenStep]:
        return [taken for event in self.events if event.kind == "step" for taken in event.taken]

    @property
    def epochs(self) -> list[TrainEvent]:
        return [event for event in self.events if event.kind == "epoch"]

    def notes(self) -> str:
        return "\n".join(event.message for event in self.events if event.kind == "note")


class MemoryIngest:
    """Random images, dealt out to workers by lanes as the plan of an epoch does it, in another order every epoch."""

    def __init__(self, case: Case, images: int) -> None:
        self.images = images
        self._case = case
        rng = np.random.default_rng(images)
        self._pixels = rng.integers(0, 256, (images, SIDE_PX, SIDE_PX, 3), np.uint8)
        self._targets = targets_for(task_settings(case), rng, images)
        self._pixels[[i for i in case.white if i < images]] = 255
        self._pixels[[i for i in case.black if i < images]] = 0
        self._identities = rng.integers(0, 2**64, images, np.uint64)

    def checksum(self, epoch: int) -> int:
        return int(self._identities.sum())

    def batches(self, *, epoch: int, start: int, rank: int, workers: int, batch_images: int) -> Iterator[Batch]:
        order = order_of(self.images, epoch)
        for first in range(start, self.images, workers * batch_images):
            stop = min(first + workers * batch_images, self.images)
            own = [int(order[p]) for p in range(first, stop) if p % LANES % workers == rank]
            good = [i for i in own if i not in self._case.broken | self._case.forgotten]
            bad = [i for i in own if i in self._case.broken]
            yield Batch(
                start=first,
                stop=stop,
                pixels=self._pixels[good],
                targets=self._targets[good],
                identities=self._identities[good],
                image_ids=tuple(f"image-{i}" for i in good),
                broken=tuple(_broken(i) for i in bad),
                broken_identities=self._identities[bad],
            )

    def close(self) -> None:
        pass


def order_of(images: int, epoch: int) -> np.ndarray:
    return np.random.default_rng(epoch).permutation(images)


def position_of(case: Case, number: int) -> int:
    """Where an image comes in the first epoch."""
    return int(np.flatnonzero(order_of(case.images, 0) == number)[0])


def _broken(number: int) -> BrokenImage:
    return BrokenImage(
        image_id=f"image-{number}", shard="shard", row=number, error_code="truncated", error="half of it is missing"
    )


def task_settings(case: Case) -> TaskSettings:
    return TaskSettings.model_validate(dict(case.task))


def targets_for(task: TaskSettings, rng: np.random.Generator, images: int) -> np.ndarray:
    if task.kind == "classification":
        return rng.integers(0, CLASSES, images)
    if task.kind == "multi_label":
        return rng.integers(0, 2, (images, CLASSES)).astype(np.float32)
    if task.kind == "detection":
        return boxes_for(rng, images)
    masks = rng.integers(0, CLASSES, (images, SIDE_PX, SIDE_PX)).astype(np.uint8)
    masks[::3, : SIDE_PX // 2] = 255
    return masks


def boxes_for(rng: np.random.Generator, images: int) -> np.ndarray:
    """None, one or two boxes an image, as they are collated."""
    low = rng.integers(0, SIDE_PX - 2, (images, 2, 2))
    high = rng.integers(low + 1, SIDE_PX + 1)
    boxes = np.concatenate([rng.integers(0, CLASSES, (images, 2, 1)), low, high], axis=2).astype(np.float32)
    boxes[np.arange(2) >= rng.integers(0, 3, (images, 1))] = NO_BOX
    return boxes


class ListContext:
    """Keeps what it is told."""

    def __init__(self, rank: int, workers: int, wishes: Mapping[int, Wish], device: torch.device) -> None:
        self.rank = rank
        self.workers = workers
        self.device = device
        self.events: list[TrainEvent] = []
        self._wishes = wishes
        self._questions = 0

    def tell(self, event: TrainEvent) -> None:
        self.events.append(event)

    def wish(self) -> Wish:
        self._questions += 1
        return self._wishes.get(self._questions - 1, "go")


def job_for(case: Case) -> TrainJob:
    return TrainJob(
        paths=LedgerPaths("output"),
        run_id="run",
        definition="definition",
        input=InputSettings(uri="images"),
        validation=ValidationSettings(uri="validation", every_epochs=case.every_epochs),
        validation_input=None,
        preprocess=PreprocessSettings(resize_px=(SIDE_PX, SIDE_PX)),
        augment=(),
        function=None,
        model=ModelBundle(
            kind="python",
            location="model:build",
            plugin=None,
            options={},
            weights=None,
            weights_bytes=None,
            labels=None,
            preprocess=None,
            facts={},
        ),
        task=task_settings(case),
        labels=tuple(f"class {i}" for i in range(CLASSES)),
        class_images=None,
        train=TrainSettings.model_validate(dict(case.spec)),
        max_pixels=10**6,
        precision=case.precision,
        compile=case.compile,
    )


class NoStore:
    """For trainings of which only what they tell matters."""

    def latest(self) -> None:
        return None

    def save(self, *_: Any, **__: Any) -> None:
        return None


def run_worker(rank: int, workers: int, case: Case) -> Ran:
    """A worker's side of a case, in a process group that is there already."""
    device = torch.device("cuda", rank) if case.on_gpus else torch.device("cpu")
    context = ListContext(rank, workers, case.wishes if rank == case.wisher else {}, device)
    job = job_for(case)
    store: Any = NoStore() if case.folder is None else CheckpointStore(str(case.folder), keep_last=1000)
    torch.manual_seed(rank)  # modules differ until the first worker's values are everybody's
    is_finished = train(
        job,
        module=case.module().eval(),
        task=trainable_task_for(job.task, job.labels),
        ingest=MemoryIngest(case, case.images),
        validation=MemoryIngest(case, case.validation_images) if case.validation_images else None,
        store=store,
        context=context,
    )
    newest = store.latest()
    weights = {} if newest is None else {name: tensor.numpy() for name, tensor in newest.tensors.items()}
    return Ran(is_finished=is_finished, events=tuple(context.events), weights=weights)


class WorkerError(Exception):
    """A worker raised; `kind` is the error's type."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message


class WorkerPool:
    """Processes that run cases one after the other, for each as many of them as it has workers."""

    def __init__(self, most: int, scratch: Path) -> None:
        spawning = multiprocessing.get_context("spawn")
        self._scratch = scratch
        self._groups = 0
        self._workers = []
        for _ in range(most):
            ours, theirs = spawning.Pipe()
            process = spawning.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            self._workers.append((process, ours))

    def run(self, case: Case, workers: int, *, patience_s: float = PATIENCE_S) -> list[Ran]:
        """What each worker saw; WorkerError of one that raised."""
        self._groups += 1
        rendezvous = self._scratch / f"group-{self._groups}"
        for rank, (_, pipe) in enumerate(self._workers[:workers]):
            pipe.send((rank, workers, rendezvous, case))
        deadline = time.monotonic() + patience_s
        answers = []
        for rank, (_, pipe) in enumerate(self._workers[:workers]):
            assert pipe.poll(max(0.0, deadline - time.monotonic())), f"worker {rank} hangs"
            answers.append(pipe.recv())
        if errors := [answer for answer in answers if isinstance(answer, WorkerError)]:
            # who is left alone complains of its neighbours
            raise next((error for error in errors if error.kind != "DistBackendError"), errors[0])
        return answers

    def close(self) -> None:
        for process, pipe in self._workers:
            pipe.close()
            process.terminate()
            process.join()


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    while True:
        try:
            rank, workers, rendezvous, case = pipe.recv()
        except EOFError:
            return
        try:
            if case.on_gpus:
                torch.cuda.set_device(rank)
            if workers > 1:
                backend = "nccl" if case.on_gpus else "gloo"
                dist.init_process_group(backend, init_method=f"file://{rendezvous}", rank=rank, world_size=workers)
            pipe.send(run_worker(rank, workers, case))
        except Exception as error:  # noqa: BLE001 - the test that asked judges it
            pipe.send(_portable(error))
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _portable(error: Exception) -> WorkerError:
    return WorkerError(type(error).__name__, str(error))
