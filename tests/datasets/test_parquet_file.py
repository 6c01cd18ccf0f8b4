"""Damaged files, files that change and storages in trouble."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.reading import (
    FaultyStorage,
    everything,
    format_of,
    outcome,
    samples_of,
    settings_of,
    shards_of,
)
from tests.datasets.tables import outcomes, write
from vision_batch.datasets import parquet_file
from vision_batch.errors import ChangedError, SpecError, UnavailableError
from vision_batch.storage.table import STORAGES


class TestDamage:
    def test_a_damaged_row_group_costs_its_own_rows(self, tmp_path: Path) -> None:
        images = [os.urandom(300) for _ in range(30)]
        columns = {"image": images, "y": list(range(30))}
        path = write(tmp_path / "x.parquet", columns, row_group_size=10, use_dictionary=False)
        content = bytearray(path.read_bytes())
        start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
        content[start : start + 20] = b"\xff" * 20
        path.write_bytes(content)
        samples = samples_of(settings_of(path, label_column="y", keep_columns=["y"]))
        assert outcomes(samples) == images[:10] + ["unreadable"] * 10 + images[20:]
        assert [sample.image_id for sample in samples] == [f"x.parquet#{row}" for row in range(30)]
        assert [sample.truth for sample in samples] == [*range(10), *[None] * 10, *range(20, 30)]
        assert samples[10].error is not None
        assert "row group 1 is damaged" in samples[10].error.message

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda content: content[:-1],
            lambda content: content[: len(content) // 2],
            lambda content: b"",
            lambda content: b"PAR1",
            lambda content: b"no parquet at all" * 100,
            lambda content: content[:-12] + b"\xff" * 4 + content[-8:],
            lambda content: content[:-8] + b"\xff\xff\xff\x7fPAR1",
            lambda content: content[:-60] + bytes(52) + content[-8:],
        ],
        ids=["a byte less", "half", "empty", "magic", "text", "thrift", "length", "zeros"],
    )
    def test_a_file_without_a_footer_is_one_unreadable_row(self, tmp_path: Path, spoil: Any) -> None:
        path = write(tmp_path / "x.parquet", {"image": [b"A"], "y": [1]})
        path.write_bytes(spoil(path.read_bytes()))
        settings = settings_of(path, label_column="y", keep_columns=["y"])
        (shard,) = shards_of(settings)
        assert (shard.key, shard.rows, shard.row_groups) == ("x.parquet", 1, None)
        (sample,) = samples_of(settings)
        assert (sample.image_id, outcome(sample), sample.kept) == ("x.parquet#0", "unreadable", (None,))
        assert [field.type for field in format_of(shard).extra_fields(shard, settings)] == [pa.null(), pa.null()]
        assert list(format_of(shard).read(shard, settings, lambda row: False)) == []

    def test_a_file_that_changes_stops_the_shard(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", {"image": [b"A"]})
        settings = settings_of(path)
        (shard,) = shards_of(settings)
        write(path, {"image": [b"B", b"C"]})
        with pytest.raises(ChangedError):
            list(format_of(shard).read(shard, settings, everything))

    def test_the_storages_troubles_are_no_rows(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x.parquet", {"image": [b"A"]})
        settings = settings_of(path)
        (shard,) = shards_of(settings)
        fault = UnavailableError(str(path), "no")
        monkeypatch.setitem(STORAGES, "", lambda: FaultyStorage({str(path): fault}))
        with pytest.raises(UnavailableError):
            list(format_of(shard).read(shard, settings, everything))
        parquet_file.read_footer.cache_clear()
        with pytest.raises(UnavailableError):
            shards_of(settings)

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), dictionary=st.booleans())
    def test_a_flipped_byte_never_raises_anything_else(
        self, tmp_path: Path, data: st.DataObject, dictionary: bool
    ) -> None:
        labels = pa.array(["a", "b", "c"])
        columns = {"image": [b"A" * 50, None, b"B" * 60], "y": labels.dictionary_encode() if dictionary else labels}
        path = write(tmp_path / "x.parquet", columns)
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try:
            shards = shards_of(settings_of(path, label_column="y"))
        except SpecError:  # a name or a type is another one now
            return
        if sum(shard.rows or 0 for shard in shards) < 100:
            samples_of(settings_of(path, label_column="y"))

    @pytest.mark.parametrize("column", ["image", "y"])
    def test_indices_that_lead_out_of_a_dictionary_are_damage(self, tmp_path: Path, column: str) -> None:
        columns = {"image": pa.array(["a.jpg", "b.jpg", "c.jpg"] * 30).dictionary_encode()}
        columns["y"] = columns["image"]
        path = write(tmp_path / "x.parquet", columns, compression="none")
        content = bytearray(path.read_bytes())
        chunk = pq.read_metadata(path).row_group(0).column(list(columns).index(column))
        end = chunk.dictionary_page_offset + chunk.total_compressed_size
        content[end - 5 : end] = b"\xff" * 5
        path.write_bytes(content)
        assert set(outcomes(samples_of(settings_of(path, label_column="y")))) == {"unreadable"}
