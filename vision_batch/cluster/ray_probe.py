"""Starts a local Ray and runs one task: `python -m vision_batch.cluster.ray_probe`, a process that may hang or die.

The last line on standard output is a JSON object: `cpus`, `gpus`, `object_store_bytes`, `seconds`.
"""

from __future__ import annotations

import json
import logging
import time

import ray

from vision_batch.cluster.auth import fresh_token


def main() -> None:
    """Reports what the local Ray has."""
    with fresh_token():
        report = _probed()
    print(json.dumps(report), flush=True)


def _probed() -> dict[str, float]:
    started = time.monotonic()
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        answer = ray.remote(num_cpus=1)(lambda: "here")
        ray.get(answer.remote(), timeout=60)
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
    finally:
        ray.shutdown()
    return {
        "cpus": resources.get("CPU", 0),
        "gpus": resources.get("GPU", 0),
        "object_store_bytes": resources.get("object_store_memory", 0),
        "seconds": time.monotonic() - started,
    }


if __name__ == "__main__":
    main()
