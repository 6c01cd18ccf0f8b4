"""With FSDP each worker holds a part of the parameters: what is learned, stored and resumed is as without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training.small_modules import Detector, Plain, Wide
from tests.training.small_training import Case, WorkerPool
from tests.training.test_equivalence import DETECTION, assert_same, case_of
from tests.training.test_resume import EVERYTHING, folder_after, state_of


def test_sharded_parameters_learn_what_whole_ones_learn(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {"fsdp": True, "clip_norm": 0.3, "ema": {"decay": 0.9}, "epochs": 2}
    alone, together = assert_same(pool, case_of(spec=spec, validation_images=17), 2, tmp_path, steps=10)
    for one, other in zip(alone.epochs, together.epochs, strict=True):
        assert one.metrics == pytest.approx(dict(other.metrics), abs=1e-5)


def test_a_sharded_module_that_brings_its_loss_learns_what_a_whole_one_learns(pool: WorkerPool, tmp_path: Path) -> None:
    case = case_of(module=Detector, task=DETECTION, spec={"fsdp": True, "epochs": 2}, validation_images=17)
    assert_same(pool, case, 2, tmp_path, steps=10)


def test_a_sharded_training_resumes_to_the_bit(pool: WorkerPool, tmp_path: Path) -> None:
    spec = {**EVERYTHING, "fsdp": True, "epochs": 1}
    case = Case(module=Plain, spec=spec, images=53, validation_images=9, folder=tmp_path / "whole")
    whole = pool.run(case, 2)[0]
    folder = folder_after(2, tmp_path / "whole", tmp_path)
    assert pool.run(replace(case, folder=folder), 2)[0].losses == whole.losses[2:]
    for ours, theirs in zip(state_of(folder), state_of(tmp_path / "whole"), strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_sharded_parameters_bear_shares_without_images(pool: WorkerPool) -> None:
    """Of a layer that is a piece of its own, too."""
    case = Case(module=Wide, spec={"epochs": 2, "batch_size": 4, "fsdp": True}, images=9, validation_images=2)
    assert pool.run(case, 3)[0].is_finished
