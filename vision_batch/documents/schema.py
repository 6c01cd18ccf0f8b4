"""What the JSON Schema of settings says of one place, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Location = tuple[str | int, ...]


def schema_at(root: Mapping[str, Any], location: Location) -> dict[str, Any]:
    """The part of `root` that describes the value at `location`; empty (anything goes) where nothing does."""
    schema = dict(root)
    for part in location:
        schema = next((child for choice in alternatives(schema, root) if (child := _child(choice, part))), {})
    return schema


def alternatives(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema without references and unions: each of the things that it allows."""
    if "$ref" in schema:
        yield from alternatives(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in schema:
        for choice in schema["anyOf"]:
            yield from alternatives(choice, root)
    else:
        yield dict(schema)


def section_keys(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    """The keys that a section may have, in their order; none for what is no section."""
    return [key for choice in alternatives(schema, root) for key in choice.get("properties", ())]


def describe_schema(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What the schema expects, in plain words: `auto or a whole number of at least 1`."""
    known = section_keys(schema, root)  # a key may stand alone for its section: once is enough
    words = [word for choice in alternatives(schema, root) for word in _describe(choice, root) if word not in known]
    *first, last = dict.fromkeys(words) if words else ["anything"]
    return f"{', '.join(first)} or {last}" if first else last


def correction(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str | None:
    """What to write instead of a `value` that is nearly right; None for others.

    That is one thing where a list of such belongs, and the name alone of a section that begins with it.
    """
    choices = list(alternatives(schema, root))
    if value and choices and all("items" in choice for choice in choices):
        items = {item.get("type") for choice in choices for item in alternatives(choice["items"], root)}
        if isinstance(value, Mapping) and "object" in items:
            return f"a list, even of one: [{{{next(iter(value))}: …}}]"
        if isinstance(value, str) and "string" in items:
            return f"a list, even of one: [{value}]"
    for key in ("name", "type"):
        known = [name for choice in choices for name in choice.get("properties", {}).get(key, {}).get("enum", ())]
        if isinstance(value, str) and known:
            return f"{{{key}: {value}}}" if value in known else f"{{{key}: …}}, of {', '.join(known)}"
    return None


def _child(schema: Mapping[str, Any], part: str | int) -> dict[str, Any] | None:
    if isinstance(part, int):
        prefix = schema.get("prefixItems", [])
        return prefix[part] if part < len(prefix) else schema.get("items")
    named = schema.get("additionalProperties")  # a bool where it describes nothing
    return schema.get("properties", {}).get(part) or (named if isinstance(named, dict) else None)


def _describe(schema: Mapping[str, Any], root: Mapping[str, Any]) -> list[str]:
    if "const" in schema or "enum" in schema:
        return [str(value) for value in schema.get("enum", [schema.get("const")])]
    match schema.get("type"):
        case "string":
            return ["text" + (f" that matches {schema['pattern']}" if "pattern" in schema else "")]
        case "integer":
            return ["a whole number" + _range(schema)]
        case "number":
            return ["a number" + _range(schema)]
        case "boolean":
            return ["true or false"]
        case "array":
            return [_describe_list(schema, root)]
        case "object":
            keys = ", ".join(schema.get("properties", ()))
            return [f"a section with the keys {keys}" if keys else "a section"]
        case _:
            return []


def _describe_list(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        first = describe_schema(schema["prefixItems"][0], root)
        return f"a list of {len(schema['prefixItems'])}, each {first}"
    items = describe_schema(schema.get("items", {}), root)
    return "a list" if items == "anything" else f"a list, each {items}"


def _range(schema: Mapping[str, Any]) -> str:
    low, high, above, below = (
        schema.get(key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    )
    if low is not None and high is not None:
        return f" from {low} to {high}"
    bounds = {"of at least": low, "above": above, "of at most": high, "below": below}
    return " and".join(f" {word} {bound:.15g}" for word, bound in bounds.items() if bound is not None)
