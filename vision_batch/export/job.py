"""One export on its way: what goes into it, where to, and what was counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vision_batch.export.class_names import ClassNames
from vision_batch.export.error_list import ErrorList
from vision_batch.export.row import Row, good_rows, with_images
from vision_batch.export.target import Target
from vision_batch.ledger.predictions import Predictions
from vision_batch.ledger.source_images import SourceImages


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a person may ask for besides the format.

    `min_score`: predictions of less are left out. `copy_images`: they lie beside the labels. `scores`: labels in text
    have a score at their end. `image_prefix`: what stands before an image's id in its URL.
    """

    min_score: float | None = None
    copy_images: bool = False
    scores: bool = False
    image_prefix: str | None = None


@dataclass(slots=True, kw_only=True)
class Job:
    """What a format writes from, and into. It counts `images` and `annotations` itself.

    `sized` asks for rows whose images have a size; `source` is there where images are copied. `left_out` counts images
    of which nothing is exported, since their score is too low.
    """

    predictions: Predictions
    target: Target
    options: Options
    names: ClassNames
    errors: ErrorList
    sized: bool
    source: SourceImages | None
    images: int = 0
    annotations: int = 0
    left_out: int = 0

    def rows(self) -> Iterator[Row]:
        """The good rows."""
        return good_rows(self.predictions, self.errors, self.options.min_score, sized=self.sized)

    def rows_with_images(self) -> Iterator[Row]:
        """The good rows whose image can be read, with it."""
        assert self.source is not None, "asked for where images are copied"
        return with_images(self.rows(), self.source, self.errors)

    def put(self, row: Row, files: Sequence[tuple[str, bytes]], then: Callable[[], None]) -> None:
        """Writes the files of an image; `then` is called when they are there, in the order of these calls.

        Where another image has the name of one it is an error of this one, of which those behind it are not written.
        """

        def done(are_there: bool) -> None:
            if are_there:
                then()
            else:
                text = f"{' or '.join(name for name, _ in files)} is there already, of another image"
                self.errors.add(row.image_id, row.shard, row.row, "name_taken", text)

        self.target.put(files, done)

    def note_broken(self, row: Row, error: Exception) -> None:
        """Of a mask that is none."""
        self.errors.add(row.image_id, row.shard, row.row, "bad_prediction", str(error))

    def count(self, annotations: int) -> None:
        """One more image."""
        self.images += 1
        self.annotations += annotations
