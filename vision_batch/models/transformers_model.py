"""A transformers classifier as a plain module. Importing this imports transformers."""

from __future__ import annotations

from pathlib import Path

import safetensors
import torch
from transformers import AutoModelForImageClassification
from transformers.utils import logging

from vision_batch.errors import ModelError

SHOWN = 5


class Classifier(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to logits (N, C)."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=images).logits
        return logits


def load_classifier(folder: Path, name: str) -> Classifier:
    """The classifier in `folder`; ModelError, calling it `name`, if it cannot be loaded whole."""
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, info = AutoModelForImageClassification.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, safetensors.SafetensorError) as error:
        raise ModelError(f"{name} cannot be loaded as an image classifier: {error}") from error
    # The library fills what is missing with random numbers and only warns.
    if absent := [str(key) for kind in ("missing_keys", "mismatched_keys") for key in info[kind]]:
        shown = ", ".join(absent[:SHOWN]) + (" …" if len(absent) > SHOWN else "")
        raise ModelError(f"{name} lacks weights of an image classifier ({shown}): was it trained for another task?")
    return Classifier(model).eval()
