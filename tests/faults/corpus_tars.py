"""Hostile tars, each with good images on both sides of whatever is odd."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from tests.datasets.archives import BLOCK, END, checksummed, header, member, padded, pax, written
from tests.images.pictures import encoded, photo

DAMAGE: Final = "damage"
BEFORE, AFTER = ("before", "good"), ("zafter", "good")


@dataclass(frozen=True, slots=True, kw_only=True)
class TarCase:
    """One archive and its rows: the sample's key, or `damage`, and what becomes of it."""

    name: str
    data: bytes
    rows: tuple[tuple[str, str], ...]


@cache
def image() -> bytes:
    return encoded(photo(24, 18), "JPEG")


def tars() -> Iterator[TarCase]:
    """Every tar of the corpus; names are unique."""
    yield TarCase(name="no-bytes.tar", data=b"", rows=())
    yield TarCase(name="empty.tar", data=END, rows=())
    yield _between("plain", b"")
    yield from _names()
    yield from _kinds()
    yield from _sizes()
    yield from _damaged()
    yield from _cut()
    yield from _archives_within()


def _between(name: str, odd: bytes, *rows: tuple[str, str], end: bytes = END) -> TarCase:
    """An archive with something odd in the middle, which gives these rows."""
    data = member(b"before.jpg", image()) + odd + member(b"zafter.jpg", image()) + end
    return TarCase(name=f"{name}.tar", data=data, rows=(BEFORE, *rows, AFTER))


def _names() -> Iterator[TarCase]:
    names = {
        "absolute": "/etc/passwd.jpg",
        "upwards": "../../../tmp/up.jpg",
        "upwards-within": "a/../../b.jpg",
        "backslashes": "d\\a.jpg",
        "drive": "C:\\a.jpg",
        "newline": "a\nb.jpg",
        "escape": "\x1b[2Ja.jpg",
        "surrogate": "\N{RIGHT-TO-LEFT OVERRIDE}gpj.jpg",
        "long": "n" * 10_000 + ".jpg",
        "deep": "d/" * 5_000 + "a.jpg",
    }
    for name, path in names.items():
        for format, kind in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
            odd = written([(path, image())], kind).rstrip(b"\0")
            yield _between(f"name-{name}-{format}", padded(odd), (path[:-4], "good"))
    yield _between("name-not-utf-8", member(b"\xff\xfe.jpg", image()), ("\\xff\\xfe", "good"))
    yield _between("name-of-zeros", member(b"\0" * 8 + b".jpg", image()))
    twice = member(b"a.jpg", image()) + member(b"b.jpg", image()) + member(b"a.jpg", image())
    yield _between("name-twice", twice, ("a", "good"), ("b", "good"), ("a", "good"))
    yield _between("name-twice-in-a-row", member(b"a.jpg", image()) * 2, ("a", "good"))
    hidden = member(b"._a.jpg", b"resource fork") + member(b"d/.hidden.jpg", image())
    yield _between("name-begins-with-a-dot", hidden)


