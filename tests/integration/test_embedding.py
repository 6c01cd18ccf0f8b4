"""Vectors of pictures, from a tar to a table, in both layouts on real Ray; the second time by an exported program."""

from __future__ import annotations

import io
from collections.abc import Callable

import cv2
import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.datasets.archives import written
from tests.integration.job import Job
from vision_batch.ledger.predictions import Predictions
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray

MakeJob = Callable[..., Job]

MEANS = """
import torch

class Means(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))

build = Means
"""
COLOURS = [(200, 100, 50), (0, 0, 0), (10, 20, 30), (255, 255, 255), (0, 90, 0), (1, 2, 3), (7, 7, 0)]
BLACK, CUT = 1, 4


def picture(number: int) -> bytes:
    data: bytes = cv2.imencode(".png", np.full((8, 8, 3), COLOURS[number][::-1], np.uint8))[1].tobytes()
    return data[: len(data) // 2] if number == CUT else data


def program() -> bytes:
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(MEANS, scope)
    many = torch.export.Dim("many", min=1)
    exported = torch.export.export(scope["Means"](), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: many},))
    archive = io.BytesIO()
    torch.export.save(exported, archive)
    return archive.getvalue()


def test_vectors_come_out_in_both_layouts_and_error_rows_have_none(job: MakeJob, ray_address: str) -> None:
    it = job(
        code=MEANS,
        task={"type": "embedding", "normalise": True, "dtype": "float16"},
        preprocess={"resize_px": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1]},
    )
    it.data.mkdir()
    (it.data / "a.tar").write_bytes(written([(f"{n}.png", picture(n)) for n in range(len(COLOURS))]))
    (it.folder / "means.pt2").write_bytes(program())
    tables: dict[str, pa.Table] = {}
    for layout, source in (("joined", "python:model_code:build"), ("split", f"export:{it.folder}/means.pt2")):
        output = it.folder / layout
        overrides = [f"compute.layout={layout}", "compute.batch_size=3", f"model.source={source}"]
        summary = it.run(ray_address, *overrides, output=str(output))
        assert (summary.status, summary.failures) == ("done", {"truncated": 1, "model_error": 1})
        assert verify(str(output), deep=True).ok
        tables[layout] = it.table(output)
        assert Predictions.open(str(output)).kind == "embedding"
    assert tables["joined"].equals(tables["split"])
    rows = tables["joined"].to_pylist()
    assert "zeros only, a vector that has no direction" in rows[BLACK]["error"]
    for row, colour in zip(rows, COLOURS, strict=True):
        if row["row"] in (BLACK, CUT):
            assert row["embedding"] is None
        else:
            np.testing.assert_allclose(row["embedding"], np.array(colour) / np.linalg.norm(colour), atol=1e-3)
    nearest = duckdb.sql(
        f"SELECT row FROM '{it.folder}/joined/*.parquet' "
        "ORDER BY array_cosine_similarity(embedding::FLOAT[3], [1, 1, 1]::FLOAT[3]) DESC NULLS LAST LIMIT 1"
    ).fetchall()
    assert nearest == [(3,)]
