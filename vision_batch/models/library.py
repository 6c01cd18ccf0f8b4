"""Libraries of models that a spec may name and that no base install has.

Both need torchvision in the very build of the torch that is there: another one, as pip takes it by default beside a
torch for CPUs, cannot be imported, and spoils the import of transformers too.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from vision_batch.errors import ModelError, Problem, SpecError
from vision_batch.models.source import Wanted


def version_of(library: str) -> str:
    """The installed version, without importing it; SpecError, saying how to install it, where there is none."""
    try:
        return version(library)
    except PackageNotFoundError as error:
        raise SpecError(Problem("model.source", f"{library} is not installed", _how_to_install(library))) from error


def imported(library: str) -> ModuleType:
    """The library; ModelError where it cannot be imported, as beside another torch."""
    try:
        return importlib.import_module(library)
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{library} cannot be imported ({reason}); {_how_to_install(library)}") from error


def demand_fit(wanted: Wanted, *, tasks: tuple[str, ...], downloads: tuple[str, ...]) -> None:
    """SpecError for another task than `tasks`, without `weights`, for training, and for those options that would
    download pickled weights."""
    settings = wanted.settings
    problems = [
        Problem(f"model.options.{name}", repr(settings.options[name]), "nothing: model.weights has the weights")
        for name in downloads
        if name in settings.options
    ]
    if wanted.task is not None and wanted.task not in tasks:
        found = f"{settings.source} with the task {wanted.task}"
        problems.append(Problem("model.source", found, f"one of {', '.join(tasks)}"))
    if wanted.for_training:
        expected = "a python: model, whose few lines may build it with this library"
        problems.append(Problem("model.source", f"{settings.source} in a train job", expected))
    elif settings.weights is None:
        expected = "safetensors of all its weights: no pickle is loaded, and nothing is downloaded"
        problems.append(Problem("model.weights", "nothing", expected))
    if problems:
        raise SpecError(problems)


def built(module: ModuleType, function: str, name: str, **options: Any) -> Any:
    """What a function of the library makes; ModelError where it knows no such model or option."""
    try:
        return getattr(module, function)(name, **options)
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError) as error:
        raise ModelError(f"{module.__name__}.{function}({name!r}, **{options}): {error}") from error


def _how_to_install(library: str) -> str:
    wanted = f"install torchvision in the build that belongs to torch {version('torch')}"
    return wanted if library.startswith("torchvision") else f"{wanted}, and then {library}"
