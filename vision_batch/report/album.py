"""The images that a page shows, and what is said below each of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from vision_batch.errors import ImageError, LedgerError, SpecError, StorageError
from vision_batch.ledger.predictions import Predictions
from vision_batch.ledger.source_images import SourceImages
from vision_batch.report.colours import Palette
from vision_batch.report.html import Child, Html, foreign, shortened, tag
from vision_batch.report.mentions import Told, told
from vision_batch.report.thumbnail import Thumbnail, make_thumbnail

DEADLY: Final = "worker_killed"
"""Images with this code are not decoded: they have killed processes."""
MOST_TOLD: Final = 4

Row = Mapping[str, Any]
Identity = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Album:
    """Thumbnails by the identity of their images, or a sentence that says why there is none."""

    kind: str
    palette: Palette
    pictures: Mapping[Identity, Thumbnail | str]

    @classmethod
    def of(cls, predictions: Predictions, rows: Iterable[Row], palette: Palette) -> Album:
        """Reads the images of these rows once, shard by shard, one in memory at a time."""
        by_identity = {identity(row): row for row in rows}
        pictures: dict[Identity, Thumbnail | str] = {}
        try:
            for found in _images(predictions, by_identity):
                row = by_identity[found.shard, found.row]
                pictures[found.shard, found.row] = _picture(found.data, found.error, row, palette)
        except (SpecError, StorageError, LedgerError) as error:
            pictures |= {key: f"its image cannot be read: {error}" for key in by_identity.keys() - pictures.keys()}
        return cls(kind=predictions.kind, palette=palette, pictures=pictures)

    def gallery(self, rows: Sequence[Row], title: str) -> Html | None:
        """The images in their order, each with its name and what was predicted."""
        if not rows:
            return None
        wide = self.kind in ("detection", "segmentation")
        items = [tag("li", self.figure(row, self.caption(row))) for row in rows]
        return tag("ul", items, class_="gallery wide" if wide else "gallery", aria_label=title)

    def figure(self, row: Row, caption: Child) -> Html:
        picture = self.pictures.get(identity(row), "its image is not known: this is no output of a run")
        if isinstance(picture, str):
            known = bool(row.get("error_code"))
            shown = tag("span", "no picture" if known else shortened(picture, 120), class_="blank")
        else:
            shown = tag(
                "img",
                src=picture.uri,
                alt=self.described(row),
                width=picture.width,
                height=picture.height,
            )
        return tag("figure", shown, tag("figcaption", caption, tag("span", foreign(name_of(row), 40), class_="id")))

    def caption(self, row: Row) -> Child:
        """What was predicted, the surest first, and the truth where that is another one."""
        if row.get("error_code"):
            return [tag("b", foreign(row["error_code"])), " ", foreign(row.get("error") or "", 90)]
        named = [self._named(mention) for mention in told(self.kind, row)[:MOST_TOLD]]
        more = len(told(self.kind, row)) - len(named)
        rest = [] if more <= 0 else [tag("span", f"and {more} more")]
        truth = row.get("truth")
        if self.kind == "multi_label" and isinstance(truth, list):
            truth = ", ".join(map(str, truth)) or "none"
        if self.kind in ("classification", "multi_label") and isinstance(truth, str) and truth != row.get("label"):
            rest.append(tag("span", "truth: ", tag("b", foreign(truth, 60)), class_="said"))
        return [*named, *rest] or "no label"

    def described(self, row: Row) -> str:
        """For who does not see it."""
        names = [f"{mention.label} {mention.score:.2f}" for mention in told(self.kind, row)[:MOST_TOLD]]
        return shortened(f"{name_of(row)}: {', '.join(names) or row.get('error_code') or 'an image'}", 200)

    def _named(self, mention: Told) -> Html:
        colour = self.palette.of_label(mention.label)
        key = tag("span", class_="key", style=f"background:{colour}")
        return tag("span", key, tag("b", foreign(mention.label, 30)), f" {mention.score:.2f}", class_="said")


def identity(row: Row) -> Identity:
    """Of foreign Parquet, which may say nothing of shards, by the name."""
    return (row["shard"], row["row"]) if row.get("shard") is not None else (str(row.get("image_id")), -1)


def name_of(row: Row) -> str:
    return str(row.get("image_id") or "(no name)")


def _images(predictions: Predictions, rows: Mapping[Identity, Row]) -> Iterable[Any]:
    if predictions.output is None or not rows:
        return []
    wanted: dict[str, list[int]] = {}
    for (shard, number), row in sorted(rows.items()):
        if row.get("error_code") != DEADLY:
            wanted.setdefault(shard, []).append(number)
    return SourceImages.of(predictions.output).read(wanted)


def _picture(data: bytes | None, error: str | None, row: Row, palette: Palette) -> Thumbnail | str:
    if data is None:
        return error or "no image"
    try:
        return make_thumbnail(data, row, palette)
    except (ImageError, ValueError) as trouble:
        return f"not shown: {trouble}"
