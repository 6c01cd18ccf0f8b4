"""Object detectors of transformers: our path gives what the library's own processor, model and post-processing give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from tests.models.labelled import CHINA, FILES, labelled, shown
from vision_batch.images.geometry import place
from vision_batch.images.preprocess import Preprocessor
from vision_batch.models.bundle import ModelBundle, resolve_model
from vision_batch.models.settings import ModelSettings
from vision_batch.tasks.detection import CORNERS
from vision_batch.tasks.task import View

transformers = pytest.importorskip("transformers")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()

CLASSES = 5
BACKBONE = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
SMALL = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 12, "num_labels": CLASSES}
LAYERS = {"encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
SIZE = {"shortest_edge": 96, "longest_edge": 128}


def detr(folder: Path) -> None:
    backbone = BACKBONE | {"out_features": ["stage2"]}
    config = transformers.DetrConfig(use_timm_backbone=False, backbone_config=backbone, **SMALL, **LAYERS)
    transformers.DetrForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessorPil(size=SIZE).save_pretrained(folder)


def conditional_detr(folder: Path) -> None:
    backbone = BACKBONE | {"out_features": ["stage2"]}
    config = transformers.ConditionalDetrConfig(use_timm_backbone=False, backbone_config=backbone, **SMALL, **LAYERS)
    transformers.ConditionalDetrForObjectDetection(config).save_pretrained(folder)
    transformers.ConditionalDetrImageProcessorPil(size=SIZE).save_pretrained(folder)


def deformable_detr(folder: Path) -> None:
    backbone = BACKBONE | {"out_features": ["stage1", "stage2"]}
    config = transformers.DeformableDetrConfig(
        use_timm_backbone=False, backbone_config=backbone, num_feature_levels=2, **SMALL, **LAYERS
    )
    transformers.DeformableDetrForObjectDetection(config).save_pretrained(folder)
    transformers.DeformableDetrImageProcessorPil(size=SIZE).save_pretrained(folder)


def table_transformer(folder: Path) -> None:
    backbone = BACKBONE | {"out_features": ["stage2"]}
    config = transformers.TableTransformerConfig(use_timm_backbone=False, backbone_config=backbone, **SMALL, **LAYERS)
    transformers.TableTransformerForObjectDetection(config).save_pretrained(folder)
    transformers.DetrImageProcessorPil(size=SIZE).save_pretrained(folder)


def yolos(folder: Path) -> None:
    config = transformers.YolosConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=[96, 128],
        num_detection_tokens=12,
        num_labels=CLASSES,
    )
    transformers.YolosForObjectDetection(config).save_pretrained(folder)
    transformers.YolosImageProcessorPil(size=SIZE).save_pretrained(folder)


def rt_detr(folder: Path, kind: str = "RTDetr") -> None:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    save_rt_detr(folder, kind, backbone, channels=[8, 16, 16])


def rt_detr_v2(folder: Path) -> None:
    rt_detr(folder, "RTDetrV2")


def d_fine(folder: Path) -> None:
    stages = {"stage_in_channels": [8, 8, 16, 16], "stage_mid_channels": [4, 4, 8, 8], "stage_num_blocks": [1] * 4}
    backbone = transformers.HGNetV2Config(
        stem_channels=[3, 8, 8],
        stage_out_channels=[8, 16, 16, 16],
        stage_numb_of_layers=[1] * 4,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1] * 4,
        out_features=["stage2", "stage3", "stage4"],
        **stages,
    )
    save_rt_detr(folder, "DFine", backbone, channels=[16, 16, 16])


def save_rt_detr(folder: Path, kind: str, backbone: Any, *, channels: list[int]) -> None:
    """RT-DETR, or a model of its kind, on a backbone whose last three stages have so many channels."""
    config = getattr(transformers, f"{kind}Config")(
        backbone_config=backbone,
        encoder_in_channels=channels,
        encoder_hidden_dim=32,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        d_model=32,
        decoder_ffn_dim=32,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_in_channels=[32, 32, 32],
        feat_strides=[8, 16, 32],
        num_queries=12,
        num_labels=CLASSES,
    )
    getattr(transformers, f"{kind}ForObjectDetection")(config).save_pretrained(folder)
    transformers.RTDetrImageProcessorPil(size={"height": 96, "width": 96}).save_pretrained(folder)


MAKERS: dict[str, Callable[[Path], None]] = {
    "detr": detr,
    "conditional_detr": conditional_detr,
    "deformable_detr": deformable_detr,
    "table_transformer": table_transformer,
    "yolos": yolos,
    "rt_detr": rt_detr,
    "rt_detr_v2": rt_detr_v2,
    "d_fine": d_fine,
}
QUICK = ("detr", "yolos", "rt_detr")
"""One of each way to a size and a score; the others' modules are compared quickly and the whole way in `make soak`."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each kind, with random weights."""
    found = {name: tmp_path_factory.mktemp(name) for name in MAKERS}
    for name, folder in found.items():
        torch.manual_seed(1)
        MAKERS[name](folder)
    return found


def resolved(folder: Path) -> ModelBundle:
    return resolve_model(ModelSettings(source=f"transformers:{folder}"), folder, task="detection")


