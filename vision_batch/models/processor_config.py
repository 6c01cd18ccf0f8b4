"""A transformers folder's `preprocessor_config.json`, read as PreprocessSettings.

Only the processors whose steps are resize, centre crop, rescale and normalise in that order are known; the semantics
and the defaults of each are those of transformers 5 (`models/<name>/image_processing_pil_<name>.py`). That those of
detectors pad is about their batches: an image alone is not padded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from vision_batch.errors import Problem, SpecError
from vision_batch.images.settings import PreprocessSettings, rounded

HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BILINEAR, BICUBIC = 2, 3
INTERPOLATIONS = {BILINEAR: "bilinear", BICUBIC: "bicubic"}
WARP_FROM_PX = 384
"""ConvNeXT's processor resizes to a square, without a crop, from this size on."""
STANDARD = {"image_mean": HALF, "image_std": HALF, "do_center_crop": False, "crop_size": 224}
CLIP = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD, "do_center_crop": True, "crop_size": 224}
IMAGENET = STANDARD | {"image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD, "resample": BILINEAR}
BOUNDED = IMAGENET | {"size": {"shortest_edge": 800, "longest_edge": 1333}, "do_pad": True}
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": STANDARD | {"size": {"height": 224, "width": 224}, "resample": BILINEAR},
    "siglip": STANDARD | {"size": {"height": 224, "width": 224}, "resample": BICUBIC},
    "beit": STANDARD | {"size": {"height": 224, "width": 224}, "resample": BICUBIC},
    "deit": STANDARD | {"size": {"height": 256, "width": 256}, "resample": BICUBIC, "do_center_crop": True},
    "bit": CLIP | {"size": {"shortest_edge": 224}, "resample": BICUBIC},
    "clip": CLIP | {"size": {"shortest_edge": 224}, "resample": BICUBIC},
    "mobilenetv1": STANDARD | {"size": {"shortest_edge": 256}, "resample": BILINEAR, "do_center_crop": True},
    "mobilenetv2": STANDARD | {"size": {"shortest_edge": 256}, "resample": BILINEAR, "do_center_crop": True},
    "convnext": STANDARD | {"size": {"shortest_edge": 384}, "resample": BICUBIC, "crop_pct": 224 / 256},
    "segformer": IMAGENET | {"size": {"height": 512, "width": 512}},
    "rtdetr": IMAGENET | {"size": {"height": 640, "width": 640}, "do_normalize": False},
    "detr": BOUNDED,
    "conditionaldetr": BOUNDED,
    "deformabledetr": BOUNDED,
    "yolos": BOUNDED,
    "mask2former": BOUNDED | {"size_divisor": 32},
    "maskformer": BOUNDED | {"size_divisor": 32},
}
"""What each processor does where the file does not say."""
SHORTEST_EDGE = {"siglip", "bit", "clip", "mobilenetv1", "mobilenetv2", "convnext"}
"""The processors that read a bare number in `size` as the shorter side; the others take it for both."""
LONGEST_EDGE = {"detr", "conditionaldetr", "deformabledetr", "yolos", "mask2former", "maskformer"}
"""The processors that bound the longer side, and pad images to make batches of them."""
MAX_SIZE = 1333
"""The bound that they have where an old file says `size` only."""
YOLOS_MULTIPLE_PX = 16
FOREIGN_STEPS = ("do_flip_channel_order", "do_pad", "do_color_quantize", "do_thumbnail", "do_align_long_axis")


def read_processor(config: Mapping[str, Any], *, where: str) -> PreprocessSettings:
    """What `preprocessor_config.json` asks for; SpecError, naming `where`, for a step that is not known."""
    kind = processor_kind(config)
    if kind not in PROCESSORS:
        raise _unknown(where, f"the processor {_type_name(config)!r}", f"one of {', '.join(sorted(PROCESSORS))}")
    values = PROCESSORS[kind] | {key: value for key, value in config.items() if value is not None}
    _check_steps(kind, values, where)
    mean, std = _normalisation(values)
    geometry = _geometry(kind, values, where)
    try:
        return PreprocessSettings(**geometry, mean=mean, std=std)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise _unknown(where, f"{geometry}, which cannot be done ({found})", "a size from 1 to 16384 px") from error


