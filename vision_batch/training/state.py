"""What a checkpoint holds, gathered from all workers, and given back to all of them, however many there are then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from vision_batch.training.checkpoint import Checkpoint, CheckpointStore
from vision_batch.training.ema import Ema
from vision_batch.training.event import TrainEvent
from vision_batch.training.progress import Progress, history_of
from vision_batch.training.together import Together


@dataclass(frozen=True, slots=True, kw_only=True)
class Learner:
    """All that changes while a model learns, but for how far it is. The schedule follows from that."""

    module: nn.Module
    optimizer: Optimizer
    scaler: torch.amp.GradScaler
    ema: Ema | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training came to: `weights` after step `model_step`, averaged ones if the spec asks for it, and the event
    of every epoch."""

    weights: Mapping[str, Tensor]
    model_step: int
    steps: int
    history: tuple[TrainEvent, ...]


def save(
    store: CheckpointStore, learner: Learner, progress: Progress, together: Together, *, score: float | None
) -> Checkpoint | None:
    """Called by all workers; the first one stores what all of them hold, and returns it. StorageError."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    tensors = cast("dict[str, Tensor]", get_model_state_dict(learner.module, options=options))
    state = {
        **progress.state(progress.counts.of_all(together)),
        "workers": together.workers,
        "optimizer": get_optimizer_state_dict(learner.module, learner.optimizer, options=options),
        "scaler": learner.scaler.state_dict(),
        "ema": None,
    }
    if learner.ema is not None:
        averages = get_model_state_dict(learner.ema.module, options=options)
        state["ema"] = {"updates": learner.ema.updates, "module": averages}
    return store.save(progress.step, tensors, state, score=score) if together.rank == 0 else None


def restore(store: CheckpointStore, learner: Learner, together: Together) -> Progress | None:
    """Called by all workers: they all get what the first one loads, the newest checkpoint; None if there is none."""
    is_first = together.rank == 0
    found = store.latest() if is_first else None
    tensors, state = (found.tensors, found.state) if found is not None else ({}, None)
    facts = None if state is None else {**state, "optimizer": _names(state["optimizer"]), "ema": _updates(state["ema"])}
    facts = together.from_first(facts)
    if facts is None:
        return None
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=together.workers > 1)
    set_model_state_dict(learner.module, dict[str, Any](tensors), options=options)
    optimizer_state = state["optimizer"] if state else {}
    lenient = replace(options, strict=False)
    set_optimizer_state_dict(learner.module, learner.optimizer, optimizer_state, options=lenient)
    # to load a state torch makes one for every parameter, and not strictly: one that was never used had none
    for name, parameter in learner.module.named_parameters():
        if name not in facts["optimizer"]:
            learner.optimizer.state.pop(parameter, None)
    learner.scaler.load_state_dict(facts["scaler"])
    if learner.ema is not None and facts["ema"] is not None:
        set_model_state_dict(learner.ema.module, state["ema"]["module"] if state else {}, options=options)
        learner.ema.resume_at(facts["ema"])
    return Progress.of_state(facts, is_first=is_first)


def load_trained(store: CheckpointStore) -> Trained | None:
    """The best model by validation, or the last one where nothing was validated; None without a checkpoint."""
    last = store.latest()
    if last is None:
        return None
    chosen = store.best() or last
    ema = chosen.state["ema"]
    return Trained(
        weights=chosen.tensors if ema is None else ema["module"],
        model_step=chosen.checkpoint.step,
        steps=last.checkpoint.step,
        history=tuple(history_of(last.state)),
    )


def _names(optimizer_state: Mapping[str, Any]) -> list[str]:
    """The parameters that have a state."""
    return list(optimizer_state["state"])


def _updates(ema: Mapping[str, Any] | None) -> int | None:
    return None if ema is None else ema["updates"]
