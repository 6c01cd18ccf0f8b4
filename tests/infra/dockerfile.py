"""Dockerfiles as data: as much of their language as ours use, and a complaint about anything else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER"}
FROM = re.compile(r"(?P<image>\S+) AS (?P<name>[a-z][a-z0-9-]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """COPY: `sources` from the context, or from the stage `origin`, to `target`."""

    sources: tuple[str, ...]
    target: str
    origin: str | None


@dataclass(slots=True, kw_only=True)
class Stage:
    """What one FROM begins. `image` is an image or the name of an earlier stage."""

    name: str
    image: str
    user: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    copies: list[Copy] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction and its arguments, in one line. ValueError for what is not known here."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, _, arguments = line.partition(" ")
        if name not in KNOWN:
            raise ValueError(f"{name}: not an instruction that is known here")
        yield name, arguments.strip()


def stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile in their order; each but the base images' begins as the one that it is made from."""
    found: dict[str, Stage] = {}
    for name, arguments in instructions(text):
        if name == "FROM":
            match = FROM.fullmatch(arguments)
            if match is None:
                raise ValueError(f"FROM {arguments}: a stage has a name")
            before = found.get(match["image"])
            stage = Stage(name=match["name"], image=match["image"], user=before.user if before else None)
            stage.env.update(before.env if before else {})
            found[stage.name] = stage
        elif name == "USER":
            stage.user = arguments
        elif name == "RUN":
            stage.commands.append(arguments)
        elif name == "ENV":
            stage.env.update(dict(part.split("=", 1) for part in shlex.split(arguments)))
        elif name == "COPY":
            stage.copies.append(_copy(arguments.split()))
    return list(found.values())


def _copy(words: list[str]) -> Copy:
    origin = None
    if words[0].startswith("--"):
        option, _, origin = words.pop(0).partition("=")
        if option != "--from":
            raise ValueError(f"COPY {option}: not an option that is known here")
    *sources, target = words
    return Copy(sources=tuple(sources), target=target, origin=origin)
