"""Known networks with random weights: a plug-in beside the GPU benchmark's spec, and modules for the benchmark itself.

`small` ones have the same layers, few and narrow, so that the benchmark itself can be tried on a CPU.
"""

from typing import Any

import torch
import transformers

from vision_batch.models.transformers_detection import SigmoidDetector

CLASSES = 1000


class Logits(torch.nn.Module):
    """Float32 images (N, 3, H, W) to (N, C) logits."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(pixel_values=images).logits
        return logits


def build(name: str, small: bool = False) -> torch.nn.Module:
    """`resnet-50`, `vit-b16` or `rt-detr-r50`, a detector."""
    torch.manual_seed(0)
    if name == "rt-detr-r50":
        return SigmoidDetector(_rt_detr(small)).eval()
    return Logits({"resnet-50": _resnet, "vit-b16": _vit}[name](small)).eval()


def _resnet(small: bool) -> Any:
    narrow = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]} if small else {}
    return transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=CLASSES, **narrow))


def _vit(small: bool) -> Any:
    narrow = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32} if small else {}
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=CLASSES, **narrow))


def _rt_detr(small: bool) -> Any:
    narrow: dict[str, Any] = {}
    if small:
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=8,
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 1, 1, 1],
            layer_type="basic",
            out_features=["stage2", "stage3", "stage4"],
        )
        narrow = {
            "backbone_config": backbone,
            "encoder_in_channels": [8, 16, 16],
            "encoder_hidden_dim": 16,
            "encoder_ffn_dim": 16,
            "encoder_attention_heads": 2,
            "d_model": 16,
            "decoder_in_channels": [16, 16, 16],
            "decoder_ffn_dim": 16,
            "decoder_attention_heads": 2,
            "decoder_layers": 1,
            "num_queries": 10,
        }
    return transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(num_labels=80, **narrow))
