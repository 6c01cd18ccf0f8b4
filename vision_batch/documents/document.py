"""YAML text of a spec or a profile to plain dicts, lists and scalars: safely, strictly, without YAML 1.1's surprises.

Only `true` and `false` are booleans (`no` and `on` are text, as labels need), `1e-3` is a number, dates stay text, a
key may stand only once, and aliases cannot blow up a small file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from vision_batch.errors import Problem, SpecError

MAX_DEPTH = 50
CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")
"""User and password in a URL, which no message repeats."""
MAX_VALUES = 1_000_000

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """The scalars of YAML 1.2's core schema."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)


def read_document(path: Path, *, expected: str) -> dict[str, Any]:
    """The mapping in the YAML file at `path`; SpecError with line and column when there is none.

    `expected` says what the file should be: a spec, that begins with `job: predict`.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SpecError(Problem(str(path), "no such file", expected)) from error
    except UnicodeDecodeError as error:
        raise SpecError(Problem(str(path), f"bytes that are not UTF-8 at {error.start}", expected)) from error
    except OSError as error:
        raise SpecError(Problem(str(path), error.strerror or str(error), expected)) from error
    value = parse_yaml(text, where=str(path))
    if value is None:
        raise SpecError(Problem(f"{path}:1:1", "an empty file", expected))
    if not isinstance(value, dict):
        raise SpecError(Problem(f"{path}:1:1", describe_value(value), expected))
    return value


def parse_yaml(text: str, *, where: str) -> Any:
    """The one YAML document in `text` as plain values; SpecError that names `where`, line and column."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        reading = _Reading(where)
        value = None if node is None else reading.value(node, depth=0)
    except yaml.YAMLError as error:
        raise SpecError(_yaml_problem(error, where)) from error
    except RecursionError as error:
        raise SpecError(Problem(where, "lists or mappings nested too deep", f"at most {MAX_DEPTH} levels")) from error
    finally:
        loader.dispose()
    if reading.problems:
        raise SpecError(reading.problems)
    return value


def describe_value(value: Any) -> str:
    """How a message shows a value of a spec: its kind, and the value when it is short."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return str(value).lower()
        case int() | float():
            return f"the number {value}"
        case str():
            value = CREDENTIALS.sub("", value)
            return repr(value if len(value) <= 80 else value[:77] + "...")
        case list():
            return f"a list of {len(value)}"
        case _:
            return "a mapping"


class _Reading:
    """Nodes to values; what is wrong is collected."""

    def __init__(self, where: str) -> None:
        self.problems: list[Problem] = []
        self._where = where
        self._left = MAX_VALUES

    def value(self, node: yaml.Node, *, depth: int) -> Any:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:  # also an alias to its own parent, and aliases of aliases of aliases
            raise yaml.constructor.ConstructorError(None, None, "too deep or too many values", node.start_mark)
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.value(child, depth=depth + 1) for child in node.value]
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        raise yaml.constructor.ConstructorError(None, None, f"the tag {node.tag}", node.start_mark)

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.value(key_node, depth=depth + 1)
            where = _position(self._where, key_node.start_mark)
            if not isinstance(key, str):
                self.problems.append(Problem(where, f"{describe_value(key)} as a key", "text"))
            elif key in found:
                self.problems.append(Problem(where, f"the key {key!r} a second time", "every key once"))
            else:
                found[key] = self.value(value_node, depth=depth + 1)
        return found


_SCALARS: dict[str, Callable[[str], Any]] = {
    "tag:yaml.org,2002:null": lambda text: None,
    "tag:yaml.org,2002:bool": lambda text: text.lower() == "true",
    "tag:yaml.org,2002:int": int,
    "tag:yaml.org,2002:float": lambda text: float(text.lower().replace(".inf", "inf").replace(".nan", "nan")),
    "tag:yaml.org,2002:str": str,
}


def _scalar(node: yaml.ScalarNode) -> Any:
    try:
        return _SCALARS[node.tag](node.value)
    except (KeyError, ValueError) as error:
        problem = f"{node.value!r} with the tag {node.tag}"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def _yaml_problem(error: yaml.YAMLError, where: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    found = getattr(error, "problem", None) or " ".join(str(error).split())
    return Problem(_position(where, mark) if mark else where, found, "YAML")


def _position(where: str, mark: Any) -> str:
    return f"{where}:{mark.line + 1}:{mark.column + 1}"
