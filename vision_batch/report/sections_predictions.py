"""The sections of a page that tell of predictions: labels, scores, pictures of them, and failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vision_batch.report.album import Album
from vision_batch.report.charts import Chart, bar_chart, histogram
from vision_batch.report.colours import Palette
from vision_batch.report.figures import number, share_bar, table
from vision_batch.report.html import Child, Html, foreign, shortened, tag
from vision_batch.report.mentions import KINDS
from vision_batch.report.mistakes import ABOUT
from vision_batch.report.page import Section
from vision_batch.report.survey import MOST_COUNTED, SCORE_BINS, Survey

LABELS_SHOWN: Final = 20
LABELS_PICTURED: Final = 8
LABELS_OPEN: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """A survey's, and the rows that are shown, by number. `rows` has them all."""

    kind: str
    survey: Survey
    rows: Mapping[int, Mapping[str, Any]]
    palette: Palette
    album: Album

    def pick(self, numbers: Iterable[int]) -> list[Mapping[str, Any]]:
        return [self.rows[row] for row in numbers if row in self.rows]


def numbers_shown(survey: Survey, kind: str) -> list[int]:
    """The rows of which a page shows pictures: a few hundred at most."""
    shown = [*survey.most_of_all.rows(), *survey.least_of_all.rows()] if KINDS[kind].is_of_image else []
    for _, label, _, _ in survey.labels.ranked()[:LABELS_PICTURED]:
        shown += [*survey.most.rows(label), *survey.least.rows(label)]
    for _, code, _, _ in survey.errors.ranked():
        shown += survey.broken.rows(code)
    return shown


def predictions(found: Findings) -> Section:
    """Which labels there are and how sure the model was."""
    survey, kind = found.survey, KINDS[found.kind]
    charts: list[Child] = []
    if survey.scores.count:
        edges = [index / SCORE_BINS for index in range(SCORE_BINS + 1)]
        about = f"{survey.scores.count:,} values, mean {survey.scores.mean or 0:.3f}."
        chart = Chart(key="scores", title=f"How the {kind.score} is distributed", about=about, x=kind.score, y="count")
        charts.append(histogram(chart, edges, survey.scores.bins.tolist()))
    if found.kind in ("detection", "multi_label"):
        charts.append(_per_image(found))
    areas = "The area of a label is its share of the pixels of an image." if found.kind == "segmentation" else None
    return Section(
        key="predictions",
        title="Predictions",
        about=areas,
        content=tag("div", _labels(found), tag("div", charts, class_="stack"), class_="columns"),
    )


def gallery(found: Findings) -> Section | None:
    """Predictions drawn on images: the extremes of all, and of each of the most frequent labels."""
    survey, kind, album = found.survey, KINDS[found.kind], found.album
    parts: list[Child] = []
    for title, extremes in ((kind.least, survey.least_of_all), (kind.most, survey.most_of_all)):
        shown = album.gallery(found.pick(extremes.rows()), title) if kind.is_of_image else None
        if shown is not None:
            parts += [tag("h3", f"The {title}"), shown]
    by_label = [
        part for name, label, _, _ in survey.labels.ranked()[:LABELS_PICTURED] for part in _of_label(found, name, label)
    ]
    parts += by_label[: 2 * LABELS_OPEN]
    if by_label[2 * LABELS_OPEN :]:
        parts.append(tag("details", tag("summary", "More labels"), by_label[2 * LABELS_OPEN :]))
    if not parts:
        return None
    about = "Pictures with what was predicted. The colour of a label is the same on the whole page."
    return Section(key="gallery", title="Gallery", about=about, content=parts)


def failures(found: Findings) -> Section | None:
    """Each code with its number of images and a few of them, drawn at random."""
    survey = found.survey
    if not survey.failed:
        return None
    ranked = survey.errors.ranked()
    most = max(count for _, _, count, _ in ranked)
    rows = [
        (tag("code", shortened(name, 40)), number(count), share_bar(count, survey.rows, most, "var(--bad)"))
        for name, _, count, _ in ranked
    ]
    numbers = [row for _, code, _, _ in ranked for row in survey.broken.rows(code)]
    parts: list[Child] = [
        table("Failed images by code", ("code", "images", "of all"), rows, numeric=(1, 2)),
        tag("h3", "Some of them, drawn at random"),
        found.album.gallery(found.pick(numbers), "Failed images"),
    ]
    about = "A failed image costs its own row and no other one."
    return Section(key="failures", title="Failures", about=about, content=parts)


def mistakes(rows: Sequence[Mapping[str, Any]], album: Album) -> Section | None:
    """Where predictions are most wrong by the truth, the worst first."""
    shown = album.gallery(rows, "Worst mistakes")
    if shown is None:
        return None
    return Section(key="mistakes", title="The worst mistakes", about=ABOUT[album.kind], content=shown)


def _labels(found: Findings) -> Html | None:
    survey, kind = found.survey, KINDS[found.kind]
    ranked = survey.labels.ranked()
    if not ranked:
        return None
    of = sum(count for _, _, count, _ in ranked) if kind.counted == "boxes" else survey.ok
    most = max(count for _, _, count, _ in ranked) or 1
    rows = [_label(found, name, count, of, most, mean) for name, _, count, mean in ranked]
    heads = ("label", kind.counted, "share", f"mean {kind.score}")
    caption = "What was found" if kind.counted == "boxes" else "Labels"
    shown = table(caption, heads, rows[:LABELS_SHOWN], numeric=(1, 2, 3))
    if len(rows) <= LABELS_SHOWN:
        return shown
    rest = rows[LABELS_SHOWN : 10 * LABELS_SHOWN]
    left = len(rows) - LABELS_SHOWN
    title = f"{left:,} more labels" if len(rest) == left else f"{len(rest):,} of {left:,} more labels"
    more = tag("details", tag("summary", title), table(title, heads, rest, numeric=(1, 2, 3)))
    return tag("div", shown, more)


def _label(found: Findings, name: str, count: int, of: int, most: int, mean: float) -> tuple[Child, ...]:
    colour = found.palette.of_label(name)
    named = tag("span", tag("span", class_="key", style=f"background:{colour}"), foreign(name))
    return named, number(count), share_bar(count, of, most, colour), number(mean, 3)


def _of_label(found: Findings, name: str, label: int) -> Sequence[Child]:
    """One row of pictures: the surest, then the least sure."""
    kind, survey = KINDS[found.kind], found.survey
    rows = list(dict.fromkeys([*survey.most.rows(label), *survey.least.rows(label)]))
    shown = found.album.gallery(found.pick(rows), name)
    if shown is None:
        return []
    key = tag("span", class_="key", style=f"background:{found.palette.of_label(name)}")
    return [tag("h3", key, foreign(name), f": {kind.most}, then {kind.least}"), shown]


def _per_image(found: Findings) -> Html:
    counts = found.survey.per_image.tolist()
    last = max([index for index, count in enumerate(counts) if count], default=0)
    names = [str(index) if index < MOST_COUNTED else f"{index}+" for index in range(last + 1)]
    what = "boxes" if found.kind == "detection" else "labels"
    chart = Chart(
        key="per-image",
        title=f"{what.capitalize()} in an image",
        about=f"{counts[0]:,} images have none.",
        x=f"{what} in an image",
        y="images",
    )
    return bar_chart(chart, names, counts[: last + 1])
