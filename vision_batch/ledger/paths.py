"""The one place that knows the names of files in and beside an output."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from vision_batch.storage.uri import join

MEMBERS = re.compile(r"(\d{6})-[0-9a-f]{32}\.members")
SEGMENT = re.compile(r"(\d{6})\.plan")
PART = re.compile(r"(part-[0-9a-f]{16})-\d{6,}\.parquet")

WAY_OUT = "restore it from a copy, or begin another output"
"""Of what the plan says, nothing can be made again: a new plan may put an image into another cell, beside its row."""


@dataclass(frozen=True, slots=True)
class LedgerPaths:
    """URIs below one output folder.

    Everything but parts is in `_ledger/` and without the suffix `.parquet`: some readers take every Parquet file of a
    tree, whatever its folder is called.
    """

    output: str

    def part_name(self, shard: str, cell: int) -> str:
        """The file name of a cell's part. Fixed by the cell alone, so that whoever writes it writes the same file."""
        return f"{self.part_stem(shard)}-{cell:06d}.parquet"

    def part_stem(self, shard: str) -> str:
        """What the names of all parts of a shard begin with."""
        return f"part-{hashlib.sha256(shard.encode()).hexdigest()[:16]}"

    @staticmethod
    def stem_of(uri: str) -> str | None:
        """The stem of a name that a cell's part could have, None for any other."""
        match = PART.fullmatch(uri.rpartition("/")[2])
        return match[1] if match else None

    def part(self, shard: str, cell: int) -> str:
        return join(self.output, self.part_name(shard, cell))

    def is_table_file(self, uri: str) -> bool:
        """Whether readers of OUTPUT/*.parquet see this object of the output's tree."""
        folder, _, name = uri.rpartition("/")
        return folder == self.output.rstrip("/") and name.endswith(".parquet")

    @property
    def ledger(self) -> str:
        return join(self.output, "_ledger")

    @property
    def definition(self) -> str:
        return join(self.ledger, "definition.json")

    @property
    def plan(self) -> str:
        return join(self.ledger, "plan")

    def segment(self, number: int) -> str:
        """Segment `number` of the plan, counted from 1."""
        return join(self.plan, f"{number:06d}.plan")

    def segment_number(self, uri: str) -> int | None:
        """The number of a segment's URI, None for any other object."""
        match = SEGMENT.fullmatch(uri.rpartition("/")[2])
        return int(match[1]) if match else None

    def members_name(self, segment: int, digest: str) -> str:
        """What an object is called that holds the files of groups of one segment."""
        return f"{segment:06d}-{digest}.members"

    def members(self, name: str) -> str:
        """An object beside the segments that holds the files of groups."""
        return join(self.plan, name)

    def members_segment(self, uri: str) -> int | None:
        """The segment that the URI of such an object names, None for any other object."""
        match = MEMBERS.fullmatch(uri.rpartition("/")[2])
        return int(match[1]) if match else None

    @property
    def catalogue(self) -> str:
        """Where a training keeps what it counted of its input."""
        return join(self.ledger, "catalogue")

    @property
    def validation(self) -> LedgerPaths:
        """The ledger, within this one, of validation images that are an input of their own."""
        return LedgerPaths(join(self.ledger, "validation"))

    @property
    def manifest(self) -> str:
        return join(self.ledger, "manifest")

    @property
    def lease(self) -> str:
        return join(self.ledger, "lease")

    @property
    def runs(self) -> str:
        return join(self.ledger, "runs")

    def run(self, run_id: str) -> str:
        return join(self.runs, f"{run_id}.json")

    @property
    def scratch(self) -> str:
        """Where files are written before they are linked into place; used on file systems only."""
        return join(self.ledger, "tmp")

    @property
    def replacements(self) -> str:
        """Where parts lie that cannot be put over others in one step, while the others make way."""
        return join(self.ledger, "replacements")

    def replacement(self, part_name: str) -> str:
        return join(self.replacements, part_name.removesuffix(".parquet"))

    def damaged(self, part_name: str, digest: str) -> str:
        """Where a repair puts what it found in a part's place, by the digest of its bytes."""
        return join(self.ledger, "damaged", f"{part_name.removesuffix('.parquet')}-{digest}")

    def metrics(self, run_id: str) -> str:
        """A run's metrics folder, beside the output and not in it: OUTPUT/*.parquet is nothing but parts."""
        return join(f"{self.output.rstrip('/')}-metrics", run_id)
