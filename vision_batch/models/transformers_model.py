"""A transformers classifier as a plain module. Importing this imports transformers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import safetensors
import torch
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from vision_batch.errors import ModelError

SHOWN = 5
HEAD = "classifier"
"""In the name of every weight of the head, in every image classifier of the library."""


class Classifier(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to logits (N, C)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=images).logits
        return logits

    def folder_files(self, labels: tuple[str, ...]) -> dict[str, bytes]:
        """Configuration, with the names of the classes, and weights, as a folder of the library has them."""
        self.model.config.id2label = dict(enumerate(labels))
        self.model.config.label2id = {label: index for index, label in enumerate(labels)}
        with tempfile.TemporaryDirectory(prefix="vision-batch-model-") as folder:
            self.model.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}


def load_classifier(folder: Path, name: str, *, new_classes: int | None = None) -> Classifier:
    """The classifier in `folder`; with `new_classes` its head is a new one, with random weights, for so many classes.

    ModelError, calling it `name`, if it cannot be loaded whole.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    head = {} if new_classes is None else {"num_labels": new_classes, "ignore_mismatched_sizes": True}
    try:
        model, info = AutoModelForImageClassification.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
            **head,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, safetensors.SafetensorError) as error:
        raise ModelError(f"{name} cannot be loaded as an image classifier: {error}") from error
    # The library fills what is missing with random numbers and only warns.
    absent = [_name(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]]
    if new_classes is not None:
        absent = [key for key in absent if HEAD not in key]
    if absent:
        shown = ", ".join(absent[:SHOWN]) + (" …" if len(absent) > SHOWN else "")
        raise ModelError(f"{name} lacks weights of an image classifier ({shown}): was it trained for another task?")
    return Classifier(model).eval()


def _name(key: Any) -> str:
    """A missing key is a name; a mismatched one comes with both its shapes."""
    return str(key[0] if isinstance(key, tuple) else key)
