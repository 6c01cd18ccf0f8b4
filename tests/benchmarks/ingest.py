"""How fast images come to a training: over a PyTorch DataLoader, beside a device that computes, and epoch after epoch.

- `over DataLoader`: as many processes as cores, the same files, decoder and augmentation on both sides. Ours are the
  ranks of a training, which give whole batches; the DataLoader's are its workers, beside the process that takes them.
- `real over resident`: the time that a device takes for its steps over the time that they take with real data. The
  device is a clock: it takes no CPU, as a GPU would, and half as long again as one thread does for decoding.
- `grown MiB`: by how much a process is larger after 20 epochs than after 3.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tests.benchmarks.bare import images_per_second
from tests.benchmarks.measurement import Figures, Line, Measurement
from tests.benchmarks.photos import make_jpegs
from tests.benchmarks.work import MAX_PIXELS, PREPROCESS
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.example import ExampleMaker
from vision_batch.images.resize import limit_threads
from vision_batch.images.settings import PreprocessSettings
from vision_batch.inference.memory import resident_bytes
from vision_batch.inference.worker_process import tune_process
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import make_plan
from vision_batch.tasks.classification import Classification
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.catalogue import load_catalogue
from vision_batch.training.catalogue_build import build_catalogue
from vision_batch.training.epoch import EpochPlan
from vision_batch.training.ingest import JoinedIngest
from vision_batch.training.lane import Source
from vision_batch.training.made import BatchMaker

CLASSES = ("even", "odd")
AUGMENT = ({"random_resized_crop": {"scale": [0.35, 1.0]}}, "horizontal_flip")
BATCH_IMAGES = 64
SLOWER = 1.5
EPOCHS, WARM_EPOCHS = 20, 3
MEMORY_IMAGES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class OurRanks:
    """Each process is one of `ranks`, with a thread that decodes."""

    folder: Path
    ranks: int

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        """`files` has the rank's number."""
        tune_process()
        ingest, rank = open_ingest(self.folder), int(files[0])

        def work(epoch: int = 1, batches: int | None = None) -> int:
            where = {"epoch": epoch, "start": 0, "rank": rank, "workers": self.ranks, "batch_images": BATCH_IMAGES}
            return sum(len(batch) for batch in islice(ingest.batches(**where), batches))

        work(0, 3)
        return work


@dataclass(frozen=True, slots=True, kw_only=True)
class TheirWorkers:
    """One process that takes batches from a DataLoader with `workers` processes."""

    folder: Path
    workers: int

    def prepared(self, files: Sequence[str]) -> Callable[[], int]:
        import torch
        from torch.utils.data import DataLoader

        images: Any = ImageFiles(self.folder)
        loader: DataLoader[Any] = DataLoader(
            images,
            batch_size=BATCH_IMAGES,
            shuffle=True,
            num_workers=self.workers,
            persistent_workers=True,
            worker_init_fn=_quiet,
            generator=torch.Generator().manual_seed(0),
        )

        def work(batches: int | None = None) -> int:
            return sum(len(labels) for _, labels in islice(loader, batches))

        work(3)
        return work


