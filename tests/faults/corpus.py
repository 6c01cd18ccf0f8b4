"""A corpus of good, broken and hostile images and tars: the same seed gives the same bytes.

    python -m tests.faults.corpus DIR [--seed N]

writes it as files: DIR/images and DIR/tars.
"""

from __future__ import annotations

import argparse
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from PIL import Image

from tests.faults.corpus_tars import tars
from tests.images.pictures import Array, as_pillow, bmp, encoded, in_mode, oriented, photo, png, tiff
from vision_batch.errors import ErrorCode

MAX_PIXELS: Final = 1 << 20
"""The limit that the corpus is made for: what claims more is a bomb."""

GOOD: Final = "good"
ANY: Final = frozenset({GOOD, "unreadable", "truncated", "unsupported", "too_large"})
BROKEN: Final = ANY - {GOOD}
SIZE: Final = (24, 18)
SIDE: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCase:
    """One file: `codes` are what may become of it, `reference` the pixels (H, W, 3) that it must have if good.

    `spare_bytes` is how many of the last bytes carry no pixels of the first picture: without them it may be good.
    """

    name: str
    data: bytes
    codes: frozenset[str]
    reference: Array | None = None
    spare_bytes: int = 0


def images(seed: int = 0) -> Iterator[ImageCase]:
    """Every image of the corpus. Names are unique, and end in an extension that suits a folder of images."""
    good = list(good_images())
    yield from good
    for case in _of_each_kind(good):
        chosen = random.Random(f"{seed} {case.name}")
        yield from _cut(case, chosen)
        yield from _damaged(case, chosen)
    yield from _lying()
    yield from _bombs()
    yield from _no_images()


def good_images() -> Iterator[ImageCase]:
    """Files that must come out as Pillow decodes them, or as they were before they were written."""
    yield from _written_by_pillow()
    yield from _written_by_others()
    yield from _odd_sizes()
    yield from _odd_metadata()


def _good(name: str, data: bytes, reference: Array | None = None, *, spare_bytes: int = 0) -> ImageCase:
    pixels = as_pillow(data) if reference is None else reference
    return ImageCase(name=name, data=data, codes=frozenset({GOOD}), reference=pixels, spare_bytes=spare_bytes)


def _bad(name: str, data: bytes, *codes: str) -> ImageCase:
    assert set(codes) <= {*get_args(ErrorCode), GOOD}
    return ImageCase(name=name, data=data, codes=frozenset(codes) or BROKEN)


def _written_by_pillow() -> Iterator[ImageCase]:
    jpegs: dict[str, dict[str, Any]] = {
        "baseline": {},
        "progressive": {"progressive": True},
        "444": {"subsampling": 0},
        "restart": {"restart_marker_blocks": 1},
    }
    for name, options in jpegs.items():
        for mode in ("RGB", "L", "CMYK"):
            yield _good(f"jpeg-{name}-{mode}.jpg", encoded(in_mode(photo(*SIZE), mode), "JPEG", **options))
    for mode in ("RGB", "L", "P", "RGBA", "LA", "I;16", "1"):
        yield _good(f"png-{mode.replace(';', '')}.png", encoded(in_mode(photo(*SIZE), mode), "PNG"))
    yield _good("png-transparent-palette.png", encoded(in_mode(photo(*SIZE), "P"), "PNG", transparency=0))
    yield _good("png-transparent-colour.png", encoded(photo(*SIZE), "PNG", transparency=(1, 2, 3)))
    for mode in ("RGB", "RGBA"):
        for kind, lossless in (("lossy", False), ("lossless", True)):
            yield _good(f"webp-{kind}-{mode}.webp", encoded(in_mode(photo(*SIZE), mode), "WEBP", lossless=lossless))
    for mode in ("RGB", "L", "P", "RGBA", "1"):
        yield _good(f"bmp-{mode}.bmp", encoded(in_mode(photo(*SIZE), mode), "BMP"))
    for mode in ("RGB", "L", "P", "RGBA", "LA", "CMYK", "I;16", "1"):
        # The directory comes last where libtiff writes, and ends in 4 bytes that lead to the next page.
        for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", *(("group4",) if mode == "1" else ())):
            data = encoded(in_mode(photo(*SIZE), mode), "TIFF", compression=compression)
            yield _good(f"tiff-{compression}-{mode.replace(';', '')}.tif", data, spare_bytes=4)
    yield _good("tiff-jpeg-RGB.tif", encoded(photo(*SIZE), "TIFF", compression="jpeg"))
    for name, format in (("webp", "WEBP"), ("png", "PNG"), ("tiff", "TIFF")):
        frames = {"save_all": True, "append_images": [photo(*SIZE, 1), photo(*SIZE, 2)]}
        data = encoded(photo(*SIZE), format, **frames)
        spare_bytes = len(data) - len(encoded(photo(*SIZE), format)) if name == "tiff" else 0
        yield _good(f"{name}-animated.{name}", data, spare_bytes=spare_bytes)


