"""What processes leave in a folder, for tests that search it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every regular file below, with its bytes; links are not followed."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
