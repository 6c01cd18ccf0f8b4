"""The training loop: what it tells, stores and does as it is asked to."""

from __future__ import annotations

from pathlib import Path

from tests.training.small_modules import Plain
from tests.training.small_training import Case, run_worker


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
