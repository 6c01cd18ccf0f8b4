"""The section of a page that tells how good predictions are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from vision_batch.evaluation.evaluation import Evaluation, Result
from vision_batch.evaluation.measure import Curve, CurveKind
from vision_batch.evaluation.pictures import AXES
from vision_batch.report.charts import INK, Chart, Line, line_chart, thinned
from vision_batch.report.colours import GREY, Palette
from vision_batch.report.figures import UNKNOWN, number, table, words
from vision_batch.report.html import Child, Html, foreign, tag
from vision_batch.report.page import Section
from vision_batch.report.verdict import RESAMPLES, Verdict, headline_of

CLASSES_SHOWN: Final = 20
METRICS_SHOWN: Final = 6
SLICES_SHOWN: Final = 40
MATRIX_CLASSES: Final = 12
CURVES_SHOWN: Final = 6
POINTS_SHOWN: Final = 300
NOTHING: Final = "(none)"
ORDER: Final[tuple[CurveKind, ...]] = ("calibration", "precision_recall", "roc")


def quality(verdict: Verdict, palette: Palette) -> Section | None:
    """Metrics, classes, slices, what was taken for what, and curves; or why there are none."""
    if verdict.reason is not None:
        return Section(key="quality", title="How good it is", about=f"Not measured: {verdict.reason}", content=None)
    found = verdict.evaluation
    if found is None:
        return None
    drawn = [_matrix(found), *(_curves(kind, found.curves, palette) for kind in ORDER)]
    pictures = [picture for picture in drawn if picture is not None]
    content = [
        tag("div", _overall(found), tag("div", pictures[:2], class_="stack"), class_="columns"),
        tag("div", pictures[2:], class_="columns spaced"),
        _classes(found, palette),
        _slices(found),
        _notes(found),
    ]
    return Section(key="quality", title="How good it is", about=_about(found), content=content)


def interval(result: Result) -> Child:
    """Where the value lies with a probability of 95 %."""
    if result.low is None or result.high is None:
        return f"of {result.support:,}"
    return [number(result.low, 3), " to ", number(result.high, 3)]


def _about(found: Evaluation) -> Child:
    said = [f"Measured on {found.images:,} images that have a truth"]
    if found.images_failed:
        said.append(f", {found.images_failed:,} of which failed")
    if found.images_without_truth:
        said.append(f"; {found.images_without_truth:,} more have none")
    if found.truths_without_image:
        said.append(f"; {found.truths_without_image:,} truths have no image")
    return [*said, f". Intervals come from {RESAMPLES} resamples."]


def _overall(found: Evaluation) -> Html:
    rows = [
        (words(result.metric), number(result.value, 4), _interval(result), number(result.support))
        for result in found.results
        if result.slice is None and result.label is None
    ]
    return table("Of all images", ("metric", "value", "95 % interval", "support"), rows, numeric=(1, 2, 3))


def _classes(found: Evaluation, palette: Palette) -> Html | None:
    """A row for each class, those that rest on most first."""
    by_label: dict[str, dict[str, Result]] = {}
    for result in found.results:
        if result.slice is None and result.label is not None:
            by_label.setdefault(result.label, {})[result.metric] = result
    if not by_label:
        return None
    metrics = list(dict.fromkeys(metric for values in by_label.values() for metric in values))[:METRICS_SHOWN]
    ranked = sorted(by_label.items(), key=lambda item: -max(result.support for result in item[1].values()))
    rows = [
        (
            tag("span", _key(palette.of_label(label)), foreign(label)),
            *(number(values[metric].value if metric in values else None, 4) for metric in metrics),
            number(max(result.support for result in values.values())),
        )
        for label, values in ranked
    ]
    heads = ("class", *map(words, metrics), "support")
    numeric = range(1, len(heads))
    shown = table("By class", heads, rows[:CLASSES_SHOWN], numeric=numeric)
    if len(rows) <= CLASSES_SHOWN:
        return tag("div", shown, class_="spaced")
    rest = rows[CLASSES_SHOWN : 10 * CLASSES_SHOWN]
    title = f"{len(rest):,} of {len(rows) - CLASSES_SHOWN:,} more classes"
    folded = tag("details", tag("summary", title), table(title, heads, rest, numeric=numeric))
    return tag("div", shown, folded, class_="spaced")


def _slices(found: Evaluation) -> Html | None:
    """The headline metric of every slice."""
    best = headline_of(found)
    if best is None:
        return None
    slices = [
        result
        for result in found.results
        if result.slice is not None and result.label is None and result.metric == best.metric
    ]
    if not slices:
        return None
    rows = [
        (foreign(result.slice or ""), number(result.value, 4), _interval(result), number(result.support))
        for result in slices[:SLICES_SHOWN]
    ]
    title = "By slice" if len(slices) <= SLICES_SHOWN else f"By slice, {SLICES_SHOWN} of {len(slices):,}"
    heads = ("slice", words(best.metric), "95 % interval", "support")
    return tag("div", table(title, heads, rows, numeric=(1, 2, 3)), class_="spaced")


def _matrix(found: Evaluation) -> Html | None:
    """What was taken for what, of the classes that are met most often; darker is a larger share of the row."""
    if not found.confusion:
        return None
    cells: Counter[tuple[str | None, str | None]] = Counter()
    often: Counter[str | None] = Counter()
    for cell in found.confusion:
        cells[cell.truth, cell.predicted] += cell.count
        often[cell.truth] += cell.count
        often[cell.predicted] += cell.count
    names = [name for name, _ in often.most_common(MATRIX_CLASSES)]
    names = sorted(names, key=lambda name: (name is None, name or ""))
    rows = [tag("tr", tag("th", _name(truth), scope="row"), _matrix_row(truth, names, cells)) for truth in names]
    heads = [tag("th", "truth", scope="col")] + [tag("th", _name(name), scope="col") for name in names]
    left = len(often) - len(names)
    caption = "What was taken for what: a row for each truth" + (
        f" ({len(names)} of {len(often):,} classes)" if left else ""
    )
    inside = tag("table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", rows), class_="matrix")
    return tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _matrix_row(
    truth: str | None, names: Sequence[str | None], cells: Mapping[tuple[str | None, str | None], int]
) -> list[Html]:
    whole = sum(count for (of, _), count in cells.items() if of == truth) or 1
    shown = []
    for name in names:
        count = cells.get((truth, name), 0)
        tone = "var(--good)" if name == truth else "var(--bad)"
        part = round(60 * count / whole)
        style = f"background:color-mix(in srgb, {tone} {part}%, transparent)" if part else None
        shown.append(tag("td", number(count) if count else "", style=style))
    return shown


def _curves(kind: CurveKind, curves: Sequence[Curve], palette: Palette) -> Html | None:
    """Of all classes, and of the first few."""
    shown = [curve for curve in curves if curve.kind == kind]
    shown = sorted(shown, key=lambda curve: curve.label is not None)[:CURVES_SHOWN]
    if not shown:
        return None
    title, x, y = AXES[kind]
    lines = [
        Line(
            name=curve.label or "all classes",
            points=thinned([(float(x), float(y)) for x, y in zip(curve.x, curve.y, strict=True)], POINTS_SHOWN),
            colour=INK if curve.label is None else palette.of_label(curve.label),
        )
        for curve in shown
    ]
    if kind != "precision_recall":
        name = "calibrated" if kind == "calibration" else "chance"
        lines.append(Line(name=name, points=[(0, 0), (1, 1)], colour=GREY, dashed=True))
    chart = Chart(key=kind.replace("_", "-"), title=title[0].upper() + title[1:], about=f"{y} over {x}.", x=x, y=y)
    return line_chart(chart, lines, square=True)


def _notes(found: Evaluation) -> Html | None:
    if not found.notes:
        return None
    return tag("ul", [tag("li", foreign(note, 300)) for note in found.notes], class_="note")


def _interval(result: Result) -> Child:
    if result.low is None or result.high is None:
        return UNKNOWN
    return [number(result.low, 4), " to ", number(result.high, 4)]


def _name(label: str | None) -> Html:
    return foreign(NOTHING if label is None else label, 14)


def _key(colour: str) -> Html:
    return tag("span", class_="key", style=f"background:{colour}")
