"""`trained:URI`: the model in the output of a train job, with its labels, its task and its preprocessing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from vision_batch.errors import NotFoundError, Problem, SpecError
from vision_batch.models.digest import file_digest
from vision_batch.models.export_source import ExportSource
from vision_batch.models.labels import read_labels
from vision_batch.models.python_source import PythonSource
from vision_batch.models.settings import ModelSettings
from vision_batch.models.source import Resolved, refuse_extras
from vision_batch.models.trained import DESCRIPTION, PROGRAM, WEIGHTS, ModelFile, PluginPlace, TrainedModel, read_model
from vision_batch.plugin import Plugin, find_plugin
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import join, normalise

if TYPE_CHECKING:
    import torch

    from vision_batch.models.bundle import ModelBundle

WHERE: Final = "model.source"
SHOWN = 5
"""How many labels a message shows."""


class TrainedSource:
    """Takes the exported program, which was compared with the module when it was written.

    Where there is none, or the model is to be trained further, the plug-in beside the spec builds the module, and it
    must be the one that was trained.
    """

    def resolve(
        self, address: str, settings: ModelSettings, folder: Path, *, read_preprocess: bool, for_training: bool
    ) -> Resolved:
        refuse_extras(settings)
        location = normalise(address, folder)
        trained = read_model(location)
        if trained is None:
            raise SpecError(_unfinished(location))
        _check_labels(trained, settings, folder)
        found = _module if for_training or PROGRAM not in trained.files else _program
        return found(trained, location, folder)

    def load(self, bundle: ModelBundle) -> torch.nn.Module:
        return (ExportSource() if bundle.plugin is None else PythonSource()).load(bundle)


def demand_plugin(trained: TrainedModel, name: str, folder: Path, *, where: PluginPlace) -> Plugin:
    """The plug-in `name` that training used at `where` of its spec; SpecError if `folder` has another one."""
    plugin = find_plugin(name, folder, where=where)
    recorded = trained.code.plugins.get(where)
    if plugin.digest != recorded:
        found = f"{name} in {folder} with SHA-256 {plugin.digest}"
        raise SpecError(Problem(where, found, f"the code that the model was trained with, SHA-256 {recorded}"))
    return plugin


def _program(trained: TrainedModel, location: str, folder: Path) -> Resolved:
    uri = _checked(trained, location, PROGRAM)
    return Resolved(
        location=uri,
        facts={"program_sha256": trained.files[PROGRAM]},
        weights_bytes=storage_for(uri).stat(uri).size_bytes,
        labels=trained.label_names,
        preprocess=trained.preprocess,
        trained=trained,
    )


def _module(trained: TrainedModel, location: str, folder: Path) -> Resolved:
    kind, _, name = trained.model.source.partition(":")
    why = "is to be trained further" if PROGRAM in trained.files else f"has no {PROGRAM} ({trained.not_exported})"
    if kind != "python":
        raise SpecError(Problem(WHERE, f"{location}, which {why}, of a {kind}: model", "a model of a plug-in"))
    try:
        plugin = demand_plugin(trained, name, folder, where=WHERE)
    except SpecError as error:
        raise SpecError(
            [Problem(p.where, p.found, f"{p.expected}, because {location} {why}") for p in error.problems]
        ) from error
    uri = _checked(trained, location, WEIGHTS)
    return Resolved(
        location=name,
        facts={"factory": name, "plugin_sha256": plugin.digest, "weights_sha256": trained.files[WEIGHTS]},
        plugin=plugin,
        weights_bytes=storage_for(uri).stat(uri).size_bytes,
        labels=trained.label_names,
        preprocess=trained.preprocess,
        weights=uri,
        options=trained.model.options,
        trained=trained,
    )


def _checked(trained: TrainedModel, location: str, name: ModelFile) -> str:
    """The URI of a model file that is what the record says; SpecError if it is another."""
    uri = join(location, name)
    found = file_digest(uri, where=WHERE)
    if found != trained.files[name]:
        expected = f"SHA-256 {trained.files[name]}, as {DESCRIPTION} has recorded it; restore the file, or train again"
        raise SpecError(Problem(WHERE, f"{uri} with SHA-256 {found}", expected))
    return uri


def _check_labels(trained: TrainedModel, settings: ModelSettings, folder: Path) -> None:
    given = read_labels(settings.labels, folder)
    if given is not None and given != trained.label_names:
        expected = f"those that it was trained for ({_few(trained.label_names or ())}), or nothing"
        raise SpecError(Problem("model.labels", f"other names ({_few(given)})", expected))


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (" …" if len(names) > SHOWN else "")


def _unfinished(location: str) -> Problem:
    """Why there is no record of a model: training goes on, or nobody has ever trained there."""
    checkpoints = join(location, "checkpoints")
    try:
        has_begun = any(True for _ in storage_for(checkpoints).list(checkpoints))
    except NotFoundError:
        has_begun = False
    if has_begun:
        expected = f"a {DESCRIPTION}, which training writes last: run the train job again, to its end"
        return Problem(WHERE, f"{location}, whose training has not ended", expected)
    return Problem(WHERE, f"no {DESCRIPTION} in {location}", "trained:<output.uri of a train job that has ended>")
