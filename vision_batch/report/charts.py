"""Charts as inline SVG. They hold numbers and words of this package only: labels stand in the page's tables."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from vision_batch.report.figures import number, table
from vision_batch.report.html import Html, foreign, join, tag

WIDTH_IN, HEIGHT_IN, POINTS = 4.8, 2.7, 72
INK, LINE = "#0a0b0c", "#0d0e0f"
"""Stand-ins, which no chart uses otherwise, for the colours of the page's text and of its lines."""
SERIES: Final = ("#3f7fe0", "#d9642b", "#1f9d76", "#b455c9", "#b8860b", "#d6457a", "#3c9bb5")
DOTS_UP_TO: Final = 40
POINTS_TOLD: Final = 20
Point: TypeAlias = tuple[float, float | None]
STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vision-batch",
    "text.parse_math": False,
    "font.size": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "grid.color": LINE,
    "xtick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A named line through points; a value of None leaves a gap."""

    name: str
    points: Sequence[Point]
    colour: str = SERIES[0]
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """A group of points; without a name it is in no legend."""

    name: str
    colour: str
    at: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What every chart has: a key that is its own on the page, a title, a sentence for who cannot see it, and axes.

    `note` is a sentence below it.
    """

    key: str
    title: str
    about: str
    x: str
    y: str
    note: str | None = None


def line_chart(chart: Chart, lines: Sequence[Line], *, square: bool = False) -> Html:
    """Lines, with a legend unless the only one is called as the axis is. `square`: both axes go from 0 to 1."""

    def draw(axes: Any) -> None:
        for line in lines:
            points = [(x, float("nan") if y is None else y) for x, y in line.points]
            xs, ys = zip(*points, strict=True) if points else ((), ())
            marker = "o" if len(points) <= DOTS_UP_TO and not line.dashed and not square else ""
            style = "--" if line.dashed else "-"
            axes.plot(xs, ys, color=line.colour, linewidth=1.8, marker=marker, markersize=3.5, linestyle=style)
        if square:
            axes.set_xlim(0, 1)
            axes.set_ylim(0, 1.02)

    is_named = [line.name for line in lines] != [chart.y]
    below = [_legend([(line.name, line.colour) for line in lines]) if is_named else None, _points(chart, lines)]
    return _figure(chart, draw, join(below))


def bar_chart(chart: Chart, names: Sequence[str], values: Sequence[float]) -> Html:
    """A bar for each name, side by side; of many names only some are written."""

    def draw(axes: Any) -> None:
        axes.bar(range(len(values)), values, color=SERIES[0], width=0.86)
        step = max(1, -(-len(names) // 6))
        axes.set_xticks(range(0, len(names), step), names[::step])

    return _figure(chart, draw, _numbers(chart, zip(names, values, strict=True)))


def histogram(chart: Chart, edges: Sequence[float], counts: Sequence[float]) -> Html:
    """A bar for each of the bins between `edges`."""

    def draw(axes: Any) -> None:
        widths = [right - left for left, right in itertools.pairwise(edges)]
        axes.bar(edges[:-1], counts, width=[0.94 * width for width in widths], align="edge", color=SERIES[0])
        axes.set_xlim(edges[0], edges[-1])

    names = (f"{left:g} to {right:g}" for left, right in itertools.pairwise(edges))
    return _figure(chart, draw, _numbers(chart, zip(names, counts, strict=True)))


def scatter(chart: Chart, groups: Sequence[Points]) -> Html:
    """Points in the colours of their groups, and a legend of those that have names."""

    def draw(axes: Any) -> None:
        for group in groups:
            axes.scatter(*zip(*group.at, strict=True), s=9, color=group.colour, alpha=0.75, linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)

    return _figure(chart, draw, _legend([(group.name, group.colour) for group in groups if group.name]))


def _points(chart: Chart, lines: Sequence[Line]) -> Html:
    """Points of the lines, some of many, for who cannot see them."""
    rows = [
        (foreign(line.name, 30), number(x, 4), number(y, 4))
        for line in lines
        if not line.dashed
        for x, y in thinned(line.points, POINTS_TOLD)
    ]
    heads = ("line", chart.x, chart.y)
    inside = table(f"{chart.title}, in numbers", heads, rows, numeric=(1, 2))
    return tag("details", tag("summary", "Numbers"), inside)


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """Some of the points, about `most`, the first and the last among them."""
    step = max(1, -(-len(points) // most))
    return [*points[:-1:step], *points[-1:]]


def _numbers(chart: Chart, bars: Iterable[tuple[str, float]]) -> Html:
    """What the bars show, for who cannot see them or wants to know it exactly."""
    rows = [(name, number(value, 0 if isinstance(value, int) else 1)) for name, value in bars]
    return tag(
        "details",
        tag("summary", "Numbers"),
        table(f"{chart.title}, in numbers", (chart.x, chart.y), rows, numeric=(1,)),
    )


def _legend(named: Sequence[tuple[str, str]]) -> Html | None:
    """Names, which may be foreign, with their colours."""
    named = [(name, colour.replace(INK, "var(--ink)")) for name, colour in named]
    keys = [(tag("span", class_="key", style=f"background:{colour}"), foreign(name, 30)) for name, colour in named]
    return tag("ul", [tag("li", key) for key in keys], class_="legend") if keys else None


def _figure(chart: Chart, draw: Callable[[Any], None], below: Html | None = None) -> Html:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_IN, HEIGHT_IN), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        draw(axes)
        axes.set_xlabel(chart.x)
        axes.set_ylabel(chart.y)
        low, high = axes.get_ylim()
        if high - low > 20:
            axes.yaxis.set_major_formatter(FuncFormatter(_compact))
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True)
    note = None if chart.note is None else tag("p", chart.note, class_="note")
    parts = (tag("figcaption", chart.title), _svg(chart, drawn.getvalue()), note, below)
    return tag("figure", *parts, class_="chart")


def _svg(chart: Chart, drawn: str) -> Html:
    """What matplotlib drew, as a part of the page: its names are its own, its colours the page's."""
    inside = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    inside = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", inside, flags=re.DOTALL)
    inside = re.sub(r'<g id="[^"]*"', "<g", inside)
    inside = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{chart.key}-", inside)
    inside = inside.replace(INK, "currentColor").replace(LINE, "var(--line)")
    inside = re.sub(r"\s*\n\s*", "\n", inside)
    title, about = f"{chart.key}-title", f"{chart.key}-about"
    box = f"0 0 {WIDTH_IN * POINTS:g} {HEIGHT_IN * POINTS:g}"
    return tag(
        "svg",
        tag("title", chart.title, id=title),
        tag("desc", chart.about, id=about),
        Html(inside),
        viewBox=box,
        role="img",
        aria_labelledby=f"{title} {about}",
    )


def _compact(value: float, _position: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