def _kinds() -> Iterator[TarCase]:
    kinds = {"hard-link": b"1", "symbolic-link": b"2", "character-device": b"3", "block-device": b"4", "folder": b"5"}
    kinds |= {"fifo": b"6"}
    for name, kind in kinds.items():
        block = bytearray(header(b"odd.jpg", 5000, kind))
        block[157:172] = b"/etc/passwd.jpg"
        yield _between(f"kind-{name}", checksummed(block))
    yield _between("kind-unknown", member(b"odd.jpg", image(), kind=b"Z"))
    yield _between("kind-contiguous", member(b"odd.jpg", image(), kind=b"7"), ("odd", "good"))
    sparse = bytearray(header(b"sparse.jpg", 600, b"S"))
    sparse[482] = 1
    yield _between("kind-sparse", checksummed(sparse) + bytes(BLOCK) + padded(b"s" * 600))
    sparse_pax = pax(("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "99999999"))
    yield _between("kind-sparse-pax", sparse_pax + member(b"sparse.jpg", b"map"))
    yield _between("kind-long-link", member(b"././@LongLink", b"/etc" * 99, kind=b"K") + header(b"l", 0, b"2"))


def _sizes() -> Iterator[TarCase]:
    size = len(image())
    body = padded(image())
    base_256 = b"\x80" + size.to_bytes(11, "big")
    yield _between("size-base-256", header(b"a.jpg", base_256) + body, ("a", "good"))
    yield _between("size-in-pax", pax(("size", str(size))) + header(b"a.jpg", 0) + body, ("a", "good"))
    beyond = {"octal": b"77777777777\0", "base-256": b"\x80" + b"\xff" * 11, "just": b"%011o\0" % (1 << 20)}
    for name, field in beyond.items():
        yield _between(f"size-beyond-{name}", header(b"a.jpg", field) + body, (DAMAGE, "truncated"))
    for name, field in {"negative": b"\xff" * 12, "minus": b"-0000000001\0", "words": b"many bytes!\0"}.items():
        yield _between(f"size-{name}", header(b"a.jpg", field) + body, (DAMAGE, "unreadable"))
    yield _between("size-0", header(b"a.jpg", 0) + body, ("a", "empty"), (DAMAGE, "unreadable"))
    yield _between("size-short", header(b"a.jpg", 100) + body, ("a", "truncated"), (DAMAGE, "unreadable"))
    for name, value in {"negative": "-1", "float": "1e3", "huge": "9" * 30, "nothing": ""}.items():
        odd = pax(("size", value)) + member(b"a.jpg", image())
        yield _between(f"size-pax-{name}", odd, (DAMAGE, "unreadable"), ("a", "good"))
    beyond_pax = pax(("size", str(1 << 60))) + member(b"a.jpg", image())
    yield _between("size-pax-beyond", beyond_pax, (DAMAGE, "truncated"))


def _damaged() -> Iterator[TarCase]:
    broken = bytearray(member(b"a.jpg", image()))
    broken[0] ^= 1
    yield _between("checksum", bytes(broken), (DAMAGE, "unreadable"))
    yield _between("checksum-twice", bytes(broken) * 2, (DAMAGE, "unreadable"))
    spaced = bytes(broken) + member(b"m.jpg", image()) + bytes(broken)
    yield _between("checksum-here-and-there", spaced, (DAMAGE, "unreadable"), ("m", "good"), (DAMAGE, "unreadable"))
    yield _between("header-of-zeros", bytes(BLOCK) + padded(image()), (DAMAGE, "unreadable"))
    yield _between("garbage", b"garbage!" * 1000 + bytes(-8000 % BLOCK), (DAMAGE, "unreadable"))
    yield _between("pax-malformed", member(b"x", b"99 path=a\n", kind=b"x"), (DAMAGE, "unreadable"))
    yield _between(
        "pax-of-a-megabyte", header(b"x", (1 << 20) + 1, b"x") + bytes((1 << 20) + BLOCK), (DAMAGE, "unreadable")
    )
    loop = member(b"././@LongLink", b"n" * 200 + b"\0", kind=b"L") * 3
    yield _between("long-names-in-a-row", loop + member(b"a.jpg", image()), ("n" * 200, "missing"))
    yield _between("image-is-broken", member(b"a.jpg", image()[:200]), ("a", "truncated"))
    yield _between("image-is-empty", member(b"a.jpg", b""), ("a", "empty"))
    yield _between("image-is-text", member(b"a.jpg", b"<html>"), ("a", "unreadable"))
    yield _between("image-is-missing", member(b"a.txt", b"text"), ("a", "missing"))


def _cut() -> Iterator[TarCase]:
    """Ends: without zero blocks, within a header, data or padding."""
    yield _between("end-missing", b"", end=b"")
    yield _between("end-of-one-block", b"", end=bytes(BLOCK))
    yield _between("end-within-a-block", b"", end=bytes(100))
    yield _between("end-long", b"", end=bytes(100 * BLOCK))
    whole = member(b"before.jpg", image()) + member(b"zafter.jpg", image())
    start, data_ends = len(whole) // 2, len(whole) // 2 + BLOCK + len(image())
    for name, length in {"header": start + 100, "data": data_ends - 1, "first-byte": start + BLOCK + 1}.items():
        yield TarCase(name=f"cut-in-{name}.tar", data=whole[:length], rows=(BEFORE, (DAMAGE, "truncated")))
    in_padding = whole[: data_ends + 1]
    yield TarCase(name="cut-in-padding.tar", data=in_padding, rows=(BEFORE, AFTER, (DAMAGE, "truncated")))


def _archives_within() -> Iterator[TarCase]:
    plain = written([("a.jpg", image())])
    yield _between("tar-in-a-tar", member(b"inner.tar", plain), ("inner", "missing"))
    yield _between("tar-behind-a-tar", END, (DAMAGE, "unreadable"))
    packed = gzip.compress(plain, mtime=0)
    yield TarCase(name="gzipped.tar", data=packed, rows=((DAMAGE, "unreadable"),))
    bomb = gzip.compress(bytes(20 << 20), mtime=0)
    yield TarCase(name="gzipped-bomb.tar", data=bomb, rows=((DAMAGE, "unreadable"),))
    yield TarCase(name="an-image.tar", data=image(), rows=((DAMAGE, "unreadable"),))
    with tarfile.open(fileobj=(buffer := io.BytesIO()), mode="w:xz") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    yield TarCase(name="xz.tar", data=buffer.getvalue(), rows=((DAMAGE, "truncated"),))
