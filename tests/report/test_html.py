"""Whatever text comes in, none of it becomes markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vision_batch.report.html import MOST_SHOWN, Html, foreign, join, shortened, tag, text

ANY_TEXT = st.text(st.characters(exclude_categories=())) | st.text("<>\"'&/=-! `$scriptonerror\0\n")


class Reader(HTMLParser):
    """What a browser would see: elements with attributes, and text."""

    def __init__(self, markup: Html) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(str(markup))
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def readable(value: str) -> bool:
    return text(value).markup.find("\N{REPLACEMENT CHARACTER}") < 0 and "\r" not in value


@given(ANY_TEXT)
def test_text_is_never_markup(value: str) -> None:
    read = Reader(tag("p", value, title=value))
    assert [name for name, _ in read.elements] == ["p"]
    assert read.elements[0][1].keys() == {"title"}
    if readable(value):
        assert read.text == value
        assert (read.elements[0][1]["title"] or "") == value


@given(ANY_TEXT)
def test_foreign_text_is_isolated_and_bounded(value: str) -> None:
    read = Reader(foreign(value))
    assert [name for name, _ in read.elements] == ["bdi"]
    assert len(read.text) <= MOST_SHOWN
    assert str(foreign(value)).encode()  # no half of a surrogate is left


@given(ANY_TEXT, st.integers(1, 50))
def test_what_is_shortened_keeps_both_ends(value: str, most: int) -> None:
    short = shortened(value, most)
    assert len(short) == min(len(value), most)
    if len(value) > most > 2:
        assert short[0] == value[0]
        assert short[-1] == value[-1]


def test_children_are_put_one_after_the_other() -> None:
    assert str(tag("p", "a", None, [1, [2.5, tag("br")]], Html("<b>x</b>"))) == "<p>a12.5<br><b>x</b></p>"
    assert str(join([])) == ""


def test_attributes() -> None:
    assert str(tag("td", class_="a", aria_label="b", hidden=True, id=None, title=False)) == (
        '<td class="a" aria-label="b" hidden></td>'
    )
    for name in ("onclick", "onError", "a b", "x>"):
        with pytest.raises(ValueError):
            tag("p", **{name: "x"})
    with pytest.raises(ValueError):
        tag("img", "content")
