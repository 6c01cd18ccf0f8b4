"""The commented specs that `init` prints, one file a kind of job."""

from __future__ import annotations

from importlib.resources import files


def starter_kinds() -> list[str]:
    """The kinds of job that have a starter spec."""
    return sorted(entry.name.removesuffix(".yaml") for entry in files(__package__).joinpath("starters").iterdir())


def starter_spec(kind: str) -> str:
    """The text of a starter spec of that kind, one of `starter_kinds()`."""
    return files(__package__).joinpath("starters", f"{kind}.yaml").read_text(encoding="utf-8")