def theirs(folder: Path, data: bytes) -> dict[str, np.ndarray]:
    """One image through the library: boxes in pixels of the image as shown, the best first."""
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    model = transformers.AutoModelForObjectDetection.from_pretrained(folder).eval()
    image = shown(data)
    with torch.inference_mode():
        outputs = model(**processor(image, return_tensors="pt"))
    (found,) = processor.post_process_object_detection(outputs, threshold=0.0, target_sizes=[image.size[::-1]])
    order = found["scores"].argsort(descending=True, stable=True)
    return {name: values[order].numpy() for name, values in found.items()}


@pytest.mark.parametrize(
    "kind", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MAKERS]
)
def test_boxes_are_those_of_the_librarys_processor_model_and_post_processing(
    folders: dict[str, Path], kind: str
) -> None:
    """Within 1 % of an image's sides and 0.02 of a score, which is what these models, whose weights are random, make of
    pixels that differ by 1 of 255 here and there."""
    found = labelled(resolved(folders[kind]), type="detection", score_threshold=0)
    for boxes, data in zip(found, FILES.values(), strict=True):
        wanted = theirs(folders[kind], data)
        sides = np.tile(shown(data).size, 2)
        corners = np.array([[box[name] for name in CORNERS] for box in boxes]) / sides
        labels = np.array([box["label_index"] for box in boxes])
        np.testing.assert_allclose([box["score"] for box in boxes], wanted["scores"][: len(boxes)], atol=0.02)
        truths = np.clip(wanted["boxes"] / sides, 0, 1)
        for label, truth in zip(wanted["labels"][: len(boxes) // 2], truths, strict=False):
            assert np.abs(corners[labels == label] - truth).max(axis=1).min() < 0.01


@pytest.mark.parametrize("kind", ["detr", "yolos", "rt_detr"])
def test_pixels_are_those_of_the_librarys_processor(folders: dict[str, Path], kind: str) -> None:
    """Of the same size and within a mean of 1 of 255."""
    steps = resolved(folders[kind]).preprocess
    assert steps is not None
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    for data in FILES.values():
        image = shown(data)
        wanted = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        height, width = wanted.shape[:2]
        found = Preprocessor(steps, max_pixels=10**7)(data)
        assert View(width=found.width, height=found.height, geometry=found.geometry).size_px == (height, width)
        difference = found.pixels[:height, :width] - (wanted * steps.std + steps.mean) * 255
        assert np.abs(difference).mean() < 1


@pytest.mark.parametrize("kind", MAKERS)
def test_of_the_same_pixels_the_module_says_exactly_the_same(folders: dict[str, Path], kind: str) -> None:
    """Pixels of the library's processor; boxes within 0.001 px of its own, scores within 1e-5."""
    processor = transformers.AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    image = Image.fromarray(CHINA)
    inputs = processor(image, return_tensors="pt")
    with torch.inference_mode():
        model = transformers.AutoModelForObjectDetection.from_pretrained(folders[kind]).eval()
        size = inputs["pixel_values"].shape[2:]
        (wanted,) = processor.post_process_object_detection(model(**inputs), threshold=0.0, target_sizes=[size])
        beside = torch.nn.functional.pad(inputs["pixel_values"], (0, 40, 0, 24), value=7.0)
        (found,) = resolved(folders[kind]).load()(beside, [tuple(size)])
    scores, order = wanted["scores"].sort(descending=True, stable=True)
    kept = found["scores"].sort(descending=True, stable=True)
    torch.testing.assert_close(kept.values, scores[: len(kept.values)], atol=1e-5, rtol=0)
    assert torch.equal(found["labels"][kept.indices], wanted["labels"][order][: len(kept.values)])
    wanted_boxes = wanted["boxes"][order][: len(kept.values)]
    torch.testing.assert_close(found["boxes"][kept.indices], wanted_boxes, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["detr", "yolos"])
def test_an_image_gets_the_same_boxes_whoever_is_beside_it(folders: dict[str, Path], kind: str) -> None:
    module = resolved(folders[kind]).load()
    images = torch.rand(4, 3, 128, 128)
    sizes = [(96, 128), (128, 96), (96, 128), (128, 128)]
    together = module(images, sizes)
    for image, (height, width), found in zip(images, sizes, together, strict=True):
        (alone,) = module(image[None, :, :height, :width])
        for name in alone:
            torch.testing.assert_close(found[name], alone[name], atol=1e-4, rtol=1e-4)


LIBRARY_SIZES = {
    "detr": lambda size: transformers.image_transforms.get_size_with_aspect_ratio(size, 800, 1333),
    "yolos": lambda size: transformers.models.yolos.image_processing_pil_yolos.get_size_with_aspect_ratio_yolos(
        size, 800, 1333
    ),
}


@pytest.mark.parametrize("kind", LIBRARY_SIZES)
@given(short=st.integers(1, 3000), aspect=st.floats(1, 12), is_tall=st.booleans())
@example(short=271, aspect=4.9296875, is_tall=False)
def test_pictures_get_the_size_that_the_library_gives_them(kind: str, short: int, aspect: float, is_tall: bool) -> None:
    """But within its bound: those that exceed it by less than would change the shorter side it leaves as they are."""
    width, height = (short, int(short * aspect)) if is_tall else (int(short * aspect), short)
    more: dict[str, Any] = {"round_down_px": 16} if kind == "yolos" else {}
    placement = place(
        width, height, resize_shorter_px=800, longest_px=1333, resize_px=None, letterbox_px=None, crop_px=None, **more
    )
    wanted = (min(1333, side) for side in LIBRARY_SIZES[kind]((height, width)))
    assert (placement.resized_height, placement.resized_width) == tuple(wanted)
