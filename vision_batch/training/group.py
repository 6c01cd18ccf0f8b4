"""A group of workers on Ray Train, which places them, connects them, and ends them when one fails.

All else is not left to it: checkpoints are the loop's, and who begins again when a group has failed, with how many
workers, is decided by `execute`. Its own storage gets nothing.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import ray
from ray import train
from ray.train.torch import TorchConfig, TorchTrainer

from vision_batch.errors import EngineError, VisionBatchError
from vision_batch.training.monitor import Group
from vision_batch.training.ray_context import RayContext, prepare_process

REASON_CHARACTERS = 300
CONTROLLER = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""How Ray Train is set up: measured on 2 cores, a group of two starts in 9 s and not in 11, and ends in 1 s and not in
3. The monitor looks after nodes that are about to go."""
WORKER = {"OMP_WAIT_POLICY": "PASSIVE"}
"""torch's threads sleep while they have nothing to do (`calm_openmp`). Ray Train imports torch before our code runs in
a worker, so that it has to be in the environment."""

_TorchBackend: Any = TorchConfig().backend_cls


def run_group(group: Group, monitor: Any) -> VisionBatchError | None:
    """Runs the group until every worker has ended; what ended it before its time, None when nothing did.

    An error of ours that a worker raised is that error, all else becomes an EngineError.
    """
    os.environ.update(CONTROLLER)  # Ray Train reads it in this process and passes it on
    place = group.layout.place
    resources: dict[str, float] = {"CPU": place.cpus} | ({"GPU": place.gpus} if place.gpus else {})
    settings: Any = train  # typed as the version of Ray Train before this one
    with tempfile.TemporaryDirectory(prefix="vb-train-") as folder:
        trainer = TorchTrainer(
            _run_worker,
            train_loop_config={"group": group, "monitor": monitor},
            torch_config=_Connection(on_gpus=bool(place.gpus)),
            scaling_config=train.ScalingConfig(
                num_workers=group.workers, use_gpu=bool(place.gpus), resources_per_worker=resources
            ),
            run_config=settings.RunConfig(
                name=f"{group.job.run_id}-{uuid4().hex[:8]}",  # a name that has finished would train nothing again
                storage_path=folder,
                failure_config=settings.FailureConfig(
                    max_failures=0, max_preemption_failures=0, controller_failure_limit=0
                ),
                logging_config=settings.LoggingConfig(log_level="CRITICAL"),
                worker_runtime_env={"env_vars": WORKER},
            ),
        )
        try:
            trainer.fit()
        except (train.TrainingFailedError, ray.exceptions.RayError) as error:
            return _cause(error)
    return None


@dataclass
class _Connection(TorchConfig):
    """torch's process group: nccl among GPUs, and gloo for what lies in memory."""

    on_gpus: bool = False

    @property
    def backend_cls(self) -> Any:
        return _Backend


class _Backend(_TorchBackend):  # type: ignore[misc]
    """Sets workers up before Ray Train connects them."""

    def on_start(self, worker_group: Any, backend_config: _Connection) -> None:
        has_cuda = all(worker_group.execute(_prepare)) and backend_config.on_gpus
        backend = "cpu:gloo,cuda:nccl" if has_cuda else "gloo"
        super().on_start(worker_group, replace(backend_config, backend=backend))

    def on_shutdown(self, worker_group: Any, backend_config: _Connection) -> None:
        """Nothing: the processes end. One that waits for another in a collective would hold this up for 30 s."""


def _prepare() -> bool:
    """In each worker's main thread; whether it has CUDA."""
    import torch

    prepare_process()
    return torch.cuda.is_available()


def _run_worker(config: dict[str, Any]) -> None:
    """In a thread of each worker, when all are connected."""
    import torch

    from vision_batch.models.device import choose_device
    from vision_batch.training.worker import train_on_worker

    group: Group = config["group"]
    body = group.body or train_on_worker
    torch.set_num_threads(group.layout.cpus_per_worker)
    ranks = train.get_context()
    context = RayContext(
        config["monitor"],
        rank=ranks.get_world_rank(),
        workers=ranks.get_world_size(),
        device=choose_device() if group.layout.gpus_per_worker else torch.device("cpu"),
    )
    try:
        body(group.job, group.layout, context)
    finally:
        context.close()


def _cause(error: Exception) -> VisionBatchError:
    """What to say of a failed group: an error of ours, or else what a worker failed of, in one line."""
    failures: dict[int, BaseException] = getattr(error, "worker_failures", {})
    for failure in failures.values():
        if isinstance(failure, VisionBatchError):
            return failure
    if not failures:
        return EngineError(_line(getattr(error, "controller_failure", error)))
    # a worker that died comes before those that could not reach it any more, which is torch's RuntimeError
    rank = min(failures, key=lambda rank: type(failures[rank]) is RuntimeError)
    return EngineError(f"worker {rank}: {_line(failures[rank])}")


def _line(error: BaseException) -> str:
    """An error in one line; of what Ray wraps around a dead worker, the core."""
    error = getattr(error, "health_check_failure", error)
    text = " ".join(str(error).split())
    if isinstance(error, ray.exceptions.RayActorError):
        text = text.rpartition("Worker exit detail: ")[2].partition(" Some common causes")[0]
    return f"{type(error).__name__}: {text[:REASON_CHARACTERS]}"
