"""Columns that are not there, of another type, or not to be trusted, are wrong specs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.datasets.reading import (
    settings_of,
    shards_of,
)
from tests.datasets.tables import write
from vision_batch.errors import SpecError


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
