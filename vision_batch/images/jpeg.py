"""JPEG (ITU-T T.81): its markers, up to where the entropy-coded data begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from struct import unpack_from
from typing import Final

from vision_batch.images.exif import exif_orientation
from vision_batch.images.header import Encoded, Header, truncated, unreadable, unsupported

MAX_SEGMENTS: Final = 1 << 16
# Encoders write about 10. Measured: a scan that holds nothing costs 1 ms for each million of pixels.
MAX_SCANS: Final = 200
# Between segments decoders skip whatever does not look like a marker; so does this, at the speed of C.
_MARKER: Final = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_END: Final = re.compile(rb"\xff\xd9")
_SCAN: Final = re.compile(rb"\xff\xda")
_SOS, _EOI, _APP0, _APP1 = 0xDA, 0xD9, 0xE0, 0xE1
_STANDALONE: Final = frozenset([0x01, *range(0xD0, 0xD9)])  # TEM, RST0-7, SOI: markers without a length
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = frozenset([0xC0, 0xC1, _PROGRESSIVE])  # the others: baseline, extended sequential; all Huffman
_REFUSED: Final = {
    0xC3: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF), "arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}


def _segments(data: Encoded | bytearray) -> Iterator[tuple[int, int, int]]:
    """Marker, start and length of every segment up to and with the first scan's header.

    ImageError `truncated` where the bytes end before that; an end marker ends the walk, too.
    """
    at, last = 2, len(data) - 4
    for _ in range(MAX_SEGMENTS):
        if at <= last and data[at] == 0xFF and 0 < data[at + 1] < 0xFF:  # nearly always: the next one begins here
            at += 2
        else:
            found = _MARKER.search(data, at)
            if found is None or found.start() > last:
                raise truncated(f"JPEG ends after {len(data)} bytes, before its first scan")
            at = found.end()
        marker = data[at - 1]
        if marker in _STANDALONE:
            continue
        if marker == _EOI:
            return
        length = data[at] << 8 | data[at + 1]
        yield marker, at, length
        if marker == _SOS:
            return
        at += max(length, 2)
    raise unsupported(f"JPEG with more than {MAX_SEGMENTS} segments")


def read_header(data: Encoded) -> Header:
    """Reads the frame header, and EXIF's orientation, from the segments before the first scan."""
    orientation: int | None = None
    frame: tuple[int, int, int, int] | None = None
    for marker, at, length in _segments(data):
        if marker in _FRAMES and frame is None:
            frame = unpack_from(">BHHB", data, at + 2)
        elif marker == _APP1 and orientation is None and bytes(data[at + 2 : at + 8]) == b"Exif\0\0":
            orientation = exif_orientation(data[at + 8 : at + length])
        elif marker in _REFUSED:
            raise unsupported(_REFUSED[marker])
    return _header(frame, orientation or 1)


def _header(frame: tuple[int, int, int, int] | None, orientation: int) -> Header:
    if frame is None:
        raise unreadable("JPEG without a frame header")
    bits, height, width, channels = frame
    if bits != 8:
        raise unsupported(f"JPEG with {bits} bits per sample")
    if height == 0:
        raise unsupported("JPEG whose height is only given after its pixels (DNL)")
    if width == 0 or channels not in (1, 3, 4):
        raise unreadable(f"JPEG frame of width {width} with {channels} channels")
    return Header(format="jpeg", width=width, height=height, orientation=orientation, bits=bits, channels=channels)


def check_whole(data: Encoded, header: Header) -> None:
    """Nothing of that kind: only decoding tells, and the decoder is strict (see decode.py).

    A progressive JPEG of very many scans is `unsupported`: a few bytes each make the decoder go over all pixels again.
    """
    starts = {marker: at for marker, at, _ in _segments(data)}
    scans = _SCAN.finditer(data, starts.get(_SOS, len(data))) if _PROGRESSIVE in starts else iter(())
    if sum(1 for _ in islice(scans, MAX_SCANS)) == MAX_SCANS:
        raise unsupported(f"progressive JPEG with more than {MAX_SCANS} scans")


def frame_size(data: Encoded) -> tuple[int, int]:
    """Width and height of the first frame, of whatever kind; 0 without one."""
    for marker, at, _ in _segments(data):
        if marker in _FRAMES:
            height, width = unpack_from(">HH", data, at + 3)
            return width, height
    return 0, 0


def ends_early(data: Encoded | bytearray) -> bool:
    """True if no end marker follows the first scan's header. Entropy-coded data cannot hold one by chance."""
    return not any(marker == _SOS and _END.search(data, at) for marker, at, _ in _segments(data))


def mended(data: Encoded) -> bytearray:
    """A copy without two faults that change no pixel and that some cameras' files have.

    A JFIF version other than 1, and scan parameters in a sequential JPEG's only scan that are not 0, 63, 0 as they must
    be. The strict decoder refuses these files, and reports nothing of what comes behind such a fault.
    """
    copy = bytearray(data)
    progressive = False
    for marker, at, length in _segments(copy):
        progressive = progressive or marker == _PROGRESSIVE
        if marker == _APP0 and copy[at + 2 : at + 7] == b"JFIF\0":
            copy[at + 7] = 1
        elif marker == _SOS and not progressive:
            copy[at + length - 3 : at + length] = b"\x00\x3f\x00"
    return copy
