"""Numbers are shown as people read them, and are there exactly."""

from __future__ import annotations

import re

import pytest

from vision_batch.report.charts import INK, Chart, Line, bar_chart, histogram, line_chart, thinned
from vision_batch.report.figures import counted, duration, number, percent, words


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(1234567), '<data value="1234567">1,234,567</data>'),
        (number(2 / 3, 2), '<data value="0.6666666666666666">0.67</data>'),
        (number(None), "<data>n/a</data>"),
        (percent(1, 8), '<data value="0.125">12.5 %</data>'),
        (percent(1, 10_000_000), '<data value="1e-07">&lt; 0.1 %</data>'),
        (percent(0, 5), '<data value="0.0">0.0 %</data>'),
        (percent(0, 0), "<data>n/a</data>"),
        (duration(3.25), '<data value="3.25">3.2 s</data>'),
        (duration(125.0), '<data value="125.0">2 min 5 s</data>'),
        (duration(3725.0), '<data value="3725.0">1 h 2 min</data>'),
        (duration(None), "<data>n/a</data>"),
    ],
)
def test_numbers(shown: object, expected: str) -> None:
    assert str(shown) == expected


def test_things_are_counted() -> None:
    assert [counted(count, "row") for count in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("macro_f1", "macro F1"), ("ap50", "AP50"), ("mean_iou", "mean IoU"), ("apple_pie", "apple pie"), ("f", "F")],
)
def test_metrics_have_names_for_people(metric: str, expected: str) -> None:
    assert words(metric) == expected


def test_charts_share_no_names_and_say_what_they_show() -> None:
    lines = [Line(name="a", points=[(0, 1), (1, None), (2, 3)])]
    charts = [
        line_chart(Chart(key="one", title="First", about="It rises.", x="x", y="y"), lines),
        bar_chart(Chart(key="two", title="Second", about="Two bars.", x="x", y="y"), ["a", "b"], [1, 2]),
        histogram(Chart(key="three", title="Third", about="Bins.", x="x", y="y"), [0.0, 0.5, 1.0], [3, 4]),
    ]
    page = "".join(map(str, charts))
    names = re.findall(r' id="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', page)) <= set(names)
    for title, about in (("First", "It rises."), ("Second", "Two bars."), ("Third", "Bins.")):
        assert re.search(rf'<title id="[^"]+">{title}</title><desc id="[^"]+">{about}</desc>', page)
    assert "0 to 0.5" in page
    assert '<th scope="row"><bdi>a</bdi></th><td class="number"><data value="2">' in page


def test_the_keys_of_a_legend_have_the_colours_of_their_lines() -> None:
    """The page's own text, too: of a legend it is softer."""
    lines = [Line(name="all", points=[(0, 1)], colour=INK), Line(name="a", points=[(0, 1)], colour="#123456")]
    chart = str(line_chart(Chart(key="one", title="First", about="It rises.", x="x", y="y"), lines))
    assert re.findall(r'class="key" style="background:([^"]+)"', chart) == ["var(--ink)", "#123456"]


def test_thinned_lines_keep_their_ends() -> None:
    points = [(float(x), float(x)) for x in range(101)]
    assert thinned(points, 200) == points
    some = thinned(points, 20)
    assert (some[0], some[-1], len(some)) == (points[0], points[-1], 18)
    assert thinned([], 20) == []
