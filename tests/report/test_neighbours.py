"""Neighbours are those of the greatest cosine, and the plane keeps what the principal components keep."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from tests.report.outputs import EMBEDDING, make_output
from vision_batch.errors import SpecError
from vision_batch.report.neighbours import nearest, plane, vectors_of
from vision_batch.report.report import render_report


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 9))
def test_neighbours_agree_with_those_of_scikit_learn(rows: int, width: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest(unit, 0, 5)
    distances, _ = NearestNeighbors(n_neighbors=min(6, rows), metric="cosine").fit(unit).kneighbors(unit[:1])
    assert [1 - cosine for _, cosine in found] == pytest.approx(distances[0][1:], abs=1e-5)
    assert 0 not in [index for index, _ in found]


def test_the_plane_is_that_of_the_principal_components() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32) * np.arange(1, 9)
    ours, theirs = plane(vectors), PCA(2).fit_transform(vectors.astype(np.float64))
    assert np.abs(ours) == pytest.approx(np.abs(theirs), abs=1e-4)


@pytest.mark.parametrize("rows", [[[1.0], [1.0, 2.0]], [[], []], [[1.0], None]])
def test_vectors_of_several_lengths_are_refused(rows: list[list[float] | None]) -> None:
    with pytest.raises(SpecError, match="embedding"):
        vectors_of(pa.chunked_array([pa.array(rows, pa.list_(pa.float32()))]))


def test_vectors_that_are_none_and_very_long_ones_break_nothing(tmp_path: Path) -> None:
    rows = [[1.0, float("nan")], [float("inf"), 1.0], [0.0, 0.0], [1.0, 2.0], [3e38, -3e38], [1.0, 3.0]]
    output = make_output(tmp_path, EMBEDDING, {f"{n}.jpg": {"embedding": row} for n, row in enumerate(rows)})
    page = render_report(output)
    assert '<dt>Sampled besides, with NaN or infinity</dt><dd><data value="2">2</data>' in page
    assert '<dt>Sampled</dt><dd><data value="4">4</data> images' in page
    few = make_output(tmp_path / "few", EMBEDDING, {f"{n}.jpg": {"embedding": row} for n, row in enumerate(rows[:3])})
    assert "Who is near whom" not in render_report(few)


def test_a_page_shows_who_is_near_whom(tmp_path: Path) -> None:
    rows = {f"{n}.jpg": {"embedding": [float(n < 3), float(n >= 3), n / 100]} for n in range(6)}
    output = make_output(tmp_path, EMBEDDING, rows)
    page = render_report(output)
    for asked, *near in re.findall(
        r'<ul class="gallery" aria-label="Nearest to (\d)\.jpg">(.*?)</ul>', page, re.DOTALL
    ):
        named = [int(name) for name in re.findall(r"<bdi>(\d)\.jpg</bdi>", near[0])]
        assert named[0] == int(asked)
        assert {name < 3 for name in named[:3]} == {int(asked) < 3}
        assert len(named) == 6
    assert "The sample in a plane" in page
