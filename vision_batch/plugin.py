"""Python code beside a spec: found, digested, carried to workers and imported there.

A plug-in is named `module:attribute`. Its module and every module that it imports from the spec's own folder travel as
source text in a `Plugin`, so that a worker on another machine runs exactly the code whose digest the ledger recorded.
Nothing of it is written to a disk: one finder per process serves the modules from memory, under their own names.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from threading import RLock
from types import CodeType, ModuleType
from typing import Any

from vision_batch.errors import Problem, SpecError, VisionBatchError

NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
DEPENDENCIES = {
    *("aiohttp", "apscheduler", "botocore", "cv2", "grpc", "huggingface_hub", "kubernetes", "matplotlib"),
    *("numpy", "packaging", "prometheus_client", "pyarrow", "pydantic", "pydantic_core", "ray", "requests", "s3fs"),
    *("safetensors", "simplejpeg", "sklearn", "tensorboardX", "timm", "torch", "torchvision", "tqdm"),
    *("transformers", "urllib3", "yaml"),
}
RESERVED = sys.stdlib_module_names | {"vision_batch"} | DEPENDENCIES
"""Modules that a file beside a spec never replaces, for the whole process uses them."""


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
        """Imports the module in this process, once per content, and returns the attribute.

        SpecError if the module cannot be imported or has no such callable. Safe to call from several threads.
        """
        module_name, attribute = self.name.split(":")
        value = getattr(_FINDER.load(self, module_name), attribute, None)
        if not callable(value):
            raise SpecError(Problem(self.name, f"no callable {attribute!r} in {module_name}", "a function or class"))
        return value  # type: ignore[no-any-return]


def find_plugin(name: str, folder: Path, *, where: str) -> Plugin:
    """The plug-in called `name` beside a spec in `folder`; SpecError, naming `where`, if it is not there."""
    if not NAME.fullmatch(name):
        raise SpecError(Problem(where, repr(name), "module:attribute, a Python file beside the spec and a name in it"))
    module, attribute = name.split(":")
    if module.split(".")[0] in RESERVED:
        raise SpecError(Problem(where, f"{name!r}, which has the name of an installed module", "a name of its own"))
    sources: dict[str, str] = {}
    _collect(module, folder, sources)
    path = next((path for path in sources if _module_name(path) == module), None)
    if path is None:
        raise SpecError(Problem(where, f"no {module.replace('.', '/')}.py in {folder}", "a file beside the spec"))
    if not _may_define(sources[path], attribute):
        raise SpecError(Problem(where, f"no {attribute!r} in {folder / path}", "a function or class in it"))
    return Plugin(name, tuple(sorted(sources.items())))


def _may_define(source: str, attribute: str) -> bool:
    """Whether the module may have such a name. Only importing it tells for certain, which is left to workers."""
    return re.search(rf"\b{attribute}\b|import \*|\b__getattr__\b", source) is not None


def _collect(module: str, folder: Path, sources: dict[str, str]) -> None:
    """Adds `module`, the packages that it is in, and all that they import, as far as they lie in `folder`."""
    parts = module.split(".")
    if parts[0] in RESERVED:
        return
    for depth in range(1, len(parts) + 1):
        base = folder.joinpath(*parts[:depth])
        # a package hides a module of the same name, as everywhere in Python
        path = next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)
        if path is None or path.relative_to(folder).as_posix() in sources:
            continue
        _demand_inside(path, folder)
        text = _read(path)
        sources[path.relative_to(folder).as_posix()] = text
        for imported in _imports(text, parts[:depth], path):
            _collect(imported, folder, sources)


def _demand_inside(path: Path, folder: Path) -> None:
    """SpecError for a link out of the spec's folder. Links within it stay: Kubernetes mounts files as such."""
    target = path.resolve()
    if not target.is_relative_to(folder.resolve()):
        raise SpecError(Problem(str(path), f"a link to {target}", "code in the spec's own folder: copy it there"))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(Problem(str(path), str(error), "a readable file in UTF-8")) from error


def _imports(source: str, module: list[str], path: Path) -> list[str]:
    """Every name that may be a module in the imports of `source`, anywhere in it, relative ones made absolute."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise SpecError(Problem(str(path), f"{error.msg} in line {error.lineno}", "valid Python")) from error
    except ValueError as error:
        raise SpecError(Problem(str(path), str(error), "valid Python")) from error
    package = module if path.name == "__init__.py" else module[:-1]
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level <= len(package):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = [*start, *(node.module.split(".") if node.module else [])]
            names += [".".join(base), *(".".join([*base, alias.name]) for alias in node.names if alias.name != "*")]
    return [name for name in names if name]


def _module_name(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _Finder(MetaPathFinder, InspectLoader):
    """Imports the modules of plug-ins from memory.

    Modules with the same text are shared by all plug-ins of a process. When a plug-in brings another text for a module
    that is loaded, everything of this plug-in is imported anew: what imported the old text must see the new one.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        # Module name to path and text. Replaced, never changed: other threads may be importing.
        self._served: dict[str, tuple[str, str]] = {}

    def load(self, plugin: Plugin, module: str) -> ModuleType:
        with self._lock:
            wanted = {_module_name(path): (path, text) for path, text in plugin.sources}
            if any(self._served.get(name, source) != source for name, source in wanted.items()):
                self._forget(wanted)
            for name in wanted.keys() - self._served.keys():
                sys.modules.pop(name, None)  # another module of this name, from elsewhere, that came first
            self._served = self._served | wanted
            if self not in sys.meta_path:
                sys.meta_path.insert(0, self)
            return self._import(plugin, module, wanted)

    def _import(self, plugin: Plugin, module: str, wanted: dict[str, tuple[str, str]]) -> ModuleType:
        try:
            return importlib.import_module(module)
        except VisionBatchError:
            self._forget(wanted)
            raise
        except Exception as error:  # the user's own code: whatever it raises, the plug-in is not usable
            self._forget(wanted)
            found = f"{type(error).__name__} while importing {module}: {error}"
            raise SpecError(Problem(plugin.name, found, "a module that can be imported on every worker")) from error

    def _forget(self, names: dict[str, tuple[str, str]]) -> None:
        self._served = {name: source for name, source in self._served.items() if name not in names}
        for name in names:
            sys.modules.pop(name, None)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in self._served:
            spec = spec_from_loader(fullname, self, origin=self._origin(fullname), is_package=self.is_package(fullname))
            assert spec is not None
            spec.has_location = True  # gives the module a __file__, which `inspect` needs to find a class's source
            return spec
        if any(name.startswith(f"{fullname}.") for name in self._served):
            return spec_from_loader(fullname, self, is_package=True)  # a folder without __init__.py
        return None

    def is_package(self, fullname: str) -> bool:
        return fullname not in self._served or self._served[fullname][0].endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        return self._served[fullname][1] if fullname in self._served else ""

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_source(fullname), self._origin(fullname), "exec", dont_inherit=True)

    def _origin(self, fullname: str) -> str:
        """What tracebacks show. The text is part of it, for `linecache` keeps what it once read under a name."""
        path, text = self._served.get(fullname, (fullname, ""))
        return f"<plug-in {hashlib.sha256(text.encode()).hexdigest()[:8]}>/{path}"


_FINDER = _Finder()
