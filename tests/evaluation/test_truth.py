"""Truth: from Parquet and from folders per class."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vision_batch.errors import SpecError
from vision_batch.evaluation.settings import TruthSettings
from vision_batch.evaluation.truth import Truth, open_truth


def opened(uri: Path, truth_column: str = "label", **settings: str) -> Truth:
    return open_truth(TruthSettings.model_validate({"uri": str(uri), **settings}), truth_column)


def rows(truth: Truth, *columns: str) -> dict[str, list[object]]:
    return pa.Table.from_batches(truth.batches(columns)).to_pydict()


def test_a_parquet_has_ids_and_the_column_of_the_task(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a", "b"], "label": ["x", "y"], "site": [1, 2]}), tmp_path / "t.parquet")
    truth = opened(tmp_path / "t.parquet")
    assert rows(truth, "site") == {"image_id": ["a", "b"], "truth": ["x", "y"], "site": [1, 2]}
    assert truth.columns == ("image_id", "label", "site")


def test_the_columns_of_a_parquet_may_have_other_names_and_ids_be_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"key": [7, 8], "species": ["x", None]}), tmp_path / "t.parquet")
    truth = opened(tmp_path, id_column="key", column="species")
    assert rows(truth) == {"image_id": ["7", "8"], "truth": ["x", None]}


def test_a_column_that_a_parquet_has_not_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image_id": ["a"], "lable": ["x"]}), tmp_path / "t.parquet")
    with pytest.raises(SpecError, match=r"truth.column: found no column 'label' .* did you mean 'lable'"):
        opened(tmp_path / "t.parquet")


def test_in_folders_the_class_is_the_folder_next_to_the_image(tmp_path: Path) -> None:
    for name in ("a/cat/1.jpg", "a/dog/2.PNG", "cat/3.jpg", "cat/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    truth = opened(tmp_path)
    assert rows(truth) == {"image_id": ["a/cat/1.jpg", "a/dog/2.PNG", "cat/3.jpg"], "truth": ["cat", "dog", "cat"]}
    assert truth.by_file_name


def test_folders_tell_a_class_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    with pytest.raises(SpecError, match="a truth that has boxes"):
        opened(tmp_path, "boxes", format="folder")


def test_where_there_is_no_truth_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="expected where the truth is"):
        opened(tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SpecError, match="without images"):
        rows(opened(tmp_path))
