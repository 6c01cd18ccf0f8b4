"""HTML that is escaped by construction: what is not `Html` already is text, and becomes it with every sign escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias, Union

VOID: Final = frozenset({"br", "col", "hr", "img", "meta"})
MOST_SHOWN, MOST_TOLD = 60, 400
"""Letters of foreign text on the page, and in the title that it has where these were not enough."""
_UNSHOWN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, slots=True)
class Html:
    """A piece of a page. Whoever makes one by hand vouches for it; `tag` and `text` escape."""

    markup: str

    def __str__(self) -> str:
        return self.markup

    def __add__(self, other: Html) -> Html:
        return Html(self.markup + other.markup)


Child: TypeAlias = Union[Html, str, int, float, "Iterable[Child]", None]
Attribute: TypeAlias = str | int | float | bool | None


def text(value: str) -> Html:
    """Any text, also with control characters or halves of surrogates, as it may stand in an element or attribute."""
    return Html(html.escape(_UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", value), quote=True))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Html:
    """An element. `class_` stands for class, `aria_label` for aria-label; an attribute of None or False is left out."""
    inside = str(join(children))
    if name in VOID and inside:
        raise ValueError(f"<{name}> has no content")
    opened = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    return Html(opened if name in VOID else f"{opened}{inside}</{name}>")


def join(children: Child) -> Html:
    """All of them one after the other."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return text(children)
    if isinstance(children, int | float):
        return text(str(children))
    return Html("".join(join(child).markup for child in children))


def foreign(value: str, most: int = MOST_SHOWN) -> Html:
    """Text of somebody else, as a label or a file name: its direction of writing stays its own, its middle may go."""
    if len(value) <= most:
        return tag("bdi", value)
    return tag("bdi", shortened(value, most), title=shortened(value, MOST_TOLD))


def shortened(value: str, most: int) -> str:
    """The text without its middle if it is longer than that."""
    return value if len(value) <= most else f"{value[: most - most // 2 - 1]}…{value[len(value) - most // 2 :]}"


def _attribute(key: str, value: Attribute) -> str:
    name = key.rstrip("_").replace("_", "-")
    if _NAME.fullmatch(name.lower()) is None or name.lower().startswith("on"):
        raise ValueError(f"no attribute of a page: {key}")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(str(value))}"'
