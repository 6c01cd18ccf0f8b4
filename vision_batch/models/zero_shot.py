"""A transformers model of images and texts (CLIP, SigLIP) as a classifier whose classes are told in words.

Importing this imports transformers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from vision_batch.errors import ModelError
from vision_batch.models.embedder import Embedder

TEXTS_AT_ONCE = 64


class ZeroShot(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to logits (N, C): softmax is for CLIP's, sigmoid for SigLIP's.

    A logit is the cosine of the image with a class, times the model's scale, plus its bias. A class of several texts is
    the direction of the sum of theirs, as in CLIP's paper (section 3.1.4). With one text for each class the logits are
    the library's `logits_per_image`.
    """

    classes: torch.Tensor
    scale: torch.Tensor
    bias: torch.Tensor

    def __init__(self, model: Any, *, texts: Sequence[Sequence[str]], tokenizer: Path) -> None:
        """`texts` has those of each class, `tokenizer` is the tokenizer's folder. Then `model` knows images only."""
        super().__init__()
        self.register_buffer("classes", _directions(model, texts, tokenizer))
        self.register_buffer("scale", model.logit_scale.detach().exp())
        bias = getattr(model, "logit_bias", None)
        self.register_buffer("bias", torch.zeros(()) if bias is None else bias.detach())
        self.embedder = Embedder(model)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        vectors = self.embedder(images)
        with torch.autocast(images.device.type, enabled=False):  # a cosine times 100 has few digits of bf16 left
            logits: torch.Tensor = _unit(vectors.float()) @ self.classes.T * self.scale + self.bias
        return logits


def _directions(model: Any, texts: Sequence[Sequence[str]], folder: Path) -> torch.Tensor:
    """Float32 (C, D), each of length 1."""
    counts = torch.tensor([len(each) for each in texts])
    with torch.no_grad():
        vectors = [model.get_text_features(**batch).pooler_output for batch in _tokenised(model, texts, folder)]
        index = torch.arange(len(counts)).repeat_interleave(counts)
        units = _unit(torch.cat(vectors))
        return _unit(torch.zeros(len(counts), units.shape[1]).index_add_(0, index, units))


def _tokenised(model: Any, texts: Sequence[Sequence[str]], folder: Path) -> Iterator[dict[str, torch.Tensor]]:
    """What the model reads for all texts, in order; ModelError where there is no tokenizer, or a text is too long."""
    most = model.config.text_config.max_position_embeddings
    # SigLIP has learned from padded texts only
    padding = "max_length" if model.config.model_type.startswith("siglip") else "longest"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the tokenizer for model.prompts cannot be loaded: {reason}") from error
    flat = [text for each in texts for text in each]
    for start in range(0, len(flat), TEXTS_AT_ONCE):
        some = flat[start : start + TEXTS_AT_ONCE]
        batch = tokenizer(some, padding=padding, max_length=most, return_tensors="pt")
        if batch["input_ids"].shape[1] > most:
            longest = max(some, key=len)
            raise ModelError(f"a text of model.prompts has more than {most} tokens, perhaps {longest[:80]!r}")
        yield dict(batch)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1)
