"""The section of a page that tells of embeddings: where images lie, and which ones are near each other."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vision_batch.errors import Problem, SpecError
from vision_batch.ledger.predictions import Predictions
from vision_batch.report.album import Album, name_of
from vision_batch.report.charts import SERIES, Chart, Points, scatter
from vision_batch.report.colours import Palette
from vision_batch.report.figures import facts, number
from vision_batch.report.html import Child, tag
from vision_batch.report.page import Section
from vision_batch.report.rows import sampled_rows

SAMPLED, FILES, QUERIES, NEAREST = 1000, 32, 8, 5
GROUPS: Final = 10

Vectors = NDArray[np.float32]


def neighbours(predictions: Predictions, palette: Palette, *, seed: int = 0) -> Section | None:
    """Of a sample: its vectors in a plane, and for some images those that are most like them.

    Points have the colour of their truth, where `palette` has a few truths.
    """
    names = [name for name in ("image_id", "shard", "row", "truth", "embedding") if name in predictions.schema.names]
    sample = sampled_rows(predictions, names, files=FILES, rows=SAMPLED, seed=seed)
    if len(sample) < 2:
        return None
    vectors = vectors_of(sample["embedding"])
    is_finite = np.isfinite(vectors).all(axis=1)
    if is_finite.sum() < 2:
        return None
    vectors, rows = vectors[is_finite], sample.drop_columns(["embedding"]).filter(pa.array(is_finite)).to_pylist()
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    unit = (vectors / np.maximum(lengths, 1e-12)[:, None]).astype(np.float32)
    queries = np.random.default_rng(seed).permutation(len(rows))[:QUERIES]
    near = {int(query): nearest(unit, int(query), NEAREST) for query in queries}
    shown = {index for query, found in near.items() for index in (query, *(other for other, _ in found))}
    album = Album.of(predictions, [rows[index] for index in sorted(shown)], palette)
    described = facts(
        [
            ("Numbers in a vector", number(vectors.shape[1])),
            ("Sampled", [number(len(rows)), " images"]),
            ("Sampled besides, with NaN or infinity", number(int((~is_finite).sum()))),
            ("Mean length of a vector", number(float(lengths.mean()), 3)),
            ("Greatest length", number(float(lengths.max()), 3)),
        ]
    )
    content: list[Child] = [
        tag("div", tag("div", described, class_="card"), _plane(unit, rows, palette), class_="columns"),
        tag("h3", "Nearest neighbours"),
        *(_row(rows, query, found, album) for query, found in near.items()),
    ]
    about = f"Of {len(rows):,} images drawn at random, those that are most alike by cosine similarity."
    return Section(key="neighbours", title="Who is near whom", about=about, content=content)


def vectors_of(column: pa.ChunkedArray) -> Vectors:
    """float32 (N, D) of a column of N lists, N above 0; SpecError unless all have one length."""
    lists = column.combine_chunks()
    lengths = pc.unique(pc.list_value_length(lists))
    if len(lengths) != 1 or not lengths[0].as_py():
        found = f"lists of {', '.join(map(str, lengths.to_pylist()[:5]))} numbers"
        raise SpecError(Problem("embedding", found, "as many numbers in each row that has no error_code"))
    return np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(len(lists), -1)


def nearest(unit: Vectors, query: int, most: int) -> list[tuple[int, float]]:
    """The other rows of (N, D) unit vectors that are most like row `query`, with the cosine, the most alike first."""
    cosines = unit @ unit[query]
    cosines[query] = -np.inf
    best = np.argsort(-cosines, kind="stable")[: min(most, len(unit) - 1)]
    return [(int(index), float(cosines[index])) for index in best]


def plane(vectors: Vectors) -> NDArray[np.float64]:
    """Where rows lie in the plane of their two principal components, (N, 2)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred @ centred.T)
    return np.asarray(axes[:, :-3:-1] * np.sqrt(np.maximum(values[:-3:-1], 0)))


def _plane(unit: Vectors, rows: list[dict[str, Any]], palette: Palette) -> Child:
    """The sample as points."""
    if len(rows) < 3:
        return None
    is_coloured = 0 < len(palette.places) <= GROUPS
    groups: dict[str, list[tuple[float, float]]] = {}
    for (x, y), row in zip(plane(unit), rows, strict=True):
        groups.setdefault(str(row.get("truth")) if is_coloured else "", []).append((float(x), float(y)))
    chart = Chart(
        key="plane",
        title="The sample in a plane",
        about="Each point is an image; the axes are the two principal components of the vectors.",
        x="first component",
        y="second component",
    )
    colours = {name: palette.of_label(name) if is_coloured else SERIES[0] for name in groups}
    return scatter(chart, [Points(name=name, colour=colours[name], at=at) for name, at in sorted(groups.items())])


def _row(rows: list[dict[str, Any]], query: int, near: list[tuple[int, float]], album: Album) -> Child:
    """An image, and those that are most like it."""
    asked = tag("li", album.figure(rows[query], tag("b", "this image")))
    found = [tag("li", album.figure(rows[index], ["cosine ", tag("b", number(cosine, 3))])) for index, cosine in near]
    return tag("ul", asked, *found, class_="gallery", aria_label=f"Nearest to {name_of(rows[query])[:60]}")