def processor_kind(config: Mapping[str, Any]) -> str:
    """`vit` for ViTImageProcessor, ViTImageProcessorFast and ViTFeatureExtractor alike."""
    return re.sub(r"(ImageProcessor|FeatureExtractor)(Fast|Pil)?$", "", _type_name(config)).lower()


def _type_name(config: Mapping[str, Any]) -> str:
    return str(config.get("image_processor_type") or config.get("feature_extractor_type") or "")


def _check_steps(kind: str, values: Mapping[str, Any], where: str) -> None:
    for step in FOREIGN_STEPS:
        if values.get(step) and not (step == "do_pad" and kind in LONGEST_EDGE and values.get("pad_size") is None):
            raise _unknown(where, f"{step}: true", "resize, centre crop, rescale and normalise only")
    factor = values.get("rescale_factor", 1 / 255)
    if not values.get("do_rescale", True) or abs(factor * 255 - 1) > 1e-6 or values.get("rescale_offset"):
        found = f"do_rescale: {values.get('do_rescale', True)}, rescale_factor: {factor}"
        raise _unknown(where, found, "pixels divided by 255, which is what vision-batch gives to every model")


def _normalisation(values: Mapping[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if not values.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return _channels(values["image_mean"]), _channels(values["image_std"])


def _channels(value: Any) -> tuple[float, float, float]:
    red, green, blue = value if isinstance(value, (list, tuple)) else (value, value, value)
    return float(red), float(green), float(blue)


def _geometry(kind: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    geometry: dict[str, Any] = {}
    if values.get("do_resize", True):
        resample = values["resample"]
        if resample not in INTERPOLATIONS:
            raise _unknown(where, f"resample: {resample}", "2 (bilinear) or 3 (bicubic)")
        geometry = _resize(kind, values, where) | {"interpolation": INTERPOLATIONS[resample]}
    if values["do_center_crop"]:
        geometry["crop_px"] = _square(values["crop_size"], where)
    return geometry


def _resize(kind: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    if kind in LONGEST_EDGE:
        return _bounded(kind, values, where)
    size = values["size"]
    if not isinstance(size, Mapping):
        size = {"shortest_edge": size} if kind in SHORTEST_EDGE else {"height": size, "width": size}
    if set(size) == {"height", "width"}:
        return {"resize_px": (size["height"], size["width"])}
    if set(size) != {"shortest_edge"}:
        raise _unknown(where, f"size: {dict(size)}", "shortest_edge, or height and width")
    edge = size["shortest_edge"]
    if kind != "convnext":
        return {"resize_shorter_px": edge}
    if edge >= WARP_FROM_PX:
        return {"resize_px": (edge, edge)}
    return {"resize_shorter_px": int(edge / values["crop_pct"]), "crop_px": edge}


def _bounded(kind: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The shorter side, with a bound of the longer one, or both sides; rounded as each processor does it."""
    size = values["size"]
    if not isinstance(size, Mapping):
        size = {"shortest_edge": size, "longest_edge": values.get("max_size", MAX_SIZE)}
    divisor = int(values.get("size_divisor", 0))
    if set(size) == {"height", "width"}:
        sides = rounded(size["height"], divisor or None, None), rounded(size["width"], divisor or None, None)
        return {"resize_px": sides}
    if set(size) != {"shortest_edge", "longest_edge"}:
        raise _unknown(where, f"size: {dict(size)}", "shortest_edge with longest_edge, or height and width")
    bounds = {"resize_shorter_px": size["shortest_edge"], "longest_px": size["longest_edge"]}
    if kind == "yolos":
        return bounds | {"round_down_px": YOLOS_MULTIPLE_PX}
    return bounds | ({"round_up_px": divisor} if divisor else {})


def _square(size: Any, where: str) -> int:
    if not isinstance(size, Mapping):
        return int(size)
    if set(size) != {"height", "width"} or size["height"] != size["width"]:
        raise _unknown(where, f"crop_size: {dict(size)}", "a square")
    return int(size["height"])


def _unknown(where: str, found: str, expected: str) -> SpecError:
    more = "; otherwise write the steps of this model's processor under `preprocess:`"
    return SpecError(Problem(where, found, expected + more))
