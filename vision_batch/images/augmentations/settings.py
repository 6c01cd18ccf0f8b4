"""The `augment:` part of a spec: a list of operations, each with its settings, in the order in which they are done.

[{random_resized_crop: {scale: [0.8, 1.0]}}, {rotate: {degrees: 10}}, horizontal_flip]

A pair of numbers is a range: each image gets a value from within it. `p` is the probability that an image gets the
operation at all. Lengths are shares of the picture's side unless a name ends in `_px`; angles are in degrees.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from vision_batch.images.augmentations.bounds import Bounds, Fill, Share, Within
from vision_batch.settings import Settings

Counts: TypeAlias = tuple[int, int]
Grey = Annotated[int, Field(ge=0, le=255)]
MOST_BEND = 0.25


class OperationSettings(Settings):
    """What every operation has."""

    p: Share = 1.0


class WarpSettings(OperationSettings):
    """What every operation has that may move the picture's edges into view."""

    fill: Fill = 0


class RandomResizedCropSettings(OperationSettings):
    """A part of the picture becomes all of it (Szegedy et al. 2015, arXiv:1409.4842).

    `scale` is the part's share of the area, `ratio` its width over its height.
    """

    scale: Annotated[Bounds, Within(0.0001, 1)] = (0.08, 1.0)
    ratio: Annotated[Bounds, Within(0.01, 100)] = (3 / 4, 4 / 3)


class FlipSettings(OperationSettings):
    """A mirror image."""

    p: Share = 0.5


class RotateSettings(WarpSettings):
    """Turned about the centre, counter-clockwise where above 0."""

    degrees: Annotated[Bounds, Within(-180, 180, both_ways=True)] = (-10, 10)


class AffineSettings(WarpSettings):
    """Turned, scaled and sheared about the centre, and moved by shares of width and height."""

    degrees: Annotated[Bounds, Within(-180, 180, both_ways=True)] = (0, 0)
    translate: Annotated[Bounds, Within(-1, 1, both_ways=True)] = (-0.1, 0.1)
    scale: Annotated[Bounds, Within(0.1, 10)] = (0.9, 1.1)
    shear_degrees: Annotated[Bounds, Within(-40, 40, both_ways=True)] = (0, 0)


class PerspectiveSettings(WarpSettings):
    """Each corner moves by up to `shift` of the width and of the height."""

    shift: Annotated[Bounds, Within(-0.2, 0.2, both_ways=True)] = (-0.1, 0.1)
    p: Share = 0.5


class ElasticSettings(OperationSettings):
    """Bent as by waves: points of a grid of `cells` x `cells` move by up to `shift` of each side; the edges stay.

    As in Simard et al. 2003 (doi:10.1109/ICDAR.2003.1227801), smooth by a coarse grid in place of a wide filter.
    """

    shift: Annotated[float, Field(ge=0, le=0.1)] = 0.03
    cells: Annotated[int, Field(ge=2, le=32)] = 5
    p: Share = 0.5

    @model_validator(mode="after")
    def _no_folds(self) -> ElasticSettings:
        if self.shift * (self.cells + 2) > MOST_BEND:
            raise ValueError(f"shift * (cells + 2) of at most {MOST_BEND}: beyond, the picture folds over itself")
        return self


class FactorSettings(OperationSettings):
    """Brightness, contrast or saturation times a factor; 1 is as it was."""

    factor: Annotated[Bounds, Within(0, 10)] = (0.8, 1.2)


class HueSettings(OperationSettings):
    """Colours turned about the grey axis; 120 makes red green."""

    degrees: Annotated[Bounds, Within(-180, 180, both_ways=True)] = (-10, 10)


class GammaSettings(OperationSettings):
    """255 * (value / 255) ** gamma."""

    gamma: Annotated[Bounds, Within(0.05, 20)] = (0.8, 1.25)


class UnevenLightSettings(OperationSettings):
    """Brighter here and darker there: smoothly changing factors between these."""

    factor: Annotated[Bounds, Within(0, 10)] = (0.7, 1.3)
    p: Share = 0.5


class GaussianNoiseSettings(OperationSettings):
    """Noise of this standard deviation, in levels of 255, on each value by itself."""

    levels: Annotated[Bounds, Within(0, 255)] = (2, 12)
    p: Share = 0.5


class IsoNoiseSettings(OperationSettings):
    """A sensor's noise, its variance proportional to the light: `levels` is its deviation at white, of 255.

    `colour` is how much of it differs between the channels, 0 to 1.
    """

    levels: Annotated[Bounds, Within(0, 255)] = (3, 15)
    colour: Annotated[Bounds, Within(0, 1)] = (0.2, 0.8)
    p: Share = 0.5


class BlurSettings(OperationSettings):
    """Gaussian blur."""

    sigma_px: Annotated[Bounds, Within(0, 50)] = (0.2, 2.0)
    p: Share = 0.5


class MotionBlurSettings(OperationSettings):
    """Moved evenly along a line while it was taken; 0 degrees is across, 90 up."""

    length_px: Annotated[Bounds, Within(1, 63)] = (3, 11)
    degrees: Annotated[Bounds, Within(-180, 180, both_ways=True)] = (-180, 180)
    p: Share = 0.5


