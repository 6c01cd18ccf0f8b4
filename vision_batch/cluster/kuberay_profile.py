"""A profile of `kind: kuberay`: the Ray cluster that KubeRay makes in Kubernetes for one job, and takes away again."""

from __future__ import annotations

import re
from posixpath import normpath
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from vision_batch.settings import SECRET_WORDS, Settings
from vision_batch.storage.uri import is_inside

Label = Annotated[str, Field(pattern=r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$")]
"""A name of Kubernetes that leaves room for what KubeRay appends to it."""

ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
Memory = Annotated[str, Field(pattern=r"^[1-9][0-9]*(Mi|Gi|Ti)$")]
Seconds = Annotated[int, Field(ge=1)]

OWN_FOLDERS = ("/tmp", "/dev", "/opt/vision-batch", "/opt/job")
"""What every pod has already: room for temporary files, shared memory, the installation and the job's own files."""

UNITS = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
MANAGED_VARIABLES = ("HOME", "RAY_ADDRESS", "RAY_REDIS_ADDRESS", "REDIS_USERNAME", "RAY_enable_autoscaler_v2")
"""Those that KubeRay or our own pods set."""

FIRST_WITH_TOKENS = (2, 52)
"""The first Ray whose dashboard and nodes ask for a token."""

MOST_GROUPS_IN_A_QUEUE = 7
"""Kueue takes eight sets of pods in a job, and one is the head's."""


def memory_bytes(quantity: str) -> int:
    """What a quantity as `32Gi` is in bytes."""
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


class HeadSettings(Settings):
    """The head's pod: Ray's own processes and the driver, and no work of a job."""

    cpus: Annotated[int, Field(ge=1)] = 2
    memory: Memory = "8Gi"


class GroupSettings(Settings):
    """Nodes of one kind. Between `min_nodes` and `max_nodes` Ray's autoscaler decides.

    `shared_memory` is part of `memory`; by default three tenths of it, as much as Ray gives its object store.
    """

    name: Label
    cpus: Annotated[int, Field(ge=1)]
    memory: Memory
    gpus: Annotated[int, Field(ge=0)] = 0
    gpu_resource: Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")] = "nvidia.com/gpu"
    node_selector: dict[str, str] = Field(default_factory=dict)
    shared_memory: Memory | None = None
    min_nodes: Annotated[int, Field(ge=0)] = 1
    max_nodes: Annotated[int, Field(ge=1)] = 1
    spot: bool = False

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"max_nodes of at least min_nodes, not {self.max_nodes} and {self.min_nodes}")
        if self.shared_memory and memory_bytes(self.shared_memory) >= memory_bytes(self.memory):
            raise ValueError(f"shared_memory that is part of memory, not {self.shared_memory} of {self.memory}")
        return self


class SpotSettings(Settings):
    """The label by which a cloud marks its spot nodes, which is also the taint that keeps other pods away."""

    key: Annotated[str, Field(min_length=1)]
    value: str


class VolumeSettings(Settings):
    """A persistent volume claim that every node mounts at `path`."""

    claim: ObjectName
    path: str
    read_only: bool = False

    @field_validator("path")
    @classmethod
    def _is_a_place_for_it(cls, path: str) -> str:
        taken = any(is_inside(own, path) or is_inside(path, own) for own in OWN_FOLDERS)
        if not path.startswith("/") or normpath(path) != path or ":" in path or taken:
            raise ValueError(f"an absolute path outside {', '.join(OWN_FOLDERS)}")
        return path


class SecretKeySettings(Settings):
    """One key of a Kubernetes secret."""

    secret: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$")]


class RedisSettings(Settings):
    """Where the head keeps what must outlive it: a head that is started anew finds its cluster again."""

    address: Annotated[str, Field(pattern=r"^(rediss?://)?[^\s/@]+:[0-9]+$")]
    password: SecretKeySettings | None = None


class KubeRayProfile(Settings):
    """A Ray cluster of its own for each job. `image` holds vision-batch and Ray at `ray_version`.

    `context` is one of the kubeconfig; None is its current one, or the pod's own account inside a cluster. `secrets`
    are Kubernetes secrets whose keys become environment variables on every node. `queue` is a local queue of Kueue.
    `retries` are whole new clusters; `deadline_s` is for each of them, waiting for nodes included; `ttl_s` is how long
    one outlives its job. Of each schedule, `history` jobs that were done and as many that failed are kept.
    """

    kind: Literal["kuberay"]
    context: str | None = None
    namespace: ObjectName = "default"
    image: Annotated[str, Field(pattern=r"^[^\s]+$")]
    ray_version: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    auth: Literal["token", "none"] = "token"
    head: HeadSettings = Field(default_factory=HeadSettings)
    groups: Annotated[list[GroupSettings], Field(min_length=1)]
    spot_nodes: SpotSettings | None = None
    service_account: ObjectName | None = None
    image_pull_secrets: list[ObjectName] = Field(default_factory=list)
    secrets: list[ObjectName] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    volumes: list[VolumeSettings] = Field(default_factory=list)
    redis: RedisSettings | None = None
    queue: ObjectName | None = None
    run_as_user: Annotated[int, Field(ge=1)] = 1000
    retries: Annotated[int, Field(ge=0)] = 2
    deadline_s: Seconds | None = None
    ttl_s: Annotated[int, Field(ge=0)] = 0
    history: Annotated[int, Field(ge=0)] = 3

    def sees(self, path: str) -> bool:
        """Whether every node finds the local `path`, an absolute one, where this machine does."""
        return any(is_inside(path, volume.path) for volume in self.volumes)

    @property
    def autoscaling(self) -> bool:
        """Whether the number of nodes may change while a job runs."""
        return any(group.min_nodes < group.max_nodes for group in self.groups)

    @field_validator("groups")
    @classmethod
    def _names_differ(cls, groups: list[GroupSettings]) -> list[GroupSettings]:
        names = [group.name for group in groups]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"groups with names of their own; there are two called {', '.join(twice)}")
        return groups

    @field_validator("volumes")
    @classmethod
    def _paths_differ(cls, volumes: list[VolumeSettings]) -> list[VolumeSettings]:
        paths = [volume.path for volume in volumes]
        if len(set(paths)) < len(paths):
            raise ValueError("volumes with paths of their own")
        return volumes

    @field_validator("environment")
    @classmethod
    def _has_no_secrets(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"names of environment variables, not {name!r}")
            if any(word in name.upper() for word in SECRET_WORDS):
                raise ValueError(f"no secrets: {name} belongs into a Kubernetes secret, which `secrets` names")
            if name in MANAGED_VARIABLES:
                raise ValueError(f"none of the variables that are set already: {', '.join(MANAGED_VARIABLES)}")
        return environment

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.spot_nodes is None and any(group.spot for group in self.groups):
            raise ValueError("spot_nodes, the label of the cloud's spot nodes, because a group says spot: true")
        if self.auth == "token" and tuple(map(int, self.ray_version.split(".")[:2])) < FIRST_WITH_TOKENS:
            raise ValueError(f"a ray_version of at least 2.52.0 for auth: token, not {self.ray_version}")
        if self.queue and self.autoscaling:
            raise ValueError("min_nodes equal to max_nodes in every group: Kueue admits jobs whose size is known")
        if self.queue and len(self.groups) > MOST_GROUPS_IN_A_QUEUE:
            raise ValueError(f"at most {MOST_GROUPS_IN_A_QUEUE} groups in a queue of Kueue")
        return self
