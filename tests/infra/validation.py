"""Whether an object is what Kubernetes, KubeRay, Kueue and the Prometheus Operator take, by their schemas.

An API server drops a field that it does not know, in silence; here it is an error.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

SCHEMAS = Path(__file__).parent.parent / "schemas"
KUBERNETES = "1.33"


def validate(found: dict[str, Any]) -> None:
    """jsonschema.ValidationError for an object that is wrong in any field."""
    group = found["apiVersion"].partition("/")[0]
    kind = f"{found['apiVersion']}/{found['kind']}"
    if group == "ray.io":
        jsonschema.Draft202012Validator(kuberay_schema(found["kind"])).validate(found)
    elif kind in other_schemas():
        jsonschema.Draft202012Validator(other_schemas()[kind]).validate(found)
    else:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


@cache
def kuberay_schema(kind: str) -> Any:
    text = (SCHEMAS / "kuberay" / f"ray.io_{kind.lower()}s.yaml").read_text()
    versions = yaml.load(text, Loader=yaml.CSafeLoader)["spec"]["versions"]
    (schema,) = (version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1")
    schema["properties"]["metadata"] = {}
    return _closed(schema)


@cache
def other_schemas() -> dict[str, Any]:
    known = yaml.safe_load((SCHEMAS / "others.yaml").read_text())
    top = {"apiVersion": {}, "kind": {}, "metadata": {"$ref": "#/definitions/metadata"}}
    for schema in known["kinds"].values():
        schema["properties"].update(top)
        schema["definitions"] = known["definitions"]
    return {kind: _closed(schema) for kind, schema in known["kinds"].items()}


def _closed(schema: Any) -> Any:
    """The same schema, where an object has no fields but those that it lists."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
        closed.setdefault("type", "object")
    return closed
