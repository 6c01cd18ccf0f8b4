"""The training loop: what it tells, stores and does as it is asked to."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_modules import NotANumber, Plain, SteepAtZero, WithBatchNorm
from tests.training.small_training import Case, WorkerError, WorkerPool, position_of, run_worker
from vision_batch.errors import ModelError


def test_a_training_tells_of_its_steps_and_epochs_and_stores_each_epoch(tmp_path: Path) -> None:
    case = Case(module=Plain, spec={"epochs": 2, "batch_size": 8}, validation_images=13, folder=tmp_path)
    ran = run_worker(0, 1, case)
    kinds = [event.kind for event in ran.events if event.kind != "step"]
    assert ran.is_finished
    assert kinds == ["begin", *["epoch", "checkpoint"] * 2, "done"]
    assert len(ran.losses) == 2 * 7
    assert [event.images for event in ran.epochs] == [50, 50]
    assert [set(event.metrics) for event in ran.epochs] == [{"accuracy", "macro_f1", "loss"}] * 2


def test_a_finished_training_does_nothing_more(tmp_path: Path) -> None:
    case = Case(module=Plain, spec={"epochs": 1, "batch_size": 8}, folder=tmp_path)
    run_worker(0, 1, case)
    again = run_worker(0, 1, case)
    assert again.is_finished
    assert [event.kind for event in again.events] == ["begin", "done"]


def test_a_loss_that_is_no_number_ends_the_training_and_says_which_image(pool: WorkerPool) -> None:
    case = Case(module=NotANumber, spec={"epochs": 1, "batch_size": 4}, white=frozenset({17}))
    step = 1 + position_of(case, 17) // 8
    with pytest.raises(WorkerError) as caught:
        pool.run(case, 2)
    rank = position_of(case, 17) % 2
    assert caught.value.kind == "ModelError"
    assert f"step {step}, in epoch 1: the loss is NaN or infinite: worker {rank}, image-17; " in caught.value.message


def test_a_loss_that_is_no_number_is_left_out_on_request(pool: WorkerPool, tmp_path: Path) -> None:
    """Nothing of that step stays: neither in the weights nor in the statistics of a batch norm."""
    spec = {"epochs": 2, "batch_size": 4, "on_nan": "skip", "ema": {"decay": 0.9}}
    case = Case(module=NotANumber, spec=spec, white=frozenset({17}), validation_images=9, folder=tmp_path)
    ran = pool.run(case, 2)[0]
    assert ran.losses.count(None) == 2
    assert ran.notes().count("this step is left out") == 2
    assert [event.images for event in ran.epochs] == [50, 50]
    assert all(np.isfinite(values).all() for values in ran.weights.values())
    assert all(math.isfinite(event.metrics["loss"]) for event in ran.epochs)


def test_a_gradient_that_is_no_number_is_found_as_well(pool: WorkerPool) -> None:
    case = Case(module=SteepAtZero, spec={"epochs": 1, "batch_size": 4}, black=frozenset({17}))
    with pytest.raises(WorkerError, match="a gradient is NaN or infinite, though the loss is not"):
        pool.run(case, 2)


def test_an_epoch_that_teaches_nothing_ends_the_training() -> None:
    everything = frozenset(range(10))
    case = Case(module=NotANumber, spec={"epochs": 1, "on_nan": "skip"}, images=10, white=everything)
    with pytest.raises(ModelError, match="epoch 1 taught nothing: every step was left out") as caught:
        run_worker(0, 1, case)
    assert "of its 10 images 0 are broken, and the loss of 1 step was no number (train.on_nan: skip)" in str(
        caught.value
    )
    with pytest.raises(ModelError, match="of its 10 images 10 are broken") as caught:
        run_worker(0, 1, replace(case, white=frozenset(), broken=everything))
    assert "(10 x truncated, as image-" in str(caught.value)
    assert str(caught.value).endswith(": half of it is missing)")


def test_why_an_epoch_taught_nothing_is_known_to_all_workers(pool: WorkerPool) -> None:
    everything = frozenset(range(10))
    case = Case(module=Plain, spec={"epochs": 1, "batch_size": 4}, images=10, broken=everything)
    with pytest.raises(WorkerError, match="10 x truncated, as image-"):
        pool.run(case, 2)


@pytest.mark.parametrize("wisher", [0, 1])
def test_all_workers_stop_at_the_same_step_and_go_on_later(pool: WorkerPool, tmp_path: Path, wisher: int) -> None:
    spec = {"epochs": 1, "batch_size": 4}
    case = Case(module=Plain, spec=spec, folder=tmp_path, wishes={2: "stop"}, wisher=wisher)
    stopped = pool.run(case, 2)
    assert [ran.is_finished for ran in stopped] == [False, False]
    assert [event.step for event in stopped[0].events if event.kind == "checkpoint"] == [3]
    assert [event.kind for event in stopped[0].events][-1] == "checkpoint"
    going_on = pool.run(replace(case, wishes={}), 2)
    assert [ran.is_finished for ran in going_on] == [True, True]
    assert len(stopped[0].losses) + len(going_on[0].losses) == 7
    assert [event.images for event in going_on[0].epochs] == [50]


def test_a_checkpoint_is_stored_at_once_when_it_is_wished_for(tmp_path: Path) -> None:
    case = Case(module=Plain, spec={"epochs": 1, "batch_size": 8}, folder=tmp_path, wishes={1: "checkpoint"})
    ran = run_worker(0, 1, case)
    assert ran.is_finished
    assert [event.step for event in ran.events if event.kind == "checkpoint"] == [2, 7]


def test_training_stops_in_the_middle_of_a_validation(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"epochs": 1, "batch_size": 4}
    case = Case(module=Plain, spec=spec, validation_images=40, folder=tmp_path, wishes={8: "stop"})
    stopped = pool.run(case, 2)
    assert [ran.is_finished for ran in stopped] == [False, False]
    assert len(stopped[0].losses) == 7
    going_on = pool.run(replace(case, wishes={}), 2)[0]
    assert going_on.losses == []
    assert [event.kind for event in going_on.events] == ["begin", "epoch", "checkpoint", "done"]
    assert going_on.epochs[0].loss is not None


def test_checkpoints_are_stored_by_time_and_by_steps(tmp_path: Path) -> None:
    spec = {"epochs": 1, "batch_size": 8, "checkpoint": {"every_s": 1e-9}}
    case = Case(module=Plain, spec=spec, folder=tmp_path / "time")
    ran = run_worker(0, 1, case)
    assert [event.step for event in ran.events if event.kind == "checkpoint"] == [*range(1, 8), 7]
    spec = {"epochs": 1, "batch_size": 8, "checkpoint": {"every_s": None, "every_steps": 3}}
    ran = run_worker(0, 1, replace(case, spec=spec, folder=tmp_path / "steps"))
    assert [event.step for event in ran.events if event.kind == "checkpoint"] == [3, 6, 7]


def test_training_ends_early_when_validation_gets_no_better(tmp_path: Path) -> None:
    spec = {"epochs": 50, "batch_size": 8, "optimizer": {"lr": 1e-9}, "early_stopping": {"patience": 2}}
    case = Case(module=Plain, spec=spec, validation_images=13, folder=tmp_path)
    ran = run_worker(0, 1, case)
    assert ran.is_finished
    assert len(ran.epochs) == 3
    assert [event.is_best for event in ran.epochs] == [True, False, False]
    assert "accuracy did not get better any more: training ends after epoch 3" in ran.notes()
    assert [event.kind for event in run_worker(0, 1, case).events] == ["begin", "note", "done"]


def test_validation_is_done_when_it_is_due_and_after_the_last_epoch() -> None:
    spec = {"epochs": 4, "batch_size": 8}
    ran = run_worker(0, 1, Case(module=Plain, spec=spec, images=8, validation_images=8, every_epochs=3))
    assert [bool(event.metrics) for event in ran.epochs] == [False, False, True, True]


def test_more_workers_than_validation_images(pool: WorkerPool) -> None:
    ran = pool.run(Case(module=WithBatchNorm, spec={"epochs": 1, "batch_size": 4}, validation_images=2), 3)
    assert "accuracy" in ran[0].epochs[0].metrics


def test_every_worker_tells_of_its_own_broken_images(pool: WorkerPool) -> None:
    broken = frozenset({3, 17, 30})
    ran = pool.run(Case(module=Plain, spec={"epochs": 1, "batch_size": 4}, broken=broken), 2)
    told = [image.image_id for each in ran for event in each.events for image in event.images_broken]
    assert sorted(told) == ["image-17", "image-3", "image-30"]
    assert [(event.images, event.broken) for event in ran[0].epochs] == [(47, 3)]


def test_an_epoch_that_misses_an_image_is_an_error(pool: WorkerPool) -> None:
    case = Case(module=Plain, spec={"epochs": 1, "batch_size": 4}, forgotten=frozenset({5}))
    with pytest.raises(WorkerError, match="49 images came and 0 broken ones") as caught:
        pool.run(case, 2)
    assert caught.value.kind == "LedgerError"


def test_of_quick_steps_none_is_untold_and_the_rate_is_the_whole_crews(pool: WorkerPool) -> None:
    ran = pool.run(Case(module=Plain, spec={"epochs": 1, "batch_size": 4}), 2)[0]
    steps = [event for event in ran.events if event.kind == "step"]
    assert sum(event.images for event in steps) == 50
    assert steps[-1].step == len(ran.losses) == 7
    assert all(event.images_per_second > 0 and 0 <= event.waited <= 1 for event in steps)
