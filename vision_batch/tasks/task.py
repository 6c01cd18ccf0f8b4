"""The seams between a model's numbers and what a user reads, and between a user's labels and what a model learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vision_batch.images.geometry import Geometry

if TYPE_CHECKING:
    import torch

    from vision_batch.images.example import Annotation, Example

IGNORE: Final = 255
"""In a target mask: nothing is to be learned here. Also what `mask_png` has where the model saw nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Whether predictions in a lower precision are as good as the exact ones, and `text`, by what this is judged."""

    is_close: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a model saw of an image: the full image's size in pixels, and where the model's pixels lie in it."""

    width: int
    height: int
    geometry: Geometry

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width of the full image in the model's pixels, whether or not the model saw all of it."""
        return round(self.height / self.geometry.scale_y), round(self.width / self.geometry.scale_x)


class Task(Protocol):
    """What one kind of prediction means: its columns, and how a model's outputs become them.

    `outputs` is what the predictor returns for N images: float32 numpy on the CPU, in the shape that the task's model
    answers with.
    """

    @property
    def lies_on_image(self) -> bool:
        """Whether predictions are places in the image, which nothing may have moved unseen before the model."""

    def fields(self) -> list[pa.Field]:
        """The task's columns; all nullable, for an error row has none of them."""

    def check(self, outputs: Any, count: int | None = None) -> None:
        """ModelError unless `outputs` fits the task and its labels, and is for `count` images where that is given."""

    @property
    def unusable(self) -> str:
        """What a model gave for an image that has no prediction, in words."""

    def finite(self, outputs: Any) -> np.ndarray:
        """Bool (N,): which images have a prediction. A NaN or an infinity is none."""

    def agreement(self, exact: Any, lowered: Any) -> Agreement:
        """Of outputs for the same images, those in fp32 and those in a lower precision."""

    def columns(self, outputs: Any, views: Sequence[View], model_px: tuple[int, int]) -> list[pa.Array]:
        """One array of N values per field, in the order of `fields`.

        `model_px` is the (height, width) of the pixels that the model was given. Every image must be finite.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one image's label asks of a model.

    `value` is a class index, or float32 (C,) with a 1 for each class that the image has; None where the target lies on
    the image's own pixels: then `annotation` moves with them.
    """

    value: int | NDArray[np.float32] | None = None
    annotation: Annotation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Outputs as the predictor returns them, of images of `model_px`, (height, width), as the module was given them."""

    outputs: Any
    model_px: tuple[int, int]


class Metrics(Protocol):
    """How good outputs are, over any number of batches and workers."""

    def update(self, outputs: Any, targets: torch.Tensor) -> None:
        """Counts a batch in: the module's outputs and targets as collated, both on one device.

        Of a module that brings its loss they are Predicted.
        """

    def state(self) -> NDArray[np.float64]:
        """All that was counted, (S,), S fixed by task and labels: the states of several workers may be summed."""

    def result(self, state: NDArray[np.float64]) -> dict[str, float]:
        """Name to value in [0, 1]; what is not defined, as where nothing was counted, is left out."""


class TrainableTask(Task, Protocol):
    """A task that a model can be trained for. Its labels are known: class index to name."""

    @property
    def headline(self) -> str:
        """The metric that decides which checkpoint is best: more is better."""

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses that suit it, by name."""

    @property
    def default_loss(self) -> str | None:
        """The one of them that a spec without `train.loss` means; None where the module brings its own."""

    def names(self, truth: Any) -> tuple[str, ...]:
        """The classes that `truth` names, whether or not the labels have them; ImageError `invalid_label` likewise."""

    def target(self, truth: Any) -> Target:
        """What `truth` asks; ImageError `invalid_label` where that cannot be said."""

    def collate(self, targets: Sequence[Target], examples: Sequence[Example]) -> NDArray[Any]:
        """The targets of a batch: int64 (N,); float32 (N, C); uint8 (N, h, w) of class indices and IGNORE; or boxes.

        `examples` are the same images after augmentation. N may be 0.
        """

    def metrics(self) -> Metrics:
        """An empty count."""
