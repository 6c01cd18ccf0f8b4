"""Parquet files are cut into shards of whole row groups, and rows keep their numbers whatever is wanted."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.reading import (
    assert_reads_alike_whatever_is_wanted,
    format_of,
    samples_of,
    settings_of,
    shards_of,
)
from tests.datasets.tables import outcomes, read, replace, write
from vision_batch.datasets import parquet as parquet_module
from vision_batch.datasets import parquet_file


class TestShards:
    @pytest.mark.parametrize(
        ("rows", "group", "expected"),
        [
            (10, 4, [("x.parquet", (0, 3), 0, 10)]),
            (4096, 2048, [("x.parquet#0", (0, 1), 0, 2048), ("x.parquet#2048", (1, 2), 2048, 2048)]),
            (4097, 1000, [("x.parquet", (0, 5), 0, 4097)]),
            (6000, 5000, [("x.parquet", (0, 2), 0, 6000)]),
            (7500, 1000, [("x.parquet#0", (0, 3), 0, 3000), ("x.parquet#3000", (3, 8), 3000, 4500)]),
        ],
    )
    def test_row_groups_are_gathered_until_there_are_enough_rows(
        self, tmp_path: Path, rows: int, group: int, expected: list[object]
    ) -> None:
        write(tmp_path / "x.parquet", {"image": [b"A"] * rows}, row_group_size=group)
        shards = shards_of(settings_of(tmp_path))
        found = [(shard.key, shard.row_groups, shard.first_row, shard.rows) for shard in shards]
        assert found == expected

    def test_ids_count_from_the_file_and_rows_from_the_shard(self, tmp_path: Path) -> None:
        write(tmp_path / "x y.parquet", {"image": [b"%d" % row for row in range(5500)]}, row_group_size=1500)
        samples = samples_of(settings_of(tmp_path))
        assert [sample.image_id for sample in samples] == [f"x y.parquet#{row}" for row in range(5500)]
        assert outcomes(samples) == [b"%d" % row for row in range(5500)]
        assert [sample.row for sample in samples] == [*range(3000), *range(2500)]

    @pytest.mark.parametrize("write_groups", [False, True])
    def test_a_file_without_rows_is_a_shard_without_rows(self, tmp_path: Path, write_groups: bool) -> None:
        with pq.ParquetWriter(tmp_path / "x.parquet", pa.schema([("image", pa.binary())])) as writer:
            if write_groups:
                writer.write_table(pa.table({"image": pa.array([], pa.binary())}))
        (shard,) = shards_of(settings_of(tmp_path))
        assert (shard.key, shard.rows) == ("x.parquet", 0)
        assert samples_of(settings_of(tmp_path)) == []

    def test_large_row_groups_are_read_in_pieces(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet_file, "WHOLE_BYTES", 1000)
        monkeypatch.setattr(parquet_file, "PIECE_BYTES", 5000)
        images = [os.urandom(index * 7) for index in range(1000)]
        assert outcomes(read(tmp_path, {"image": images})) == images

    def test_row_groups_that_are_not_wanted_are_not_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", {"image": [b"A" * 100] * 30}, row_group_size=10, compression="none")
        settings = settings_of(path)
        (shard,) = shards_of(settings)
        content = bytearray(path.read_bytes())
        start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
        content[start : start + 50] = bytes(50)
        replace(path, content)
        wanted = [sample.row for sample in format_of(shard).read(shard, settings, {12, 29}.__contains__)]
        assert wanted == [12, 29]

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(chosen=st.sets(st.integers(0, 70)), group=st.integers(3, 70), damage=st.none() | st.integers(0, 3000))
    def test_what_is_wanted_does_not_change_what_is_read(
        self, tmp_path: Path, chosen: set[int], group: int, damage: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parquet_module, "SHARD_ROWS", 20)
        monkeypatch.setattr(parquet_file, "BATCH_ROWS", 4)
        images = [None if row % 11 == 5 else b"%d" % row * 20 for row in range(60)]
        path = tmp_path / "x.parquet"
        write(path, {"image": images, "y": list(range(60))}, row_group_size=group, data_page_size=100)
        if damage is not None:
            content = bytearray(path.read_bytes())
            content[4 + damage % (len(content) // 2)] ^= 0xFF
            path.write_bytes(content)
        assert_reads_alike_whatever_is_wanted(settings_of(path, label_column="y"), chosen)
