"""A spec: the YAML file that says what to do, read, completed, and checked as a whole.

The steps: YAML to plain values; `-o` overrides; `${ENV_VAR}`; validation; times in URIs; URIs made absolute; agreement
between the parts. What is relative in the file is relative to the file's folder; what is relative on the command line
is relative to the current folder.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from vision_batch.datasets.settings import BESIDE, InputSettings, NamedUri
from vision_batch.documents.document import read_document
from vision_batch.documents.scheduled_time import expand_time
from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.settings import PredictionsSettings, TruthSettings
from vision_batch.jobs.consistency import inconsistencies
from vision_batch.jobs.override import Location, Override, apply_override, parse_override
from vision_batch.jobs.placeholder import expand_environment
from vision_batch.jobs.settings import EvaluateJobSettings, ImageJobSettings, JobSettings, TrainJobSettings
from vision_batch.jobs.table import JOBS
from vision_batch.jobs.validation import validate
from vision_batch.models.settings import ModelSettings
from vision_batch.storage.uri import normalise, scheme
from vision_batch.training.settings import ValidationSettings

T = TypeVar("T")
Kind = TypeVar("Kind", bound=JobSettings)
Named = TypeVar("Named", PredictionsSettings, TruthSettings)
KindCo = TypeVar("KindCo", bound=JobSettings, covariant=True)

SPEC_FILE = "a spec: a YAML file that begins with job: predict, job: train or job: evaluate"

_CREDENTIALS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedSpec(Generic[KindCo]):
    """A spec that is ready to run, of the kind of job that its settings are of.

    `folder` is the spec file's own, absolute: plug-ins and the model's relative paths are found there. `raw` is the
    file's content with overrides, before `${ENV_VAR}` was expanded: it may be recorded.
    """

    path: Path
    folder: Path
    settings: KindCo
    raw: dict[str, Any]


AnySpec = LoadedSpec[JobSettings]


def spec_of_kind(spec: AnySpec, kind: type[Kind]) -> LoadedSpec[Kind]:
    """The same, known to be of that kind; SpecError where it is of another one."""
    if not isinstance(spec.settings, kind):
        wanted = " or ".join(name for name, settings in JOBS.items() if issubclass(settings, kind))
        raise SpecError(Problem("job", spec.settings.job, f"{wanted}, the kind of job that this is for"))
    return cast("LoadedSpec[Kind]", spec)


def load_spec(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    output: str | None = None,
    scheduled_time: datetime | None = None,
    for_any_time: bool = False,
) -> AnySpec:
    """The spec at `path` with `overrides` (`a.b.c=value`) and, if given, another `output.uri`.

    `scheduled_time` has a time zone; the default is now. With `for_any_time` its places in URIs stay open. SpecError
    with every problem that is found.
    """
    path = Path(path)
    problems: list[Problem] = []
    raw, overridden = _override(read_document(path, expected=SPEC_FILE), overrides, output, problems)
    expanded = expand_environment(raw, os.environ, problems)
    settings = _collect(problems, partial(validate, expanded))
    if settings is None:
        raise SpecError(_one_a_place(problems))
    folder = path.absolute().parent
    moment = None if for_any_time else scheduled_time or datetime.now(UTC)
    places = _Places(folder=folder, overridden=overridden, time=moment, problems=problems)
    settings = places.in_settings(settings)
    problems += [] if problems else inconsistencies(settings)
    if problems:
        raise SpecError(_one_a_place(problems))
    return LoadedSpec(path=path, folder=folder, settings=settings, raw=raw)


def _override(
    document: dict[str, Any], texts: Sequence[str], output: str | None, problems: list[Problem]
) -> tuple[dict[str, Any], set[Location]]:
    """The document with every override that can be applied, and where they went."""
    places: set[Location] = set()
    wanted = [_collect(problems, lambda text=text: parse_override(text)) for text in texts]  # type: ignore[misc]
    if output is not None:
        wanted.append(Override(path=("output", "uri"), value=output))
    for override in filter(None, wanted):
        done = _collect(problems, partial(apply_override, document, override))
        if done is not None:
            document, place = done
            places.add(place)
    return document, places


def _collect(problems: list[Problem], step: Callable[[], T]) -> T | None:
    """What `step` returns; None after a SpecError, whose problems are collected."""
    try:
        return step()
    except SpecError as error:
        problems.extend(error.problems)
        return None


def _one_a_place(problems: Sequence[Problem]) -> list[Problem]:
    """The first problem of every place: what a step could not fill in would be refused by the next one too."""
    return list({problem.where: problem for problem in reversed(problems)}.values())[::-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Makes URIs absolute: from the spec's folder, or from the current one where an override gave them."""

    folder: Path
    overridden: set[Location]
    time: datetime | None
    problems: list[Problem]

    def in_settings(self, settings: JobSettings) -> JobSettings:
        output = settings.output.model_copy(update={"uri": self._uri(settings.output.uri, ("output", "uri"))})
        update: dict[str, Any] = {"output": output}
        if isinstance(settings, ImageJobSettings):
            update |= {"input": self._input(settings.input), "model": self._model(settings.model)}
        if isinstance(settings, EvaluateJobSettings):
            update["predictions"] = self._named(settings.predictions, "predictions")
            update["truth"] = None if settings.truth is None else self._named(settings.truth, "truth")
        if isinstance(settings, TrainJobSettings) and settings.validation is not None:
            uri = self._uris(settings.validation.uri, ("validation", "uri"))
            beside = self._beside(settings.validation, "validation")
            update["validation"] = settings.validation.model_copy(update={"uri": uri, **beside})
        return settings.model_copy(update=update)

    def _named(self, settings: Named, section: str) -> Named:
        return settings.model_copy(update={"uri": self._uri(settings.uri, (section, "uri"))})

    def _input(self, settings: InputSettings) -> InputSettings:
        allow = [self._uri(uri, ("input", "allow", index)) for index, uri in enumerate(settings.allow)]
        uri = self._uris(settings.uri, ("input", "uri"))
        return settings.model_copy(update={"uri": uri, "allow": allow, **self._beside(settings, "input")})

    def _beside(self, settings: InputSettings | ValidationSettings, section: str) -> dict[str, str | None]:
        """The folders of masks and of a COCO JSON's images, which have to be named."""
        named = {key: getattr(settings, key) for key in BESIDE}
        return {key: None if uri is None else self._uri(uri, (section, key)) for key, uri in named.items()}

    def _uris(self, uri: str | list[str | NamedUri] | None, location: Location) -> str | list[str | NamedUri] | None:
        if uri is None or isinstance(uri, str):
            return None if uri is None else self._uri(uri, location)
        return [self._entry(entry, (*location, index)) for index, entry in enumerate(uri)]

    def _entry(self, entry: str | NamedUri, location: Location) -> str | NamedUri:
        if isinstance(entry, str):
            return self._uri(entry, location)
        return entry.model_copy(update={"uri": self._uri(entry.uri, (*location, "uri"))})

    def _model(self, settings: ModelSettings) -> ModelSettings:
        """A model's paths are resolved where models are, from the spec's folder: here only those of overrides, and of
        trained models, whose folders may be named by the time as the outputs are that they lie in."""
        update: dict[str, Any] = {}
        for key in ("weights", "labels"):
            value = getattr(settings, key)
            if isinstance(value, str) and self._is_overridden(("model", key)):
                update[key] = self._uri(value, ("model", key))
        kind, _, rest = settings.source.partition(":")
        is_path = kind == "export" or (kind == "transformers" and os.path.isdir(rest))
        if kind == "trained" or (is_path and self._is_overridden(("model", "source"))):
            update["source"] = f"{kind}:{self._uri(rest, ('model', 'source'))}"
        return settings.model_copy(update=update)

    def _uri(self, uri: str, location: Location) -> str:
        where = ".".join(map(str, location))
        if _CREDENTIALS.match(uri):
            self.problems.append(Problem(where, f"credentials in an {scheme(uri)}:// URI", "credentials elsewhere"))
            return uri
        base = Path.cwd() if self._is_overridden(location) else self.folder
        try:
            return normalise(expand_time(uri, self.time) if self.time else uri, base)
        except SpecError as error:
            self.problems.extend(Problem(where, f"{uri!r}: {p.found}", p.expected) for p in error.problems)
            return uri

    def _is_overridden(self, location: Location) -> bool:
        return any(location[: len(place)] == place for place in self.overridden)
