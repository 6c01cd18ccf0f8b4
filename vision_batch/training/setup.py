"""A training's module and optimizer, set up on a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from vision_batch.errors import Problem, SpecError
from vision_batch.training.ema import Ema
from vision_batch.training.job import TrainJob
from vision_batch.training.optimizer import build_optimizer
from vision_batch.training.parallel import place, shard
from vision_batch.training.state import Learner
from vision_batch.training.together import Together


def build_learner(job: TrainJob, module: nn.Module, together: Together) -> Learner:
    """Moves `module` to the worker's device, the same on all workers. SpecError for what cannot go together there."""
    settings = job.train
    if problems := _problems(job):
        raise SpecError(problems)
    module = place(module, together, sync_batch_norm=settings.sync_batch_norm)
    ema = None if settings.ema is None else Ema(module, settings.ema.decay)
    if settings.fsdp and together.workers > 1:
        shard(module, together)
        if ema is not None:
            shard(ema.module, together)
    return Learner(
        module=module,
        optimizer=build_optimizer(module, settings.optimizer),
        scaler=torch.amp.GradScaler(together.device.type, enabled=job.precision == "fp16"),
        ema=ema,
    )


def _problems(job: TrainJob) -> list[Problem]:
    problems = []
    if job.preprocess.output_px is None:
        problems.append(Problem("preprocess", "images of many sizes", "crop_px, resize_px or letterbox_px: one size"))
    if job.train.fsdp and job.precision == "fp16":
        problems.append(Problem("train.fsdp", "true, with fp16", "bf16 or fp32: torch scales no divided gradients"))
    if job.train.fsdp and job.train.optimizer.l1:
        problems.append(Problem("train.fsdp", "true, with optimizer.l1", "weight_decay in place of l1"))
    return problems


@contextmanager
def kernels(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Has torch use kernels that repeat bit for bit, or else, on CUDA, those that it finds to be fastest."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # how cuBLAS is told; it reads nothing else
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = device.type == "cuda" and not deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
