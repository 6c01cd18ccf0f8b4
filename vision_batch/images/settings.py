"""The `preprocess:` part of a spec."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from vision_batch.settings import Settings

Side = Annotated[int, Field(ge=1, le=16384)]
Channels = tuple[float, float, float]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]


class PreprocessSettings(Settings):
    """From a decoded picture to what the model was trained on.

    Steps in order: `function` (a plug-in; uint8 RGB in and out), one of the three resizes, centre crop, and, on the
    device, (x / 255 - mean) / std per RGB channel. Every resize is antialiased. A picture smaller than `crop_px` gets
    a black border.
    """

    function: str | None = None
    resize_shorter_px: Side | None = None
    resize_px: tuple[Side, Side] | None = None
    letterbox_px: Side | None = None
    crop_px: Side | None = None
    interpolation: Interpolation = "bilinear"
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _one_resize(self) -> PreprocessSettings:
        resizes = [n for n in ("resize_shorter_px", "resize_px", "letterbox_px") if getattr(self, n) is not None]
        if len(resizes) > 1:
            raise ValueError(f"only one of {', '.join(resizes)}")
        if any(value <= 0 for value in self.std):
            raise ValueError("std above 0 for every channel")
        return self

    @property
    def output_px(self) -> tuple[int, int] | None:
        """Height and width that every image gets, None where they differ from image to image."""
        if self.crop_px is not None:
            return self.crop_px, self.crop_px
        if self.letterbox_px is not None:
            return self.letterbox_px, self.letterbox_px
        return self.resize_px
