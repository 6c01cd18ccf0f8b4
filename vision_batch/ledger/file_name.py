"""File names as ledger files hold them: relative to a root, and as bytes.

File names need not be Unicode: Python carries their odd bytes as surrogates, which Arrow's strings refuse.
"""

from __future__ import annotations

from vision_batch.storage.uri import join, relative_to


def encode_name(name: str) -> bytes:
    """The bytes of a name or URI."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(name: bytes) -> str:
    """What `encode_name` was given."""
    return name.decode("utf-8", "surrogateescape")


def encode_below(uri: str, root: str) -> bytes:
    """The bytes of `uri` relative to `root`; empty for `root` itself."""
    return encode_name(relative_to(uri, root))


def decode_below(name: bytes, root: str) -> str:
    """The URI that `encode_below` was given."""
    return join(root, decode_name(name)) if name else root
