"""The `preprocess:` part of a spec."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from vision_batch.settings import Settings

Side = Annotated[int, Field(ge=1, le=16384)]
Channels = tuple[float, float, float]
Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
BOUNDS: Final = ("longest_px", "round_up_px", "round_down_px")


class PreprocessSettings(Settings):
    """From a decoded picture to what the model was trained on.

    Steps in order: `function` (a plug-in; uint8 RGB in and out), one of the three resizes, centre crop, and, on the
    device, (x / 255 - mean) / std per RGB channel. Every resize is antialiased. A picture smaller than `crop_px` gets
    a black border.

    `longest_px` bounds the longer side that `resize_shorter_px` gives; both sides may then be rounded to a multiple of
    `round_up_px` or `round_down_px`. Such a picture lies in the top left corner of a black square that holds all.
    """

    function: str | None = None
    resize_shorter_px: Side | None = None
    resize_px: tuple[Side, Side] | None = None
    letterbox_px: Side | None = None
    crop_px: Side | None = None
    longest_px: Side | None = None
    round_up_px: Side | None = None
    round_down_px: Side | None = None
    interpolation: Interpolation = "bilinear"
    mean: Channels = (0.485, 0.456, 0.406)
    std: Channels = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _one_resize(self) -> PreprocessSettings:
        resizes = [n for n in ("resize_shorter_px", "resize_px", "letterbox_px") if getattr(self, n) is not None]
        if len(resizes) > 1:
            raise ValueError(f"only one of {', '.join(resizes)}")
        if self.longest_px is None:
            if self.round_up_px is not None or self.round_down_px is not None:
                raise ValueError("longest_px with round_up_px or round_down_px")
        elif self.resize_shorter_px is None or self.crop_px is not None:
            raise ValueError("longest_px together with resize_shorter_px, and no crop_px")
        elif self.round_up_px is not None and self.round_down_px is not None:
            raise ValueError("only one of round_up_px, round_down_px")
        if any(value <= 0 for value in self.std):
            raise ValueError("std above 0 for every channel")
        return self

    @model_serializer(mode="wrap")
    def _without_absent_bounds(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """It becomes part of an output's definition, and outputs are older than these settings."""
        values: dict[str, Any] = dump(self)
        return {key: value for key, value in values.items() if value is not None or key not in BOUNDS}

    @property
    def full_size(self) -> PreprocessSettings:
        """The same without any resize and crop."""
        return PreprocessSettings(function=self.function, mean=self.mean, std=self.std)

    @property
    def output_px(self) -> tuple[int, int] | None:
        """Height and width that every image gets, None where they differ from image to image."""
        if self.crop_px is not None:
            return self.crop_px, self.crop_px
        if self.letterbox_px is not None:
            return self.letterbox_px, self.letterbox_px
        if self.longest_px is not None:
            return (rounded(self.longest_px, self.round_up_px, self.round_down_px),) * 2
        return self.resize_px


def rounded(side: int, up: int | None, down: int | None) -> int:
    """A side in pixels as a multiple of `up` or `down`, the next one in that direction, but not 0."""
    if up is not None:
        return -(-side // up) * up
    return side if down is None else max(down, side - side % down)
