"""Tiny models of transformers with random weights that embed images, as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

SIDE_PX: Final = 32
TOWER: Final = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": SIDE_PX,
    "patch_size": 8,
}
WORDS: Final = ["<pad>", "<unk>", "<end>", "a", "photo", "drawing", "of", "the", "cat", "dog", "bird"]
TEXT: Final = {key: TOWER[key] for key in list(TOWER)[:4]} | {
    "vocab_size": len(WORDS),
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
SQUARE: Final = {"height": SIDE_PX, "width": SIDE_PX}
CLIP_PROCESSOR: Final = {"size": {"shortest_edge": SIDE_PX}, "crop_size": SQUARE}

MODELS: Final[dict[str, Any]] = {
    "vit": lambda t: t.ViTModel(t.ViTConfig(**TOWER)),
    "vit that classifies": lambda t: t.ViTForImageClassification(t.ViTConfig(**TOWER)),
    "deit that classifies": lambda t: t.DeiTForImageClassificationWithTeacher(t.DeiTConfig(**TOWER)),
    "dinov2": lambda t: t.Dinov2Model(t.Dinov2Config(**dinov2())),
    "dinov2 with registers": lambda t: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**dinov2())),
    "dinov2 that classifies": lambda t: t.Dinov2ForImageClassification(t.Dinov2Config(**dinov2())),
    "clip": lambda t: t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=TOWER, projection_dim=24)),
    "clip's images": lambda t: t.CLIPVisionModel(t.CLIPVisionConfig(**TOWER)),
    "clip's images, projected": lambda t: t.CLIPVisionModelWithProjection(
        t.CLIPVisionConfig(**TOWER, projection_dim=24)
    ),
    "siglip": lambda t: t.SiglipModel(t.SiglipConfig(text_config=TEXT, vision_config=TOWER)),
    "siglip's images": lambda t: t.SiglipVisionModel(t.SiglipVisionConfig(**TOWER)),
    "resnet": lambda t: t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])),
    "resnet that classifies": lambda t: t.ResNetForImageClassification(
        t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ),
}


def dinov2() -> dict[str, int]:
    return {key: value for key, value in TOWER.items() if key != "intermediate_size"}


def save(name: str, folder: Path) -> Path:
    """The model, and the processor and the tokenizer that such a model has."""
    MODELS[name](transformers).eval().save_pretrained(folder)
    if name.startswith(("clip", "dinov2")):
        kind = transformers.CLIPImageProcessorPil if name.startswith("clip") else transformers.BitImageProcessorPil
        processor = kind(**CLIP_PROCESSOR)
    else:
        siglip, vit = transformers.SiglipImageProcessorPil, transformers.ViTImageProcessorPil
        processor = (siglip if name.startswith("siglip") else vit)(size=SQUARE)
    processor.save_pretrained(folder)
    if name in ("clip", "siglip"):
        tokenizer().save_pretrained(folder)
    return folder


def tokenizer() -> Any:
    """Knows WORDS; a text ends with a token of its own, as those of CLIP and SigLIP do."""
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer, words.normalizer = Whitespace(), Lowercase()
    words.post_processor = TemplateProcessing(single="$A <end>", special_tokens=[("<end>", 2)])
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": "<end>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special)