def _written_by_others() -> Iterator[ImageCase]:
    pixels = np.asarray(photo(*SIZE))
    wide = pixels.astype(np.uint16) << 8
    yield _good("png-16-bits-rgb.png", png(wide, 2), pixels)
    yield _good("png-16-bits-rgba.png", png(np.dstack([wide, wide[..., :1]]), 6), pixels)
    yield _good("png-interlaced.png", _interlaced(pixels))
    for name, options in (
        ("tiled", {"tile": (16, 16), "compression": "zlib"}),
        ("predictor", {"predictor": True, "compression": "zlib"}),
        ("strips", {"rowsperstrip": 5, "compression": "zlib"}),
        ("big", {"bigtiff": True}),
        ("big-endian", {"byteorder": ">"}),
    ):
        yield _good(f"tiff-{name}.tiff", tiff(pixels, photometric="rgb", **options))
    planes = tiff(pixels.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    yield _good("tiff-planes.tiff", planes, pixels)
    yield _good("tiff-16-bits.tiff", tiff(wide, photometric="rgb"), pixels)
    rows = b"".join(row[:, ::-1].tobytes() for row in pixels[::-1])
    core = struct.pack("<2sIHHIIHHHH", b"BM", 26 + len(rows), 0, 0, 26, 12, *SIZE, 1, 24)
    yield _good("bmp-core-header.bmp", core + rows)
    yield _good("bmp-top-down.bmp", bmp(SIZE[0], -SIZE[1], 24, b"".join(row[:, ::-1].tobytes() for row in pixels)))
    grey = np.asarray(photo(*SIZE).convert("L"))
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    runs = b"".join(b"".join(bytes((1, value)) for value in row) + b"\0\0" for row in grey[::-1].tolist()) + b"\0\1"
    yield _good("bmp-run-lengths.bmp", bmp(*SIZE, 8, runs, palette=palette, compression=1), np.dstack([grey] * 3))


def _odd_sizes() -> Iterator[ImageCase]:
    for format, extension in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tif")):
        longest = 16_383 if format == "WEBP" else 20_000
        for width, height in ((1, 1), (1, longest), (longest, 1)):
            data = encoded(photo(width, height), format)
            yield _good(f"size-{width}x{height}.{extension}", data, spare_bytes=4 if format == "TIFF" else 0)
    yield _good("png-called-jpg.jpg", encoded(photo(*SIZE), "PNG"))
    yield _good("jpeg-called-tif.tif", encoded(photo(*SIZE), "JPEG"))
    yield _good("bytes-behind.png", encoded(photo(*SIZE), "PNG") + b"behind" * 100, spare_bytes=600)


def _odd_metadata() -> Iterator[ImageCase]:
    """Whatever EXIF and ICC say, the pixels are there; nonsense means orientation 1."""
    shown = np.asarray(photo(*SIZE)).astype(np.int64)
    for orientation in range(1, 9):
        for format, extension in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")):
            data = oriented(photo(*SIZE), format, orientation)
            yield _good(f"exif-{orientation}.{extension}", data, spare_bytes=4 if format == "TIFF" else 0)

    def directory(*entries: tuple[int, int, int, int], following: int = 0, start: int = 8) -> bytes:
        fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
        return b"II*\0" + struct.pack("<IH", start, len(entries)) + fields + struct.pack("<I", following)

    tag = 0x0112
    odd = {
        "orientation-0": directory((tag, 3, 1, 0)),
        "orientation-9": directory((tag, 3, 1, 9)),
        "orientation-65535": directory((tag, 3, 1, 65535)),
        "orientation-as-text": directory((tag, 2, 4, 0x36363636)),
        "orientation-as-double": directory((tag, 12, 1, 8)),
        "none-of-them": directory((tag, 3, 0, 6)),
        "count-beyond-all": directory((tag, 3, 0xFFFFFFFF, 0xFFFFFFF0)),
        "value-beyond-the-end": directory((tag, 4, 9, 0xFFFFFF)),
        "directory-that-leads-to-itself": directory((0x8769, 4, 1, 8), following=8),
        "directory-beyond-the-end": directory(start=0xFFFFFFF0),
        "65535-entries": b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(100),
        "no-directory": b"II",
        "no-exif": b"\xff" * 64,
        "nothing": b"",
    }
    for name, exif in odd.items():
        yield _good(f"exif-{name}.png", _with_chunk(encoded(photo(*SIZE), "PNG"), b"eXIf", exif), shown)
        jpeg = encoded(photo(*SIZE), "JPEG")
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif
        yield _good(f"exif-{name}.jpg", jpeg[:2] + segment + jpeg[2:], as_pillow(jpeg))
    for format, extension in (("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif")):
        plain = as_pillow(encoded(photo(*SIZE), format))
        data = encoded(photo(*SIZE), format, icc_profile=b"\xff" * 300)
        yield _good(f"icc-nonsense.{extension}", data, plain, spare_bytes=4 if format == "TIFF" else 0)


def _of_each_kind(good: list[ImageCase]) -> Iterator[ImageCase]:
    kinds = ("jpeg-baseline-RGB", "jpeg-progressive-RGB", "jpeg-baseline-L", "jpeg-baseline-CMYK", "png-RGB", "png-P")
    kinds += ("png-I16", "png-interlaced", "png-animated", "webp-lossy-RGB", "webp-lossless-RGB", "webp-lossy-RGBA")
    kinds += ("webp-animated", "bmp-RGB", "bmp-P", "bmp-1", "bmp-run-lengths", "tiff-raw-RGB", "tiff-tiff_lzw-RGB")
    kinds += ("tiff-tiff_deflate-RGBA", "tiff-group4-1", "tiff-jpeg-RGB", "tiff-tiled", "tiff-big", "exif-6")
    found = [case for case in good if case.name.rpartition(".")[0] in kinds]
    assert len(found) >= len(kinds)
    return iter(found)


def _cut(case: ImageCase, chosen: random.Random) -> Iterator[ImageCase]:
    """Cut short; and with the rest as zeros, as a file that was being written when the power failed."""
    stem, _, extension = case.name.rpartition(".")
    whole = len(case.data) - case.spare_bytes
    for length in sorted({*range(1, 5), whole - 1, whole - 2, *chosen.sample(range(5, whole - 2), 8)}):
        yield _bad(f"cut-{stem}-at-{length}.{extension}", case.data[:length], "truncated", "unreadable")
    for length in chosen.sample(range(16, whole // 2), 2):
        zeros = case.data[:length] + bytes(len(case.data) - length)
        # Where nothing says how the pixels must be, zeros may be pixels.
        codes = ANY if case.name.startswith(("bmp", "tiff", "exif-6.tif", "webp", "exif-6.webp")) else BROKEN
        yield ImageCase(name=f"zeros-{stem}-from-{length}.{extension}", data=zeros, codes=codes)


def _damaged(case: ImageCase, chosen: random.Random) -> Iterator[ImageCase]:
    stem, _, extension = case.name.rpartition(".")
    for number in range(12):
        data = bytearray(case.data)
        reach = len(data) if number % 2 else min(len(data), 64)  # half of the bits lie in headers
        bit = chosen.randrange(8 * reach)
        data[bit // 8] ^= 1 << bit % 8
        yield ImageCase(name=f"bit-{stem}-{number}.{extension}", data=bytes(data), codes=ANY)
    for number in range(3):
        data = bytearray(case.data)
        at = chosen.randrange(len(data))
        data[at : at + 40] = chosen.randbytes(40)
        yield ImageCase(name=f"splat-{stem}-{number}.{extension}", data=bytes(data), codes=ANY)


def _lying() -> Iterator[ImageCase]:
    """Headers that claim another size than the pixels have: more must not pass."""
    width, height = SIZE
    for name, factor in (("twice", 2.0), ("half", 0.5)):
        size = int(width * factor), int(height * factor)
        codes = BROKEN if factor > 1 else ANY
        for progressive in (False, True):
            jpeg = bytearray(encoded(photo(*SIZE), "JPEG", progressive=progressive))
            struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5, *size[::-1])
            kind = "progressive" if progressive else "baseline"
            yield ImageCase(name=f"{name}-the-size-{kind}.jpg", data=bytes(jpeg), codes=codes)
        header = encoded(photo(*size), "PNG")[:33]
        yield ImageCase(name=f"{name}-the-size.png", data=header + encoded(photo(*SIZE), "PNG")[33:], codes=codes)
        lossy = bytearray(encoded(photo(*SIZE), "WEBP"))
        struct.pack_into("<HH", lossy, 26, *size)
        yield ImageCase(name=f"{name}-the-size.webp", data=bytes(lossy), codes=codes)
        bitmap = bytearray(encoded(photo(*SIZE), "BMP"))
        struct.pack_into("<ii", bitmap, 18, *size)
        yield ImageCase(name=f"{name}-the-size.bmp", data=bytes(bitmap), codes=codes)
        for compression in ("raw", "tiff_lzw", "jpeg"):
            page = encoded(photo(*SIZE), "TIFF", compression=compression)
            for tag, side in ((256, size[0]), (257, size[1]), (278, size[1])):
                page = _with_tag(page, tag, side)
            yield ImageCase(name=f"{name}-the-size-{compression}.tif", data=page, codes=codes)


def _bombs() -> Iterator[ImageCase]:
    """Little files that want much memory or time."""
    jpeg = bytearray(encoded(photo(8, 8), "JPEG"))
    struct.pack_into(">HH", jpeg, jpeg.index(b"\xff\xc0") + 5, SIDE, SIDE)
    yield _bad("bomb-header.jpg", bytes(jpeg), "too_large")
    yield _bad("bomb-header.png", _png_header(SIDE, SIDE), "too_large")
    canvas = (SIDE - 1).to_bytes(3, "little") * 2
    yield _bad("bomb-header.webp", b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + canvas, "too_large")
    yield _bad("bomb-header.bmp", bmp(SIDE, SIDE, 24, b""), "too_large")
    yield _bad("bomb-header.tif", _with_tag(_with_tag(encoded(photo(8, 8), "TIFF"), 256, SIDE), 257, SIDE), "too_large")
    black = Image.new("L", (6000, 6000))
    yield _bad("bomb-whole.png", encoded(black, "PNG"), "too_large")
    yield _bad("bomb-whole.tif", encoded(black, "TIFF", compression="tiff_deflate"), "too_large")
    yield _bad("bomb-whole.webp", encoded(Image.new("RGB", (2000, 2000)), "WEBP", lossless=True), "too_large")
    yield _bad("bomb-whole.jpg", encoded(Image.new("L", (6000, 6000)), "JPEG"), "too_large")
    yield from _hidden_bombs()


def _hidden_bombs() -> Iterator[ImageCase]:
    """The header claims little; what is behind it is large."""
    deflated = zlib.compress(bytes(100 << 20), 9)
    small = encoded(photo(*SIZE), "PNG")
    shown = np.asarray(photo(*SIZE)).astype(np.int64)
    for kind, start in ((b"zTXt", b"name\0\0"), (b"iCCP", b"name\0\0"), (b"iTXt", b"name\0\1\0\0\0")):
        data = _with_chunk(small, kind, start + deflated)
        yield ImageCase(name=f"bomb-in-{kind.decode()}.png", data=data, codes=ANY, reference=shown)
    more = _png_header(*SIZE) + _chunk(b"IDAT", deflated) + _chunk(b"IEND", b"")
    yield ImageCase(name="bomb-behind-the-pixels.png", data=more, codes=ANY, reference=np.zeros_like(shown))
    strip = encoded(photo(*SIZE), "TIFF", compression="tiff_deflate")
    yield ImageCase(name="bomb-in-strip.tif", data=_with_strip(strip, deflated), codes=ANY)
    yield ImageCase(name="bomb-rows-per-strip.tif", data=_with_tag(strip, 278, 0xFFFFFFFF), codes=ANY)
    tile = tiff(np.asarray(photo(*SIZE)), photometric="rgb", tile=(16, 16), compression="zlib")
    for side in (16_384, 65_520, 1 << 30):
        huge = _with_tag(_with_tag(tile, 322, side), 323, side)
        yield ImageCase(name=f"bomb-tile-{side}.tif", data=huge, codes=BROKEN)
    yield ImageCase(name="bomb-samples.tif", data=_with_tag(strip, 277, 65535), codes=BROKEN)
    frame = encoded(Image.new("RGB", (4000, 4000)), "WEBP", lossless=True)[12:]
    inner = bytes(6) + (3999).to_bytes(3, "little") * 2 + bytes(4) + frame
    chunks = b"VP8X\x0a\0\0\0\x02\0\0\0" + bytes(6) + b"ANIM\x06\0\0\0" + bytes(6)
    chunks += b"ANMF" + struct.pack("<I", len(inner)) + inner
    yield _bad("bomb-frame.webp", b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks)
    yield ImageCase(name="bomb-scans.jpg", data=_many_scans(1000, 1000, 20_000), codes=BROKEN)
    yield ImageCase(name="bomb-segments.jpg", data=b"\xff\xd8" + b"\xff\xe1\0\2" * 300_000, codes=BROKEN)
    frames = encoded(photo(8, 8), "PNG", save_all=True, append_images=[photo(8, 8, n % 5) for n in range(1, 400)])
    yield ImageCase(name="bomb-frames.png", data=frames, codes=frozenset({GOOD}), reference=as_pillow(frames))


def _no_images() -> Iterator[ImageCase]:
    yield _bad("empty.jpg", b"", "empty")
    for value in (0, 0xFF):
        for length in (1, 2, 100, 5000):
            yield _bad(f"bytes-{value}-{length}.jpg", bytes([value]) * length)
    yield _bad("noise.png", random.Random(0).randbytes(5000), "unreadable")
    yield _bad("page.jpg", b"<!DOCTYPE html><title>404 Not Found</title>", "unreadable")
    yield _bad("animated-gif.png", encoded(photo(8, 8).convert("P"), "GIF"), "unsupported")
    yield _bad("avif.jpg", b"\0\0\0\x1cftypavif" + bytes(50), "unsupported")
    for signature in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0", b"MM\0*", b"II+\0"):
        yield _bad(f"signature-{signature[:4].hex()}.jpg", signature)
        yield _bad(f"signature-{signature[:4].hex()}-and-zeros.jpg", signature + bytes(1000))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _with_chunk(file: bytes, kind: bytes, content: bytes) -> bytes:
    """A PNG with one more chunk, right behind its header."""
    return file[:33] + _chunk(kind, content) + file[33:]


def _png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def _interlaced(pixels: Array) -> bytes:
    """An RGB PNG in Adam7's seven passes (ISO/IEC 15948, 8.2)."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [pixels[top::down, left::across] for top, left, down, across in passes]
    stream = b"".join(b"\0" + row.tobytes() for part in parts for row in part if row.size)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(stream)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _with_tag(page: bytes, tag: int, value: int) -> bytes:
    """A little-endian TIFF whose first directory has another value for a tag of one value."""
    copy = bytearray(page)
    (start,) = struct.unpack_from("<I", copy, 4)
    (count,) = struct.unpack_from("<H", copy, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", copy, at)[0] == tag:
            struct.pack_into("<HII", copy, at + 2, 4, 1, value)
    return bytes(copy)


def _with_strip(page: bytes, strip: bytes) -> bytes:
    """A TIFF of one strip with other bytes in it, put behind all others."""
    return _with_tag(_with_tag(page, 273, len(page)), 279, len(strip)) + strip


def _many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG that goes over its pixels again and again, a few bytes for each time."""
    whole = encoded(Image.new("L", (width, height)), "JPEG", progressive=True)
    first = whole.index(b"\xff\xda")
    last = whole.rindex(b"\xff\xda")
    return whole[:first] + whole[first:last] + whole[last:-2] * scans + b"\xff\xd9"


def write(folder: Path, seed: int = 0) -> None:
    """The corpus as files in `images` and `tars` of a folder."""
    for kind, cases in (("images", images(seed)), ("tars", tars())):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for case in cases:
            (folder / kind / case.name).write_bytes(case.data)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a corpus of good, broken and hostile images and tars.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.folder, arguments.seed)


if __name__ == "__main__":
    main()
