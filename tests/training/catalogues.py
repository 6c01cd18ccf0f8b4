"""Catalogues for tests: of made-up rows, and of real inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.datasets.table import format_named
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.plan import make_plan
from vision_batch.tasks.settings import TaskSettings
from vision_batch.training.catalogue import BLOCKS, Catalogue
from vision_batch.training.catalogue_build import build_catalogue, count_images
from vision_batch.training.catalogue_rows import ROW, Rows
from vision_batch.training.hash64 import mixed
from vision_batch.training.settings import ValidationSettings
from vision_batch.training.split_sets import make_split

CLASSIFICATION = TaskSettings(type="classification")


class HeldRows(Rows):
    """Rows that were never stored."""

    def __init__(self, rows: np.ndarray) -> None:
        super().__init__("", len(rows), ())
        self._held = rows

    def objects(self) -> Any:
        yield self._held


def made_up(
    blocks: Sequence[Sequence[int]],
    *,
    classes: int = 3,
    validation: ValidationSettings | None = None,
    lanes: int = 64,
    pool_rows: int = 8,
) -> Catalogue:
    """A catalogue of one shard per block; of each block the labels of its rows are given, -1 for none."""
    sizes = np.array([len(block) for block in blocks], np.int64)
    rows = np.empty(sizes.sum(), ROW)
    rows["name"] = mixed(np.arange(len(rows)), 17)
    rows["label"] = [label for block in blocks for label in block]
    split = make_split(validation, classes, lambda: iter([(rows["label"].copy(), rows["name"].copy())]))
    columns = {"shard": np.arange(len(blocks)), "first": 0 * sizes, "rows": sizes, "begin": 0 * sizes}
    catalogue = Catalogue(
        shards=tuple(Shard(key=f"s{n}", input_name="", root="/", format="folder") for n in range(len(blocks))),
        labels=tuple(map(str, range(classes))),
        blocks={name: columns.get(name, np.cumsum(sizes) - sizes) for name in BLOCKS.names},
        counts=np.zeros((len(blocks), split.parts), np.int64),
        sums=np.zeros((len(blocks), split.parts), np.uint64),
        class_images=np.zeros((split.parts, classes), np.int64),
        classes=np.arange(classes, dtype=np.int32),
        split=split,
        lanes=lanes,
        pool_rows=pool_rows,
        rows=HeldRows(rows),
    )
    count_images(catalogue)
    return catalogue


def catalogue_of(
    output: Path | str,
    settings: InputSettings,
    *,
    task: TaskSettings = CLASSIFICATION,
    labels: tuple[str, ...] | None = None,
    validation: ValidationSettings | None = None,
    lanes: int = 64,
) -> Catalogue:
    """Plans an input and makes its catalogue."""
    paths = LedgerPaths(str(output))
    plan = make_plan(paths, settings, format_named(settings.format), cell_rows=1024, write=True)
    return build_catalogue(paths, settings, plan, task=task, labels=labels, validation=validation, lanes=lanes)
