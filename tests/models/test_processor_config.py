"""preprocessor_config.json, as it lies in folders of the hub, read as PreprocessSettings."""

from __future__ import annotations

from typing import Any

import pytest

from vision_batch.errors import SpecError
from vision_batch.images.settings import PreprocessSettings
from vision_batch.models.processor_config import processor_kind, read_processor

HALF = (0.5, 0.5, 0.5)
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


def read(**config: Any) -> PreprocessSettings:
    return read_processor(config, where="preprocessor_config.json")


@pytest.mark.parametrize(
    "name", ["ViTImageProcessor", "ViTImageProcessorFast", "ViTImageProcessorPil", "ViTFeatureExtractor"]
)
def test_one_processor_has_several_names(name: str) -> None:
    assert processor_kind({"image_processor_type": name}) == processor_kind({"feature_extractor_type": name}) == "vit"


class TestGeometry:
    def test_height_and_width(self) -> None:
        settings = read(image_processor_type="ViTImageProcessor", size={"height": 240, "width": 320}, resample=2)
        assert (settings.resize_px, settings.crop_px, settings.interpolation) == ((240, 320), None, "bilinear")

    def test_a_number_is_both_sides_or_the_shorter_one(self) -> None:
        assert read(feature_extractor_type="ViTFeatureExtractor", size=224).resize_px == (224, 224)
        assert read(feature_extractor_type="CLIPFeatureExtractor", size=224).resize_shorter_px == 224

    def test_a_crop_after_the_resize(self) -> None:
        crop = {"height": 224, "width": 224}
        settings = read(image_processor_type="BitImageProcessor", size={"shortest_edge": 256}, crop_size=crop)
        assert (settings.resize_shorter_px, settings.crop_px, settings.interpolation) == (256, 224, "bicubic")
        assert read(image_processor_type="BitImageProcessor", do_center_crop=False, crop_size=crop).crop_px is None

    @pytest.mark.parametrize(("edge", "resized"), [(224, 256), (288, 329), (383, 437)])
    def test_convnext_resizes_to_more_and_crops(self, edge: int, resized: int) -> None:
        """microsoft/resnet-50 and its like: a bare number, and crop_pct."""
        settings = read(feature_extractor_type="ConvNextFeatureExtractor", size=edge, crop_pct=0.875, resample=3)
        assert (settings.resize_shorter_px, settings.crop_px, settings.resize_px) == (resized, edge, None)

    def test_large_convnext_warps(self) -> None:
        settings = read(image_processor_type="ConvNextImageProcessor", size={"shortest_edge": 384}, crop_pct=1.0)
        assert (settings.resize_px, settings.crop_px) == ((384, 384), None)

    def test_detectors_bound_the_longer_side(self) -> None:
        settings = read(image_processor_type="DetrImageProcessor", size={"shortest_edge": 480, "longest_edge": 640})
        assert (settings.resize_shorter_px, settings.longest_px, settings.output_px) == (480, 640, (640, 640))

    def test_old_files_of_detectors_have_numbers(self) -> None:
        settings = read(feature_extractor_type="DetrFeatureExtractor", size=600, max_size=1000)
        assert (settings.resize_shorter_px, settings.longest_px) == (600, 1000)
        assert read(feature_extractor_type="YolosFeatureExtractor", size=512).longest_px == 1333

    def test_a_file_of_segformer_for_ade(self) -> None:
        """Its masks count from 1, which says nothing of images."""
        settings = read(feature_extractor_type="SegformerFeatureExtractor", size=512, reduce_labels=True, resample=2)
        assert (settings.resize_px, settings.mean) == ((512, 512), (0.485, 0.456, 0.406))

    def test_yolos_rounds_down_and_mask2former_up(self) -> None:
        yolos = read(image_processor_type="YolosImageProcessorFast")
        assert (yolos.longest_px, yolos.round_down_px, yolos.output_px) == (1333, 16, (1328, 1328))
        mask2former = read(image_processor_type="Mask2FormerImageProcessor")
        assert (mask2former.longest_px, mask2former.round_up_px, mask2former.output_px) == (1333, 32, (1344, 1344))
        fixed = read(image_processor_type="Mask2FormerImageProcessor", size={"height": 380, "width": 384})
        assert (fixed.resize_px, fixed.round_up_px) == ((384, 384), None)

    def test_no_resize(self) -> None:
        settings = read(image_processor_type="ViTImageProcessor", do_resize=False)
        assert (settings.resize_px, settings.resize_shorter_px, settings.crop_px) == (None, None, None)


class TestNormalisation:
    def test_mean_and_std(self) -> None:
        settings = read(image_processor_type="ViTImageProcessor", **IMAGENET)
        assert (settings.mean, settings.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

    def test_one_number_for_all_channels(self) -> None:
        settings = read(image_processor_type="ViTImageProcessor", image_mean=0.5, image_std=0.25)
        assert (settings.mean, settings.std) == (HALF, (0.25, 0.25, 0.25))

    def test_rt_detr_normalises_only_where_its_file_says_so(self) -> None:
        assert read(image_processor_type="RTDetrImageProcessor").mean == (0, 0, 0)
        assert read(image_processor_type="RTDetrImageProcessor", do_normalize=True).mean == (0.485, 0.456, 0.406)

    def test_none(self) -> None:
        settings = read(image_processor_type="ViTImageProcessor", do_normalize=False, **IMAGENET)
        assert (settings.mean, settings.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            {"image_processor_type": "LevitImageProcessor"},
            r"the processor 'LevitImageProcessor'; expected one of beit, bit",
        ),
        ({}, r"the processor ''"),
        ({"resample": 0}, r"resample: 0; expected 2 \(bilinear\) or 3 \(bicubic\)"),
        ({"do_rescale": False}, r"do_rescale: False.* divided by 255"),
        ({"rescale_factor": 1 / 127.5}, r"rescale_factor: 0.0078.* divided by 255"),
        ({"rescale_offset": True}, r"divided by 255"),
        ({"do_flip_channel_order": True}, r"do_flip_channel_order: true"),
        ({"do_pad": True}, r"do_pad: true"),
        (
            {"size": {"height": 0, "width": 64}},
            r"which cannot be done \(resize_px.0: .* expected a size from 1 to 16384",
        ),
        ({"image_processor_type": "DetrImageProcessor", "pad_size": {"height": 8, "width": 8}}, r"do_pad: true"),
        ({"image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 800}}, r"shortest_edge with longest"),
        ({"size": {"shortest_edge": 224, "longest_edge": 400}}, r"expected shortest_edge, or height and width"),
        ({"do_center_crop": True, "crop_size": {"height": 224, "width": 200}}, r"expected a square"),
    ],
)
def test_what_is_refused_says_what_to_do(config: dict[str, Any], words: str) -> None:
    kind = {"image_processor_type": "ViTImageProcessor"} if config and "image_processor_type" not in config else {}
    with pytest.raises(SpecError, match=words) as caught:
        read(**kind, **config)
    assert str(caught.value).startswith("preprocessor_config.json: ")
    assert "otherwise write the steps of this model's processor under `preprocess:`" in str(caught.value)
