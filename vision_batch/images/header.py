"""What an encoded picture says of itself before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from vision_batch.errors import ImageError

Encoded: TypeAlias = bytes | memoryview
FormatName = Literal["jpeg", "png", "webp", "bmp", "tiff"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """`width` and `height` in pixels as stored, before orientation; `orientation` is EXIF's 1 to 8.

    `bits` per sample and `channels` as stored: 1 grey or palette, 2 grey and alpha, 3 RGB, 4 RGBA or CMYK.
    """

    format: FormatName
    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    channels: int = 3

    @property
    def transposed(self) -> bool:
        """True if orientation exchanges width and height."""
        return self.orientation > 4

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height with orientation applied."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


def truncated(message: str) -> ImageError:
    """The error for bytes that end before the picture does."""
    return ImageError("truncated", message)


def unreadable(message: str) -> ImageError:
    """The error for bytes that contradict their own format."""
    return ImageError("unreadable", message)


def unsupported(message: str) -> ImageError:
    """The error for pictures that are recognised and not handled; the message names the kind."""
    return ImageError("unsupported", message)