class SharpenSettings(OperationSettings):
    """What a Gaussian blur of `sigma_px` takes away is added, times `amount`."""

    amount: Annotated[Bounds, Within(0, 10)] = (0.2, 1.0)
    sigma_px: Annotated[float, Field(gt=0, le=10)] = 1.0
    p: Share = 0.5


class JpegSettings(OperationSettings):
    """Compressed and decoded again; `quality` from 1, the worst, to 100."""

    quality: Annotated[Counts, Within(1, 100, whole=True)] = (30, 90)
    p: Share = 0.5


class DownscaleSettings(OperationSettings):
    """Made smaller by a factor and larger again: a picture of less resolution."""

    factor: Annotated[Bounds, Within(0.01, 1)] = (0.3, 0.9)
    p: Share = 0.5


class OcclusionSettings(OperationSettings):
    """Ellipses and rectangles of one colour each, as of things in the way; `size` is their diameter."""

    count: Annotated[Counts, Within(0, 64, whole=True)] = (1, 3)
    size: Annotated[Bounds, Within(0, 1)] = (0.1, 0.35)
    p: Share = 0.5


class CutOutSettings(OperationSettings):
    """Squares of one grey (DeVries and Taylor 2017, arXiv:1708.04552); `size` is their side, of the shorter one."""

    count: Annotated[Counts, Within(0, 64, whole=True)] = (1, 1)
    size: Annotated[Bounds, Within(0, 1)] = (0.2, 0.4)
    fill: Grey = 0
    p: Share = 0.5


class MissingBandsSettings(OperationSettings):
    """Bands of rows or columns that a scanner or a transfer lost."""

    count: Annotated[Counts, Within(0, 64, whole=True)] = (1, 3)
    size: Annotated[Bounds, Within(0, 1)] = (0.01, 0.06)
    direction: Literal["rows", "columns", "either"] = "rows"
    fill: Grey = 0
    p: Share = 0.5


class GridMaskSettings(OperationSettings):
    """A grid of squares of one grey (Chen et al. 2020, arXiv:2001.04086).

    `cell` is the distance from one to the next, of the shorter side; `hidden` is a square's side, of the distance.
    """

    cell: Annotated[Bounds, Within(0.01, 1)] = (0.2, 0.4)
    hidden: Annotated[Bounds, Within(0, 1)] = (0.3, 0.6)
    fill: Grey = 0
    p: Share = 0.5


class RandAugmentSettings(WarpSettings):
    """Some operations out of 14, all of one strength (Cubuk et al. 2020, arXiv:1909.13719)."""

    operations: Annotated[int, Field(ge=0, le=20)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


class TrivialAugmentSettings(WarpSettings):
    """One operation out of 14, of any strength: the wide space of Müller and Hutter 2021 (arXiv:2103.10158)."""


def _one_operation(schema: dict[str, Any]) -> None:
    """The section with exactly one of its keys, or an operation's bare name."""
    section = {key: schema.pop(key) for key in ("type", "properties", "additionalProperties")}
    section |= {"minProperties": 1, "maxProperties": 1}
    schema["anyOf"] = [section, {"type": "string", "enum": list(section["properties"])}]


class AugmentSettings(Settings):
    """One operation: a section with one key, or its name alone where nothing is to be set."""

    model_config = ConfigDict(json_schema_extra=_one_operation)

    random_resized_crop: RandomResizedCropSettings | None = None
    horizontal_flip: FlipSettings | None = None
    vertical_flip: FlipSettings | None = None
    rotate: RotateSettings | None = None
    affine: AffineSettings | None = None
    perspective: PerspectiveSettings | None = None
    elastic: ElasticSettings | None = None
    brightness: FactorSettings | None = None
    contrast: FactorSettings | None = None
    saturation: FactorSettings | None = None
    hue: HueSettings | None = None
    gamma: GammaSettings | None = None
    uneven_light: UnevenLightSettings | None = None
    gaussian_noise: GaussianNoiseSettings | None = None
    iso_noise: IsoNoiseSettings | None = None
    blur: BlurSettings | None = None
    motion_blur: MotionBlurSettings | None = None
    sharpen: SharpenSettings | None = None
    jpeg: JpegSettings | None = None
    downscale: DownscaleSettings | None = None
    occlusion: OcclusionSettings | None = None
    cut_out: CutOutSettings | None = None
    missing_bands: MissingBandsSettings | None = None
    grid_mask: GridMaskSettings | None = None
    rand_augment: RandAugmentSettings | None = None
    trivial_augment: TrivialAugmentSettings | None = None

    @property
    def operation(self) -> tuple[str, OperationSettings]:
        """The operation's name and its settings."""
        return next((name, settings) for name, settings in self if settings is not None)

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        """`horizontal_flip`, and `horizontal_flip:` with nothing behind it, stand for all the defaults."""
        if isinstance(value, str):
            if value not in cls.model_fields:
                near = difflib.get_close_matches(value, cls.model_fields, n=1)
                meant = f" (did you mean {near[0]!r}?)" if near else ""
                raise ValueError(f"one of {', '.join(cls.model_fields)}{meant}")
            return {value: {}}
        if isinstance(value, Mapping) and len(value) == 1:
            return {name: {} if settings is None else settings for name, settings in value.items()}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> AugmentSettings:
        if sum(settings is not None for _, settings in self) != 1:
            raise ValueError("one operation an entry, as {rotate: {degrees: 10}}")
        return self

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: settings for name, settings in serialise(self).items() if settings is not None}
