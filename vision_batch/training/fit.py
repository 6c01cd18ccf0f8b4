"""What of a spec's `train:` does not go with its task."""

from __future__ import annotations

from collections.abc import Iterator

from vision_batch.errors import Problem
from vision_batch.tasks.settings import KINDS, TaskSettings
from vision_batch.training.settings import TrainSettings


def misfits(train: TrainSettings, task: TaskSettings) -> Iterator[Problem]:
    """Losses that compare something else, mixing of what cannot be mixed, classes to be counted that no image has."""
    kind = task.kind.replace("_", "-")
    if task.labels_are is None:
        trainable = [each for each, facts in KINDS.items() if facts.labels is not None]
        yield Problem("task.type", f"{kind}, to be learned", f"one that can be: {', '.join(trainable)}")
        return
    if task.labels_are == "boxes":
        yield from _of_boxes(train)
        return
    for index, loss in enumerate(train.losses):
        from vision_batch.tasks.table import TRAINABLE  # here, because tasks bring pyarrow, which no other check needs

        suitable = TRAINABLE[task.kind].losses
        if loss.name not in suitable:
            where = f"train.loss.{index}" if isinstance(train.loss, list) else "train.loss"
            yield Problem(f"{where}.name", f"{loss.name}, for {kind}", f"one of {', '.join(suitable)}")
    if task.labels_are == "mask":
        for way in ("mixup", "cutmix"):
            if getattr(train, way) is not None:
                yield Problem(f"train.{way}", "a segmentation to learn", "no mixing: masks have one class a pixel")
        if train.class_weights == "balanced":
            yield Problem(
                "train.class_weights", "balanced, for segmentation", "a list: pixels are not counted by class"
            )
    if train.sampling != "none" and task.labels_are != "one":
        expected = "none: it goes by the one class that an image of a classification has"
        yield Problem("train.sampling", f"{train.sampling}, for {kind}", expected)


def _of_boxes(train: TrainSettings) -> Iterator[Problem]:
    """The module brings its loss, and boxes are not mixed."""
    if train.losses:
        yield Problem("train.loss", f"{train.losses[0].name}, for detection", "none: the module brings its loss")
    for way in ("mixup", "cutmix"):
        if getattr(train, way) is not None:
            yield Problem(f"train.{way}", "a detection to learn", "no mixing: boxes are not mixed")
    for key in ("class_weights", "sampling"):
        if getattr(train, key) != "none":
            yield Problem(
                f"train.{key}", f"{getattr(train, key)}, for detection", "none: an image has boxes of many classes"
            )
