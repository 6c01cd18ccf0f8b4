"""From encoded bytes to uint8 RGB, orientation not yet applied."""

from __future__ import annotations

from typing import Final, NoReturn, cast

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from vision_batch.errors import ImageError
from vision_batch.images.header import Encoded, Header, truncated, unreadable

Pixels = npt.NDArray[np.uint8]

MAX_MESSAGE: Final = 200
_AS_STORED: Final = cv2.IMREAD_IGNORE_ORIENTATION
_RGB: Final = cv2.IMREAD_COLOR_RGB | _AS_STORED


def decode(data: Encoded, header: Header, *, min_width: int = 0, min_height: int = 0) -> Pixels:
    """uint8 (H, W, 3) RGB as stored. ImageError `truncated` or `unreadable`.

    With `min_width` and `min_height` above 0 a JPEG may come out smaller, by the decoder's own scaling, but never
    smaller than these; other formats ignore them.
    """
    if header.format == "jpeg":
        return _decode_jpeg(data, header, min_width, min_height)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _RGB)
    if pixels is None:
        raise unreadable(f"{header.format} that the decoder refuses")
    if pixels.shape[:2] != (header.height, header.width):
        raise unreadable(f"{header.format} whose header and pixels differ in size")
    return cast(Pixels, pixels)


def _decode_jpeg(data: Encoded, header: Header, min_width: int, min_height: int) -> Pixels:
    colours = "CMYK" if header.channels == 4 else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=min_width, min_height=min_height, strict=True)
    except ValueError as error:
        _refuse(error)
    return _rgb_from_cmyk(pixels) if header.channels == 4 else cast(Pixels, pixels)


def _refuse(error: ValueError) -> NoReturn:
    """libjpeg's words for a stream that ends early are 'Premature end of JPEG file' and '… of data segment'."""
    message = short(str(error))
    if "premature end" in message.lower():
        raise truncated(message) from error
    raise unreadable(message) from error


def _rgb_from_cmyk(pixels: Pixels) -> Pixels:
    """CMYK as Adobe stores it in JPEG (255 is no ink) to RGB: ink by ink times black, as Pillow does."""
    black = cv2.merge([pixels[..., 3]] * 3)
    return cast(Pixels, cv2.multiply(np.ascontiguousarray(pixels[..., :3]), black, scale=1 / 255))


def short(message: str) -> str:
    """One printable line of at most 200 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def refusal(error: Exception) -> ImageError:
    """What a decoder raised, as the image's error."""
    return unreadable(short(f"{type(error).__name__}: {error}"))
