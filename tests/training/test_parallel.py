"""Modules of many kinds, on one worker and on several: what is trained, what is kept, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.small_modules import (
    FrozenBatchNorm,
    GivesDict,
    NeedsAnotherSize,
    OverPixels,
    Plain,
    WithBatchNorm,
    WithDropout,
    WithoutParameters,
)
from tests.training.small_training import Case, MemoryIngest, WorkerError, WorkerPool, job_for, run_worker
from vision_batch.errors import ModelError, SpecError
from vision_batch.training.mode import kept_statistics, set_training

SPEC = {"epochs": 2, "batch_size": 4, "optimizer": {"name": "adamw", "lr": 0.01}}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_single_image_that_is_left_over_goes_through_batch_norm(pool: WorkerPool, workers: int) -> None:
    ran = pool.run(Case(module=WithBatchNorm, spec=SPEC, images=8 * workers + 1), workers)[0]
    assert [event.images for event in ran.epochs] == [8 * workers + 1] * 2


def test_all_workers_validate_what_is_stored_with_the_statistics_of_the_first(pool: WorkerPool, tmp_path: Path) -> None:
    case = Case(module=WithBatchNorm, spec=SPEC, images=48, validation_images=12, folder=tmp_path)
    ran = pool.run(case, 2)[0]
    assert ran.weights["2.num_batches_tracked"] == 2 * 6
    module = WithBatchNorm().eval()
    module.load_state_dict({name: torch.from_numpy(values) for name, values in ran.weights.items()})
    (batch,) = MemoryIngest(case, 12).batches(epoch=0, start=0, rank=0, workers=1, batch_images=12)
    settings = job_for(case).preprocess
    images = (torch.from_numpy(batch.pixels) / 255 - torch.tensor(settings.mean)) / torch.tensor(settings.std)
    loss = nn.functional.cross_entropy(module(images.permute(0, 3, 1, 2)), torch.from_numpy(batch.targets))
    assert ran.epochs[-1].metrics["loss"] == pytest.approx(loss.item(), abs=1e-5)


def test_frozen_batch_norm_keeps_its_statistics(tmp_path: Path) -> None:
    ran = run_worker(0, 1, Case(module=FrozenBatchNorm, spec=SPEC, folder=tmp_path))
    assert ran.weights["2.num_batches_tracked"] == 0
    assert (ran.weights["2.running_var"] == 1).all()
    assert (ran.weights["2.weight"] == 1).all()


def test_modes_of_batch_norms() -> None:
    module = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2).requires_grad_(False), nn.BatchNorm1d(2, affine=False))
    set_training(module)
    assert [layer.training for layer in module] == [True, False, True]
    with kept_statistics(module, enabled=True):
        assert [layer.training for layer in module] == [False, False, False]
    assert [layer.training for layer in module] == [True, False, True]


def test_dropout_differs_between_workers_and_steps_and_repeats_from_run_to_run(pool: WorkerPool) -> None:
    case = Case(module=WithDropout, spec={**SPEC, "optimizer": {"name": "sgd", "lr": 1e-12}}, images=48)
    one, other = pool.run(case, 1)[0], pool.run(case, 1)[0]
    assert one.losses == other.losses
    assert pool.run(replace(case, spec={**case.spec, "seed": 1}), 1)[0].losses != one.losses


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_nearly_the_same(pool: WorkerPool, tmp_path: Path, precision: str) -> None:
    spec = {**SPEC, "checkpoint": {"every_steps": 1}}
    case = Case(module=Plain, spec=spec, images=16, folder=tmp_path / "fp32")
    exact = pool.run(case, 2)[0]
    lower = pool.run(replace(case, precision=precision, folder=tmp_path / precision), 2)[0]
    assert len(lower.losses) == 4
    np.testing.assert_allclose(lower.losses, exact.losses, atol=0.1)
    assert lower.losses != exact.losses
    assert all(values.dtype == np.float32 for values in lower.weights.values())
    assert pool.run(replace(case, precision=precision, folder=tmp_path / precision), 2)[0].is_finished


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_compiled_module_learns_the_same(pool: WorkerPool, workers: int) -> None:
    """The first compilation of a machine takes half a minute."""
    spec = {**SPEC, "optimizer": {"name": "sgd", "lr": 0.01}, "accumulate": 2, "ema": {"decay": 0.9}}
    case = Case(module=WithBatchNorm, spec=spec, images=41, validation_images=9)
    plain = pool.run(case, workers)[0]
    compiled = pool.run(replace(case, compile=True), workers, patience_s=200)[0]
    np.testing.assert_allclose(compiled.losses, plain.losses, rtol=0, atol=1e-4)
    assert compiled.losses != plain.losses
    assert compiled.epochs[-1].metrics["loss"] == pytest.approx(plain.epochs[-1].metrics["loss"], abs=1e-3)


def test_a_module_that_answers_with_a_dict_is_refused_as_in_predict(pool: WorkerPool) -> None:
    with pytest.raises(WorkerError, match="the model returned a dict with logits; classification needs one tensor"):
        pool.run(Case(module=GivesDict, spec=SPEC), 2)


def test_a_module_without_parameters_is_refused() -> None:
    with pytest.raises(ModelError, match="no parameter"):
        run_worker(0, 1, Case(module=WithoutParameters, spec=SPEC))


def test_synchronised_batch_norm_needs_a_gpu() -> None:
    case = Case(module=WithBatchNorm, spec={**SPEC, "sync_batch_norm": True})
    with pytest.raises(SpecError, match=r"train\.sync_batch_norm: found true, with a worker on cpu"):
        run_worker(0, 1, case)


def test_what_sharded_parameters_cannot_do_is_refused() -> None:
    spec = {**SPEC, "fsdp": True, "optimizer": {"name": "sgd", "l1": 0.1}}
    with pytest.raises(SpecError) as caught:
        run_worker(0, 1, Case(module=Plain, spec=spec, precision="fp16"))
    assert [problem.found for problem in caught.value.problems] == ["true, with fp16", "true, with optimizer.l1"]


def test_the_kernels_of_before_are_back_afterwards() -> None:
    run_worker(0, 1, Case(module=Plain, spec={**SPEC, "deterministic": True}))
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_module_raises_at_once_is_the_models_error(pool: WorkerPool, workers: int) -> None:
    """Other workers would raise the same, again and again."""
    with pytest.raises(WorkerError, match="the model raised RuntimeError: mat1 and mat2 shapes") as caught:
        pool.run(Case(module=NeedsAnotherSize, spec=SPEC), workers)
    assert caught.value.kind == "ModelError"


def test_batch_norm_counts_no_image_that_is_not_there(tmp_path: Path) -> None:
    """In place of broken ones the module is called with a black one, also where a batch is one image."""
    spec = {**SPEC, "epochs": 1, "batch_size": 1}
    case = Case(module=OverPixels, spec=spec, images=6, broken=frozenset(range(4)), folder=tmp_path)
    assert run_worker(0, 1, case).weights["0.num_batches_tracked"] == 2
