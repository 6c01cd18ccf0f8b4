"""JPEG (ITU-T T.81): its markers, up to where the entropy-coded data begins."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from vision_batch.images.exif import exif_orientation
from vision_batch.images.header import Encoded, Header, unreadable, unsupported

_SOS: Final = 0xDA
_EOI: Final = 0xD9
_APP1: Final = 0xE1
_STANDALONE: Final = frozenset([0x01, *range(0xD0, 0xD9)])  # TEM, RST0-7, SOI: markers without a length
_FRAMES: Final = frozenset([0xC0, 0xC1, 0xC2])  # baseline, extended sequential, progressive; all Huffman
_REFUSED: Final = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}


def read_header(data: Encoded) -> Header:
    """Walks the markers to the first scan. IndexError or struct.error if the bytes end before."""
    orientation = 1
    frame: tuple[int, int, int, int] | None = None
    at = 2
    while True:
        while data[at] != 0xFF:  # decoders skip what is between segments, too
            at += 1
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in (_SOS, _EOI):
            break
        if marker in _STANDALONE or marker == 0:
            continue
        length = unpack_from(">H", data, at)[0]
        if marker in _FRAMES and frame is None:
            frame = unpack_from(">BHHB", data, at + 2)
        elif marker in _REFUSED:
            raise unsupported(_REFUSED[marker])
        elif marker == _APP1 and orientation == 1 and bytes(data[at + 2 : at + 8]) == b"Exif\0\0":
            orientation = exif_orientation(data[at + 8 : at + length])
        at += max(length, 2)
    if frame is None:
        raise unreadable("JPEG without a frame header")
    return _header(frame, orientation)


def _header(frame: tuple[int, int, int, int], orientation: int) -> Header:
    bits, height, width, channels = frame
    if bits != 8:
        raise unsupported(f"JPEG with {bits} bits per sample")
    if height == 0:
        raise unsupported("JPEG whose height is only given after its pixels (DNL)")
    if width == 0 or channels not in (1, 3, 4):
        raise unreadable(f"JPEG frame of width {width} with {channels} channels")
    return Header(format="jpeg", width=width, height=height, orientation=orientation, bits=bits, channels=channels)


def check_whole(data: Encoded, header: Header) -> None:
    """Nothing to do: only decoding tells, and the decoder is strict (see decode.py)."""
