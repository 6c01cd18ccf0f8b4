"""Names of files: fixed by the cell alone, and nothing but parts at the level of OUTPUT/*.parquet."""

from __future__ import annotations

import pytest

from vision_batch.ledger.paths import LedgerPaths

PATHS = LedgerPaths("s3://bucket/labels")


def test_a_parts_name_comes_from_its_shard_and_cell() -> None:
    assert PATHS.part("files-000001", 7) == "s3://bucket/labels/part-8a3ce34f47c538d5-000007.parquet"
    assert PATHS.part("files-000001", 7) != PATHS.part("files-000002", 7)


def test_only_parquet_files_of_the_top_level_are_the_table() -> None:
    assert PATHS.is_table_file("s3://bucket/labels/part-1.parquet")
    for other in (
        "labels/_ledger/plan/000001.plan",
        "labels/deeper/a.parquet",
        "labels/readme.txt",
        "labels-2/a.parquet",
    ):
        assert not PATHS.is_table_file(f"s3://bucket/{other}")


def test_nothing_of_the_ledger_looks_like_a_table() -> None:
    files = [PATHS.definition, PATHS.segment(1), PATHS.manifest, PATHS.run("20260101T000000.000Z-1a2b3c4d")]
    assert all(uri.startswith("s3://bucket/labels/_ledger/") and not uri.endswith(".parquet") for uri in files)


def test_metrics_lie_beside_the_output() -> None:
    assert (
        PATHS.metrics("run-1")
        == LedgerPaths("s3://bucket/labels/").metrics("run-1")
        == "s3://bucket/labels-metrics/run-1"
    )


@pytest.mark.parametrize("number", [1, 123456])
def test_segments_are_numbered_in_their_names(number: int) -> None:
    assert PATHS.segment_number(PATHS.segment(number)) == number
    assert PATHS.segment_number(PATHS.definition) is None
