"""Which versions of its dependencies this version of vision-batch works with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


def required(name: str, distribution: str = "vision-batch") -> SpecifierSet | None:
    """The versions of the package `name` that the base install allows; None where vision-batch is not installed."""
    try:
        wanted = [Requirement(text) for text in requires(distribution) or ()]
    except PackageNotFoundError:
        return None
    return next((each.specifier for each in wanted if each.name == name and each.marker is None), None)
