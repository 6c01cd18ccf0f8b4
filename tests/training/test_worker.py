"""What a worker of a training does, alone and without Ray: it trains, stores while it holds the output, and writes the
model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.catalogues import catalogue_of
from tests.training.inputs import CLASSES, write_tars
from vision_batch.errors import HeldError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.ledger.lease import held_lease
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.models.bundle import resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.models.trained import read_model
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.checkpoint import Checkpoint, CheckpointStore
from vision_batch.training.context import Wish
from vision_batch.training.event import TrainEvent
from vision_batch.training.job import TrainJob
from vision_batch.training.layout import TrainLayout
from vision_batch.training.settings import TrainSettings, ValidationSettings
from vision_batch.training.worker import train_on_worker

LAYOUT = TrainLayout(name="joined", reason="", workers=(1, 1), cpus_per_worker=1, gpus_per_worker=0, decode_threads=1)
NET = f"""
from torch import nn

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, {len(CLASSES)}))
"""


class Alone:
    """A worker without others; it is asked to stop after so many steps."""

    rank, workers, device = 0, 1, torch.device("cpu")

    def __init__(self, steps: int) -> None:
        self.events: list[TrainEvent] = []
        self._steps = steps

    def tell(self, event: TrainEvent) -> None:
        self.events.append(event)

    def wish(self) -> Wish:
        self._steps -= 1
        return "go" if self._steps else "stop"


@pytest.fixture
def job(tmp_path: Path) -> TrainJob:
    settings = write_tars(tmp_path / "data", 40)
    validation = ValidationSettings(fraction=0.25)
    catalogue_of(tmp_path / "out", settings, labels=CLASSES, validation=validation)
    (tmp_path / "worker_net.py").write_text(NET)
    return TrainJob(
        paths=LedgerPaths(str(tmp_path / "out")),
        run_id="run",
        definition="0" * 64,
        input=settings,
        validation=validation,
        validation_input=None,
        preprocess=PreprocessSettings(resize_px=(8, 8)),
        augment=(),
        function=None,
        model=resolve_model(ModelSettings(source="python:worker_net:build"), tmp_path),
        task=TaskSettings(type="classification"),
        labels=CLASSES,
        class_images=None,
        train=TrainSettings(epochs=2, batch_size=8),
        max_pixels=10**6,
        precision="fp32",
    )


def test_the_model_is_written_when_training_is_done_and_not_before(job: TrainJob) -> None:
    with held_lease(job.paths, "run"):
        train_on_worker(job, LAYOUT, Alone(3))
        assert read_model(job.paths.output) is None
        rest = Alone(1000)
        train_on_worker(job, LAYOUT, rest)
    assert rest.events[0].step == 3
    model = read_model(job.paths.output)
    assert model is not None
    assert model.training.epochs == 2


def test_a_damaged_checkpoint_is_told_of(job: TrainJob) -> None:
    with held_lease(job.paths, "run"):
        train_on_worker(job, LAYOUT, Alone(3))
        Path(job.paths.output, "checkpoints", "000000003", "state.json").write_text("{}")
        rest = Alone(1000)
        train_on_worker(job, LAYOUT, rest)
    notes = [event.message for event in rest.events if event.kind == "note"]
    assert len([note for note in notes if "000000003/state.json" in note]) == 1
    assert next(event.step for event in rest.events if event.kind == "begin") == 0


@pytest.mark.parametrize("holder", ["another run", None])
def test_what_a_dead_driver_left_over_stores_nothing_in_an_output_that_is_not_its_own_any_more(
    job: TrainJob, holder: str | None
) -> None:
    with pytest.raises(HeldError):
        if holder is None:
            train_on_worker(job, LAYOUT, Alone(1000))
        else:
            with held_lease(job.paths, holder):
                train_on_worker(job, LAYOUT, Alone(1000))
    assert CheckpointStore(f"{job.paths.output}/checkpoints", keep_last=1).latest() is None


def test_what_another_run_is_writing_is_not_swept_by_a_save_that_it_overtook(
    job: TrainJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_written = Path(job.paths.output, "checkpoints", "000000009", "model-0123456789abcdef.safetensors")
    save = CheckpointStore.save

    def overtaken(*arguments: Any, **options: Any) -> Checkpoint:
        Path(job.paths.lease).unlink()
        half_written.parent.mkdir(parents=True)
        half_written.touch()
        return save(*arguments, **options)

    monkeypatch.setattr(CheckpointStore, "save", overtaken)
    with held_lease(job.paths, "run"), pytest.raises(HeldError):
        train_on_worker(job, LAYOUT, Alone(1))
    assert half_written.exists()


def test_a_fold_asks_for_the_lease_of_the_output_that_holds_the_folds(job: TrainJob) -> None:
    fold = replace(job, paths=LedgerPaths(f"{job.paths.output}/folds/0"), dataset=job.paths, fold=0)
    with held_lease(job.paths, "run"):
        train_on_worker(fold, LAYOUT, Alone(1))
    assert CheckpointStore(f"{fold.paths.output}/checkpoints", keep_last=1).latest() is not None


@pytest.mark.parametrize(("seed", "is_same"), [(0, True), (1, False)])
def test_random_weights_to_begin_with_follow_from_the_seed(job: TrainJob, seed: int, is_same: bool) -> None:
    """A run that was killed before its first checkpoint begins with the same ones."""
    files = []
    for job_seed in (0, seed):
        learning = job.train.model_copy(update={"seed": job_seed, "epochs": 1})
        torch.rand(1)
        with held_lease(job.paths, "run"):
            train_on_worker(replace(job, train=learning), LAYOUT, Alone(1000))
        files.append((job.paths.output, Path(job.paths.output, "model.safetensors").read_bytes()))
        shutil.rmtree(Path(job.paths.output, "checkpoints"))
    assert (files[0] == files[1]) == is_same
