"""How files, shards and images are named in the output."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from vision_batch.storage.uri import relative_to

APPLE_DOUBLE: Final = "._"


def relative_name(uri: str, root: str, input_name: str) -> str:
    """`uri` as counted from `root`, below `input_name` where there are several inputs; always valid Unicode."""
    return prefixed(input_name, printable(relative_to(uri, root)))


def prefixed(input_name: str, name: str) -> str:
    """`name` as it is in one of several inputs; `input_name` is empty for a single one."""
    return f"{input_name}/{name}" if input_name else name


def printable(name: str) -> str:
    """A file's name as valid Unicode: a byte that is not UTF-8 becomes `\\xNN`, so that names stay apart."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(text: str, length: int = 200) -> str:
    """`text` as it fits into a message."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def has_extension(uri: str, extensions: Collection[str]) -> bool:
    """Whether a file is one of these kinds by its name, in any case.

    Never where its name begins with `._`: macOS keeps there, as AppleDouble, what another file has besides its bytes.
    """
    return extension(uri) in extensions and not uri.rpartition("/")[2].startswith(APPLE_DOUBLE)


def extension(uri: str) -> str:
    """What follows the last dot of the last name, lower-cased; empty without a dot."""
    return uri.rpartition("/")[2].rpartition(".")[2].lower() if "." in uri.rpartition("/")[2] else ""
