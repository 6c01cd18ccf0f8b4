"""The report: one HTML file about an output, for people to look at."""

from __future__ import annotations

from typing import Any, Final

from vision_batch import __version__
from vision_batch.errors import Problem, SpecError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.ledger.paths import LedgerPaths
from vision_batch.ledger.predictions import Predictions
from vision_batch.report.album import Album
from vision_batch.report.colours import Palette
from vision_batch.report.figures import duration, number, percent, words
from vision_batch.report.html import Child, foreign
from vision_batch.report.mentions import KINDS
from vision_batch.report.neighbours import neighbours
from vision_batch.report.page import Headline, Page, Section
from vision_batch.report.quality import interval, quality
from vision_batch.report.record import Record, read_record
from vision_batch.report.rows import rows_at
from vision_batch.report.sections_predictions import (
    Findings,
    failures,
    gallery,
    mistakes,
    numbers_shown,
    predictions,
)
from vision_batch.report.sections_run import accounting, lead, speed, what_ran
from vision_batch.report.survey import Survey
from vision_batch.report.training_page import training_headlines, training_sections
from vision_batch.report.verdict import Verdict, judged
from vision_batch.storage.table import storage_for
from vision_batch.storage.uri import is_inside, name

FOOTER: Final = f"Made by vision-batch {__version__}. This file fetches nothing and runs nothing."
NAMED: Final = ("image_id", "shard", "row", "error_code", "error", "width", "height")


def default_place(output: str) -> str:
    """Where the report of an output goes: beside it."""
    return f"{output.rstrip('/')}-report.html"


def write_report(
    output: str, *, to: str | None = None, truth: TruthSettings | None = None, run_id: str | None = None
) -> str:
    """Writes the report of an output, and of its run `run_id`, to the URI `to` (OUTPUT-report.html); that URI.

    How good predictions are is told by `truth`, whose URI is normalised, or by the truth that the output has itself.
    SpecError for what is no output nor predictions, a truth that does not fit, and a place where a page would be in the
    way; PartError where a part is damaged; StorageError.
    """
    place = to or default_place(output)
    if is_inside(place, output.rstrip("/")) or not place.endswith((".html", ".htm")):
        raise SpecError(Problem("--to", place, f"a file that ends in .html, outside {output}"))
    text = render_report(output, truth=truth, run_id=run_id)
    storage_for(place).put(place, text.encode())
    return place


def render_report(output: str, *, truth: TruthSettings | None = None, run_id: str | None = None) -> str:
    """The whole page, as it is written."""
    record = read_record(LedgerPaths(output.rstrip("/")), run_id)
    if record is not None and record.is_training:
        if truth is not None:
            raise SpecError(Problem("--truth", truth.uri, "no truth: a training was measured on its validation images"))
        return _training_page(output, record).render()
    return _predictions_page(output, record, truth).render()


def _predictions_page(output: str, record: Record | None, truth: TruthSettings | None) -> Page:
    table = Predictions.open(output)
    survey = Survey(table.kind)
    for batch in table.batches(Survey.columns(table.kind)):
        survey.add(batch)
    verdict = judged(table, truth)
    found = _findings(table, survey, verdict)
    sections: list[Section | None] = [
        accounting(record, survey),
        quality(verdict, found.palette),
        mistakes(verdict.worst, Album.of(table, verdict.worst, found.palette)),
        predictions(found) if survey.labels.ranked() else None,
        neighbours(table, found.palette) if table.kind == "embedding" else None,
        gallery(found),
        failures(found),
        speed(record) if record else None,
        what_ran(record) if record else None,
    ]
    return Page(
        over="vision-batch report",
        title=_title(record, output),
        lead=lead(record, output),
        headlines=_headlines(record, survey, table.kind, verdict),
        sections=[section for section in sections if section is not None],
        footer=FOOTER,
    )


def _training_page(output: str, record: Record) -> Page:
    return Page(
        over="vision-batch training",
        title=_title(record, output),
        lead=lead(record, output),
        headlines=training_headlines(record),
        sections=[*training_sections(record), what_ran(record)],
        footer=FOOTER,
    )


def _findings(table: Predictions, survey: Survey, verdict: Verdict) -> Findings:
    palette = Palette.of([*(name for name, *_ in survey.labels.ranked()), *verdict.classes])
    columns = [column for column in (*NAMED, *KINDS[table.kind].shown) if column in table.schema.names]
    if table.kind == "classification" and "truth" in table.schema.names:
        columns.append("truth")
    rows: dict[int, dict[str, Any]] = rows_at(table, numbers_shown(survey, table.kind), columns)
    album = Album.of(table, rows.values(), palette)
    return Findings(kind=table.kind, survey=survey, rows=rows, palette=palette, album=album)


def _headlines(record: Record | None, survey: Survey, kind: str, verdict: Verdict) -> list[Headline]:
    """Four numbers: how many, how many not, how good, how quickly."""
    counts = record.run.counts if record and record.run else {}
    rate = counts.get("images_per_second")
    named = [
        Headline(name="images", number=number(survey.rows), note="with a row"),
        Headline(name="failed", number=percent(survey.failed, survey.rows), note=f"{survey.failed:,} images"),
    ]
    best = verdict.headline
    if best is not None:
        named.append(Headline(name=words(best.metric), number=number(best.value, 3), note=interval(best)))
    if rate is not None:
        pace = number(rate, 0 if rate >= 10 else 1)
        named.append(Headline(name="images a second", number=pace, note="from the first batch on"))
    labels = survey.labels.ranked()
    if labels:
        most: Child = ["most often ", foreign(labels[0][0], 20)]
        named.append(Headline(name="labels given", number=number(len(labels)), note=most))
    if survey.scores.mean is not None:
        named.append(Headline(name=f"mean {KINDS[kind].score}", number=number(survey.scores.mean, 3)))
    if record and record.run:
        named.append(Headline(name="time", number=duration(record.run.seconds), note="of the run"))
    return named[:4]


def _title(record: Record | None, output: str) -> str:
    return (record.name if record and record.name else None) or name(output.rstrip("/")) or output
