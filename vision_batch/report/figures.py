"""Numbers as people read them, and with them as they are: `<data value>` holds what was measured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from vision_batch.report.html import Child, Html, tag

UNKNOWN = "n/a"
ACRONYMS: Final = {"ap": "AP", "ar": "AR", "auc": "AUC", "f": "F", "iou": "IoU", "knn": "k-NN", "roc": "ROC"}
_SHORT: Final = re.compile(rf"^({'|'.join(ACRONYMS)})(?=\d*$)")


def number(value: float | None, digits: int = 0) -> Html:
    """With thousands apart and so many digits behind the point."""
    return tag("data", UNKNOWN) if value is None else tag("data", f"{value:,.{digits}f}", value=_exact(value))


def percent(part: float, whole: float, digits: int = 1) -> Html:
    """The share of `part` in `whole`; the value is a fraction."""
    if not whole:
        return tag("data", UNKNOWN)
    share = part / whole
    shown = f"{100 * share:.{digits}f}"
    least = 10.0**-digits
    if 0 < share < least / 200:
        shown = f"< {least:.{digits}f}"
    return tag("data", f"{shown} %", value=_exact(share))


def duration(seconds: float | None) -> Html:
    if seconds is None:
        return tag("data", UNKNOWN)
    hours, rest = divmod(round(seconds), 3600)
    minutes, whole = divmod(rest, 60)
    shown = f"{seconds:.1f} s" if seconds < 60 else f"{minutes} min {whole} s"
    return tag("data", shown if not hours else f"{hours} h {minutes} min", value=_exact(seconds))


def words(metric: str) -> str:
    """`macro_f1` as people read it."""
    return " ".join(_SHORT.sub(lambda short: ACRONYMS[short[0]], word) for word in metric.split("_"))


def counted(count: int, thing: str) -> str:
    """So many things."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def bar(share: float, colour: str | None = None) -> Html:
    """A bar for people who see it; the number beside it is for everybody."""
    width = f"{100 * min(1.0, max(0.0, share)):.2f}%"
    style = f"width:{width}" + (f";background:{colour}" if colour else "")
    return tag("span", tag("span", style=style), class_="bar", aria_hidden="true")


def share_bar(part: float, whole: float, most: float, colour: str | None = None) -> Html:
    """The share of `part` in `whole` beside a bar of which `most` would fill all."""
    return tag("span", bar(part / most if most else 0, colour), percent(part, whole), class_="share")


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Child]], *, numeric: Sequence[int] = ()) -> Html:
    """Rows whose first cell is their head; the columns `numeric` stand at the right."""

    def cell(column: int, child: Child) -> Html:
        side = "number" if column in numeric else None
        return tag("td", child, class_=side) if column else tag("th", child, scope="row", class_=side)

    head = [
        tag("th", name, scope="col", class_="number" if column in numeric else None)
        for column, name in enumerate(heads)
    ]
    body = [tag("tr", [cell(column, child) for column, child in enumerate(row)]) for row in rows]
    inside = tag("table", tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", inside, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Sequence[tuple[str, Child]]) -> Html:
    """Names and what they are."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", child)) for name, child in pairs], class_="facts")


def _exact(value: float) -> str:
    return repr(value) if isinstance(value, float) else str(value)
