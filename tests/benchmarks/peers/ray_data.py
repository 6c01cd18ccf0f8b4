"""A plain Ray Data pipeline: tasks that decode with our own decoder and resize, actors that predict, `write_parquet`.

After https://docs.ray.io/en/latest/data/batch_inference.html and https://docs.ray.io/en/latest/data/working-with-images.html.
One actor, with which Ray Data fuses the decoding: measured on 2 cores as fast as a pool of one to two, or as one that
reserves no CPU. Two actors would take both CPUs, and nothing would be read any more.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import ray

from tests.benchmarks.work import BATCH_ROWS, MAX_PIXELS, PREPROCESS


def preprocessed(batch: dict[str, Any]) -> dict[str, Any]:
    """Encoded images to uint8 pixels (N, 224, 224, 3)."""
    from vision_batch.images.preprocess import Preprocessor
    from vision_batch.images.resize import limit_threads
    from vision_batch.images.settings import PreprocessSettings

    limit_threads()
    preprocessor = Preprocessor(PreprocessSettings.model_validate(PREPROCESS), max_pixels=MAX_PIXELS)
    images = [preprocessor(data) for data in batch["image"]]
    return {
        "image_id": batch["id"],
        "width": np.array([image.width for image in images], np.int32),
        "height": np.array([image.height for image in images], np.int32),
        "pixels": np.stack([image.pixels for image in images]),
    }


class Tiny:
    def __init__(self) -> None:
        from tests.benchmarks import tiny

        self.model = tiny.build()

    def __call__(self, batch: dict[str, Any]) -> Any:
        import torch

        from tests.benchmarks.work import normalise, table

        with torch.inference_mode():
            logits = self.model(normalise(torch.from_numpy(np.array(batch["pixels"]))))
        return table(batch["image_id"].tolist(), batch["width"].tolist(), batch["height"].tolist(), logits)


def main(data: str, out: str) -> None:
    ray.init(address="local")
    images = ray.data.read_parquet(data).map_batches(preprocessed, batch_size=BATCH_ROWS)
    one = ray.data.ActorPoolStrategy(size=1)
    images.map_batches(Tiny, batch_size=BATCH_ROWS, compute=one).write_parquet(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
