"""The page as a whole: one file that fetches nothing and runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from vision_batch.report.html import MOST_SHOWN, Child, Html, foreign, join, shortened, tag

POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may load and run for the page: the pictures and the style that are in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page under a heading of its own. `key` is its anchor."""

    key: str
    title: str
    content: Child
    about: Child = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """One of the numbers at the top: what it is, the number, and a few words about it."""

    name: str
    number: Child
    note: Child = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that a page says; `title` is foreign text."""

    over: str
    title: str
    lead: Child
    headlines: Sequence[Headline]
    sections: Sequence[Section]
    footer: Child

    def render(self) -> str:
        """The whole file."""
        body = tag(
            "body",
            tag("a", "Skip to the content", href="#content", class_="skip"),
            tag("header", tag("p", self.over, class_="over"), tag("h1", foreign(self.title)), self._lead()),
            self._contents(),
            tag("main", [_section(section) for section in self.sections], id="content", tabindex=-1),
            tag("footer", self.footer),
        )
        return f"<!doctype html>\n{tag('html', self._head(), body, lang='en')}\n"

    def _head(self) -> Html:
        style = files("vision_batch.report").joinpath("page.css").read_text("utf-8")
        return tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="referrer", content="no-referrer"),
            tag("title", f"{shortened(self.title, MOST_SHOWN)} - {self.over}"),
            Html(f"<style>{style}</style>"),
        )

    def _lead(self) -> Html:
        tiles = [
            tag("div", tag("dt", headline.name), tag("dd", headline.number), tag("dd", headline.note, class_="note"))
            for headline in self.headlines
        ]
        return join([tag("p", self.lead, class_="lead"), tag("dl", tiles, class_="tiles")])

    def _contents(self) -> Html:
        links = [tag("li", tag("a", section.title, href=f"#{section.key}")) for section in self.sections]
        return tag("nav", tag("ul", links), aria_label="Sections")


def _section(section: Section) -> Html:
    heading = f"{section.key}-heading"
    about = None if section.about is None else tag("p", section.about)
    return tag(
        "section", tag("h2", section.title, id=heading), about, section.content, id=section.key, aria_labelledby=heading
    )
