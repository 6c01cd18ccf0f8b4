"""Predictions for other tools: one call writes them in one format into one folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

from vision_batch.errors import Problem, SpecError
from vision_batch.export.class_names import ClassNames
from vision_batch.export.error_list import ErrorList
from vision_batch.export.job import Job, Options
from vision_batch.export.table import FORMATS
from vision_batch.export.target import Target
from vision_batch.ledger.predictions import Predictions
from vision_batch.ledger.source_images import SourceImages
from vision_batch.storage.uri import is_inside

SCORED = ("classification", "multi_label", "detection")
PLACED = ("detection", "segmentation")
"""Predictions of places in an image."""
NOT_ERROR_ROWS = ("not_copied", "name_taken", "no_name", "no_prediction", "no_size", "bad_prediction")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written. `errors` counts images that are not in the export, by code: listed in `_errors.csv`.

    `left_out` counts those whose score is too low. `images` has all others: with those of `errors` and `left_out` they
    are all rows, but for CSV, whose table has error rows too.
    """

    format: str
    to: str
    files: int
    images: int
    annotations: int
    left_out: int
    errors: dict[str, int]

    @property
    def unread(self) -> int:
        """Images without an error of their own that are not in the export all the same."""
        return sum(self.errors.get(code, 0) for code in NOT_ERROR_ROWS)


def export(uri: str, *, format: str, to: str, options: Options) -> Exported:
    """Exports an output, or any Parquet with its columns, at a normalised URI into the folder `to`.

    An earlier export of the same there is replaced. SpecError, before anything is written, where the format cannot say
    these predictions, for an option that means nothing for it, and for a folder that holds something else; and on the
    way where a table has two names for one class.
    """
    predictions = Predictions.open(uri)
    problems = list(_problems(predictions, format, to, options))
    if problems:
        raise SpecError(problems)
    known = FORMATS[format]
    copies = known.copies or options.copy_images
    source = SourceImages.of(predictions.output) if copies and predictions.output is not None else None
    facts = {"format": format, "predictions": uri}
    with Target(to) as target, ErrorList() as errors:
        job = Job(
            predictions=predictions,
            target=target,
            options=options,
            names=ClassNames(predictions.labels),
            errors=errors,
            sized=known.sized and predictions.kind in PLACED,
            source=source,
        )
        target.claim(facts, known.names, copies=options.copy_images)
        known.write(job)
        target.flush()
        errors.write(target)
        exported = Exported(
            format=format,
            to=to,
            files=target.files,
            images=job.images,
            annotations=job.annotations,
            left_out=job.left_out,
            errors=dict(sorted(errors.counts.items())),
        )
        target.finish(facts, {"options": asdict(options), **asdict(exported)}, copies=options.copy_images)
    return exported


def _problems(predictions: Predictions, format: str, to: str, options: Options) -> Iterator[Problem]:
    if format not in FORMATS:
        yield Problem("--format", repr(format), " or ".join(FORMATS))
        return
    known = FORMATS[format]
    if predictions.kind not in known.kinds:
        fitting = ", ".join(name for name, each in FORMATS.items() if predictions.kind in each.kinds)
        yield Problem("--format", f"{format}, which cannot say {predictions.kind}", f"for these predictions {fitting}")
    for field in fields(options):
        if getattr(options, field.name) != field.default and field.name not in known.options:
            flag = f"--{field.name.replace('_', '-')}"
            formats = ", ".join(name for name, each in FORMATS.items() if field.name in each.options)
            yield Problem(flag, f"--format {format}", f"it with {formats} only")
    if options.min_score is not None and predictions.kind not in SCORED:
        yield Problem("--min-score", f"{predictions.kind}, which has no scores", "nothing")
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        yield Problem("--min-score", f"the number {options.min_score:g}", "a number from 0 to 1")
    if (known.copies or options.copy_images) and predictions.output is None:
        expected = "an output of a predict job, whose definition says where the images are"
        yield Problem(predictions.uri, "a table", expected)
    yield from _misplaced(predictions, to)


def _misplaced(predictions: Predictions, to: str) -> Iterator[Problem]:
    """An export is no part of what it is made from: copies would be input of the next run."""
    if is_inside(to, predictions.uri.rstrip("/")):
        yield Problem("--to", f"{to}, inside the predictions", "a folder apart from them")
    for uri in predictions.inputs:
        if is_inside(to, uri):
            yield Problem("--to", f"{to}, inside the input {uri}", "a folder apart from it")
