"""From encoded bytes to uint8 RGB, orientation not yet applied.

What becomes of each kind of picture:

| picture | becomes |
| --- | --- |
| JPEG: grey, YCbCr, RGB; baseline or progressive | RGB, by libjpeg-turbo; any warning of its is an error |
| JPEG: CMYK, YCCK | RGB as Pillow does it: ink by ink times black, Adobe's inverted values; no ICC profile is applied |
| JPEG: arithmetic-coded, lossless, hierarchical, 12 bits, height given by DNL | `unsupported` |
| grey, palette, 1, 2 and 4 bits | expanded to RGB |
| alpha (PNG, WebP, BMP, TIFF) and transparent colours | dropped, colours as stored: Pillow's convert("RGB") |
| TIFF whose colours are multiplied by alpha | divided by it, as Pillow does |
| 16 bits (PNG; TIFF grey and interleaved RGB) | value >> 8, grey too (Pillow's convert("RGB") clips grey at 255) |
| animated PNG and WebP, TIFF with several pages | the first picture |
| BMP: 1 to 32 bits, bit fields, run-length coded | RGB; `unsupported` with an embedded JPEG or PNG |
| TIFF, BigTIFF: grey, RGB, palette, CMYK, YCbCr; strips, tiles; plain, LZW, deflate, PackBits, JPEG, CCITT | RGB |
| TIFF: floating-point or signed samples, CIELAB, camera raw, other compressions | `unsupported` |
| GIF, HEIC, AVIF, JPEG 2000, JPEG XL, PSD, SVG, PDF and other known kinds | `unsupported` |
| EXIF orientation (JPEG, PNG eXIf, WebP EXIF, TIFF tag 274) | applied; orientation in XMP alone is not read |
| bytes behind a whole picture | ignored |
| colour profiles (ICC) | ignored |

A picture that ends early is `truncated`, never half a picture. Some cuts cannot be seen: a progressive JPEG cut exactly
between two scans and closed by an end marker is a whole JPEG of less detail; a CCITT or JPEG strip within a TIFF may
lack rows although it has an end. Damage that changes no length is seen
where the format has checksums (PNG) or the decoder stumbles; JPEG and TIFF have none for their pixels.
"""

from __future__ import annotations

from typing import Final, NoReturn, TypeAlias, cast

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from vision_batch.errors import ImageError
from vision_batch.images import jpeg, png, tiff, tiff_strips
from vision_batch.images.header import Encoded, Header, truncated, unreadable

Pixels: TypeAlias = npt.NDArray[np.uint8]

MAX_MESSAGE: Final = 200
_RGB: Final = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
# Each of these warnings is about a fault that `jpeg.mended` takes away.
_HARMLESS: Final = ("Invalid SOS parameters for sequential JPEG", "unknown JFIF revision number")

# OpenCV prints to standard error what becomes the image's error.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode(data: Encoded, header: Header, *, min_width: int = 0, min_height: int = 0) -> Pixels:
    """uint8 (H, W, 3) RGB as stored. ImageError `truncated` or `unreadable`.

    With `min_width` and `min_height` above 0 a JPEG may come out smaller, by the decoder's own scaling by n/8, but
    never smaller than these; other formats ignore them.
    """
    if header.format == "jpeg":
        return _decode_jpeg(data, header, min_width, min_height)
    if header.format == "tiff":
        pixels = _decode_tiff(data, header)
    else:
        pixels = _read(png.still(data) if header.format == "png" else data, _RGB)
    if pixels is None:
        if header.format == "png" and png.ends_early(data):
            raise truncated("PNG whose compressed pixels end early")
        raise unreadable(f"{header.format} that the decoder refuses")
    if pixels.shape[:2] != (header.height, header.width):
        raise unreadable(f"{header.format} whose header and pixels differ in size")
    return pixels


def _read(data: Encoded, flags: int) -> Pixels | None:
    return cast("Pixels | None", cv2.imdecode(np.frombuffer(data, np.uint8), flags))


def _decode_jpeg(data: Encoded | bytearray, header: Header, min_width: int, min_height: int) -> Pixels:
    cmyk = header.channels == 4
    colours = "CMYK" if cmyk else "RGB"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, min_width=min_width, min_height=min_height, strict=True)
    except ValueError as error:
        if not isinstance(data, bytearray) and any(fault in str(error) for fault in _HARMLESS):
            return _decode_jpeg(jpeg.mended(data), header, min_width, min_height)
        _refuse(error, data)
    return _rgb_from_cmyk(cast(Pixels, pixels)) if cmyk else cast(Pixels, pixels)


def _refuse(error: ValueError, data: Encoded | bytearray) -> NoReturn:
    """libjpeg's words for a stream that ends early are "Premature end of JPEG file" and "... of data segment".

    Where it ends within the header of a later scan other words come first.
    """
    message = short(str(error))
    if "premature end" in message.lower() or jpeg.ends_early(data):
        raise truncated(message) from error
    raise unreadable(message) from error


def _rgb_from_cmyk(pixels: Pixels) -> Pixels:
    """CMYK as Adobe stores it in JPEG, where 255 is no ink."""
    black = cv2.merge([pixels[..., 3]] * 3)
    return cast(Pixels, cv2.multiply(np.ascontiguousarray(pixels[..., :3]), black, scale=1 / 255))


def _decode_tiff(data: Encoded, header: Header) -> Pixels | None:
    """OpenCV's conversion to RGB is right for 8 bits without alpha; the rest is converted here."""
    page, alpha = tiff.without_meaning(data)
    plain = header.bits <= 8 and alpha != "multiplied"
    stored = _read(page, _RGB if plain else cv2.IMREAD_UNCHANGED)
    if stored is None:
        return None
    if header.bits <= 8 and (strips := tiff.strips(data, header)) is not None:
        tiff_strips.demand_pixels(data, strips, stored.reshape(*stored.shape[:2], -1))
    if plain:
        return stored
    pixels = (stored >> 8).astype(np.uint8) if header.bits == 16 else stored
    if pixels.ndim == 2:
        grey = 255 - pixels if header.bits == 16 and tiff.white_is_zero(data) else pixels
        return cast(Pixels, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB))
    colours = np.ascontiguousarray(pixels[..., 2::-1])
    if alpha == "multiplied" and pixels.shape[2] == 4:
        return _divided(colours, pixels[..., 3])
    return colours


def _divided(colours: Pixels, alpha: Pixels) -> Pixels:
    """Colours that were multiplied by alpha as they were before; black where alpha is 0."""
    wide = colours.astype(np.uint32) * 255 // np.maximum(alpha, 1)[..., None]
    return np.where(alpha[..., None] == 0, 0, np.minimum(wide, 255)).astype(np.uint8)


def short(message: str) -> str:
    """One printable line of at most 200 characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def refusal(error: Exception) -> ImageError:
    """What a decoder raised, as the image's error."""
    return unreadable(short(f"{type(error).__name__}: {error}"))
