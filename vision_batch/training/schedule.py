"""The learning rate over a training: a factor for every optimizer step, in closed form.

So a training that goes on with another number of workers, whose epochs have another number of steps, goes on where
it was on the curve.
"""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from vision_batch.training.settings import LearningRateSettings

ONE_CYCLE_RISE = 0.3
"""The share of a cycle that goes up, by default: torch's `pct_start`."""


def build_schedule(optimizer: Optimizer, settings: LearningRateSettings, steps_per_epoch: int, epochs: int) -> LambdaLR:
    """torch's scheduler of the curve, to be stepped after every step of `optimizer`, whose `lr` is the factor 1."""
    return LambdaLR(
        optimizer, partial(learning_rate_factor, settings=settings, steps_per_epoch=steps_per_epoch, epochs=epochs)
    )


def move_schedule(schedule: LambdaLR, step: int) -> None:
    """Puts a schedule, and its optimizer's rates, to where they are after `step` optimizer steps."""
    rates = [base * factor(step) for base, factor in zip(schedule.base_lrs, schedule.lr_lambdas, strict=True)]
    schedule.load_state_dict(schedule.state_dict() | {"last_epoch": step, "_last_lr": rates})
    for group, rate in zip(schedule.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate


def learning_rate_factor(step: int, *, settings: LearningRateSettings, steps_per_epoch: int, epochs: int) -> float:
    """What `lr` is multiplied by for optimizer step `step`, counted from 0; beyond the last as for the last."""
    total = steps_per_epoch * epochs
    step = min(step, total - 1)
    if settings.name == "one_cycle":
        rise = ONE_CYCLE_RISE * total if settings.warmup_epochs is None else settings.warmup_epochs * steps_per_epoch
        return _one_cycle(step, rise, total, settings)
    warmup = round((settings.warmup_epochs or 0) * steps_per_epoch)
    if step < warmup:
        return settings.start_factor + (1 - settings.start_factor) * step / warmup
    match settings.name:
        case "constant":
            return 1.0
        case "step":
            # the epoch is rounded first: a step that begins one may be a hair before it in floating point
            return settings.factor ** math.floor(round((step - warmup) / steps_per_epoch / settings.every_epochs, 9))
        case "cosine":
            return _wave(1.0, settings.final_factor, (step - warmup) / (total - warmup))


def _one_cycle(step: int, rise: float, total: int, settings: LearningRateSettings) -> float:
    """As torch's OneCycleLR counts: the top after `rise` steps, the end at the last. Smith and Topin, 2017."""
    top, end = rise - 1, total - 1
    if step <= top:
        return _wave(settings.start_factor, 1.0, step / top if top > 0 else 1.0)
    return _wave(1.0, settings.final_factor, (step - top) / (end - top))


def _wave(start: float, end: float, share: float) -> float:
    """Half a cosine wave from `start` to `end`, at `share` of its length."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
