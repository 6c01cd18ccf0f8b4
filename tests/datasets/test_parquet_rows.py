"""What becomes of a row: its image, its name, its labels and the columns that are kept."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.datasets.reading import (
    FaultyStorage,
    format_of,
    samples_of,
    settings_of,
    shards_of,
)
from tests.datasets.tables import outcomes, read, write
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ForbiddenError, UnavailableError
from vision_batch.storage.table import STORAGES


class TestImages:
    @pytest.mark.parametrize(
        "type",
        [
            pa.binary(),
            pa.large_binary(),
            pa.binary_view(),
            pa.dictionary(pa.int32(), pa.binary()),
        ],
        ids=str,
    )
    def test_bytes(self, tmp_path: Path, type: pa.DataType) -> None:
        images = [b"A", b"", None, b"A", b"B" * 10_000]
        samples = read(tmp_path, {"image": pa.array(images, pa.binary()).cast(type)})
        assert outcomes(samples) == [b"A", b"", "missing", b"A", b"B" * 10_000]
        assert [sample.image_id for sample in samples] == [f"x.parquet#{row}" for row in range(5)]

    @pytest.mark.parametrize(
        "type",
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
        ids=str,
    )
    def test_names(self, tmp_path: Path, type: pa.DataType) -> None:
        (tmp_path / "i").mkdir()
        (tmp_path / "i/ü 1.jpg").write_bytes(b"A")
        (tmp_path / "i/2.jpg").write_bytes(b"")
        names = ["i/ü 1.jpg", f"{tmp_path}/i/2.jpg", "i/none.jpg", None, "../x.jpg", "i", ".", "https://x.org/a.jpg"]
        samples = read(tmp_path, {"image": pa.array(names, pa.string()).cast(type)})
        assert outcomes(samples) == [b"A", b"", "missing", "missing", "forbidden", "missing", "missing", "forbidden"]

    @pytest.mark.parametrize("swapped", [False, True])
    @pytest.mark.parametrize("large", [False, True])
    def test_hugging_face_structs(self, tmp_path: Path, swapped: bool, large: bool) -> None:
        (tmp_path / "1.jpg").write_bytes(b"file")
        fields = [("bytes", pa.large_binary() if large else pa.binary()), ("path", pa.string())]
        values = [
            {"bytes": b"A", "path": "anything"},
            {"bytes": None, "path": "1.jpg"},
            {"bytes": b"", "path": "1.jpg"},
            {"bytes": None, "path": None},
            {"bytes": b"B", "path": None},
            None,
        ]
        samples = read(tmp_path, {"image": pa.array(values, pa.struct(fields[::-1] if swapped else fields))})
        assert outcomes(samples) == [b"A", b"file", b"", "missing", b"B", "missing"]

    def test_a_name_that_is_not_utf_8_is_no_crash(self, tmp_path: Path) -> None:
        names = pa.array([b"\xff.jpg", b"a.jpg"], pa.binary()).view(pa.string())
        assert outcomes(read(tmp_path, {"image": names})) == ["missing", "missing"]

    def test_images_elsewhere_need_permission(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "1.jpg").write_bytes(b"A")
        columns = {"image": ["../1.jpg"]}
        assert outcomes(read(tmp_path / "set", columns)) == ["forbidden"]
        assert outcomes(read(tmp_path / "set", columns, allow=[str(tmp_path)])) == [b"A"]

    def test_forbidden_names_are_not_touched(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        storage = FaultyStorage()
        monkeypatch.setitem(STORAGES, "", lambda: storage)
        read(tmp_path, {"image": ["/etc/passwd", "../x.jpg"]})
        assert set(storage.opened) == {f"{tmp_path}/x.parquet"}

    def test_many_names_are_fetched_in_order(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vision_batch.datasets.references.RUN_ROWS", 50)
        names: list[str | None] = []
        for index in range(300):
            (tmp_path / f"{index}.jpg").write_bytes(str(index).encode())
            names.append([f"{index}.jpg", None, f"{index}-not.jpg"][0 if index % 7 else index % 3])
        found = outcomes(read(tmp_path, {"image": names}))
        assert found == [str(i).encode() if name == f"{i}.jpg" else "missing" for i, name in enumerate(names)]

    @pytest.mark.parametrize("kind", [ForbiddenError, UnavailableError])
    def test_the_storages_troubles_are_no_rows(
        self, tmp_path: Path, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uri = f"{tmp_path}/1.jpg"
        monkeypatch.setitem(STORAGES, "", lambda: FaultyStorage({uri: kind(uri, "no")}))  # type: ignore[dict-item]
        with pytest.raises(kind):
            read(tmp_path, {"image": ["1.jpg"]})


class TestColumns:
    def test_ids_are_text(self, tmp_path: Path) -> None:
        columns = {"image": [b"A"] * 3, "id": ["a b", "日本語", None]}
        assert [s.image_id for s in read(tmp_path, columns, id_column="id")] == ["a b", "日本語", "x.parquet#2"]
        columns = {"image": [b"A"] * 2, "id": [7, 2**60]}
        assert [s.image_id for s in read(tmp_path, columns, id_column="id")] == ["7", str(2**60)]
        columns = {"image": [b"A"], "id": pa.array(["n" * 10_000]).dictionary_encode()}
        assert [s.image_id for s in read(tmp_path, columns, id_column="id")] == ["n" * 10_000]
        columns = {"image": [b"A"], "id": [b"\xffid"]}
        assert [s.image_id for s in read(tmp_path, columns, id_column="id")] == ["\\xffid"]

    @pytest.mark.parametrize(
        ("values", "type"),
        [
            ([1, None, 3], pa.int8()),
            ([1.5, None], pa.float32()),
            ([True, None], pa.bool_()),
            (["a", None], pa.string()),
            (["a", None], pa.large_string()),
            (["a", None], pa.dictionary(pa.int32(), pa.string())),
            ([b"a", None], pa.binary()),
            ([[1, 2], None, []], pa.list_(pa.int16())),
            ([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
            ([{"x": 1, "y": ["a"]}, None], pa.struct([("x", pa.int8()), ("y", pa.list_(pa.string()))])),
            ([[{"t": 5}], None], pa.list_(pa.struct([("t", pa.timestamp("ns"))]))),
            ([1, None], pa.timestamp("ns", "Europe/Berlin")),
            ([2**62, None], pa.timestamp("us")),
            ([7, None], pa.time64("ns")),
            ([7, None], pa.duration("us")),
            ([datetime.date(2020, 1, 1), None], pa.date32()),
            ([1, None], pa.decimal128(7, 2)),
        ],
        ids=lambda value: str(value) if isinstance(value, pa.DataType) else "",
    )
    def test_labels_and_kept_columns_keep_their_type(
        self, tmp_path: Path, values: list[Any], type: pa.DataType
    ) -> None:
        column = pa.array(values, type)
        columns = {"image": [b"A"] * len(column), "label": column, "b": column}
        settings = settings_of(
            write(tmp_path / "x.parquet", columns), label_column="label", keep_columns=["b", "label"]
        )
        (shard,) = shards_of(settings)
        fields = format_of(shard).extra_fields(shard, settings)
        assert fields == [pa.field(name, type) for name in ("truth", "input_b", "input_label")]
        samples = samples_of(settings)
        assert pa.array([sample.truth for sample in samples], fields[0].type).equals(column)
        assert pa.array([sample.kept[0] for sample in samples], fields[1].type).equals(column)
        assert [sample.truth for sample in samples if sample.truth is None] == [None] * column.null_count

    def test_text_that_is_not_utf_8_is_an_invalid_label(self, tmp_path: Path) -> None:
        labels = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
        samples = read(tmp_path, {"image": [b"A", b"B"], "label": labels}, label_column="label")
        assert outcomes(samples) == [b"A", "invalid_label"]
        assert [sample.truth for sample in samples] == ["ok", None]

    def test_only_the_needed_columns_are_read(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x.parquet", {"other": [os.urandom(4 << 20)], "image": [b"A"]})
        content = bytearray(path.read_bytes())
        content[4 : 2 << 20] = bytes((2 << 20) - 4)
        path.write_bytes(content)
        assert outcomes(samples_of(settings_of(path))) == [b"A"]
        assert outcomes(samples_of(settings_of(path, keep_columns=["other"]))) == ["unreadable"]

    def test_several_inputs_begin_keys_and_ids(self, tmp_path: Path) -> None:
        for name in ("p", "q"):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "x.parquet", {"image": [b"A"], "id": ["i"]})
        inputs = {"uri": [str(tmp_path / "p"), {"uri": str(tmp_path / "q"), "name": "val"}]}
        without, with_ids = InputSettings.model_validate(inputs), InputSettings(**inputs, id_column="id")  # type: ignore[arg-type]
        assert [shard.key for shard in shards_of(without)] == ["0/x.parquet", "val/x.parquet"]
        assert [sample.image_id for sample in samples_of(without)] == ["0/x.parquet#0", "val/x.parquet#0"]
        assert [sample.image_id for sample in samples_of(with_ids)] == ["0/i", "val/i"]
