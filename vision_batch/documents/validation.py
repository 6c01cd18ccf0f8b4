"""Plain values to settings, and pydantic's complaints in plain words, all at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vision_batch.documents.document import describe_value
from vision_batch.documents.schema import alternatives, correction, describe_schema, schema_at, section_keys
from vision_batch.errors import Problem, SpecError

Location = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)


def validate_settings(model: type[Model], document: Mapping[str, Any], *, what: str) -> Model:
    """The settings that `document` describes. SpecError with every problem; `what` is the whole, as: the spec."""
    problems = list(_booleans_out_of_place(document, model_schema(model)))
    try:
        settings = model.model_validate(document)
    except ValidationError as error:
        problems += _problems(error, document, model, what)
    if problems:
        raise SpecError(_once_each(problems))
    return settings


def settings_of_kind(
    key: str, document: Mapping[str, Any], kinds: Mapping[str, type[Model]], *, what: str
) -> type[Model]:
    """The settings that the value of `key` names; SpecError for one that there is not among `what`: kinds of job."""
    kind = document.get(key)
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    found = "nothing" if kind is None else describe_value(kind)
    near = difflib.get_close_matches(str(kind), kinds, n=1)
    suggestion = f" (did you mean {near[0]!r}?)" if near and kind is not None else ""
    raise SpecError(Problem(key, found + suggestion, f"one of the {what}: {', '.join(kinds)}"))


@lru_cache
def model_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of a kind's settings."""
    return model.model_json_schema()


def _problems(error: ValidationError, document: Any, model: type[BaseModel], what: str) -> Iterator[Problem]:
    schema = model_schema(model)
    found = [(_location(document, e["loc"], e["type"]), e) for e in error.errors(include_url=False)]
    locations = {location for location, _ in found}
    judged = {location for location, detail in found if detail["type"] == "value_error"}
    for location, detail in found:
        deeper = any(len(other) > len(location) and other[: len(location)] == location for other in locations)
        if (deeper or location in judged) and detail["type"] != "value_error":
            continue  # another branch of a union got further: that one is what was meant
        yield _problem(location, detail, document, schema, what)


def _location(document: Any, loc: Location, kind: str) -> Location:
    """pydantic's location without the names of union branches, which are no part of the document."""
    here = document
    path: list[str | int] = []
    for index, part in enumerate(loc):
        last = index == len(loc) - 1
        if _has(here, part):
            here = here[part]
        elif not (last and kind == "missing" and isinstance(part, str)):  # a list that is too short is itself to blame
            continue
        path.append(part)
    return tuple(path)


def _has(value: Any, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _problem(location: Location, detail: Any, document: Any, schema: dict[str, Any], what: str) -> Problem:
    where = ".".join(map(str, location)) or what
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(where, location, schema)
        case "missing" if isinstance(location[-1], str) and not _has(_at(document, location[:-1]), location[-1]):
            return Problem(where, "nothing", describe_schema(schema_at(schema, location), schema))
        case "value_error":
            value = _at(document, location)
            found = "" if isinstance(value, Mapping) else describe_value(value)  # the parts of a section do not agree
            return Problem(where, found, str(detail["ctx"]["error"]))
        case _:
            value, wanted = _at(document, location), schema_at(schema, location)
            expected = correction(value, wanted, schema) or describe_schema(wanted, schema)
            return Problem(where, describe_value(value), expected)


def _unknown_key(where: str, location: Location, schema: dict[str, Any]) -> Problem:
    *parents, key = location
    known = section_keys(schema_at(schema, tuple(parents)), schema)
    return Problem(
        where, f"an unknown key{_suggestion(str(key), parents, known, schema)}", f"one of {', '.join(known)}"
    )


def _suggestion(key: str, parents: list[str | int], known: list[str], schema: dict[str, Any]) -> str:
    """Where `key` belongs, or what it may have been meant to be."""
    sections = {name: keys for name, child in schema["properties"].items() if (keys := section_keys(child, schema))} | {
        "the top level": list(schema["properties"])
    }
    elsewhere = [name for name, keys in sections.items() if key in keys and [name] != parents]
    if elsewhere:
        return f" ({key!r} belongs {'at' if elsewhere[0].startswith('the ') else 'under'} {elsewhere[0]})"
    if near := difflib.get_close_matches(key, known, n=1):
        return f" (did you mean {near[0]!r}?)"
    for name, keys in sections.items():
        if near := difflib.get_close_matches(key, keys, n=1, cutoff=0.8):
            return f" (did you mean {near[0]!r} {'at' if name.startswith('the ') else 'under'} {name}?)"
    return ""


def _booleans_out_of_place(value: Any, root: dict[str, Any], location: Location = ()) -> Iterator[Problem]:
    """`true` where a number belongs: pydantic would take it for 1."""
    if isinstance(value, Mapping | list):
        pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, child in pairs:
            yield from _booleans_out_of_place(child, root, (*location, key))
    elif isinstance(value, bool):
        schema = schema_at(root, location)
        if any(choice.get("type") in ("integer", "number") for choice in alternatives(schema, root)):
            yield Problem(".".join(map(str, location)), describe_value(value), describe_schema(schema, root))


def _once_each(problems: list[Problem]) -> list[Problem]:
    """The branches of a union complain one by one; a reader wants one line a place."""
    return list({(problem.where, problem.found): problem for problem in problems}.values())


def _at(document: Any, location: Location) -> Any:
    for part in location:
        document = document[part]
    return document
