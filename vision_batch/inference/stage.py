"""A stage: what turns chunks into the chunks of the next stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from vision_batch.inference.stopwatch import Stopwatch

Run: TypeAlias = Callable[[Iterator[Any], Stopwatch], Iterator[Any]]
"""Chunks in, chunks out, one for one and in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`run` may be called by several threads; `device` says where it works: cpu, cuda:0, ..."""

    device: str
    run: Run
