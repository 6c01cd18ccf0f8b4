"""Seeds: each use, step and worker has its own, and they repeat."""

from __future__ import annotations

import torch

from tests.training.small_modules import Plain
from tests.training.small_training import Case, run_worker
from vision_batch.training.feed import step_seed
from vision_batch.training.step import seed_torch


def test_every_step_worker_and_use_has_a_seed_of_its_own() -> None:
    seeds = {
        step_seed(seed, step, rank, use=use)
        for seed in (0, 1, 2**40)
        for step in range(20)
        for rank in range(4)
        for use in ("model", "mixing")
    }
    assert len(seeds) == 3 * 20 * 4 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert step_seed(1, 2, 3, use="model") == step_seed(1, 2, 3, use="model")


def test_seeding_repeats_what_a_module_draws_and_leaves_nothing_behind() -> None:
    drawn = []
    before = len(torch.cuda._queued_calls)
    for _ in range(2):
        seed_torch(7, torch.device("cpu"))
        drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert len(torch.cuda._queued_calls) == before


def test_batches_are_mixed_anew_at_every_step_and_alike_in_every_run() -> None:
    """Of a module that does not change the loss tells how its few images were mixed."""
    spec = {"epochs": 6, "batch_size": 4, "mixup": 1.0, "optimizer": {"name": "sgd", "lr": 1e-12}}
    case = Case(module=Plain, spec=spec, images=4)
    losses = run_worker(0, 1, case).losses
    assert len(set(losses)) == 6
    assert run_worker(0, 1, case).losses == losses
