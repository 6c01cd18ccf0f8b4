"""The body of a transformers model as an embedder: which vector of its answer is the image's."""

from __future__ import annotations

from typing import Any

import torch

from vision_batch.errors import ModelError

CLASS_TOKENS = ("cls_token", "class_embedding")
"""What the library calls the weights of a token for the whole image; CLIP has the latter."""
TEXT_PARTS = ("text_model", "text_projection")


class Embedder(torch.nn.Module):
    """Float32 images (N, 3, H, W), normalised, to vectors (N, D).

    `pooling` cls is the class token of the last hidden state, mean the mean of the tokens of patches, or of places of a
    feature map. auto is what the model gives for the whole image: its projection where it has one (CLIP), else what the
    library calls its pooler's output, else the class token, else the mean.
    """

    def __init__(self, model: Any, *, pooling: str = "auto") -> None:
        """ModelError for a class token where the model has none."""
        super().__init__()
        for part in TEXT_PARTS:
            if hasattr(model, part):
                setattr(model, part, None)
        if hasattr(model.config, "mask_ratio"):
            model.config.mask_ratio = 0.0  # ViT-MAE hides three patches of four by chance, also when it does not learn
        self.model = model
        self._pooling = pooling
        self._leading = _leading_tokens(model)
        if pooling == "cls" and not self._leading:
            raise ModelError(f"task.pooling is cls and {type(model).__name__} has no class token; take mean or auto")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        call = getattr(self.model, "get_image_features", self.model)
        answer = call(pixel_values=images)
        if self._pooling == "auto":
            for name in ("image_embeds", "pooler_output"):
                vectors = getattr(answer, name, None)
                if vectors is not None:
                    return torch.flatten(vectors, start_dim=1)
        states: torch.Tensor = answer.last_hidden_state
        if states.dim() == 4:
            if self._pooling == "cls":
                raise ModelError(f"task.pooling is cls and {type(self.model).__name__} gives a feature map; take mean")
            return states.mean(dim=(2, 3))
        if self._leading and self._pooling != "mean":
            return states[:, 0]
        return states[:, self._leading :].mean(dim=1)


def _leading_tokens(model: Any) -> int:
    """How many tokens come before those of the patches."""
    weights = {name.rpartition(".")[2] for name, _ in model.named_parameters()}
    if weights.isdisjoint(CLASS_TOKENS):
        return 0
    return 1 + ("distillation_token" in weights) + (getattr(model.config, "num_register_tokens", None) or 0)
