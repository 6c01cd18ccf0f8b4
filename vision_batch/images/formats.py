"""The formats: how their bytes begin, who reads their headers, who says whether they are whole.

A new format is one module with `read_header` and `check_whole`, and one line in `FORMATS`.
"""

from __future__ import annotations

import struct
from types import ModuleType
from typing import Final

from vision_batch.errors import ImageError
from vision_batch.images import bmp, jpeg, png, tiff, webp
from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported

FORMATS: Final[dict[str, ModuleType]] = {"jpeg": jpeg, "png": png, "webp": webp, "bmp": bmp, "tiff": tiff}

_SIGNATURES: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
)
_UNSUPPORTED: Final[tuple[tuple[bytes, str], ...]] = (
    (b"GIF8", "GIF"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\0\0\1\0", "Windows icon"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"qoif", "QOI"),
    (b"DDS ", "DirectDraw surface"),
    (b"IIRO", "Olympus raw"),
    (b"IIU\0", "Panasonic raw"),
)
_BRANDS: Final = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"crx ": "CR3"}
_SHORTEST: Final = 2


def read_header(data: Encoded) -> Header:
    """What `data` says of itself, in a few microseconds.

    ImageError: `empty`; `unreadable` for bytes of no known format or a header that makes no sense; `unsupported` for a
    known one that is not handled; `truncated` where the header itself ends early.
    """
    if len(data) == 0:
        raise ImageError("empty", "no bytes")
    name = _format_of(bytes(data[:32]))
    try:
        header: Header = FORMATS[name].read_header(data)
    except (struct.error, IndexError) as error:
        raise truncated(f"{name} header ends early: {len(data)} bytes") from error
    return header


def check_whole(data: Encoded, header: Header) -> None:
    """ImageError `truncated` if the bytes end before the picture does, as far as that is seen without decoding."""
    try:
        FORMATS[header.format].check_whole(data, header)
    except (struct.error, IndexError) as error:
        raise truncated(f"{header.format} ends early: {len(data)} bytes") from error


def _format_of(head: bytes) -> str:
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    for signature, name in _UNSUPPORTED:
        if head.startswith(signature):
            raise unsupported(name)
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        raise unsupported(_BRANDS.get(brand, f"ISO media {brand.decode('ascii', 'replace')!r}"))
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:4] == b"<svg" or text[:5] == b"<?xml":
        raise unsupported("SVG or XML")
    if any(len(head) >= _SHORTEST and signature.startswith(head) for signature, _ in _SIGNATURES):
        raise truncated(f"{len(head)} bytes: a picture's first bytes and no more")
    raise unreadable("no known image format")