class ImageFiles:
    """A dataset as one writes it for a DataLoader: index to pixels and label."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted((folder / "data").rglob("*.jpg"))
        self._examples: ExampleMaker | None = None

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        if self._examples is None:
            self._examples = example_maker()
        file = self._files[index]
        example = self._examples(file.read_bytes(), identity=index, epoch=0)
        return torch.from_numpy(example.pixels), CLASSES.index(file.parent.name)


def _quiet(_worker: int) -> None:
    limit_threads()


def rounds(folder: Path, images: int) -> Iterator[Figures]:
    """All that a ratio compares is measured in the same round."""
    prepare(folder, images)
    few = folder / "few"
    prepare(few, MEMORY_IMAGES)
    cores = len(os.sched_getaffinity(0))
    while True:
        ours = images_per_second(OurRanks(folder=folder, ranks=cores), list(map(str, range(cores))), cores)
        theirs = images_per_second(TheirWorkers(folder=folder, workers=cores), ["0"], 1)
        yield {
            "over DataLoader": ours / theirs,
            "ours images/s": ours,
            "DataLoader images/s": theirs,
            "real over resident": real_over_resident(folder),
            "grown MiB": grown_mib(few),
        }


def prepare(folder: Path, images: int) -> None:
    """JPEGs of 500 x 375 px in a folder for each class, and their catalogue."""
    write_classes(folder / "data", images, CLASSES)
    paths, settings = LedgerPaths(str(folder / "out")), input_settings(folder)
    plan = make_plan(paths, settings, format_named("folder"), cell_rows=1024, write=True)
    task = TaskSettings(type="classification")
    build_catalogue(paths, settings, plan, task=task, labels=CLASSES, validation=None)


def write_classes(folder: Path, images: int, classes: Sequence[str]) -> None:
    """JPEGs of 500 x 375 px, in turn in a folder for each class."""
    jpegs = make_jpegs(500, 375)
    for name in classes:
        (folder / name).mkdir(parents=True)
    for number in range(images):
        name = classes[number % len(classes)]
        (folder / name / f"{number:06d}.jpg").write_bytes(jpegs[number % len(jpegs)])


def input_settings(folder: Path) -> InputSettings:
    return InputSettings(uri=str(folder / "data"), format="folder", label_column="folder")


def open_ingest(folder: Path, *, threads: int = 1) -> JoinedIngest:
    paths = LedgerPaths(str(folder / "out"))
    catalogue = load_catalogue(paths)
    assert catalogue is not None
    source = Source(paths, input_settings(folder), EpochPlan(catalogue, frozenset({0}), seed=0))
    px = PreprocessSettings.model_validate(PREPROCESS).output_px
    task = Classification(top_k=1, labels=CLASSES)
    return JoinedIngest(source, BatchMaker(example_maker(), task, augmented=True, output_px=px), threads=threads)


def example_maker() -> ExampleMaker:
    augment = [AugmentSettings.model_validate(one) for one in AUGMENT]
    return ExampleMaker(PreprocessSettings.model_validate(PREPROCESS), augment, max_pixels=MAX_PIXELS, seed=0)


def real_over_resident(folder: Path) -> float:
    """The seconds of the steps alone over those that they take with data, without the first one's wait."""
    with closing(open_ingest(folder)) as ingest:
        where = {"start": 0, "rank": 0, "workers": 1, "batch_images": BATCH_IMAGES}
        start = time.perf_counter()
        images = sum(len(batch) for batch in ingest.batches(epoch=0, **where))
        step_s = SLOWER * BATCH_IMAGES * (time.perf_counter() - start) / images
        batches = ingest.batches(epoch=1, **where)
        next(batches)
        start, steps = time.perf_counter(), 0
        time.sleep(step_s)
        for _ in batches:
            steps += 1
            time.sleep(step_s)
        return (steps + 1) * step_s / (time.perf_counter() - start)


def grown_mib(folder: Path) -> float:
    """What 17 epochs add to this process."""
    with closing(open_ingest(folder)) as ingest:
        sizes = []
        for epoch in range(EPOCHS):
            for _ in ingest.batches(epoch=epoch, start=0, rank=0, workers=1, batch_images=BATCH_IMAGES):
                pass
            sizes.append(resident_bytes(os.getpid()))
        return (sizes[-1] - sizes[WARM_EPOCHS - 1]) / 2**20


MEASUREMENT = Measurement(
    name="ingest",
    rounds=rounds,
    size=10_000,
    quick_size=3_000,
    lines=(
        Line(figure="over DataLoader", what="images/s of a training's input over a PyTorch DataLoader", bound=1.0),
        Line(
            figure="real over resident",
            what="a step on resident data over a step on real data, where the device takes longer than decoding",
            bound=0.95,
        ),
        Line(
            figure="grown MiB",
            what="what 17 more epochs of training input add to a process",
            better="less",
            bound=32,
            unit="MiB",
            steadfast=True,
        ),
    ),
)
