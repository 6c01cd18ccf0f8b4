"""Models of transformers as plain modules. Importing this imports transformers."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import safetensors
import torch
import transformers
from transformers.utils import logging

from vision_batch.errors import ModelError
from vision_batch.models.by_size import BySize
from vision_batch.models.embedder import Embedder
from vision_batch.models.transformers_detection import SigmoidDetector, SoftmaxDetector, Target, relative_centres
from vision_batch.models.transformers_kinds import EMBEDDERS, KINDS, LEARNING, PROMPTED
from vision_batch.models.transformers_masks import Instances, MaskClasses
from vision_batch.models.zero_shot import ZeroShot

SHOWN = 5
HEAD = "classifier"
"""In the name of every weight of the head, in every model that can be trained here."""


class Trainable(torch.nn.Module):
    """A model that comes out of a training as a folder of the library, too."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def folder_files(self, labels: tuple[str, ...]) -> dict[str, bytes]:
        """Configuration, with the names of the classes, and weights, as a folder of the library has them."""
        self.model.config.id2label = dict(enumerate(labels))
        self.model.config.label2id = {label: index for index, label in enumerate(labels)}
        with tempfile.TemporaryDirectory(prefix="vision-batch-model-") as folder:
            self.model.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


class Logits(Trainable):
    """Float32 images (N, 3, H, W), normalised, to logits: (N, C) of images, or (N, C, h, w) of their pixels."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=images).logits
        return logits


class LearningDetector(Trainable):
    """Float32 images (N, 3, H, W), normalised, to the queries of DETR; with targets to the library's own loss of them.

    That is a mean over the boxes of the images that it is given.
    """

    def forward(self, images: torch.Tensor, targets: list[Target] | None = None) -> dict[str, torch.Tensor]:
        if targets is None:
            answer = self.model(pixel_values=images)
            return {"logits": answer.logits, "pred_boxes": answer.pred_boxes}
        wanted = [
            {"class_labels": each["labels"], "boxes": relative_centres(each["boxes"], images)} for each in targets
        ]
        return {"loss": self.model(pixel_values=images, labels=wanted).loss}


WRAPPERS: Final[dict[str, Callable[..., torch.nn.Module]]] = {
    "classifier": Logits,
    "semantic": Logits,
    LEARNING: LearningDetector,
    "softmax detector": SoftmaxDetector,
    "sigmoid detector": SigmoidDetector,
    "instances": partial(Instances, masks=True),
    "boxes of instances": partial(Instances, masks=False),
    "mask classes": MaskClasses,
    PROMPTED: ZeroShot,
    **dict.fromkeys(EMBEDDERS, Embedder),
}
"""By the name in KINDS: what makes a module, as its task wants one, of a model of the library."""


def load_model(folder: Path, kind: str, name: str, *, new_classes: int | None = None, **said: Any) -> torch.nn.Module:
    """The model in `folder`, which is of the `kind` of that name; `said` is for that kind's wrapper.

    With `new_classes` its head is a new one, with random weights, for so many classes. ModelError, calling it `name`,
    if it cannot be loaded whole.
    """
    what = KINDS[kind].what
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    head = {} if new_classes is None else {"num_labels": new_classes, "ignore_mismatched_sizes": True}
    try:
        model, info = getattr(transformers, KINDS[kind].auto).from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **head,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, safetensors.SafetensorError) as error:
        raise ModelError(f"{name} cannot be loaded as {what}: {error}") from error
    # The library fills what is missing with random numbers and only warns.
    absent = [_name(key) for kinds in ("missing_keys", "mismatched_keys") for key in info[kinds]]
    if new_classes is not None:
        absent = [key for key in absent if HEAD not in key]
    optional = KINDS[kind].optional
    if optional is not None and any(key.startswith(f"{optional}.") for key in absent):
        absent = [key for key in absent if not key.startswith(f"{optional}.")]
        setattr(model, optional, None)
    if absent:
        shown = ", ".join(absent[:SHOWN]) + (" …" if len(absent) > SHOWN else "")
        raise ModelError(f"{name} lacks weights of {what} ({shown}): was it trained for another task?")
    module = WRAPPERS[kind](model, **said)
    return (BySize(module) if KINDS[kind].by_size else module).eval()


def _name(key: Any) -> str:
    """A missing key is a name; a mismatched one comes with both its shapes."""
    return str(key[0] if isinstance(key, tuple) else key)
