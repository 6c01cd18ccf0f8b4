"""From what a dataset says of an image's class to the index of the class."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from vision_batch.datasets.naming import shortened
from vision_batch.errors import ImageError

SHOWN = 8
"""How many classes a message lists."""


def class_name(truth: Any) -> str:
    """The class that a label names: text without space around it, or a whole number; ImageError for all else."""
    if isinstance(truth, str) and truth.strip():
        return truth.strip()
    if isinstance(truth, float) and truth.is_integer():  # a column of whole numbers with a null in it
        return str(int(truth))
    if isinstance(truth, int):
        return str(truth)
    found = "nothing" if truth is None else shortened(f"{type(truth).__name__} {truth!r}", 80)
    raise ImageError("invalid_label", f"the label is {found}; expected the name of a class, or a whole number")


def find_class(name: str, labels: tuple[str, ...]) -> int | None:
    """The index of the class called `name`; None where there is none.

    Where no label is a number itself, a number is an index.
    """
    return _indices(labels).get(name)


def class_index(name: str, labels: tuple[str, ...]) -> int:
    """What `find_class` finds; ImageError where that is nothing."""
    index = find_class(name, labels)
    if index is not None:
        return index
    near = difflib.get_close_matches(name, labels, n=1)
    shown = ", ".join(labels[:SHOWN]) + (f", … ({len(labels)})" if len(labels) > SHOWN else "")
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ImageError("invalid_label", f"no class is called {shortened(name, 80)!r}; model.labels has {shown}{hint}")


def vocabulary(names: Iterable[str]) -> tuple[str, ...]:
    """The labels of a model whose spec gives none: each name once, sorted; by value where all are whole numbers."""
    found = set(names)
    return tuple(sorted(found, key=int) if all(map(_is_number, found)) else sorted(found))


@lru_cache(maxsize=16)
def _indices(labels: tuple[str, ...]) -> dict[str, int]:
    by_name = {label: index for index, label in enumerate(labels)}
    if any(map(_is_number, labels)):
        return by_name
    return {str(index): index for index in range(len(labels))} | by_name


def _is_number(name: str) -> bool:
    return name.isascii() and name.removeprefix("-").isdecimal()
