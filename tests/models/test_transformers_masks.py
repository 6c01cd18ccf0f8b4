"""Segmenters of transformers: our path gives what the library's own processor, model and post-processing give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.models.labelled import FILES, labelled, shown
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.rle import decode

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CLASSES = 5
SWIN = {"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}


def surer(model: torch.nn.Module) -> torch.nn.Module:
    """With larger weights at its end: as it is initialised, every query has the same class and mask."""
    for name, values in model.named_parameters():
        if "class_predictor" in name or "mask_embedder" in name:
            values.data *= 5
    return model


def segformer(folder: Path) -> None:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        num_labels=CLASSES,
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    size = {"height": 96, "width": 128}
    transformers.SegformerImageProcessorPil(size=size, do_reduce_labels=True).save_pretrained(folder)


def mask2former(folder: Path) -> None:
    config = transformers.Mask2FormerConfig(
        backbone_config=SWIN | STAGES,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=8,
        num_labels=CLASSES,
    )
    surer(transformers.Mask2FormerForUniversalSegmentation(config)).save_pretrained(folder)
    transformers.Mask2FormerImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 150}).save_pretrained(folder)


def maskformer(folder: Path) -> None:
    decoder = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_queries": 8, "decoder_ffn_dim": 16}
    config = transformers.MaskFormerConfig(
        backbone_config=SWIN | STAGES,
        decoder_config={"model_type": "detr", "decoder_attention_heads": 2, "encoder_attention_heads": 2, **decoder},
        fpn_feature_size=32,
        mask_feature_size=32,
        num_labels=CLASSES,
    )
    surer(transformers.MaskFormerForInstanceSegmentation(config)).save_pretrained(folder)
    transformers.MaskFormerImageProcessorPil(size={"height": 96, "width": 128}).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {
    "segformer": segformer,
    "mask2former": mask2former,
    "maskformer": maskformer,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, with random weights."""
    found = {name: tmp_path_factory.mktemp(name) for name in MAKERS}
    for name, folder in found.items():
        torch.manual_seed(1)
        MAKERS[name](folder)
    return found


def resolved(folder: Path, task: str) -> ModelBundle:
    return resolve_model(ModelSettings(source=f"transformers:{folder}"), folder, task=task)


@pytest.mark.parametrize("kind", MAKERS)
def test_classes_of_pixels_are_those_of_the_library(folders: dict[str, Path], kind: str) -> None:
    """On 98 % of the pixels: where two classes meet, interpolating in another order moves the line a little."""
    masks = labelled(resolved(folders[kind], "segmentation"), type="segmentation")
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    auto = "AutoModelForSemanticSegmentation" if kind == "segformer" else "AutoModelForUniversalSegmentation"
    model = getattr(transformers, auto).from_pretrained(folders[kind]).eval()
    for png, data in zip(masks, FILES.values(), strict=True):
        image = shown(data)
        with torch.inference_mode():
            outputs = model(**processor(image, return_tensors="pt"))
        (wanted,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[image.size[::-1]])
        found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        assert found.shape == image.size[::-1]
        assert (found == wanted.numpy()).mean() > 0.98


def test_without_masks_boxes_are_the_same(folders: dict[str, Path]) -> None:
    images = torch.rand(2, 3, 96, 128)
    asked = [resolved(folders["mask2former"], task).load()(images) for task in ("detection", "detection with masks")]
    for boxes, instances in zip(*asked, strict=True):
        del instances["masks"]
        torch.testing.assert_close(boxes, instances)


@pytest.mark.parametrize("kind", ["mask2former", "maskformer"])
def test_instances_are_those_of_the_library(folders: dict[str, Path], kind: str) -> None:
    """Scores within 0.01. Masks differ only along their edges, by less than the places at which the library says yes or
    no: 384 x 384 of Mask2Former, of MaskFormer those that its logits are for, which are 4 pixels wide."""
    found = labelled(resolved(folders[kind], "detection with masks"), type="detection", score_threshold=0, masks=True)
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folders[kind]).eval()
    for boxes, data in zip(found, FILES.values(), strict=True):
        image = shown(data)
        with torch.inference_mode():
            outputs = model(**processor(image, return_tensors="pt"))
        (wanted,) = processor.post_process_instance_segmentation(
            outputs, threshold=0.0, target_sizes=[image.size[::-1]], return_binary_maps=True
        )
        height, width = image.size[::-1]
        grid = (384, 384) if kind == "mask2former" else outputs.masks_queries_logits.shape[2:]
        reach = np.ones((2 * -(-height // grid[0]) + 1, 2 * -(-width // grid[1]) + 1), np.uint8)
        for segment, mask in zip(wanted["segments_info"], wanted["segmentation"].numpy().astype(np.uint8), strict=True):
            edge = cv2.dilate(mask, reach) - cv2.erode(mask, reach)
            likes = [
                box
                for box in boxes
                if box["label_index"] == segment["label_id"] and abs(box["score"] - segment["score"]) < 0.01
            ]
            wrong = [((decode(box["mask_rle"], height, width) != mask) & (edge == 0)).mean() for box in likes]
            assert min(wrong) < 0.001
