"""In a browser: a page fetches and runs nothing, fits a phone, can be read by everybody, and its numbers are right."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selenium.webdriver.common.keys import Keys

from tests.report.browser import Browser
from tests.report.outputs import CLASSIFICATION, DETECTION, EMBEDDING, SEGMENTATION, make_output
from vision_batch.report.report import write_report

HOSTILE = {
    "<script>window.hacked = 1</script>.jpg": "</title></style></svg><script>window.hacked = 1</script>",
    'a"><img src=x onerror="window.hacked = 1">.jpg': '"><img src=x onerror="window.hacked = 1">',
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe.jpg": "\N{RIGHT-TO-LEFT OVERRIDE}backwards",
    "عربي.jpg": "قطة سوداء",
    "猫/ねこ.jpg": "猫",
    "x" * 200 + ".jpg": "y" * 500,
    "$x^2$ {a} %s &amp; \\n.jpg": "$\\frac{x}{y}$ &lt;b&gt;",
}
LABELS = ["cat", "dog", *HOSTILE.values()]

Pages = dict[str, Path]


def box(label: str, score: float, left: float) -> dict[str, object]:
    edges = {"x_min": left, "y_min": 10.0, "x_max": left + 40, "y_max": 60.0}
    return {"label": label, "label_index": LABELS.index(label), "score": score, **edges}


def mask(columns: int) -> bytes:
    classes = np.zeros((90, 120), np.uint8)
    classes[:, columns:] = 1
    return bytes(cv2.imencode(".png", classes)[1])


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """A report of each kind, about images and labels that mean no good."""
    folder = tmp_path_factory.mktemp("outputs")
    names = [*HOSTILE, *(f"{number:03d}.jpg" for number in range(30))]
    labels = [*HOSTILE.values(), *("cat" if number % 3 else "dog" for number in range(30))]
    classes = {
        name: {"label": label, "label_index": LABELS.index(label), "score": (index + 1) / 40}
        for index, (name, label) in enumerate(zip(names, labels, strict=True))
    }
    broken = {f"broken-{n}.jpg": ("empty" if n < 3 else "truncated", "<b>no</b> bytes") for n in range(5)}
    truth = {name: "cat" for name in names}
    counts = {
        "images_per_second": 321.25,
        "bottleneck": "<i>decode</i>",
        "warnings": ["<script>window.hacked=1</script>"],
    }
    boxes = {
        name: {"boxes": [box(label, 0.9, 5.0), box("cat", 0.4, 60.0)]}
        for name, label in zip(names, labels, strict=True)
    }
    masks = {
        name: {
            "mask_png": mask(10 * (index + 1)),
            "class_pixels": [
                {"label": label, "label_index": number, "pixels": pixels}
                for number, (label, pixels) in enumerate(
                    [(labels[index], 900 * (index + 1)), ("sky", 10800 - 900 * (index + 1))]
                )
            ],
        }
        for index, name in enumerate(names[:9])
    }
    vectors = {name: {"embedding": [1.0, index / 7, index % 3]} for index, name in enumerate(names)}
    outputs = {
        "classification": make_output(
            folder / "a", CLASSIFICATION, classes, broken=broken, truth=truth, counts=counts, name="</h1><b>job</b>"
        ),
        "detection": make_output(folder / "b", DETECTION, boxes, broken=broken),
        "segmentation": make_output(folder / "c", SEGMENTATION, masks),
        "embedding": make_output(folder / "d", EMBEDDING, vectors, truth=dict(zip(names, labels, strict=True))),
    }
    return {kind: Path(write_report(output)) for kind, output in outputs.items()}


KINDS = ("classification", "detection", "segmentation", "embedding")


@pytest.mark.parametrize("kind", KINDS)
def test_it_fetches_nothing_and_nothing_complains(browser: Browser, pages: Pages, kind: str) -> None:
    browser.open(pages[kind])
    assert browser.complaints() == []
    assert browser.fetched() == [pages[kind].as_uri()]


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_wrote_runs_nothing_and_is_seen_as_text(browser: Browser, pages: Pages, kind: str) -> None:
    browser.open(pages[kind])
    assert browser.ask("return window.hacked") is None
    assert (
        browser.ask("return document.querySelectorAll('script, iframe, object, embed, link, base, form').length") == 0
    )
    handlers = (
        "return [...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    )
    assert browser.ask(handlers) == []
    shown = browser.ask("return [...document.querySelectorAll('bdi')].map(e => e.title || e.textContent)")
    for text in [label for label in (HOSTILE if kind == "embedding" else HOSTILE.values()) if len(label) < 60]:
        assert text in shown
    assert browser.complaints() == []


def test_its_policy_stops_scripts_that_get_in_anyhow(browser: Browser, pages: Pages) -> None:
    browser.open(pages["classification"])
    browser.ask(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1'; document.body.append(s)"
    )
    assert browser.ask("return window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in browser.complaints())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_sticks_out(browser: Browser, pages: Pages, kind: str, width: int) -> None:
    browser.open(pages[kind], width=width)
    outside = f"""return [...document.querySelectorAll('main *, header *, nav *')]
        .filter(e => !e.closest('.scroll, pre') && e.getBoundingClientRect().right > {width} + 1)
        .map(e => e.outerHTML.slice(0, 200))"""
    assert browser.ask(outside) == []
    assert browser.ask("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser: Browser, pages: Pages, kind: str, scheme: str) -> None:
    browser.open(pages[kind], scheme=scheme)
    browser.ask("document.querySelectorAll('details').forEach(e => e.open = true)")
    assert browser.poor_contrast() == []
    paper = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, paper[4:-1].split(","))) < 60) == (scheme == "dark")


@pytest.mark.parametrize("kind", KINDS)
def test_a_screen_reader_finds_its_way(browser: Browser, pages: Pages, kind: str) -> None:
    browser.open(pages[kind])
    assert browser.nameless() == []
    levels = browser.ask("return [...document.querySelectorAll('h1,h2,h3,h4')].map(e => Number(e.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert browser.ask("return document.documentElement.lang") == "en"
    for landmark in ("header", "main", "nav", "footer"):
        assert browser.ask(f"return document.querySelectorAll('body > {landmark}').length") == 1
    ids = browser.ask("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    meant = (
        "[...document.querySelectorAll('[aria-labelledby]')].flatMap(e => e.getAttribute('aria-labelledby').split(' '))"
    )
    assert set(browser.ask(f"return {meant}")) <= set(ids)
    assert browser.ask("return [...document.querySelectorAll('table')].filter(e => !e.caption.textContent).length") == 0
    heads = "return [...document.querySelectorAll('th')].filter(e => !e.scope || !e.textContent.trim()).length"
    assert browser.ask(heads) == 0
    assert browser.ask("return [...document.querySelectorAll('img')].filter(e => !e.alt.trim()).length") == 0


def test_the_keyboard_reaches_all_that_can_be_used(browser: Browser, pages: Pages) -> None:
    browser.open(pages["classification"])
    links = browser.ask("return document.querySelectorAll('nav a').length")
    reached = browser.tabbed(links + 30)
    assert reached[0] == "a.skip"
    assert reached[1 : links + 1] == ["a."] * links
    assert {"div.scroll", "summary."} <= set(reached)
    browser.open(pages["classification"])
    browser.press(Keys.TAB, Keys.ENTER)
    browser.press(Keys.TAB)
    assert browser.ask("return document.activeElement.closest('main') !== null")


def test_the_numbers_are_those_of_the_table(browser: Browser, pages: Pages) -> None:
    page = pages["classification"]
    rows = pa.concat_tables([pq.read_table(part) for part in page.parent.glob("out/*.parquet")])
    browser.open(page)
    good = [row for row in rows.to_pylist() if row["error_code"] is None]
    labels = Counter(row["label"] for row in good)
    shown = numbers(browser, "Labels")
    assert len(shown) == len(labels)
    assert sorted(count for count, *_ in shown) == sorted(labels.values())
    assert sum(share for _, share, _ in shown) == pytest.approx(1)
    cats = [row["score"] for row in good if row["label"] == "cat"]
    assert [len(cats), len(cats) / len(good), pytest.approx(float(np.mean(cats)), abs=1e-6)] in shown
    codes = Counter(row["error_code"] for row in rows.to_pylist() if row["error_code"])
    assert numbers(browser, "Failed images by code") == [
        [count, count / len(rows)] for _, count in sorted(codes.items(), key=lambda code: -code[1])
    ]
    assert numbers(browser, "Images") == [
        [len(rows), 1],
        [len(good), len(good) / len(rows)],
        [len(rows) - len(good), (len(rows) - len(good)) / len(rows)],
    ]
    scores = np.array([row["score"] for row in good])
    assert numbers(browser, "How the score is distributed, in numbers") == [
        [int(((scores >= step / 20) & (scores < (step + 1) / 20)).sum() + (scores == 1).sum() * (step == 19))]
        for step in range(20)
    ]
    mistakes = browser.ask("return [...document.querySelectorAll('#mistakes .id')].map(e => e.textContent)")
    wrong = sorted((row for row in good if row["label"] != row["truth"]), key=lambda row: -row["score"])[
        : len(mistakes)
    ]
    assert [name.split("…")[0] for name in mistakes] == [
        row["image_id"][: len(name.split("…")[0])] for name, row in zip(mistakes, wrong, strict=True)
    ]


def numbers(browser: Browser, caption: str) -> list[list[float]]:
    """The exact numbers in each row of the table with this caption."""
    script = f"""const table = [...document.querySelectorAll('table')].find(e => e.caption.textContent === {caption!r});
        return [...table.tBodies[0].rows].map(row => [...row.querySelectorAll('data')].map(e => Number(e.value)))"""
    return [list(row) for row in browser.ask(script)]
