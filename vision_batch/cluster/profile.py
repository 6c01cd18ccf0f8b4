"""A profile: the YAML file that says how to reach a cluster, validated as strictly as a spec."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from vision_batch.cluster.kuberay_profile import KubeRayProfile
from vision_batch.documents.document import read_document
from vision_batch.documents.validation import settings_of_kind, validate_settings
from vision_batch.errors import Problem, SpecError
from vision_batch.settings import Settings
from vision_batch.storage.uri import is_inside

FOLDER = Path("cluster")
"""Where a profile is looked for that is given by its name."""
PROFILE_FILE = "a profile: a YAML file that begins with kind: local, ray or kuberay"


def _is_an_address(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_complete = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port has that number, or an IPv6 address that does not end
        is_complete = False
    if not is_complete:
        raise ValueError("the URL of the cluster's dashboard, as http://127.0.0.1:8265")
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL without credentials: the token comes from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH")
    if parts.query or parts.fragment:
        raise ValueError("a URL without ? and #")
    return value.rstrip("/")


def _is_absolute(value: str) -> str:
    if not os.path.isabs(value) or os.path.normpath(value) == "/":
        raise ValueError("an absolute path of a folder, which every node sees under this same path")
    return os.path.normpath(value)


SharedPaths = list[Annotated[str, AfterValidator(_is_absolute)]]


class LocalProfile(Settings):
    """This machine: each job is a process with a Ray of its own."""

    kind: Literal["local"]

    def sees(self, path: str) -> bool:
        """Whether the job finds the local `path` where this process does."""
        return True


class RayProfile(Settings):
    """A Ray cluster that runs already. `address` is its dashboard's, for the Jobs API.

    `auth` is `token` (from RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH) or, said aloud, `none`. `shared_paths` are the local
    folders that every node sees under the same path: a spec may name files below them.
    """

    kind: Literal["ray"]
    address: Annotated[str, AfterValidator(_is_an_address)]
    auth: Literal["token", "none"] = "token"
    shared_paths: SharedPaths = Field(default_factory=list)

    def sees(self, path: str) -> bool:
        """Whether every node finds the local `path`, an absolute one, where this machine does."""
        return any(is_inside(path, shared) for shared in self.shared_paths)


ProfileSettings = LocalProfile | RayProfile | KubeRayProfile

# One line a kind of cluster.
PROFILES: dict[str, type[ProfileSettings]] = {
    "local": LocalProfile,
    "ray": RayProfile,
    "kuberay": KubeRayProfile,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedProfile:
    """A profile that is valid. `name` is its file's, without the ending; `folder` is absolute."""

    path: Path
    folder: Path
    name: str
    settings: ProfileSettings


def load_profile(text: str) -> LoadedProfile:
    """The profile that `--cluster` names: a YAML file's path, or NAME for ./cluster/NAME.yaml.

    SpecError with every problem.
    """
    path = _path(text)
    document = read_document(path, expected=PROFILE_FILE)
    try:
        model = settings_of_kind("kind", document, PROFILES, what="kinds of profile")
        settings = validate_settings(model, document, what="the profile")
    except SpecError as error:
        raise SpecError([Problem(f"{path}: {p.where}", p.found, p.expected) for p in error.problems]) from error
    return LoadedProfile(path=path, folder=path.absolute().parent, name=path.stem, settings=settings)


def _path(text: str) -> Path:
    """SpecError, naming the profiles that there are, for a name without a file."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        return path
    named = FOLDER / f"{text}.yaml"
    if named.is_file():
        return named
    found = f"{text!r}, and there is no {named}"
    names = sorted(found.stem for found in FOLDER.glob("*.yaml"))
    there = f" ({', '.join(names)})" if names else ""
    raise SpecError(Problem("--cluster", found, f"the path of a profile, or the name of one in ./{FOLDER}{there}"))
