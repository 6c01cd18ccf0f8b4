"""A training that ends early goes on from its newest checkpoint, and ends as if it had been left alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_modules import Detector, Plain, WithBatchNorm, WithDropout, WithUnusedParameters
from tests.training.small_training import Case, Ran, WorkerPool
from vision_batch.training.checkpoint import CheckpointStore
from vision_batch.training.state import load_trained

EVERYTHING = {
    "epochs": 2,
    "batch_size": 4,
    "accumulate": 2,
    "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "warmup_epochs": 0.5},
    "clip_norm": 0.5,
    "ema": {"decay": 0.9},
    "mixup": 0.2,
    "cutmix": 1.0,
    "checkpoint": {"every_steps": 1},
    "deterministic": True,
}


def folder_after(step: int, whole: Path, scratch: Path) -> Path:
    """A copy of the checkpoints that there were when a training was killed after `step`."""
    folder = scratch / f"after-{step}"
    for checkpoint in whole.iterdir():
        if checkpoint.name.isdigit() and int(checkpoint.name) <= step:
            shutil.copytree(checkpoint, folder / checkpoint.name)
    folder.mkdir(exist_ok=True)
    return folder


def state_of(folder: Path) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]:
    """Weights and averages of the newest checkpoint."""
    store = CheckpointStore(str(folder), keep_last=1000)
    newest = store.latest()
    assert newest is not None
    both = newest.tensors, newest.state["ema"]["module"]
    return tuple({name: tensor.numpy() for name, tensor in each.items()} for each in both)


@pytest.mark.parametrize("module", [WithDropout, WithBatchNorm, Detector])
def test_resumed_after_any_step_it_ends_with_the_same_weights_to_the_bit(
    pool: WorkerPool, tmp_path: Path, module: type
) -> None:
    case = Case(module=module, spec=EVERYTHING, images=53, validation_images=9, folder=tmp_path / "whole")
    if module is Detector:
        spec = {key: value for key, value in EVERYTHING.items() if key not in ("mixup", "cutmix")}
        case = replace(case, spec=spec, task={"type": "detection"})
    whole = pool.run(case, 2)[0]
    assert len(whole.losses) == 8  # of which an epoch's last has but one batch of each worker
    for step in range(1, 8):
        folder = folder_after(step, tmp_path / "whole", tmp_path)
        resumed = pool.run(replace(case, folder=folder), 2)[0]
        assert resumed.losses == whole.losses[step:]
        assert [event.epoch for event in resumed.events[0].history] == [*range(step // 4)]
        assert [event.metrics for event in resumed.epochs] == [event.metrics for event in whole.epochs][step // 4 :]
        for ours, theirs in zip(state_of(folder), state_of(tmp_path / "whole"), strict=True):
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_the_epoch_in_which_it_stopped_is_told_of_as_a_whole(pool: WorkerPool, tmp_path: Path) -> None:
    case = Case(module=Plain, spec=EVERYTHING, images=53, broken=frozenset({3, 30}), folder=tmp_path / "whole")
    whole = pool.run(case, 2)[0]
    resumed = pool.run(replace(case, folder=folder_after(2, tmp_path / "whole", tmp_path)), 2)[0]
    assert [(event.images, event.broken) for event in resumed.epochs] == [(51, 2), (51, 2)]
    assert [event.loss for event in resumed.epochs] == [event.loss for event in whole.epochs]


@pytest.mark.parametrize("workers", [1, 3])
def test_it_goes_on_with_another_number_of_workers(pool: WorkerPool, tmp_path: Path, workers: int) -> None:
    """Every image still comes once, or the epoch's account would raise; the same global batches teach the same."""
    spec = {"epochs": 2, "batch_size": 6, "optimizer": {"name": "sgd", "lr": 0.05}, "checkpoint": {"every_steps": 1}}
    case = Case(module=Plain, spec=spec, images=55, folder=tmp_path / "whole")
    whole = pool.run(case, 2)[0]
    folder = folder_after(3, tmp_path / "whole", tmp_path)
    resumed = pool.run(replace(case, spec={**spec, "batch_size": 12 // workers}, folder=folder), workers)[0]
    np.testing.assert_allclose(resumed.losses, whole.losses[3:], rtol=0, atol=1e-5)
    assert [event.images for event in resumed.epochs] == [55, 55]


def test_a_larger_crew_takes_fewer_steps_and_the_schedule_goes_on_where_it_was(
    pool: WorkerPool, tmp_path: Path
) -> None:
    spec = {"epochs": 2, "batch_size": 4, "checkpoint": {"every_steps": 1}}
    case = Case(module=Plain, spec=spec, images=48, folder=tmp_path / "whole")
    pool.run(case, 1)
    resumed = pool.run(replace(case, folder=folder_after(6, tmp_path / "whole", tmp_path)), 3)[0]
    assert len(resumed.losses) == 2 + 4
    rates = [taken.learning_rate for taken in resumed.taken]
    assert rates == pytest.approx([1e-3 * (1 + np.cos(np.pi * step / 8)) / 2 for step in range(2, 8)])
    assert [event.learning_rate for event in resumed.epochs] == [rates[1], rates[5]]


def test_a_parameter_that_was_never_used_has_no_state_later_either(pool: WorkerPool, tmp_path: Path) -> None:
    case = Case(module=WithUnusedParameters, spec=EVERYTHING, images=24, folder=tmp_path / "whole")
    pool.run(case, 2)
    store = CheckpointStore(str(folder_after(2, tmp_path / "whole", tmp_path)), keep_last=1000)
    resumed = replace(case, folder=tmp_path / "after-2")
    pool.run(resumed, 2)
    newest = store.latest()
    assert newest is not None
    assert not [name for name in newest.state["optimizer"]["state"] if name.startswith("spare")]


def test_the_best_model_is_taken_and_the_last_where_nothing_was_validated(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"epochs": 4, "batch_size": 4, "optimizer": {"lr": 0.05}, "ema": {"decay": 0.9}}
    case = Case(module=Plain, spec=spec, images=24, validation_images=31, folder=tmp_path / "validated")
    ran: Ran = pool.run(case, 1)[0]
    store = CheckpointStore(str(tmp_path / "validated"), keep_last=1)
    trained = load_trained(store)
    assert trained is not None
    best = max(ran.epochs, key=lambda event: event.metrics["accuracy"])
    assert (trained.model_step, trained.steps) == (best.step, 24)
    assert trained.history == tuple(replace(event, position=0) for event in ran.epochs)
    pool.run(replace(case, validation_images=0, folder=tmp_path / "not"), 1)
    last = load_trained(CheckpointStore(str(tmp_path / "not"), keep_last=1))
    assert last is not None
    assert last.model_step == 24
    averages = state_of(tmp_path / "not")[1]
    assert all(np.array_equal(last.weights[name].numpy(), averages[name]) for name in averages)


def test_without_a_checkpoint_there_is_no_model(tmp_path: Path) -> None:
    assert load_trained(CheckpointStore(str(tmp_path), keep_last=1)) is None
