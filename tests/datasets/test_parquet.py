"""Parquet files with images, or with the names of images."""

from __future__ import annotations

import datetime
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.reading import (
    FaultyStorage,
    assert_reads_alike_whatever_is_wanted,
    everything,
    format_of,
    outcome,
    samples_of,
    settings_of,
    shards_of,
)
from vision_batch.datasets import parquet as parquet_module
from vision_batch.datasets import parquet_file
from vision_batch.datasets.sample import Sample
from vision_batch.datasets.settings import InputSettings
from vision_batch.errors import ChangedError, ForbiddenError, SpecError, UnavailableError
from vision_batch.storage.table import STORAGES


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def read(path: Path, columns: dict[str, Any], **more: object) -> list[Sample]:
    return samples_of(settings_of(write(path / "x.parquet", columns), **more))


def outcomes(samples: list[Sample]) -> list[bytes | str]:
    return [outcome(sample) for sample in samples]


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


class TestWrongColumns:
    def problem(self, path: Path, columns: dict[str, Any], **more: object) -> str:
        with pytest.raises(SpecError) as caught:
            shards_of(settings_of(write(path / "x.parquet", columns), **more))
        return str(caught.value)

    def test_a_missing_column_is_named_beside_those_that_are_there(self, tmp_path: Path) -> None:
        text = self.problem(tmp_path, {"images": [b"A"], "n": [1]})
        assert "input.image_column: found no column 'image'" in text
        assert "images: binary, n: int64" in text
        assert "did you mean 'images'?" in text

    def test_every_missing_column_is_named_at_once(self, tmp_path: Path) -> None:
        columns = {"image": [b"A"]}
        text = self.problem(tmp_path, columns, id_column="a", label_column="b", keep_columns=["c", "d"])
        assert len(text.splitlines()) == 4

    @pytest.mark.parametrize(
        "column", [pa.array([1]), pa.array([[1]]), pa.array([{"bytes": b"A"}]), pa.array([{"bytes": 1, "path": "x"}])]
    )
    def test_an_image_column_of_another_type(self, tmp_path: Path, column: pa.Array) -> None:
        assert "'image' of type" in self.problem(tmp_path, {"image": column})

    def test_two_columns_of_one_name(self, tmp_path: Path) -> None:
        table = pa.Table.from_arrays([pa.array([b"A"]), pa.array([b"B"])], names=["image", "image"])
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(SpecError, match="2 columns 'image'"):
            shards_of(settings_of(tmp_path))

    def test_extension_types_are_refused_registered_or_not(self, tmp_path: Path) -> None:
        field = pa.field("image", pa.binary(), metadata={"ARROW:extension:name": "evil.pickle"})
        table = pa.table([pa.array([b"A"])], schema=pa.schema([field]))
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(SpecError, match=r"extension type evil\.pickle"):
            shards_of(settings_of(tmp_path))
        text = self.problem(tmp_path, {"image": [b"A"], "id": pa.array([b"x" * 16], pa.uuid())}, id_column="id")
        assert "extension type arrow.uuid" in text

    def test_extension_types_inside_other_types_are_refused(self, tmp_path: Path) -> None:
        inner = pa.field("bytes", pa.binary(), metadata={"ARROW:extension:name": "evil.pickle"})
        column = pa.array([{"bytes": b"A", "path": "x"}], pa.struct([inner, ("path", pa.string())]))
        assert "evil.pickle" in self.problem(tmp_path, {"image": column})

    def test_a_type_whose_loading_fails_is_a_spec_error(self, tmp_path: Path) -> None:
        class Picky(pa.ExtensionType):
            def __init__(self) -> None:
                super().__init__(pa.binary(), "test.picky")

            def __arrow_ext_serialize__(self) -> bytes:
                return b"x"

            @classmethod
            def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> Picky:
                raise ValueError("it is not trusted")

        field = pa.field(
            "other",
            pa.binary(),
            metadata={"ARROW:extension:name": "test.picky", "ARROW:extension:metadata": "x"},
        )
        table = pa.table([pa.array([b"A"]), pa.array([b"A"])], schema=pa.schema([("image", pa.binary()), field]))
        pq.write_table(table, tmp_path / "x.parquet")
        pa.register_extension_type(Picky())
        try:
            with pytest.raises(SpecError, match="it is not trusted"):
                shards_of(settings_of(tmp_path))
        finally:
            pa.unregister_extension_type("test.picky")


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


def replace(path: Path, content: bytes | bytearray) -> None:
    """Other bytes under the same version, as a disk's fault would leave them."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


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


UNPICKLE = """
import sys
import ray.data
import ray.data._internal.tensor_extensions.arrow  # registers Ray's tensor types with Arrow
from vision_batch.datasets.settings import InputSettings
from vision_batch.datasets.table import format_named
from vision_batch.errors import SpecError
from vision_batch.storage.local import LocalStorage

path = sys.argv[1]
try:
    format_named("parquet").cut(LocalStorage().stat(path), path.rpartition("/")[0], "", InputSettings(uri=path))
except SpecError as error:
    print("refused:", error)
"""


def test_rays_tensor_types_are_not_unpickled(tmp_path: Path) -> None:
    """The types of Ray 2.49 to 2.54 had pickles in the schema; a process that knows them must not load those."""

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    kinds = {b"ARROW:extension:name": b"ray.data.arrow_tensor", b"ARROW:extension:metadata": pickle.dumps(Payload())}
    field = pa.field("image", pa.list_(pa.uint8()), metadata=kinds)
    pq.write_table(
        pa.table([pa.array([[1, 2]], pa.list_(pa.uint8()))], schema=pa.schema([field])), tmp_path / "x.parquet"
    )
    command = [sys.executable, "-c", UNPICKLE, str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "refused: " in done.stdout
    assert not (tmp_path / "executed").exists()
