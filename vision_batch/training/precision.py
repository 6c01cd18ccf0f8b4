"""Which precision `auto` stands for: what the workers' devices compute in natively."""

from __future__ import annotations

import ray
from ray.exceptions import GetTimeoutError, RayError

from vision_batch.errors import EngineError
from vision_batch.inference.settings import EXACT
from vision_batch.training.layout import TrainLayout

PATIENCE_S = 1800.0


def native_precision(layout: TrainLayout) -> str:
    """bf16, or fp16 on GPUs of before, as a process finds that has what a worker gets; fp32 without GPUs.

    EngineError where no GPU comes free, or one fails.
    """
    if not layout.gpus_per_worker:
        return EXACT
    remote = ray.remote(num_cpus=1, num_gpus=layout.gpus_per_worker, max_retries=2)(_here)
    try:
        found: str = ray.get(remote.remote(), timeout=PATIENCE_S)
    except GetTimeoutError as error:
        raise EngineError(f"no GPU came free in {PATIENCE_S:.0f} s to be asked for its precision") from error
    except RayError as error:
        cause = " ".join(str(error).split())[:200]
        raise EngineError(
            f"a GPU could not be asked for its precision; compute.precision needs none: {cause}"
        ) from error
    return found


def _here() -> str:
    from vision_batch.models.device import choose_device, lower_precision

    return lower_precision(choose_device()) or EXACT
