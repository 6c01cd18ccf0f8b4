"""`run --retry-errors`: error rows are processed again, and exactly those rows are replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.integration.job import Job, digits, write_folder, write_parquet
from vision_batch.ledger.verify import verify

pytestmark = pytest.mark.ray


def good(table: pa.Table) -> pa.Table:
    return table.filter(pc.is_null(table["error_code"]))


def test_what_was_missing_and_is_there_now_gets_its_prediction(job: Callable[..., Job], ray_address: str) -> None:
    it = job(input={"uri": "data/", "format": "parquet"})
    write_folder(it.data / "images", digits(60))
    names: list[str | None] = [f"images/{number:05d}.jpg" for number in range(60)]
    names += ["images/late.jpg", "images/never.jpg", "../spec.yaml", None]
    write_parquet(it.data / "list.parquet", names)
    first = it.run(ray_address)
    assert first.failures == {"forbidden": 1, "missing": 3}
    before = it.table()
    Path(it.data / "images" / "late.jpg").write_bytes(digits(61)[60])
    assert it.run(ray_address).images_failed == 4  # nobody has asked
    again = it.run(ray_address, "compute.layout=split", "compute.batch_size=2", retry_errors=["missing"])
    assert (again.status, again.images_resumed, again.images_retried) == ("done", 61, 3)
    assert again.failures == {"forbidden": 1, "missing": 2}
    after = it.table()
    assert after["row"].to_pylist() == list(range(64))
    assert after.filter(pc.not_equal(after["row"], 60)).equals(before.filter(pc.not_equal(before["row"], 60)))
    assert good(after).num_rows == 61
    assert verify(str(it.output), deep=True).ok
