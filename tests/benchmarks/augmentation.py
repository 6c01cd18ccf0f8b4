"""What each augmentation costs: microseconds for one picture of 224 x 224, on one core.

    python -m tests.benchmarks.augmentation

prints the last column of the table in docs/augmentation.md.
"""

from __future__ import annotations

from time import thread_time
from typing import Any

import cv2
import numpy as np

from tests.benchmarks.photos import make_jpegs
from vision_batch.images.augment import Augmentation, random_for
from vision_batch.images.augmentations.settings import AugmentSettings
from vision_batch.images.frame import Frame
from vision_batch.images.resize import limit_threads

SIDE_PX = 224
PICTURES = 100


def microseconds(entry: dict[str, Any], frames: list[Frame], *, rounds: int) -> float:
    """Of one picture, in the fastest of rounds that do the same: time of the CPU, for others may be on the machine."""
    augment = Augmentation([AugmentSettings.model_validate(entry)], min_share=0.1)
    taken = []
    for _ in range(rounds):
        started = thread_time()
        for number, frame in enumerate(frames):
            augment(frame, random_for(0, number, 0))
        taken.append((thread_time() - started) / len(frames))
    return min(taken) * 1e6


def main(*, rounds: int = 8) -> None:
    """Prints a line for each operation."""
    limit_threads()
    files = make_jpegs(SIDE_PX, SIDE_PX, PICTURES)
    images = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) for data in files]
    frames = [Frame(pixels=np.asarray(image, np.uint8)) for image in images]
    for name in AugmentSettings.model_fields:
        print(f"{name:20} {microseconds({name: {'p': 1}}, frames, rounds=rounds):5.0f}")


if __name__ == "__main__":
    main()
