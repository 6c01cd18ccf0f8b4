"""`-o a.b.c=value`: one value of a spec, given on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vision_batch.documents.document import describe_value, parse_yaml
from vision_batch.errors import Problem, SpecError

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A path of keys and list indices into a spec, and the value that goes there."""

    path: tuple[str, ...]
    value: Any

    def __str__(self) -> str:
        return f"-o {'.'.join(self.path)}"


def parse_override(text: str) -> Override:
    """`compute.batch_size=32` as an Override; the value is YAML: a scalar, `[1, 2]` or `{a: b}`. Raises SpecError."""
    dotted, equals, value = text.partition("=")
    path = tuple(dotted.strip().split("."))
    if not equals or not all(path):
        raise SpecError(Problem(f"-o {text}", "no key=value", "a dotted path and a value: -o compute.batch_size=32"))
    return Override(path=path, value=parse_yaml(value, where=f"-o {dotted}"))


def apply_override(document: dict[str, Any], override: Override) -> tuple[dict[str, Any], Location]:
    """A copy of `document` with the value in its place, and where that is. Missing sections are made.

    SpecError where the path leads through something that has no keys, or beyond a list's end.
    """
    *parents, last = override.path
    root = dict(document)
    here: Any = root
    done: list[str | int] = []
    for part in parents:
        key = _key(here, part, override, done)
        if isinstance(here, dict) and here.get(key) is None:
            here[key] = {}
        child = here[key]
        here[key] = child.copy() if isinstance(child, dict | list) else child
        here = here[key]
        done.append(key)
    key = _key(here, last, override, done)
    here[key] = override.value
    return root, (*done, key)


def _key(here: Any, part: str, override: Override, done: Sequence[str | int]) -> Any:
    """`part` as it indexes `here`: a mapping's key, or a list's index."""
    if isinstance(here, dict):
        return part
    where = ".".join(map(str, done)) or "the spec"
    if not isinstance(here, list):
        raise SpecError(Problem(str(override), f"{describe_value(here)} at {where}", "a section or a list there"))
    if not (part.isascii() and part.isdecimal()) or int(part) >= len(here):
        expected = f"an index from 0 to {len(here) - 1}" if here else "an empty list to be replaced as a whole"
        raise SpecError(Problem(str(override), f"{part!r} as an index into {where}", expected))
    return int(part)
