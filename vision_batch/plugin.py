"""Python code beside a spec: found, digested, carried to workers and imported there.

A plug-in is named `module:attribute`. Its module and every module that it imports from the spec's own folder travel as
source text in a `Plugin`, so that a worker on another machine runs exactly the code whose digest the ledger recorded.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from vision_batch.errors import Problem, SpecError

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Plugin:
    """`module:attribute` and the sources that it needs: (path relative to the spec's folder, text), sorted."""

    name: str
    sources: tuple[tuple[str, str], ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every source, hexadecimal."""
        return hashlib.sha256(repr(self.sources).encode()).hexdigest()

    def load(self) -> Callable[..., Any]:
        """Imports the module in this process and returns the attribute."""
        module_name, attribute = self.name.split(":")
        module = _import(self.sources, self.digest, module_name)
        value = getattr(module, attribute, None)
        if not callable(value):
            raise SpecError(Problem(self.name, f"no callable {attribute!r} in {module_name}", "a function or class"))
        return value  # type: ignore[no-any-return]


def find_plugin(name: str, folder: Path, *, where: str) -> Plugin:
    """The plug-in called `name` beside a spec in `folder`; SpecError, naming `where`, if it is not there."""
    if not NAME.fullmatch(name):
        raise SpecError(Problem(where, repr(name), "module:attribute, a Python file beside the spec and a name in it"))
    sources: dict[str, str] = {}
    _collect(name.split(":")[0], folder, sources)
    if not sources:
        raise SpecError(
            Problem(where, f"no {name.split(':')[0].replace('.', '/')}.py in {folder}", "a file beside the spec")
        )
    return Plugin(name, tuple(sorted(sources.items())))


def _collect(module: str, folder: Path, sources: dict[str, str]) -> None:
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:depth])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            relative = path.relative_to(folder).as_posix()
            if path.is_file() and relative not in sources:
                sources[relative] = path.read_text(encoding="utf-8")
                for imported in _imports(sources[relative], parts[:depth], path):
                    _collect(imported, folder, sources)


def _imports(source: str, package: list[str], path: Path) -> list[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise SpecError(Problem(str(path), f"{error.msg} in line {error.lineno}", "valid Python")) from error
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + (path.name == "__init__.py")] if node.level else []
            base = ".".join([*start, *(node.module or "").split(".")]).strip(".")
            names += [base, *(f"{base}.{alias.name}".strip(".") for alias in node.names)]
    return [name for name in names if name]


@lru_cache(maxsize=64)
def _import(sources: tuple[tuple[str, str], ...], digest: str, module: str) -> Any:
    folder = Path(tempfile.mkdtemp(prefix=f"vision-batch-plugin-{digest[:12]}-"))
    for relative, text in sources:
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for relative, _ in sources:
        sys.modules.pop(relative.removesuffix(".py").removesuffix("/__init__").replace("/", "."), None)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    return importlib.import_module(module)
