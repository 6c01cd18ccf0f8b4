"""The operations, by the names that specs give them."""

from __future__ import annotations

from typing import Final

from vision_batch.images.augmentations import colour, geometric, hiding, policy, sensor
from vision_batch.images.augmentations.step import Draw

OPERATIONS: Final[dict[str, Draw]] = {
    "random_resized_crop": geometric.random_resized_crop,
    "horizontal_flip": geometric.horizontal_flip,
    "vertical_flip": geometric.vertical_flip,
    "rotate": geometric.rotate,
    "affine": geometric.affine,
    "perspective": geometric.perspective,
    "elastic": geometric.elastic,
    "brightness": colour.brightness,
    "contrast": colour.contrast,
    "saturation": colour.saturation,
    "hue": colour.hue,
    "gamma": colour.gamma,
    "uneven_light": colour.uneven_light,
    "gaussian_noise": sensor.gaussian_noise,
    "iso_noise": sensor.iso_noise,
    "blur": sensor.blur,
    "motion_blur": sensor.motion_blur,
    "sharpen": sensor.sharpen,
    "jpeg": sensor.jpeg,
    "downscale": sensor.downscale,
    "occlusion": hiding.occlusion,
    "cut_out": hiding.cut_out,
    "missing_bands": hiding.missing_bands,
    "grid_mask": hiding.grid_mask,
    "rand_augment": policy.rand_augment,
    "trivial_augment": policy.trivial_augment,
}
