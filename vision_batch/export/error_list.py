"""What an export leaves out, image by image: nothing is lost without a word."""

from __future__ import annotations

import csv
import io
import tempfile
from collections import Counter
from typing import BinaryIO, Final, cast

from vision_batch.export.target import Target

NAME: Final = "_errors.csv"
COLUMNS: Final = ("image_id", "shard", "row", "error_code", "error")


class ErrorList:
    """The rows of `_errors.csv`, which is there only if there are any. They wait in a temporary file.

    A context: leaving it forgets the file.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 (open until `__exit__`)
        self._text = io.TextIOWrapper(self._file, "utf-8", newline="")
        self._csv = csv.writer(self._text, lineterminator="\n")
        self._csv.writerow(COLUMNS)

    def __enter__(self) -> ErrorList:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()

    def add(self, image_id: str | None, shard: str | None, row: int | None, code: str, error: str | None) -> None:
        """`code` is an error row's, or what else kept the image away: `not_copied`, `name_taken`."""
        self.counts[code] += 1
        self._csv.writerow((image_id, shard, row, code, error))

    def write(self, target: Target) -> None:
        """Ends the list."""
        self._text.flush()
        if self.counts:
            target.put_file(NAME, self._file)
