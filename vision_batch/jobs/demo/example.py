"""The demo's spec and plug-in: the files of the repository's `jobs/`, wherever vision-batch is installed."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

CHECKOUT = Path(__file__).parents[3] / "jobs"


def read_example(name: str) -> bytes:
    """The content of `jobs/<name>`. A wheel holds a copy beside this module, a checkout the original."""
    packaged = files(__package__).joinpath(name)
    return packaged.read_bytes() if packaged.is_file() else (CHECKOUT / name).read_bytes()
