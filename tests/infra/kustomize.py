"""What `kubectl kustomize` makes of a folder: as much of it as ours use, and a complaint about anything else.

Where kubectl is installed a test compares the two; everywhere the objects can be looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonpatch
import yaml

Object = dict[str, Any]

KNOWN = {"apiVersion", "kind", "namespace", "resources", "images", "patches", "configMapGenerator", "generatorOptions"}
CLUSTER_SCOPED = {"Namespace", "ClusterQueue", "ResourceFlavor"}
"""Of the kinds that ours use; Kubernetes refuses these with a namespace."""


def render(folder: Path) -> list[Object]:
    """The objects of a folder with a kustomization.yaml. ValueError for what is not known here."""
    asked = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := asked.keys() - KNOWN:
        raise ValueError(f"{folder}: {', '.join(sorted(unknown))}: not known here")
    objects = [found for name in asked.get("resources", []) for found in _resource(folder / name)]
    objects += [_config_map(folder, generator, asked) for generator in asked.get("configMapGenerator", [])]
    for patch in asked.get("patches", []):
        objects = [_patched(found, folder, patch) for found in objects]
    for image in asked.get("images", []):
        for found in objects:
            _set_images(found, image)
    if namespace := asked.get("namespace"):
        for found in objects:
            if found["kind"] not in CLUSTER_SCOPED:
                found["metadata"]["namespace"] = namespace
            for subject in found.get("subjects", []):
                subject["namespace"] = namespace
    return objects


def identity(found: Object) -> tuple[str, str]:
    return found["kind"], found["metadata"]["name"]


def _resource(path: Path) -> list[Object]:
    return render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))


def _config_map(folder: Path, generator: Object, asked: Object) -> Object:
    options = {**asked.get("generatorOptions", {}), **generator.get("options", {})}
    if options.get("disableNameSuffixHash") is not True:
        raise ValueError(f"{folder}: a name that changes with the content is not known here")
    data = {Path(name).name: (folder / name).read_text() for name in generator["files"]}
    metadata = {"name": generator["name"], "labels": options.get("labels", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _patched(found: Object, folder: Path, patch: Object) -> Object:
    if identity(found) != (patch["target"]["kind"], patch["target"]["name"]):
        return found
    operations = yaml.safe_load((folder / patch["path"]).read_text())
    return dict(jsonpatch.apply_patch(found, operations))


def _set_images(part: Any, image: Object) -> None:
    """In every list of containers, however deep."""
    if isinstance(part, list):
        for each in part:
            _set_images(each, image)
    if isinstance(part, dict):
        for container in part.get("containers") or []:
            if isinstance(container, dict) and container.get("image") == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
        for each in part.values():
            _set_images(each, image)
