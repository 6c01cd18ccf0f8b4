"""From the name of an image to the name of a file: whatever it is, its file lies in the target and is nobody else's."""

from __future__ import annotations

import hashlib
import re
from typing import Final

ESCAPE: Final = "%"
_PLAIN: Final = re.compile(r"[^\x00-\x1f\x7f/\\<>:\"|?*%\ud800-\udfff]*")
_RESERVED: Final = frozenset(
    ["con", "prn", "aux", "nul", "_export", "_errors"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(10)]
)
"""Names that Windows keeps for devices, with any extension, and those of an export's own files."""
MOST_PART_BYTES: Final = 180
"""File systems take 255; a temporary name is longer than its file's."""
MOST_NAME_BYTES: Final = 600
"""Keys of S3 have at most 1024 bytes with what is before them."""


def safe_name(image_id: str) -> str:
    """A relative path for an image's file; other images have other paths.

    Folders stay. Of their names, what no file system or Windows does not allow becomes `%XX`, its bytes of UTF-8 in
    hexadecimal; so does `%` itself, and a folder without a name is `%`. What is too long is cut: `%%` and 32 digits of
    its SHA-256 stand for the rest.
    """
    name = "/".join(safe_part(part) for part in image_id.split("/"))
    return name if len(name.encode()) <= MOST_NAME_BYTES else _cut(image_id)


def safe_part(text: str) -> str:
    """The same for a single name without folders: a slash is escaped like others."""
    escaped = "".join(_escaped(character) for character in text)
    if escaped.partition(".")[0].lower() in _RESERVED:
        escaped = _hexadecimal(text[0]) + escaped[1:]
    if escaped.endswith((".", " ")):
        escaped = escaped[:-1] + _hexadecimal(escaped[-1])
    return (escaped or ESCAPE) if len(escaped.encode()) <= MOST_PART_BYTES else _cut(text)


def _escaped(character: str) -> str:
    return character if _PLAIN.fullmatch(character) else _hexadecimal(character)


def _hexadecimal(character: str) -> str:
    return "".join(f"{ESCAPE}{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _cut(text: str) -> str:
    """Its beginning, as many characters as are plain, its digest, and its extension."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    beginning = re.sub(r"[^A-Za-z0-9._-]", "_", text[:60]).strip("._")
    extension = re.search(r"\.[A-Za-z0-9]{1,8}$", text)
    return f"{beginning}{ESCAPE}{ESCAPE}{digest}{extension[0] if extension else ''}"
