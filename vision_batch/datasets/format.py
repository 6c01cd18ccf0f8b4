"""The seam for dataset formats: one file each, one line in `FORMATS` of `vision_batch.datasets.table`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from vision_batch.datasets.entry import Entry, Span
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.shard import Shard
from vision_batch.errors import Problem
from vision_batch.storage.object_info import ObjectInfo

if TYPE_CHECKING:
    import pyarrow as pa


class Format(Protocol):
    """How one format is cut into shards and read. Formats hold no state and are chosen by name."""

    @property
    def grouped(self) -> bool:
        """Whether a file is one image, so that the plan groups many files into one shard."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """Of the files that belong to the dataset, in lower case, without a dot."""

    def is_member(self, uri: str) -> bool:
        """Whether a listed object belongs to the dataset; others are counted as ignored."""

    def problems(self, settings: InputSettings) -> list[Problem]:
        """What in `settings` this format cannot do, known without looking at the data."""

    def cut(self, file: ObjectInfo, root: str, input_name: str, settings: InputSettings) -> list[Shard]:
        """The shards of one file, in order; the same file gives the same shards. Not called for grouped formats.

        Several threads may call it at once. SpecError if the file has not the columns that the settings name.
        """

    def extra_fields(self, shard: Shard, settings: InputSettings) -> list[pa.Field]:
        """The output's `truth` and `input_<name>` fields, in this order, as the input's own types."""

    def entries(self, shard: Shard, settings: InputSettings, *, labels: bool) -> Iterator[Entry | None]:
        """Every row of the shard, in order, at the least cost; None for one whose file was pruned.

        Without `labels` every truth is None, and no label is read. The same errors stop it as stop `read`.
        """

    def read(
        self, shard: Shard, settings: InputSettings, wanted: Callable[[int], bool], span: Span | None = None
    ) -> Iterator[Sample]:
        """The shard's rows for which `wanted(row)`, in order, each exactly once; the others are skipped cheaply.

        With a `span`, made from the shard's entries, no row outside of it is wanted: little more than it is read, and
        little memory taken for that.

        `wanted` is asked once for every row of the shard, in order, so that whoever reads to the end has seen how
        many there are. What a row holds does not depend on which others are wanted. NotFoundError, ChangedError,
        ForbiddenError and UnavailableError of the shard's own files stop the reading; nothing else does.
        """
