"""Boxes, masks and embeddings are the same to every reader, error rows among them; and so is what was exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from tests.export.predicted import (
    BOXES,
    CLASSIFIED,
    ERROR,
    MASKED,
    SEGMENTED,
    SEVERAL,
    box,
    classified,
    pictures,
    predicted,
)
from tests.integration.test_readers import by_duckdb, by_hugging_face, by_pandas, by_polars, by_pyarrow, by_ray, wanted
from vision_batch.export.export import export
from vision_batch.export.job import Options

NAMES = [f"{number}.png" for number in range(6)]
RUNS = "02"
PNG = cv2.imencode(".png", np.eye(30, 40, dtype=np.uint8))[1].tobytes()
PIXELS = [{"label": "cat", "label_index": 0, "pixels": 1170}, {"label": "dog", "label_index": 1, "pixels": 30}]
VECTOR = [0.5, -2.0, 0.125]
HALF = pa.field("embedding", pa.list_(pa.float16()))
KINDS: Mapping[str, tuple[list[pa.Field], dict[str, Any]]] = {
    "detection": ([BOXES], {"boxes": [box(1, 2, 3.5, 4), box(0, 0, 9, 9, 1)]}),
    "no boxes": ([BOXES], {"boxes": []}),
    "instances": ([MASKED], {"boxes": [box(1, 2, 3.5, 4, mask_rle=RUNS)]}),
    "segmentation": (SEGMENTED, {"mask_png": PNG, "class_pixels": PIXELS}),
    "embedding": ([pa.field("embedding", pa.list_(pa.float32()))], {"embedding": VECTOR}),
    "half embedding": ([HALF], {"embedding": np.array(VECTOR, np.float16)}),
    "several labels": (SEVERAL, {"labels": ["cat", "dog"], "label_scores": [0.75, 0.5]}),
    "everything": (
        [MASKED, *SEGMENTED, *SEVERAL, HALF],
        {
            "boxes": [box(1, 2, 3.5, 4, mask_rle=RUNS)],
            "mask_png": PNG,
            "class_pixels": PIXELS,
            "labels": ["cat"],
            "label_scores": [0.75],
            "embedding": np.array(VECTOR, np.float16),
        },
    ),
}


def output_of(folder: Path, kind: str) -> Path:
    """Six images in two parts, every third of them an error."""
    fields, row = KINDS[kind]
    settings = pictures(folder / "in", *NAMES)
    return Path(predicted(folder, settings, fields, lambda name: ERROR if int(name[0]) % 3 == 2 else row))


def plain(value: Any) -> Any:
    """Without what readers call lists, dicts and nulls."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | np.ndarray) else value


def rows(table: pa.Table, kind: str) -> list[dict[str, Any]]:
    columns = ["image_id", "error_code", "width", *(field.name for field in KINDS[kind][0])]
    return sorted((plain(row) for row in table.select(columns).to_pylist()), key=lambda row: row["image_id"])


def expected(kind: str) -> list[dict[str, Any]]:
    fields, row = KINDS[kind]
    good, bad = plain(row), dict.fromkeys(field.name for field in fields)
    error = {"error_code": "empty", "width": None, **bad}
    fine = {"error_code": None, "width": 40, **good}
    return [{"image_id": name, **(error if int(name[0]) % 3 == 2 else fine)} for name in NAMES]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("read", [by_pyarrow, by_duckdb, by_polars, by_pandas, by_hugging_face])
def test_columns_of_every_task(tmp_path: Path, kind: str, read: Callable[[Path], pa.Table]) -> None:
    assert rows(read(output_of(tmp_path, kind)), kind) == expected(kind)


@pytest.mark.ray
def test_ray_reads_the_columns_of_every_task(tmp_path: Path, ray_address: str) -> None:
    assert rows(by_ray(output_of(tmp_path, "everything"), ray_address), "everything") == expected("everything")


def test_tables_in_csv(tmp_path: Path) -> None:
    rows = {
        name: {**classified(score=0.1), "label": label} for name, label in zip(NAMES[:2], ["c,d", '"'], strict=True)
    }
    settings = pictures(tmp_path / "in", *NAMES[:3])
    output = predicted(tmp_path, settings, CLASSIFIED, lambda name: rows.get(name, ERROR))
    export(output, format="csv", to=str(tmp_path / "to"), options=Options())
    file = str(tmp_path / "to" / "predictions.csv")
    frame = wanted("pandas").read_csv(file)
    table = wanted("polars").read_csv(file)
    relation = wanted("duckdb").read_csv(file)
    for labels in (frame["label"].tolist(), table["label"].to_list(), [row[0] for row in relation["label"].fetchall()]):
        assert labels[:2] == ["c,d", '"']
        assert labels[2] is None or labels[2] != labels[2]
    assert frame["score"].astype("float32").tolist()[:2] == [np.float32(0.1)] * 2
    assert table["image_id"].to_list() == NAMES[:3]


def test_folders_and_tars_are_datasets_of_hugging_face(tmp_path: Path) -> None:
    load = wanted("datasets").load_dataset
    output = predicted(
        tmp_path, pictures(tmp_path / "in", *NAMES), CLASSIFIED, lambda name: classified(int(name[0]) % 2)
    )
    for format, builder in [("folders", "imagefolder"), ("webdataset", "webdataset")]:
        to = tmp_path / format
        export(output, format=format, to=str(to), options=Options())
        files = f"{to}/*/*.png" if format == "folders" else f"{to}/*.tar"
        found = load(builder, data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
        column = "label" if format == "folders" else "cls"
        assert sorted(found[column]) == [0, 0, 0, 1, 1, 1]
